#include "plan/pace.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <vector>

#include "core/check.h"
#include "plan/planner.h"

namespace torchconv {
namespace {

constexpr int kResults = 3;
constexpr int kMostAlgorithms = 32;
constexpr int64_t kAlignment = 64;

struct Factors {
  std::array<std::atomic<double>, kMostAlgorithms * kResults> of;
  std::atomic<unsigned> version{0};
  Factors() {
    for (std::atomic<double>& factor : of) factor = 1;
  }
};

Factors& factors() {
  static Factors all;
  return all;
}

// Memory for a tensor, or for scratch, aligned as Context asks.
struct Memory {
  std::vector<char> bytes;
  explicit Memory(int64_t size) : bytes(size_t(size + kAlignment)) {}
  char* data() {
    return bytes.data() + (kAlignment - uintptr_t(bytes.data()) % kAlignment) % kAlignment;
  }
};

// Real numbers that are neither zero nor denormal, whatever the dtype: of the same bytes.
Memory filled(const Problem& p, int64_t elements) {
  Memory memory(elements * element_bytes(p.dtype));
  std::fill(memory.bytes.begin(), memory.bytes.end(), char(0x3c));
  return memory;
}

std::vector<int64_t> contiguous(const Problem& p, int64_t channels, int64_t Axis::* size) {
  std::vector<int64_t> strides(size_t(p.axes + 2));
  int64_t step = 1;
  for (int a = p.axes - 1; a >= 0; --a) {
    strides[size_t(a + 2)] = step;
    step *= p.axis[a].*size;
  }
  strides[1] = step;
  strides[0] = step * channels;
  return strides;
}

}  // namespace

double measured_seconds(const Algorithm& algorithm, const Problem& p, int repetitions) {
  Memory input = filled(p, p.batch * p.in_channels * p.input_positions());
  Memory weight = filled(p, p.out_channels * p.in_channels_per_group() * p.taps());
  Memory output = filled(p, p.batch * p.out_channels * p.output_positions());
  Memory bias = filled(p, p.out_channels);
  Operands operands;
  operands.input =
      input_view(p, input.data(), contiguous(p, p.in_channels, &Axis::input_size).data());
  operands.weight = weight_view(
      p, weight.data(), contiguous(p, p.in_channels_per_group(), &Axis::kernel_size).data());
  operands.output =
      output_view(p, output.data(), contiguous(p, p.out_channels, &Axis::output_size).data());
  if (p.bias) operands.bias = bias_view(p, bias.data(), 1);
  Memory scratch(algorithm.scratch_bytes(p, 1));
  Context context;
  context.scratch = scratch.data();
  double fastest_s = std::numeric_limits<double>::infinity();
  for (int i = 0; i < repetitions; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    algorithm.run(p, operands, context);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    fastest_s = std::min(fastest_s, elapsed.count());
  }
  return fastest_s;
}

double pace(int algorithm, Result result) {
  return factors().of[size_t(algorithm * kResults + int(result))];
}

bool set_pace(const std::string& name, Result result, double factor) {
  const std::vector<const Algorithm*>& list = algorithms(Device::cpu);
  if (!(factor > 0) || !std::isfinite(factor)) return false;
  for (size_t i = 0; i < std::min<size_t>(list.size(), kMostAlgorithms); ++i) {
    if (name != list[i]->name) continue;
    factors().of[i * kResults + size_t(result)] = factor;
    ++factors().version;
    return true;
  }
  return false;
}

unsigned pace_version() { return factors().version; }

}  // namespace torchconv
