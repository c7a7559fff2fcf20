// direct: taps slide over padded lines. For groups of few channels, above all depthwise, where a
// matrix tile would stay empty and a gather of patches costs more than their products.
//
//     output   y[co, line, j] = sum over ci, t of
//                                   w[co, ci, t] * x[ci, line of t, j * stride + t * dilation]
//     weight   w[co, ci, t]   = sum over n, line, j of the same products with y
//     input    forward problems over views of the output (core/relabel.h)
//
// Where lines are strided or folded, or elements do not lie side by side, a task packs the lines of
// the input that a band of output lines sees, padding included, a strided line as `stride` lines of
// every stride-th element. Then every tap is one offset into them, the same for all outputs of a
// line, and the sums stay in registers while taps or lines go by. Elsewhere taps slide over the input
// as it is (in_place.cpp).
//
// Complex numbers are pairs of reals: two planes of lines, and yr = wr xr - wi xi,
// yi = wi xr + wr xi.
#include <cmath>

#include "algo/direct/parts.h"
#include "core/relabel.h"

namespace torchconv {
namespace {

using namespace direct_detail;

constexpr int64_t kMostLinesBytes = 1 << 20;  // that a band of one output line may need
constexpr int64_t kMostTaps = 16 << 10;       // of an output channel
constexpr int64_t kMostSums = 8 << 10;        // by weight, one vector each

bool is_empty_sum(const Problem& p) { return p.batch * p.output_positions() == 0; }
// By weight, natively; else the forward problems that the result is made of.
bool is_by_weight(const Problem& p) {
  return p.result == Result::weight && !is_empty_sum(p) &&
         p.out_channels * p.in_channels_per_group() * p.taps() > 0;
}

std::string refuses(const Problem& p) {
  const double planes = planes_of(p.dtype), taps = planes * double(p.taps());
  const double kept =
      is_by_weight(p)
          ? planes * double(p.in_channels_per_group()) * double(p.out_channels_per_group())
          : double(std::max(p.in_channels_per_group(), p.out_channels_per_group()));
  const int64_t most = is_by_weight(p) ? kMostSums : kMostTaps;
  if (taps * kept > most)
    return std::to_string(int64_t(taps * kept)) + " taps a group (direct keeps at most " +
           std::to_string(most) + ")";
  const auto bytes_of = [](const Problem& q) {
    if (writes_nothing(q)) return 0.0;
    return in_compute_type(q.dtype, [&]<typename T>(T) { return plan_of<T>(q).bytes(sizeof(T)); });
  };
  const double bytes = is_by_weight(p) ? bytes_of(p) : largest(p, bytes_of);
  if (bytes > kMostLinesBytes)
    return "lines of " + std::to_string(int64_t(bytes)) + " bytes (direct keeps at most " +
           std::to_string(kMostLinesBytes) + ")";
  return "";
}

// Cycles: of products, bound by the loads that feed them (one of the input for so many output lines,
// one of a weight for so many vectors); of lines, packed and written; and of the way to a channel.
double cycles(const Problem& p, double lanes) {
  const Axis& column = p.axis[p.axes - 1];
  const Axis line = p.axes > 1 ? p.axis[p.axes - 2] : Axis{};
  const double vectors = std::ceil(double(column.output_size) / lanes);
  const double rows = std::max(1.0, double(line.kernel_size) / double(line.stride));
  const double reuse = 4 * rows / (rows + 3), planes = planes_of(p.dtype);
  const double products = p.multiply_adds() * planes * planes * vectors /
                          double(std::max<int64_t>(column.output_size, 1));
  const double in = double(p.batch) * double(p.in_channels) * planes;
  const double out = double(p.batch) * double(p.out_channels) * planes;
  // Lines of several channels leave the L1 cache; short taps and weight gradients wait for memory.
  const bool shares =
      p.in_channels_per_group() > 1 || (is_by_weight(p) && p.out_channels_per_group() > 1);
  const double streamed = shares ? 1.5 : 1;
  const double waits = p.axes == 1 || is_by_weight(p) ? 4 : 1;
  const double packed = column.stride == 1 ? 0.3 : 1;
  return products * streamed * (1 / reuse + 0.5 / vectors + 0.3) + 150 * (in + out) +
         waits *
             (packed * in * double(p.input_positions()) + 0.3 * out * double(p.output_positions()));
}

// Seconds without packing: of tiles of seven lines, one vector wide, of the planes that each sums
// over, and of memory beyond a cache. A single line goes by eight vectors, each loaded for every
// product, but near its ends by one.
double seconds_in_place(const Problem& p, double lanes) {
  const double columns = double(p.axis[p.axes - 1].output_size);
  const double lines = p.axes > 1 ? double(p.axis[p.axes - 2].output_size) : 1;
  const double planes = double(p.batch) * double(p.out_channels) * double(p.output_positions()) /
                        std::max(lines * columns, 1.0);
  const double vectors = planes * std::ceil(columns / lanes);
  const double edges = 2 * double(LineAxes::reach(p.axis[p.axes - 1]));
  const bool is_short = lines == 1 && columns < 8 * lanes + edges;  // a sum waits for itself there
  const double tiles = lines > 1  ? vectors * std::ceil(lines / 7)
                       : is_short ? vectors
                                  : vectors / 8;
  const double tap = lines > 1 ? 1.3e-9 : is_short ? 0.9e-9 : 2e-9;
  const double converted = element_bytes(p.dtype) == 2 ? 1.3 : 1;
  const double plane = 4.5e-9 + tap * converted * double(p.taps());
  return 2e-8 * planes + tiles * (6.5e-9 + double(p.in_channels_per_group()) * plane) +
         3e-11 * bytes_beyond_cache(p);
}

double cost(const Problem& p) {
  const double lanes = lanes_of(p.dtype);
  double sum = 0;
  if (slides_in_place(p) && !p.channels_last) {
    for_each_forward(p, Operands{},
                     [&](const Problem& q, const Operands&) { sum += seconds_in_place(q, lanes); });
    return 2e-7 + sum;
  }
  if (is_by_weight(p))
    sum = cycles(p, lanes);
  else
    for_each_forward(p, Operands{},
                     [&](const Problem& q, const Operands&) { sum += cycles(q, lanes); });
  // Elements of the input that are written one by one; AVX-512 masks those between.
  if (p.result == Result::input && p.axis[p.axes - 1].stride > 1)
    sum += (kernels<float>().lanes < 16 ? 2 : 0.5) * double(p.batch) * double(p.in_channels) *
           double(p.input_positions());
  return 2e-7 + sum / 4e9 + 4e-11 * bytes_beyond_cache(p);
}

template <typename T>
int64_t scratch_of(const Problem& p, int threads) {
  return is_by_weight(p) ? weight_scratch<T>(p, threads) : forward_scratch<T>(p, threads);
}

int64_t scratch_bytes(const Problem& p, int threads) {
  return in_compute_type(p.dtype, [&]<typename T>(T) { return scratch_of<T>(p, threads); });
}

template <typename T>
void run_in(const Problem& p, const Operands& operands, const Context& context) {
  is_by_weight(p) ? run_weight<T>(p, operands, context) : run_forward<T>(p, operands, context);
}

void run(const Problem& p, const Operands& operands, const Context& context) {
  in_compute_type(p.dtype, [&]<typename T>(T) { run_in<T>(p, operands, context); });
}

}  // namespace

extern const Algorithm direct;
const Algorithm direct = {"direct", refuses, cost, scratch_bytes, run};

}  // namespace torchconv
