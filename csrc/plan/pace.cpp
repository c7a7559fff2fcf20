#include "plan/pace.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <mutex>

#include "core/check.h"

namespace torchconv {
namespace {

constexpr int64_t kAlignment = 64;

// How far apart two problems are: 1 for twice the channels of a group, the strides or the taps, a third
// for twice the positions. Of 540 layers and results the pick was within 10 % of the fastest algorithm
// in 97 % on a Zen 4, and in 96 % with AVX2 alone; with one mean for all of an algorithm's samples in 94
// and 90 %. Other weights, and widths from 1 to 1.5, change that by half a percent.
constexpr int kTraits = 5;
constexpr double kPositions = 1.0 / 3;
constexpr double kUnlike = 0.02;  // what a sample of another kind weighs, for want of a better one

struct Traits {
  double of[kTraits];

  explicit Traits(const Problem& p) {
    double strides = 1;
    for (int a = 0; a < p.axes; ++a) strides *= double(p.axis[a].stride);
    const double counts[kTraits] = {double(p.in_channels_per_group()),
                                    double(p.out_channels_per_group()), strides, double(p.taps()),
                                    double(p.batch) * double(p.output_positions())};
    for (int i = 0; i < kTraits; ++i) of[i] = std::log2(std::max(counts[i], 1.0));
    of[kTraits - 1] *= kPositions;
  }

  double likeness(const Traits& other) const {
    double distance = 0;
    for (int i = 0; i < kTraits; ++i) distance += (of[i] - other.of[i]) * (of[i] - other.of[i]);
    return std::exp(-distance / 2) + kUnlike;
  }
};

struct Sample {
  const Algorithm* algorithm;
  Result result;
  DType dtype;
  Traits traits;
  double log_factor;
};

struct Samples {
  std::mutex mutex;
  std::vector<Sample> list;
  std::atomic<unsigned> version{0};
};

Samples& samples() {
  static Samples all;
  return all;
}

// Of logarithms, weighted.
struct Mean {
  double sum = 0, weight = 0;
  void add(double value, double by) {
    sum += value * by;
    weight += by;
  }
};

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

void set_pace(const std::vector<PaceSample>& measured) {
  std::vector<Sample> list;
  for (const PaceSample& one : measured)
    list.push_back({one.algorithm, one.problem.result, one.problem.dtype, Traits(one.problem),
                    std::log(one.factor)});
  const std::lock_guard lock(samples().mutex);
  samples().list.swap(list);
  ++samples().version;
}

double pace(const Algorithm& algorithm, const Problem& problem) {
  if (problem.device != Device::cpu) return 1;
  const Traits traits(problem);
  Mean own, all;
  const std::lock_guard lock(samples().mutex);
  const std::vector<Sample>& list = samples().list;
  const auto has = [&list](DType dtype) {
    return std::any_of(list.begin(), list.end(), [&](const Sample& s) { return s.dtype == dtype; });
  };
  DType dtype = problem.dtype == DType::complex128 ? DType::float64 : problem.dtype;
  if (!has(dtype)) dtype = DType::float32;
  for (const Sample& sample : list) {
    if (sample.result != problem.result || sample.dtype != dtype) continue;
    const double weight = sample.traits.likeness(traits);
    all.add(sample.log_factor, weight);
    if (sample.algorithm == &algorithm) own.add(sample.log_factor, weight);
  }
  const Mean& mean = own.weight > 0 ? own : all;
  return mean.weight > 0 ? std::exp(mean.sum / mean.weight) : 1;
}

unsigned pace_version() { return samples().version; }

}  // namespace torchconv
