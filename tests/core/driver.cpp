// Runs every algorithm on the problem lines it reads from standard input and compares with the
// reference, without torch: for sanitizers, and for timing a kernel alone.
//
//     driver [threads] [repetitions] [failures]  < lines
//
// A line with device=cuda asks for the algorithms of that device, built for the emulator
// (tests/cuda/emulator.h), where "device memory" is memory; the reference is always the CPU's.
// It stops after so many failures, if any number is given. The reference itself is held to what needs no oracle: the three operators are adjoint,
// <conv(x, w), y> = <x, conv_input(y, w)> = <w, conv_weight(x, y)>.
//
// Operands are small integers, so float sums are exact and compared with ==. The result is poisoned
// with NaN before, and fenced: its buffer and the scratch have guards on both sides.
#include <algorithm>
#include <chrono>
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "core/check.h"
#include "core/half.h"
#include "core/text.h"
#include "plan/planner.h"
#ifdef TORCHCONV_CUDA
namespace torchconv {
const char* target_name() { return "cuda, emulated"; }
}  // namespace torchconv
#else
#include "micro/target.h"
#endif

using namespace torchconv;

namespace {

constexpr int64_t kGuard = 256;
constexpr unsigned char kPoison = 0xff;  // a NaN in every float format, -1 in every integer

// A buffer between two guards.
struct Fenced {
  std::vector<unsigned char> bytes;
  explicit Fenced(int64_t size) : bytes(size + 2 * kGuard, kPoison) {}
  unsigned char* data() { return bytes.data() + kGuard; }
  int64_t size() const { return int64_t(bytes.size()) - 2 * kGuard; }
  bool intact() const {
    for (int64_t i = 0; i < kGuard; ++i)
      if (bytes[i] != kPoison || bytes[bytes.size() - 1 - i] != kPoison) return false;
    return true;
  }
};

void put(DType dtype, unsigned char* at, int value) {
  const auto as = [&](auto typed) { std::memcpy(at, &typed, sizeof typed); };
  switch (dtype) {
    case DType::float32: return as(float(value));
    case DType::float64: return as(double(value));
    case DType::bfloat16: return as(BFloat16::from(float(value)));
    case DType::float16: return as(Float16::from(float(value)));
    case DType::complex64: as(float(value)), at += 4; return as(float(value % 2));
    case DType::complex128: as(double(value)), at += 8; return as(double(value % 2));
    case DType::uint8: case DType::int8: return as(int8_t(value));
    case DType::int16: return as(int16_t(value));
    case DType::int32: return as(int32_t(value));
    case DType::int64: return as(int64_t(value));
  }
}

void fill(const Problem& p, Fenced* tensor, unsigned seed) {
  const int64_t bytes = element_bytes(p.dtype);
  for (int64_t i = 0; i < tensor->size() / bytes; ++i) {
    seed = seed * 1664525u + 1013904223u;
    put(p.dtype, tensor->data() + i * bytes, int(seed >> 20) % 5 - 2);
  }
}

int worker_count;

// Tasks go round, so that every worker has some and writes to its scratch, wherever that is.
void parallel(int64_t tasks, int threads, const void* closure, void (*body)(const void*, int64_t, int)) {
  const auto work = [&](int worker) {
    for (int64_t task = worker; task < tasks; task += threads) body(closure, task, worker);
  };
  std::vector<std::thread> pool;
  for (int worker = 1; worker < threads; ++worker) pool.emplace_back(work, worker);
  work(0);
  for (std::thread& thread : pool) thread.join();
}

struct Tensors {
  Fenced input, weight, output, bias;
  explicit Tensors(const Problem& p)
      : input(p.batch * p.in_channels * p.input_positions() * element_bytes(p.dtype)),
        weight(p.out_channels * p.in_channels_per_group() * p.taps() * element_bytes(p.dtype)),
        output(p.batch * p.out_channels * p.output_positions() * element_bytes(p.dtype)),
        bias(p.out_channels * element_bytes(p.dtype)) {}
  Fenced& of(Result result) {
    return result == Result::output ? output : result == Result::input ? input : weight;
  }
  bool intact() const { return input.intact() && weight.intact() && output.intact() && bias.intact(); }
};

Operands views(const Problem& p, Tensors* t) {
  return contiguous_operands(p, t->input.data(), t->weight.data(), t->output.data(), t->bias.data());
}

unsigned char* aligned(unsigned char* at) { return at + (64 - uintptr_t(at) % 64) % 64; }

// Seconds of the fastest repetition; the result is left in the tensors.
double run(const Algorithm& algorithm, const Problem& p, Tensors* tensors, int repetitions, bool* fenced,
           unsigned char* kept = nullptr, bool filled = false) {
  const int64_t bytes = algorithm.scratch_bytes(p, worker_count);
  Fenced scratch(bytes + 64);
  Context context;
  context.threads = worker_count;
  context.scratch = aligned(scratch.data());
  context.kept = kept;
  context.filled = filled;
  context.parallel = parallel;
  double best_s = 1e30;
  for (int i = 0; i < repetitions; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    algorithm.run(p, views(p, tensors), context);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    best_s = std::min(best_s, elapsed.count());
  }
  *fenced = scratch.intact() && tensors->intact();
  return best_s;
}

// What is kept of a weight is the same for another batch and other threads: it is filled by a run
// with both, then read by one that finds its weight poisoned and must make the same bits as ever.
bool keeps(const Algorithm& algorithm, const Problem& p, const Tensors& start, const Tensors& done) {
  Problem other = p;
  other.batch += 2;
  const Kept kept = algorithm.kept ? algorithm.kept(p) : Kept{}, of_other = algorithm.kept ? algorithm.kept(other) : Kept{};
  if (kept.bytes == 0 || of_other.bytes == 0) return true;  // a large batch may be no use
  if (kept.bytes != of_other.bytes || kept.layout != of_other.layout) return false;
  Fenced memory(kept.bytes + 64);
  Tensors filling(other), using_it = start;
  fill(other, &filling.input, 5);
  fill(other, &filling.output, 6);
  filling.weight = start.weight;
  bool fenced, fenced_too;
  const int threads = worker_count;
  worker_count += 2;
  run(algorithm, other, &filling, 1, &fenced, aligned(memory.data()), false);
  worker_count = threads;
  std::fill_n(using_it.weight.data(), using_it.weight.size(), kPoison);
  run(algorithm, p, &using_it, 1, &fenced_too, aligned(memory.data()), true);
  return fenced && fenced_too && memory.intact() &&
         using_it.of(p.result).bytes == const_cast<Tensors&>(done).of(p.result).bytes;
}

// A real number, of which a complex one is two.
double value(DType dtype, const unsigned char* at) {
  float f;
  double d;
  BFloat16 b;
  Float16 h;
  if (dtype == DType::float64 || dtype == DType::complex128) return std::memcpy(&d, at, 8), d;
  if (dtype == DType::bfloat16) return std::memcpy(&b, at, 2), b;
  if (dtype == DType::float16) return std::memcpy(&h, at, 2), h;
  return std::memcpy(&f, at, 4), f;
}

// Equal in every bit; or, where an algorithm rounds more than the definition's sum, within its
// bound: products are at most 4, or complex ones 16, and a result stored in 16 bits is rounded once
// more.
bool agree(const Algorithm& algorithm, const Problem& p, const Fenced& actual, const Fenced& expected) {
  if (algorithm.error_factor == 1) return actual.bytes == expected.bytes;
  const int64_t terms = p.result == Result::weight  ? p.batch * p.output_positions()
                        : p.result == Result::input ? p.taps() * p.out_channels_per_group()
                                                    : p.taps() * p.in_channels_per_group();
  const bool wide = p.dtype == DType::float64 || p.dtype == DType::complex128;
  const double computed = wide ? 0x1p-52 : 0x1p-23;
  const double eps = p.dtype == DType::bfloat16 ? 0x1p-7 : p.dtype == DType::float16 ? 0x1p-10 : computed;
  const double largest = is_complex(p.dtype) ? 16 : 4;
  for (int64_t i = 0; i < expected.size(); i += element_bytes(p.dtype) / planes_of(p.dtype)) {
    const double wanted = value(p.dtype, expected.bytes.data() + kGuard + i);
    const double error = std::abs(value(p.dtype, actual.bytes.data() + kGuard + i) - wanted);
    const double bound = algorithm.error_factor * computed * largest * double(terms) + eps * std::abs(wanted);
    if (!(error <= bound)) return false;
  }
  return true;
}

double dot(const Fenced& a, const Fenced& b) {
  double sum = 0, x, y;
  for (int64_t i = 0; i < a.size(); i += 8) {
    std::memcpy(&x, a.bytes.data() + kGuard + i, 8);
    std::memcpy(&y, b.bytes.data() + kGuard + i, 8);
    sum += x * y;
  }
  return sum;
}

// The problem without what its trilinear form does not ask for.
Problem form_of(Problem p) {
  p.result = Result::output;
  p.dtype = DType::float64;
  p.bias = false;
  p.activation = Activation::none;
  p.device = Device::cpu;
  return p;
}

bool is_adjoint(const Algorithm& algorithm, Problem p) {
  p = form_of(p);
  Tensors given(p);
  double forms[3];
  for (Result result : {Result::output, Result::input, Result::weight})
    fill(p, &given.of(result), 7 + unsigned(result));
  for (Result result : {Result::output, Result::input, Result::weight}) {
    Tensors tensors = given;
    std::fill_n(tensors.of(result).data(), tensors.of(result).size(), kPoison);
    p.result = result;
    bool fenced;
    run(algorithm, p, &tensors, 1, &fenced);
    forms[int(result)] = dot(tensors.of(result), given.of(result));
  }
  return forms[0] == forms[1] && forms[1] == forms[2];
}

}  // namespace

int main(int argc, char** argv) {
  worker_count = argc > 1 ? std::atoi(argv[1]) : 1;
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 1;
  const int most_failures = argc > 3 ? std::atoi(argv[3]) : INT_MAX;
  int failures = 0;
  std::string adjoint;  // the last line whose form was checked: results and dtypes share it
  for (std::string line; failures < most_failures && std::getline(std::cin, line);) {
    if (line.empty()) continue;
    Problem p;
    const std::string wrong = from_text(line, &p);
    if (!wrong.empty()) {
      std::printf("FAIL %s: %s\n", line.c_str(), wrong.c_str());
      ++failures;
      continue;
    }
    const std::string form = to_text(form_of(p));
    if (form != adjoint && !is_adjoint(*algorithms(Device::cpu).back(), p)) {
      std::printf("FAIL the reference is not adjoint: %s\n", to_text(p).c_str());
      ++failures;
    }
    adjoint = form;
    Tensors expected(p);
    for (Result result : {Result::output, Result::input, Result::weight})
      if (result != p.result) fill(p, &expected.of(result), 7 + unsigned(result));
    fill(p, &expected.bias, 11);
    bool fenced;
    Tensors start = expected;
    run(*algorithms(Device::cpu).back(), p, &expected, 1, &fenced);
    for (const Algorithm* algorithm : algorithms(p.device)) {
      if (!algorithm->refuses(p).empty()) continue;
      Tensors actual = start;
      const double s = run(*algorithm, p, &actual, repetitions, &fenced);
      const bool equal = agree(*algorithm, p, actual.of(p.result), expected.of(p.result));
      const bool kept = keeps(*algorithm, p, start, actual);
      failures += !equal || !fenced || !kept;
      std::printf("%s %-9s %9.3f ms %7.1f GFLOP/s %s%s%s\n", equal && fenced && kept ? "ok  " : "FAIL",
                  algorithm->name, 1e3 * s, 2e-9 * p.multiply_adds() / s, to_text(p).c_str(),
                  fenced ? "" : " (wrote outside its buffers)", kept ? "" : " (kept a wrong weight)");
    }
  }
  std::printf("%s, %d failed\n", target_name(), failures);
  return failures != 0;
}
