// winograd: tiles of outputs from fewer products, along every axis of two taps or more: F(5,2) or
// F(3,2), F(4,3) or F(2,3), F(3,4), F(2,5) (micro/winograd_impl.h).
//
//     y = At [sum over ci of (G w G') * (Bt x B)] A,      one term per axis
//     w = Gt [sum over tiles of (A y A') * (Bt x B)] G
//
// The product in the middle is one matrix product a point of the tile, over the input channels, or
// by weight over the tiles: 36 for a tile of 4x4 outputs of 3x3 taps, which would take 144, or of 2x2
// of 5x5, which would take 100. Axes of one tap stay as they are.
//
// Under a stride s, the inputs s * j + r and the taps s * u + r of an axis are a phase, and all phases
// together a problem of stride 1: the sum over ci is one over (phase, ci). Of 5x5 taps by 2x2, four
// phases of 3x3, one or two rows of which are zeros: 9 products an output instead of 25. By input
// they are several problems (core/relabel.h), of 3x3, 3x2, 2x3 and 2x2 taps: 7.3 products.
// More than five taps of an axis are blocks of three or four, each a phase too: of 7 or 8 taps, 4
// products an output.
//
// Rounding, measured on normal random numbers against the same sum in double. Root mean square, as
// multiples of gemm's in float32, from 16 channels on: 2.4 to 5.4 for two axes of F(4,3), 1.7 for
// one, about 1 for F(2,3); 2.7 to 4.6 for two axes of F(2,5) or of both, 1.4 to 1.9 for one, 7 to 10
// for three. Up to 10 for one channel, where gemm adds nine products. By weight 2.7 to 3.5 from
// 12x12 positions on, 9 for a single tile; 1 to 1.4 for one axis and for F(2,3); 3 to 5 for two axes
// of F(2,5), 1.5 to 8 for one, 7 to 11 for three. F(5,2) and F(3,4) lie between: 3 to 5 for two axes
// from 16 channels on, 13 for one channel.
//
// Single errors, in eps times the largest sum of |x| |w| in the channel: 7 from 16 channels on, 13
// for one, and 1 for F(2,3); 3 for F(2,5), 9 for one channel. By weight it is the taps' turn to be
// sums of powers of the points, and a largest sum of few products is little: 28 on a map of 4x4, 9
// on one of 7x7, 6 on one of 14x14. F(2,5) makes fourth powers, 37 on a map of 3x3, and so is refused
// where positions are few (25 for 100 of them): 20 on a map of 12x12, 14 on one of 14x14, 4 on one of
// 28x28; 10 for three axes of 12; 8 for one axis. F(5,2) on two axes: 12 from 16 channels on, 26 for
// one; by weight 13. F(3,4): 11, and 18 by weight, but 42 by three axes of 2, refused as those of five
// taps are. Under a stride there is more to sum over: 16 for 3x3, 12 for 4x4, 9 for 5x5, 6 for 11x11
// by 4x4; by input, of one output channel, 17; by weight 9. In blocks of taps, 6 to 16 on one axis or
// two: 6; by weight 3. kErrorFactor is above all of them. NaN and infinity reach the whole tile.
#include "algo/winograd/plan.h"
#include "core/check.h"
#include "core/relabel.h"

namespace torchconv {
namespace {

using namespace winograd_detail;

constexpr double kErrorFactor = 32;
constexpr const char* kOneTap = "no kernel size above the stride (winograd needs one)";
constexpr int64_t kLeastPositions = 128;  // by weight, of 4 or 5 taps on two axes; more on three

bool any_tiled(const Problem& p) { return std::any_of(p.axis, p.axis + p.axes, is_tiled); }

std::string refuses_axis(const Axis& x, const TileAxis& tile) {
  const auto number = [](int64_t n) { return std::to_string(n); };
  if (x.stride > kMostStride)
    return "stride " + number(x.stride) + " (winograd needs at most " + number(kMostStride) + ")";
  const std::string at_stride = x.stride > 1 ? " at stride " + number(x.stride) : "";
  if (x.kernel_size < 1 || x.kernel_size > kMostTaps * x.stride)
    return "kernel size " + number(x.kernel_size) + at_stride + " (winograd needs 1 to " +
           number(kMostTaps * x.stride) + ")";
  if (x.stride > 1 && x.kernel_size > 1 && x.dilation != 1)
    return "dilation " + number(x.dilation) + at_stride + " (winograd needs 1)";
  if (is_tiled(x) && tile.points * tile.phases >= tile.outputs * x.kernel_size)
    return "kernel size " + number(x.kernel_size) + at_stride + " (winograd would save nothing)";
  return "";
}

std::string refuses_axes(const Problem& p) {
  const Tiling tiling(p);
  for (int a = 0; a < p.axes; ++a)
    if (const std::string refusal = refuses_axis(p.axis[a], tiling.axis[a]); !refusal.empty())
      return refusal;
  return "";
}

std::string refuses_forward(const Problem& p) {
  const std::string refusal = refuses_axes(p);
  if (!refusal.empty()) return refusal;
  if (!writes_nothing(p) && worker_bytes(Plan(p, 1)) > kWorkerBytes)
    return std::to_string(p.in_channels_per_group()) + " channels a group (winograd keeps " +
           std::to_string(kWorkerBytes) + " bytes of their tiles)";
  return "";
}

std::string refuses_weight(const Problem& p) {
  const std::string refusal = refuses_axes(p);
  if (!refusal.empty()) return refusal;
  int tiled = 0;
  bool long_taps = false;
  for (int a = 0; a < p.axes; ++a) {
    tiled += is_tiled(p.axis[a]);
    long_taps |= taps_of(p.axis[a]) > 3;
  }
  const int64_t positions = p.batch * p.output_positions();
  const int64_t least = tiled > 2 ? 4 * kLeastPositions : kLeastPositions;
  if (!long_taps || tiled == 1 || positions >= least) return "";
  return std::to_string(positions) + " positions (winograd needs " + std::to_string(least) +
         " by a weight of 4 or 5 taps)";
}

std::string refuses(const Problem& p) {
  if (is_integer(p.dtype) || is_complex(p.dtype) || p.dtype == DType::float64)
    return std::string(name(p.dtype)) + " (winograd computes in float32)";
  if (p.result == Result::weight) return any_tiled(p) ? refuses_weight(p) : kOneTap;
  std::string refusal;
  bool tiled = false;
  for_each_forward(p, Operands{}, [&](const Problem& forward, const Operands&) {
    if (refusal.empty()) refusal = refuses_forward(forward);
    tiled |= any_tiled(forward);
  });
  return refusal.empty() && !tiled ? kOneTap : refusal;
}

// The products at the rate that gemm's estimate has, and a time per vector of each transform and per
// tile of vectors, measured on layers of 16 to 1280 channels, as multiples of gemm's time: weights
// that go through memory take twice as long as those that stay in L2. Few channels fill a fraction
// of a vector, few tiles a fraction of a matrix tile.
double forward_cost(const Problem& p) {
  if (writes_nothing(p)) return 0;
  const Plan plan(p, 1);
  const double groups = double(p.groups), points = double(plan.points);
  const double lanes = double(plan.lanes), depth = double(plan.depth);
  const double tiles = double(round_up(plan.tile_count, plan.rows));
  const double inputs = double(plan.padded_depth) / lanes * double(plan.tasks_per_group);
  const double outputs = double(plan.vectors);
  const double products = tiles * depth * outputs / 6e9;
  // A vector of AVX-512 is twice the bytes, and memory sets the pace.
  const bool wide = lanes >= 16;
  const double transform = wide ? 5e-9 : 2.5e-9, weight = wide ? 8e-9 : 3e-9;
  const double weights =
      depth * outputs * weight * (plan.by_strips ? double(plan.tile_blocks) / 2 : 1);
  const double vectors = tiles * (inputs + outputs);
  // All tiles come from a cache that cores share, once a strip; two cores at once get them so fast.
  const double carried =
      plan.by_strips ? points * tiles * double(plan.padded_depth) * 4 * double(plan.strips) : 0;
  return groups * (carried * 8e-11 + points * (products + vectors * transform + weights) +
                   vectors * kTileSeconds);
}

double cost(const Problem& p) {
  if (p.result == Result::weight) return 2e-6 + weight_cost(p);
  double seconds = 2e-6;
  for_each_forward(p, Operands{}, [&](const Problem& forward, const Operands&) {
    seconds += forward_cost(forward);
  });
  // Under a stride, elements are gathered two apart and, by input, stored one by one; AVX-512 does
  // both by the vector, each axis in turn.
  int strided = 0;
  for (int a = 0; a < p.axes; ++a) strided += p.axis[a].stride > 1;
  const bool by_input = p.result == Result::input;
  const double step = strided == 0              ? 0
                      : lanes_of(p.dtype) >= 16 ? strided * (by_input ? 7.5e-10 : 5e-10)
                      : by_input                ? 2e-9
                                                : 2.5e-9;
  return seconds + step * double(p.batch) * double(p.in_channels) * double(p.input_positions());
}

int64_t scratch_bytes(const Problem& p, int threads) {
  if (p.result == Result::weight) return weight_scratch(p, threads);
  return largest(p, [&](const Problem& forward) { return forward_scratch(forward, threads); });
}

// The transformed weights of a result that is one forward problem. (Folds of the padding by input are
// many, which share the weight but not its taps.)
Kept kept(const Problem& p) {
  if (p.result == Result::weight) return {};
  Kept of_forward;
  int forwards = 0;
  for_each_forward(p, Operands{}, [&](const Problem& forward, const Operands&) {
    if (forwards++ == 0) of_forward = forward_kept(forward);
  });
  return forwards == 1 ? of_forward : Kept{};
}

void run(const Problem& p, const Operands& operands, const Context& context) {
  if (p.result == Result::weight) return run_weight(p, operands, context);
  for_each_forward(p, operands, [&](const Problem& forward, const Operands& views) {
    run_forward(forward, views, context);
  });
}

}  // namespace

extern const Algorithm winograd;
const Algorithm winograd = {"winograd", refuses, cost, scratch_bytes, run, kErrorFactor, kept};

}  // namespace torchconv
