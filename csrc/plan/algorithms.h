// The lists of algorithms, one for each device, the preferred first. A new one is one file in
// csrc/algo or csrc/cuda/algo and one line here.
#pragma once

#include "core/algorithm.h"

#ifndef TORCHCONV_ALGORITHMS  // a test of one device leaves out the other's, but for the reference
#define TORCHCONV_ALGORITHMS(X) \
  X(gemm)                       \
  X(winograd)                   \
  X(lanes)                      \
  X(indirect)                   \
  X(direct)                     \
  X(fft)                        \
  X(reference)
#endif

#define TORCHCONV_CUDA_ALGORITHMS(X) \
  X(direct)                          \
  X(gemm)                            \
  X(depthwise)                       \
  X(reference)

#define TORCHCONV_DECLARE(name) extern const Algorithm name;
namespace torchconv {
TORCHCONV_ALGORITHMS(TORCHCONV_DECLARE)
namespace cuda {
TORCHCONV_CUDA_ALGORITHMS(TORCHCONV_DECLARE)
}
}  // namespace torchconv
#undef TORCHCONV_DECLARE
