// indirect: the tile of a matrix product, one factor of which nobody gathers,
//
//     y[co][o] = sum over k = (ci, t) of w[co][k] * x[offset[k] + o]
//
// The patches of k, a channel's elements under a tap, are read from padded lines (micro/lines.h)
// through a table of offsets: a tap moves all outputs of a line alike. For channels too few to pay
// for a gather of patches, each of which the tile would use once or twice; above all under a stride.
// Vectors are of positions (by_lines.cpp), or, where lines are short, of channels (by_channels.cpp,
// weight.cpp). After M. Dukhan, The Indirect Convolution Algorithm (2019), whose table is of
// pointers.
//
// Complex numbers are pairs of reals: yr = wr xr - wi xi, yi = wi xr + wr xi.
#include "algo/indirect/parts.h"

namespace torchconv {
namespace {

using namespace indirect_detail;

constexpr double kApart = 2e-10;  // seconds, of an element that is written two from the last
constexpr double kFar = 1.2e-9;   // of one farther apart

// The way of the fewest seconds that is none's refusal, or null.
const Way* best_way(const Problem& p) {
  const Way* best = nullptr;
  double best_s = 0;
  for (const Way* way : {&by_lines, &by_channels, &by_weight, &by_matrices}) {
    if (!way->refuses(p).empty()) continue;
    const double seconds = way->seconds(p);
    if (best && seconds >= best_s) continue;
    best = way, best_s = seconds;
  }
  return best;
}

std::string refuses(const Problem& p) {
  // gemm reads such patches where they lie. Estimated alike, indirect took up to twice its time.
  if (p.taps() == 1 && p.groups == 1)
    return "one tap and one group (indirect finds patches of more)";
  return best_way(p) ? "" : by_lines.refuses(p);
}

double cost(const Problem& p) {
  double sum = best_way(p)->seconds(p);
  // Elements of the input that are written apart from each other: floats two apart by masks where
  // there are such.
  const int64_t stride = p.axis[p.axes - 1].stride;
  if (p.result == Result::input && stride > 1) {
    const bool is_half = p.dtype == DType::bfloat16 || p.dtype == DType::float16;
    const bool masks = (p.dtype == DType::float32 || is_half) && kernels<float>().lanes >= 16;
    const bool by_one = stride > 2 || (is_half && !masks);
    sum += (by_one  ? kFar
            : masks ? kApart / 3
                    : kApart) *
           double(p.batch) * double(p.in_channels) * double(p.input_positions());
  }
  return 1e-6 + sum + 3e-11 * bytes_beyond_cache(p);
}

int64_t scratch_bytes(const Problem& p, int threads) {
  return best_way(p)->scratch_bytes(p, threads);
}

void run(const Problem& p, const Operands& operands, const Context& context) {
  best_way(p)->run(p, operands, context);
}

}  // namespace

extern const Algorithm indirect;
const Algorithm indirect = {"indirect", refuses, cost, scratch_bytes, run};

}  // namespace torchconv
