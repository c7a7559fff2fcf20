// The tables of one target, filled on demand: none of its code may run before the machine is known to
// have it.

#include "micro/kernels_impl.h"

namespace torchconv::TORCHCONV_TARGET {

Tables tables() {
  return {make_kernels<float>(),
          make_kernels<double>(),
          make_kernels<uint16_t>(),
          make_kernels<uint32_t>(),
          make_kernels<uint64_t>(),
          {},
          {}};
}

}  // namespace torchconv::TORCHCONV_TARGET
