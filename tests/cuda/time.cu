// The CUDA algorithms on a GPU, without torch: each on the problem lines it reads from standard
// input, held to the reference and timed.
//
//     time [milliseconds]  < lines
//
// Operands are small integers, so sums are exact and compared with ==; an algorithm that rounds more
// is not known here yet. The time is the median of runs by CUDA events, launches included, of as
// many calls at once as fill the milliseconds (default 5), beside what memory alone would take at
// 4e12 bytes a second. With channels_last=1 the weight is laid out so, too.
//
// To build: nvcc -std=c++17 -O3 -Icsrc -DTORCHCONV_CUDA '-DTORCHCONV_ALGORITHMS(X)=X(reference)'
// -gencode=arch=compute_90a,code=sm_90a, of this file and csrc/cuda/**/*.cu as -x cu, and
// csrc/core/*.cpp, csrc/plan/*.cpp and csrc/algo/reference.cpp as -x c++.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/text.h"
#include "cuda/micro/launch.h"
#include "cuda/micro/number.h"
#include "plan/planner.h"

namespace torchconv {
const char* target_name() { return "cuda"; }
}  // namespace torchconv

using namespace torchconv;
using namespace torchconv::cuda;

namespace {

void require(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::printf("FAIL %s: %s\n", what, cudaGetErrorString(status));
  std::exit(2);
}

template <typename T>
__global__ void fill(T* data, int64_t count, unsigned seed) {
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < count;
       i += int64_t(gridDim.x) * blockDim.x) {
    const uint64_t mixed = (uint64_t(i) + seed) * 0x9e3779b97f4a7c15;
    write<T, float>(data, i, float(int(mixed >> 40) % 5 - 2));
  }
}

__global__ void count_differences(const unsigned char* a, const unsigned char* b, int64_t bytes,
                                  int element, unsigned long long* differ) {
  const int64_t elements = bytes / element;
  for (int64_t i = blockIdx.x * int64_t(blockDim.x) + threadIdx.x; i < elements;
       i += int64_t(gridDim.x) * blockDim.x) {
    bool same = true;
    for (int j = 0; j < element; ++j) same &= a[i * element + j] == b[i * element + j];
    if (!same) atomicAdd(differ, 1ull);
  }
}

struct Memory {
  unsigned char* data = nullptr;
  int64_t bytes;
  explicit Memory(int64_t size) : bytes(size) {
    require(cudaMalloc(&data, size_t(size > 0 ? size : 1)), "cudaMalloc");
  }
  Memory(const Memory&) = delete;
  ~Memory() { cudaFree(data); }
};

void fill_with(const Problem& p, const Memory& memory, unsigned seed) {
  const int64_t count = memory.bytes / element_bytes(p.dtype);
  switch (p.dtype) {
    case DType::float32: fill<<<1024, 256>>>(reinterpret_cast<float*>(memory.data), count, seed); break;
    case DType::float64: fill<<<1024, 256>>>(reinterpret_cast<double*>(memory.data), count, seed); break;
    case DType::bfloat16: fill<<<1024, 256>>>(reinterpret_cast<BFloat16*>(memory.data), count, seed); break;
    case DType::float16: fill<<<1024, 256>>>(reinterpret_cast<Float16*>(memory.data), count, seed); break;
    default: std::printf("FAIL no such dtype here\n"); std::exit(2);
  }
}

// As torch lays a channels_last weight out.
void set_channels_last(const Problem& p, View* weight) {
  int64_t step = p.in_channels_per_group();
  weight->in_channel = 1;
  for (int a = p.axes - 1; a >= 0; --a) weight->axis[a] = step, step *= p.axis[a].kernel_size;
  weight->out_channel = step, weight->group = step * p.out_channels_per_group();
}

double seconds(const Algorithm& algorithm, const Problem& p, const Operands& operands,
               const Context& context, double budget_s) {
  cudaEvent_t begin, end;
  require(cudaEventCreate(&begin), "event");
  require(cudaEventCreate(&end), "event");
  const auto sample = [&](int repeats) {
    require(cudaEventRecord(begin), "record");
    for (int i = 0; i < repeats; ++i) algorithm.run(p, operands, context);
    require(cudaEventRecord(end), "record");
    require(cudaEventSynchronize(end), "a kernel");
    float ms = 0;
    require(cudaEventElapsedTime(&ms, begin, end), "elapsed");
    return ms / 1e3 / repeats;
  };
  sample(1);
  const double once_s = sample(2);
  const int repeats = std::max(1, std::min(200, int(budget_s / 5 / once_s)));
  std::vector<double> samples;
  for (int i = 0; i < 5; ++i) samples.push_back(sample(repeats));
  std::sort(samples.begin(), samples.end());
  require(cudaEventDestroy(begin), "event");
  require(cudaEventDestroy(end), "event");
  return samples[2];
}

}  // namespace

int main(int argc, char** argv) {
  const double budget_s = (argc > 1 ? std::atof(argv[1]) : 5) / 1e3;
  int multiprocessors = 0, failures = 0;
  require(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0), "a GPU");
  Memory differ(8);
  for (std::string line; std::getline(std::cin, line);) {
    if (line.empty()) continue;
    Problem p;
    const std::string wrong = from_text(line, &p);
    if (!wrong.empty()) {
      std::printf("FAIL %s: %s\n", line.c_str(), wrong.c_str());
      ++failures;
      continue;
    }
    const int64_t each = element_bytes(p.dtype);
    const int64_t sizes[3] = {p.batch * p.out_channels * p.output_positions() * each,
                              p.batch * p.in_channels * p.input_positions() * each,
                              p.out_channels * p.in_channels_per_group() * p.taps() * each};
    Memory output(sizes[0]), input(sizes[1]), weight(sizes[2]), bias(p.out_channels * each);
    Memory expected(sizes[int(p.result)]);
    fill_with(p, output, 1), fill_with(p, input, 2), fill_with(p, weight, 3), fill_with(p, bias, 4);
    Operands operands = contiguous_operands(p, input.data, weight.data, output.data, bias.data);
    if (p.channels_last) set_channels_last(p, &operands.weight);
    View* const result = p.result == Result::output  ? &operands.output
                         : p.result == Result::input ? &operands.input
                                                     : &operands.weight;
    const double bytes_s = double(sizes[0] + sizes[1] + sizes[2]) / 4e12;
    std::printf("%s\n     memory %.1f us, %.2f GFLOP\n", line.c_str(), bytes_s * 1e6,
                2e-9 * p.multiply_adds());
    void* const own = result->data;
    for (int i = int(algorithms(Device::cuda).size()) - 1; i >= 0; --i) {  // the reference is last
      const Algorithm& algorithm = *algorithms(Device::cuda)[size_t(i)];
      const bool is_reference = &algorithm == algorithms(Device::cuda).back();
      if (!algorithm.refuses(p).empty()) continue;
      const Memory scratch(algorithm.scratch_bytes(p, multiprocessors));
      Context context;
      context.threads = multiprocessors;
      context.scratch = scratch.data;
      result->data = is_reference ? expected.data : own;
      require(cudaMemset(result->data, 0xff, size_t(sizes[int(p.result)])), "memset");
      algorithm.run(p, operands, context);
      require(cudaGetLastError(), "a launch");
      require(cudaDeviceSynchronize(), algorithm.name);
      if (is_reference) continue;
      unsigned long long differences = 0;
      require(cudaMemset(differ.data, 0, 8), "memset");
      count_differences<<<1024, 256>>>(static_cast<unsigned char*>(own), expected.data,
                                       sizes[int(p.result)], int(each),
                                       reinterpret_cast<unsigned long long*>(differ.data));
      require(cudaMemcpy(&differences, differ.data, 8, cudaMemcpyDeviceToHost), "memcpy");
      const double s = seconds(algorithm, p, operands, context, budget_s);
      std::printf("%s %-10s %9.1f us %8.1f TFLOP/s  planned %.1f us  %llu wrong\n",
                  differences ? "FAIL" : "ok  ", algorithm.name, 1e6 * s,
                  2e-12 * p.multiply_adds() / s, 1e6 * algorithm.cost(p), differences);
      failures += differences != 0;
      std::fflush(stdout);
    }
  }
  std::printf("%d failed\n", failures);
  return failures != 0;
}
