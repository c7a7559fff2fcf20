// The CUDA kernels: tensors become views, the planner picks an algorithm, and it puts its kernels on
// torch's current stream.
//
// Nothing here waits for the device, and memory comes from torch's caching allocator alone, so that
// a CUDA graph can capture a call. This file is the only one with torch's CUDA headers, and is
// compiled only where torch has CUDA; cuda_absent.cpp stands in for it elsewhere.
#include "torch/cuda.h"

#include <ATen/cuda/EmptyTensor.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>

#include "plan/planner.h"
#include "torch/precision.h"
#include "torch/run.h"

namespace torchconv {
namespace {

// By the runtime, which keeps these: torch's own header of device properties asks for more of the
// toolkit (cuSPARSE and others) than a build needs.
Gpu gpu_of(c10::DeviceIndex device) {
  const auto attribute = [device](cudaDeviceAttr which) {
    int value = 0;
    C10_CUDA_CHECK(cudaDeviceGetAttribute(&value, which, device));
    return value;
  };
  return {10 * attribute(cudaDevAttrComputeCapabilityMajor) +
              attribute(cudaDevAttrComputeCapabilityMinor),
          attribute(cudaDevAttrMultiProcessorCount)};
}

// The caching allocator aligns to 512 bytes, more than Context::scratch asks for. What is freed when
// this returns is only handed out again on the same stream, behind the kernels that use it.
void run(const Problem& problem, const Operands& operands, int multiprocessors) {
  const Choice choice = choose(problem, multiprocessors);
  TORCH_CHECK(choice.algorithm, refusal(problem));
  Context context;
  context.threads = multiprocessors;
  context.stream = c10::cuda::getCurrentCUDAStream().stream();
  c10::DataPtr scratch;
  if (choice.scratch_bytes > 0) {
    scratch = c10::cuda::CUDACachingAllocator::get()->allocate(size_t(choice.scratch_bytes));
    context.scratch = scratch.get();
  }
  choice.algorithm->run(problem, operands, context);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

Tensor on_cuda(c10::DispatchKeySet keys, const Arguments& arguments) {
  require_alike(arguments);
  if (arguments.first.scalar_type() == at::kComplexHalf)
    return in_complex64<on_cuda>(keys, arguments);

  const c10::cuda::CUDAGuard guard(arguments.first.device());
  const Gpu gpu = gpu_of(arguments.first.device().index());
  Problem problem = checked_problem(arguments);
  problem.precise = wants_precise();
  problem.tf32 = problem.dtype == DType::float32 && allows_tf32();
  problem.capability = uint8_t(gpu.capability);
  // Not at::empty, which in deterministic mode fills what is written in full anyway.
  Tensor result = at::detail::empty_cuda(result_size(problem), arguments.first.scalar_type(),
                                         arguments.first.device(),
                                         result_format(arguments.first, arguments.second));
  if (result.numel() > 0) run(problem, operands(problem, arguments, result), gpu.multiprocessors);
  return result;
}

}  // namespace

Gpu current_gpu() {
  if (c10::cuda::device_count() == 0) return {};
  return gpu_of(c10::cuda::current_device());
}

std::string cuda_version() {
  return std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION / 10 % 100);
}

TORCH_LIBRARY_IMPL(torchconv, CUDA, library) { implement<on_cuda>(library); }

}  // namespace torchconv
