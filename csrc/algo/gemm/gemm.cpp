// gemm: implicit GEMM. The patches of the input are a matrix X that is never stored: the gather of
// micro/pack.h makes the piece of it that a tile needs, when it needs it.
//
//     output   Y[co, (n,o)] = sum over m of  W[co, m] * X[m, (n,o)],      m = (ci, t)
//     weight   W[co, m]     = sum over (n,o) of  Y[co, (n,o)] * X[m, (n,o)]
//     input    G[m, (n,o)]  = sum over co of  W[co, m] * Y[co, (n,o)], added up where taps meet; or
//              forward problems over views of the output (core/relabel.h)
//
// After Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication (2008): a strip of
// X stays in L1 while panels of W stream past it, and sums live in registers (micro/kernels.h).
//
// Complex numbers are two planes of reals, and a product of them is three of reals (parts.h).
//
// Sums run over m (or over the positions) in an order fixed by the problem alone, so the bits do
// not depend on the threads.
#include <cmath>

#include "algo/gemm/parts.h"

namespace torchconv {
namespace {

using namespace gemm_detail;

std::string refuses(const Problem&) { return ""; }

// Calls f with a zero of the type that the tiles multiply.
template <typename F>
auto in_tile_type(DType dtype, const F& f) {
  if (dtype == DType::bfloat16 && kernels<BFloat16>().lanes > 0) return f(BFloat16());
  return in_compute_type(dtype, f);
}

// By input, where each element meets one tap of the one output, taps are channels, too.
void one_tap_to_channels(Problem* p, Operands* operands) {
  if (p->result != Result::input) return;
  for (int a = 0; a < p->axes; ++a) {
    const Axis& x = p->axis[a];
    if (x.kernel_size != x.input_size || x.dilation != 1 || x.padding != 0) return;
  }
  taps_to_channels(p, operands);
}

// Without the outputs that see nothing but padding.
Problem seen(Problem p) {
  Operands none{};
  drop_blind_outputs(&p, &none);
  return p;
}

// The same with all taps made channels that may be: how they lie in memory decides.
Problem with_channels(Problem p) {
  Operands none{};
  one_tap_to_channels(&p, &none);
  return p;
}

// Whether W is likely read where it lies, as a contiguous one can be: few.cpp.
bool leaves_weight(const Problem& p) {
  if (p.result == Result::output) return is_few(p, true);
  bool strided = false;
  for (int a = 0; a < p.axes; ++a) strided |= p.axis[a].stride > 1 && p.axis[a].output_size > 1;
  return p.result == Result::input && p.taps() == 1 && !strided && is_few(p, false);
}

bool adds_up_by_input(const Problem& p) { return p.result == Result::input && adds_up(p); }

// Multiply-adds of the products themselves: by input, those of the forward problems.
double products_made(const Problem& p, bool adds) {
  if (p.result != Result::input || adds) return p.multiply_adds();
  double sum = 0;
  for_each_forward(p, Operands{},
                   [&](const Problem& q, const Operands&) { sum += q.multiply_adds(); });
  return sum;
}

// Of matrices the machine multiplies, whose depth is whole steps: the products; a gather of X for each
// tap, or sums added up; the ways to lines; what is turned or written; and the weights. Medians over
// the benchmark's workloads on an Emerald Rapids.
double cost_of_matrices(const Problem& p, double made, double carried, double lines, double weights,
                        bool adds) {
  const bool forward = p.result == Result::output, by_weight = p.result == Result::weight;
  const double products = kernels<BFloat16>().lanes * kernels<BFloat16>().steps;
  const double pieces = p.groups > 1 ? double(p.groups) * double(p.batch) : 0;
  const int64_t depth = by_weight ? p.batch * p.output_positions()
                        : adds    ? p.out_channels_per_group()
                        : forward ? p.in_channels_per_group() * p.taps()
                                  : p.out_channels_per_group() * p.taps();
  made *= double(whole_steps<BFloat16>(depth)) / double(std::max<int64_t>(depth, 1));
  const double x = double(p.batch) * double(p.in_channels) * double(p.input_positions());
  const double y = double(p.batch) * double(p.out_channels) * double(p.output_positions());
  const double fixed = 1e-6 + 5e-6 * pieces;
  if (adds)
    return fixed + made / (products * 5e8) + carried / 4e9 + lines * 3e-9 + x / 1.3e9 + y / 7e9 +
           weights / 4e9;
  return fixed + made / (products * 1.2e9) + carried / 6e9 + lines * 2e-9 +
         (p.result == Result::input ? x / 2.4e9 : y / (forward ? 2.4e9 : 4e9)) +
         weights / (forward     ? 6e9
                    : by_weight ? 1.6e9
                                : 3e9);
}

// The tile near its peak, and a gather of every element of X for each tap, shared by the rows of
// W; or, where products are added up, an addition of every element of G; the weights, read once;
// and the way to a group and an image, and to a line of each row, shorter where X stays as it was
// gathered. Of few positions, W sets the pace as it comes from memory. By weight, the columns of W
// are filled up to whole vectors, and Y is turned. The rates are medians over the benchmark's
// workloads on Zen 5, the ways to a line and the turning what AVX2 needed to agree on Zen 1; only
// their ratio to the other algorithms' matters.
double cost(const Problem& problem) {
  const Problem p = with_channels(seen(problem));
  const double products = in_tile_type(
      p.dtype, []<typename T>(T) { return double(kernels<T>().lanes * kernels<T>().steps); });
  const double planes = planes_of(p.dtype);
  const bool adds = adds_up_by_input(p), by_weight = p.result == Result::weight;
  const int64_t sharing =
      p.result == Result::input && !adds ? p.in_channels_per_group() : p.out_channels_per_group();
  const double made = products_made(p, adds);
  const double carried = made * planes / double(std::max<int64_t>(sharing, 1));
  const Axis& last = p.axis[p.axes - 1];
  const int64_t line = p.result == Result::input && !adds ? last.input_size : last.output_size;
  const bool one_line = p.input_positions() * p.taps() == 1;  // a pixel of all images
  const double lines = one_line ? 0 : carried / double(std::max<int64_t>(line, 1));
  const bool turns = by_weight && planes == 1 && in_tile_type(p.dtype, [&]<typename T>(T) {
                       return turns_weight<T>(sharing, p.batch * p.output_positions());
                     });
  double filled = 1, turned = 0;
  if (by_weight) {
    const double lanes = lanes_of(p.dtype);
    const double columns = double(p.in_channels_per_group() * p.taps());
    filled = columns == 0 ? 1 : std::ceil(columns / lanes) * lanes / columns;
    turned = double(p.batch) * double(p.out_channels) * double(p.output_positions()) * planes *
             2.4e-9 / lanes;
  }
  const double weights =
      double(p.out_channels) * double(p.in_channels_per_group()) * double(p.taps()) * planes;
  const double groups = p.groups > 1 ? double(p.groups) : 0;
  if (leaves_weight(p))
    return 1e-6 + 1e-6 * groups + made / (products * 4e9) + carried / 1e9 +
           weights * double(element_bytes(p.dtype)) / 40e9;
  if (p.dtype == DType::bfloat16 && has_matrices<BFloat16>())
    return cost_of_matrices(p, made, carried, lines, weights, adds);
  const double pieces = groups * double(p.batch);
  const double rate = adds ? 8e9 : (turns ? 4e9 : 3e9), way = adds ? 1e-8 : (turns ? 1e-9 : 4e-9);
  return 1e-6 + 3e-6 * pieces +
         made * filled * double(products_of(planes_of(p.dtype))) / (products * 6e9) +
         carried / rate + lines * way + weights / 4e9 + turned;
}

// The forward problem that writes zeros over the whole input.
Problem without_taps(const Problem& p) { return input_as_forward(p, nullptr); }

// Nothing to sum over: the forward problem without depth writes zeros.
bool is_empty_sum(const Problem& p) { return p.batch * p.output_positions() == 0; }

template <typename T>
int64_t scratch_of(const Problem& p, int threads) {
  if (p.result == Result::weight && !is_empty_sum(p))
    return p.out_channels * p.in_channels_per_group() == 0 ? 0 : weight_scratch<T>(p, threads);
  if (adds_up_by_input(p)) {
    const int64_t zeros = leaves_gaps(p) ? forward_scratch<T>(without_taps(p), threads) : 0;
    return std::max(zeros, input_scratch<T>(p, threads));
  }
  return largest(p, [&](const Problem& forward) { return forward_scratch<T>(forward, threads); });
}

int64_t scratch_bytes(const Problem& problem, int threads) {
  const Problem p = seen(problem);
  return in_tile_type(p.dtype, [&]<typename T>(T) {
    return std::max(scratch_of<T>(p, threads), scratch_of<T>(with_channels(p), threads));
  });
}

template <typename T>
void run_in(const Problem& p, const Operands& operands, const Context& context) {
  if (p.result == Result::weight && !is_empty_sum(p)) {
    if (p.out_channels * p.in_channels_per_group() > 0) run_weight<T>(p, operands, context);
    return;
  }
  if (adds_up_by_input(p)) {
    if (leaves_gaps(p) && !operands.accumulate)
      run_forward<T>(without_taps(p), input_as_forward(p, operands, nullptr), context);
    run_input<T>(p, operands, context);
    return;
  }
  for_each_forward(p, operands, [&](const Problem& forward, const Operands& views) {
    run_forward<T>(forward, views, context);
  });
}

void run(const Problem& problem, const Operands& given, const Context& context) {
  Problem p = problem;
  Operands operands = given;
  drop_blind_outputs(&p, &operands);
  one_tap_to_channels(&p, &operands);
  in_tile_type(p.dtype, [&]<typename T>(T) { run_in<T>(p, operands, context); });
}

}  // namespace

extern const Algorithm gemm;
const Algorithm gemm = {"gemm", refuses, cost, scratch_bytes, run};

}  // namespace torchconv
