// The seam between kernels and what runs them: nvcc and a GPU, or g++ and tests/cuda/emulator.h.
//
// A kernel source (.cu) is CUDA C++, with these in the place of what only nvcc can read:
//
//     launch(how, kernel, arguments...);          for  kernel<<<...>>>(arguments...)
//     float* tile = dynamic_shared<float>();      for  extern __shared__ float tile[]
//
// and with csrc/cuda/micro/warp.h in the place of inline PTX. blockIdx and its kin, __syncthreads,
// __syncwarp, __shfl_*_sync, __shared__ arrays, __launch_bounds__ and #pragma unroll work in both.
// Everything that a kernel needs is an argument, by value: a Problem and Operands fit.
#pragma once

#include <cstdint>

#include "core/arithmetic.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>
#elif !defined(TORCHCONV_EMULATOR)
#error "kernels are compiled by nvcc, or by g++ -include tests/cuda/emulator.h"
#endif

namespace torchconv::cuda {

constexpr int kWarp = 32;                    // threads
constexpr int64_t kMostBlocks = 0x7fffffff;  // of gridDim.x; y and z reach 65535

struct Launch {
  dim3 blocks;
  dim3 threads;
  int64_t shared_bytes = 0;  // of dynamic_shared
  void* stream = nullptr;
  // May begin before the kernel before it is done, and waits for that with wait_for_kernel.
  bool early = false;
};
inline Launch launch_of(int64_t blocks, int64_t threads, int64_t shared_bytes, void* stream) {
  Launch how;
  how.blocks = dim3(unsigned(blocks)), how.threads = dim3(unsigned(threads));
  how.shared_bytes = shared_bytes, how.stream = stream;
  return how;
}

// Blocks of so many threads for a loop that strides over the grid, one element at a time: all
// elements at once, or as many as keep every multiprocessor full (2048 threads) a few times over.
inline int64_t grid_stride_blocks(int64_t elements, int threads, int multiprocessors) {
  const int64_t wanted = ceil_div(elements, threads);
  const int64_t most = int64_t(multiprocessors > 0 ? multiprocessors : 1) * (4 * 2048 / threads);
  return wanted < most ? wanted : most;
}

#ifdef __CUDACC__

// Puts a kernel on the stream. A failure stays with the CUDA runtime, where the caller of the
// algorithm finds it (cudaGetLastError).
template <typename... Parameters, typename... Arguments>
void launch(const Launch& how, void (*kernel)(Parameters...), Arguments... arguments) {
  // More than 48 KiB has to be asked for; a kernel's own arrays count, and are not known here.
  if (how.shared_bytes > 40 << 10)
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         int(how.shared_bytes));
  cudaLaunchAttribute early;
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = how.blocks, config.blockDim = how.threads;
  config.dynamicSmemBytes = size_t(how.shared_bytes);
  config.stream = static_cast<cudaStream_t>(how.stream);
  config.attrs = &early, config.numAttrs = how.early;
  cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...);
}

// In the kernel before one that is launched early: from here on it may begin.
__device__ __forceinline__ void allow_next_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
// In a kernel that was launched early: until what the kernel before it has written is there.
__device__ __forceinline__ void wait_for_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The block's dynamic shared memory, from its first byte.
template <typename T>
__device__ T* dynamic_shared() {
  extern __shared__ __align__(1024) unsigned char torchconv_dynamic_shared[];
  return reinterpret_cast<T*>(torchconv_dynamic_shared);
}

#endif

}  // namespace torchconv::cuda
