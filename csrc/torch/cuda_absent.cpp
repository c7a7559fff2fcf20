// In the place of cuda.cpp, in a build without kernels for a GPU.
#include "torch/cuda.h"
#include "torch/ops.h"

namespace torchconv {
namespace {

Tensor on_cuda(c10::DispatchKeySet, const Arguments&) {
  TORCH_CHECK_NOT_IMPLEMENTED(
      false,
      "this build of torchconv has no CUDA kernels; build it where torch has CUDA and nvcc is "
      "found (TORCHCONV_CUDA=1 says what is missing)");
}

}  // namespace

Gpu current_gpu() { return {}; }
std::string cuda_version() { return ""; }

TORCH_LIBRARY_IMPL(torchconv, CUDA, library) { implement<on_cuda>(library); }

}  // namespace torchconv
