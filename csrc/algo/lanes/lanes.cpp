// lanes: the lanes of a vector are groups. For depthwise convolutions and groups of few channels,
// on small maps and on channels_last, where vectors along a line or a patch would stay half empty.
//
//     output   y[co][o]     += x[ci][i(o, t)] * w[co, ci, t]
//     weight   w[co, ci, t] += x[ci][i(o, t)] * y[co][o]
//     input    forward problems over views of the output (core/relabel.h)
//
// with every x, y and w a vector of as many groups as it has lanes: products never cross lanes,
// whatever the size of the map. Depthwise on channels_last the tensors lie so, and are read and
// written in place. Others are turned into that layout a piece at a time (algo/lanes/groups.h):
// padded, but for the outputs of depthwise, whose taps pass over what is outside
// (algo/lanes/planes.h).
//
// Complex numbers are pairs of reals: a channel is two rows, a real and an imaginary one.
#include <cmath>

#include "algo/lanes/groups.h"
#include "algo/lanes/parts.h"

namespace torchconv {
namespace {

using namespace lanes_detail;

constexpr int64_t kOnePass = 6;  // taps of a line: more fill the registers, or take several passes

template <typename T>
double piece_bytes(const Problem& p) {
  if (p.result == Result::weight) return cut_of<T>(p).piece_bytes(sizeof(T));
  return largest(p, [](const Problem& forward) {
    return writes_nothing(forward) ? 0.0 : cut_of<T>(forward).piece_bytes(sizeof(T));
  });
}

template <typename T>
std::string refuses_in(const Problem& p) {
  const double planes = planes_of(p.dtype);
  const double weights = planes * planes * double(p.taps()) * double(p.in_channels_per_group()) *
                         double(p.out_channels_per_group()) * double(kernels<T>().lanes) *
                         sizeof(T);
  if (weights > kMostWeightsBytes)
    return "weights of " + std::to_string(int64_t(weights)) +
           " bytes a vector of groups (lanes keeps at most " + std::to_string(kMostWeightsBytes) +
           ")";
  const double bytes = piece_bytes<T>(p);
  if (bytes > kMostPieceBytes)
    return "lines of " + std::to_string(int64_t(bytes)) + " bytes (lanes keeps at most " +
           std::to_string(kMostPieceBytes) + ")";
  return "";
}

std::string refuses(const Problem& p) {
  return in_compute_type(p.dtype, [&]<typename T>(T) { return refuses_in<T>(p); });
}

// Whether the groups lie as the lanes of vectors.
bool lies_as_lanes(const Problem& p) {
  return p.channels_last && is_depthwise(p) &&
         (p.dtype == DType::float32 || p.dtype == DType::float64);
}

// Of the pairs of an output and a tap, those that meet the input.
double seen(const Problem& p) {
  double share = 1;
  for (int a = 0; a < p.axes; ++a) {
    const Axis& x = p.axis[a];
    double pairs = 0;
    for (int64_t t = 0; t < x.kernel_size; ++t) {
      const Inside in = inside(x.input_size, t * x.dilation - x.padding, x.stride, x.output_size);
      pairs += double(in.end - in.begin);
    }
    share *= pairs / std::max(double(x.output_size) * double(x.kernel_size), 1.0);
  }
  return share;
}

// Vectors that a problem reads, or turns, and writes; groups that are none counted.
double vectors(const Problem& p) {
  const double lanes = lanes_of(p.dtype);
  return double(p.batch) * planes_of(p.dtype) * std::ceil(double(p.groups) / lanes) /
         double(std::max<int64_t>(p.groups, 1)) *
         (double(p.in_channels) * double(p.input_positions()) +
          double(p.out_channels) * double(p.output_positions()));
}

// Seconds that a vector of a panel takes to be turned, and turned back: longer where the panels
// leave the L1 cache, and for squares of float64, of which a vector is a larger part.
double turning(const Problem& p) {
  const double positions = double(p.input_positions()) + double(p.output_positions());
  const double real_bytes = double(element_bytes(p.dtype)) / planes_of(p.dtype);
  const double panels = positions * double(lanes_of(p.dtype)) * std::max(real_bytes, 4.0);
  return (panels <= 32 << 10 ? 1.3e-9 : 1.6e-9) * (p.dtype == DType::float64 ? 1.6 : 1);
}

// Seconds of a forward problem, or of a weight gradient: products, and both tensors read or turned
// once. Planes make more products a second than tiles, and few in the padding.
double seconds(const Problem& p) {
  const double lanes = lanes_of(p.dtype), planes = planes_of(p.dtype);
  const double blocks = std::ceil(double(p.groups) / lanes);
  const double filled = double(std::max<int64_t>(p.groups, 1)) / (blocks * lanes);
  // Many channels a group leave the L1 cache.
  const double rows = planes * double(p.in_channels_per_group());
  const double streamed = p.result == Result::weight ? 1 : 1 + (rows - 1) / 48;
  const bool bare = is_bare(p);
  const double products = p.multiply_adds() * planes * planes * streamed / (filled * lanes);
  const double plane_product = p.axis[p.axes - 1].kernel_size > kOnePass ? 2.3e-10 : 1.8e-10;
  const double turned = bare && !lies_as_lanes(p) ? 4e-11 * bytes_beyond_cache(p) : 0;
  return 1e-6 + products * (bare ? plane_product * seen(p) : 2.5e-10) + turned +
         vectors(p) * (lies_as_lanes(p) ? 5e-10
                       : bare           ? turning(p)
                                        : 2.5e-9);
}

double cost(const Problem& p) {
  if (holds_bands(p)) {  // whose products count as the forward problem's
    Problem forward = p;
    forward.result = Result::output;
    return seconds(forward) + 6e-10 * vectors(p);
  }
  if (p.result == Result::weight) return seconds(p);
  double sum = 0;
  int parts = 0;
  for_each_forward(p, Operands{}, [&](const Problem& f, const Operands&) {
    sum += seconds(f);
    ++parts;
  });
  if (in_compute_type(p.dtype, [&]<typename T>(T) { return holds_images<T>(p); })) sum = seconds(p);
  return parts > 1 ? 1.4 * sum : sum;  // parts of a result that are written by turns
}

// No weight to compute, or nothing at all.
bool has_no_weight(const Problem& p) {
  return p.result == Result::weight && p.out_channels * p.in_channels_per_group() * p.taps() == 0;
}

template <typename T>
int64_t scratch_of(const Problem& p, int threads) {
  if (has_no_weight(p)) return 0;
  if (p.result == Result::weight) return weight_scratch<T>(p, threads);
  if (holds_bands(p)) return input_planes_scratch<T>(p, threads);
  if (holds_images<T>(p)) return input_scratch<T>(p, threads);
  return largest(p, [&](const Problem& forward) { return forward_scratch<T>(forward, threads); });
}

int64_t scratch_bytes(const Problem& p, int threads) {
  return in_compute_type(p.dtype, [&]<typename T>(T) { return scratch_of<T>(p, threads); });
}

template <typename T>
void run_in(const Problem& p, const Operands& operands, const Context& context) {
  if (has_no_weight(p)) return;
  if (p.result == Result::weight) return run_weight<T>(p, operands, context);
  if (holds_bands(p)) return run_input_planes<T>(p, operands, context);
  if (holds_images<T>(p)) return run_input<T>(p, operands, context);
  for_each_forward(p, operands, [&](const Problem& forward, const Operands& views) {
    run_forward<T>(forward, views, context);
  });
}

void run(const Problem& p, const Operands& operands, const Context& context) {
  in_compute_type(p.dtype, [&]<typename T>(T) { run_in<T>(p, operands, context); });
}

}  // namespace

extern const Algorithm lanes;
const Algorithm lanes = {"lanes", refuses, cost, scratch_bytes, run};

}  // namespace torchconv
