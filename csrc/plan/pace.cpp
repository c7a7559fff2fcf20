#include "plan/pace.h"

#include <algorithm>
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
constexpr int64_t kAlignment = 64;

struct Factors {
  std::vector<std::atomic<double>> of;
  std::atomic<unsigned> version{0};
  Factors() : of(algorithms(Device::cpu).size() * kResults) {
    for (std::atomic<double>& factor : of) factor = 1;
  }
};

Factors& factors() {
  static Factors all;
  return all;
}

// Null for an algorithm that is not of the CPU.
std::atomic<double>* factor_of(const Algorithm& algorithm, Result result) {
  const std::vector<const Algorithm*>& list = algorithms(Device::cpu);
  const auto place = std::find(list.begin(), list.end(), &algorithm);
  if (place == list.end()) return nullptr;
  return &factors().of[size_t(place - list.begin()) * kResults + size_t(result)];
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

}  // namespace

double measured_seconds(const Algorithm& algorithm, const Problem& p, int repetitions) {
  Memory input = filled(p, p.batch * p.in_channels * p.input_positions());
  Memory weight = filled(p, p.out_channels * p.in_channels_per_group() * p.taps());
  Memory output = filled(p, p.batch * p.out_channels * p.output_positions());
  Memory bias = filled(p, p.out_channels);
  const Operands operands =
      contiguous_operands(p, input.data(), weight.data(), output.data(), bias.data());
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

double pace(const Algorithm& algorithm, Result result) {
  const std::atomic<double>* const factor = factor_of(algorithm, result);
  return factor ? factor->load() : 1;
}

bool set_pace(const Algorithm& algorithm, Result result, double value) {
  std::atomic<double>* const factor = factor_of(algorithm, result);
  if (!factor || !(value > 0) || !std::isfinite(value)) return false;
  *factor = value;
  ++factors().version;
  return true;
}

unsigned pace_version() { return factors().version; }

}  // namespace torchconv
