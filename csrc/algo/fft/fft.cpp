// fft: overlap-save. Tiles of the input, and the taps, are transformed (micro/fft_impl.h); for each
// point of the transform the channels are a matrix product; and the way back gives outputs that no
// tap reached around the tile's end for.
//
//     output   Y = sum over ci of X[ci] conj(W[co, ci]),    y = the first size - taps + 1 of each tile
//     weight   W[co, ci] = sum over tiles of X[ci] conj(Y[co])
//     input    forward problems over views of the output (core/relabel.h)
//
// A tile of N points costs about 5 log N sums and products a channel instead of one for each of its
// taps: for long filters and large kernels. Dilated axes are interleaved undilated ones; axes of one
// tap are walked. Memory is bounded by the tile, whatever the image.
//
// Rounding, measured on normal random numbers against the same sum in double. Single errors, in eps
// times the largest sum of |x| |w| in the channel: at most 2.5, with 9 taps; 0.6 for 100 taps
// forward, 2 by weight: an error is of the root of the tile's energy, these sums are of the taps. Root
// mean square, as multiples of gemm's in float32: 0.5 to 3 from 30 taps on, 4 for 9. kErrorFactor
// is that of winograd, over ten times the worst. NaN and infinity reach the whole tile.
#include "algo/fft/plan.h"
#include "core/check.h"
#include "core/relabel.h"

namespace torchconv {
namespace {

using namespace fft_detail;

constexpr double kErrorFactor = 32;
constexpr double kStart =
    1e-5;  // seconds until the first tile: the search for its size, and the roots
constexpr int64_t kMostParts = 64;  // forward problems of one by input: each is planned

bool computes_nothing(const Problem& p) {
  return p.result == Result::weight ? p.out_channels * p.in_channels_per_group() * p.taps() == 0
                                    : writes_nothing(p);
}

// Of a forward problem, or one by weight.
std::string refuses_part(Problem p) {
  Operands none;
  order_axes(&p, &none);
  if (!is_tiled(p.axis[p.axes - 1])) return "kernel size 1 on every axis (fft needs a longer one)";
  for (int a = 0; a < p.axes; ++a)
    if (is_tiled(p.axis[a]) && p.axis[a].stride != 1)
      return "stride " + std::to_string(p.axis[a].stride) + " (fft needs 1)";
  return computes_nothing(p) ? "" : refuses_tiles(p);
}

// How many forward problems make up the result.
double parts_of(const Problem& p) {
  double parts = 1;
  for (int a = 0; a < p.axes && p.result == Result::input; ++a) parts *= double(count_phases(p, a));
  return parts;
}

// Calls f for those, or for the problem by weight itself.
template <typename F>
void for_each_part(const Problem& p, const F& f) {
  if (p.result == Result::weight) return f(p);
  for_each_forward(p, Operands{}, [&](const Problem& forward, const Operands&) { f(forward); });
}

std::string refuses(const Problem& p) {
  if (is_integer(p.dtype)) return std::string(name(p.dtype)) + " (fft rounds)";
  if (parts_of(p) > kMostParts)
    return std::to_string(int64_t(parts_of(p))) + " parts of the input (fft plans at most " +
           std::to_string(kMostParts) + ")";
  std::string refusal;
  for_each_part(p, [&](const Problem& part) {
    if (refusal.empty()) refusal = refuses_part(part);
  });
  return refusal;
}

double cost(const Problem& p) {
  double seconds = 0;
  for_each_part(p, [&](Problem part) {
    seconds += kStart;
    if (computes_nothing(part)) return;
    Operands none;
    order_axes(&part, &none);
    seconds += Plan(part, 1).seconds() + 4e-11 * bytes_beyond_cache(part);
  });
  return seconds;
}

template <typename T>
int64_t scratch_of(const Problem& p, int threads) {
  if (p.result == Result::weight) return computes_nothing(p) ? 0 : weight_scratch<T>(p, threads);
  return largest(p, [&](const Problem& forward) { return forward_scratch<T>(forward, threads); });
}

bool in_double(const Problem& p) {
  return p.dtype == DType::float64 || p.dtype == DType::complex128;
}

int64_t scratch_bytes(const Problem& p, int threads) {
  return in_double(p) ? scratch_of<double>(p, threads) : scratch_of<float>(p, threads);
}

template <typename T>
void run_in(const Problem& p, const Operands& operands, const Context& context) {
  if (p.result == Result::weight) {
    if (!computes_nothing(p)) run_weight<T>(p, operands, context);
    return;
  }
  for_each_forward(p, operands, [&](const Problem& forward, const Operands& views) {
    run_forward<T>(forward, views, context);
  });
}

void run(const Problem& p, const Operands& operands, const Context& context) {
  in_double(p) ? run_in<double>(p, operands, context) : run_in<float>(p, operands, context);
}

}  // namespace

extern const Algorithm fft;
const Algorithm fft = {"fft", refuses, cost, scratch_bytes, run, kErrorFactor};

}  // namespace torchconv
