// Autocast: every tensor of a call in autocast's dtype, the weight from autocast's cache.
#include <ATen/autocast_mode.h>

#include "torch/ops.h"

namespace torchconv {
namespace {

template <c10::DeviceType device, c10::DispatchKey key>
Tensor autocast(c10::DispatchKeySet, const Arguments& arguments) {
  const c10::impl::ExcludeDispatchKeyGuard without_autocast(key);
  const at::ScalarType dtype = at::autocast::get_autocast_dtype(device);
  const auto cast = [dtype](const auto& tensor) {
    return at::autocast::cached_cast(dtype, tensor, device);
  };
  return call({arguments.result, cast(arguments.first), cast(arguments.second),
               cast(arguments.bias), arguments.result_size, arguments.geometry});
}

}  // namespace

TORCH_LIBRARY_IMPL(torchconv, AutocastCPU, library) {
  implement<autocast<c10::DeviceType::CPU, c10::DispatchKey::AutocastCPU>>(library);
}
TORCH_LIBRARY_IMPL(torchconv, AutocastCUDA, library) {
  implement<autocast<c10::DeviceType::CUDA, c10::DispatchKey::AutocastCUDA>>(library);
}

}  // namespace torchconv
