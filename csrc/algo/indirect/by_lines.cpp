// indirect, by lines: vectors of positions, of a line or of several that are joined,
//
//     y[co][o] = sum over k = (ci, t) of w[co][k] * x[offset[k] + o]
#include "algo/indirect/parts.h"

namespace torchconv::indirect_detail {
namespace {

constexpr int64_t kStripVectors = 48;  // that one block of channels makes at a time
constexpr double kWritten = 1.5e-9;    // seconds, of a vector of sums

template <typename T>
struct ByLinesPlan : LinesPlan {
  int64_t rows, depth;     // of a group: output channels and taps of one, planes counted
  int64_t blocks, height;  // of rows
  int64_t strip_lines;

  explicit ByLinesPlan(const Problem& p) : LinesPlan(plan_of<T>(p, kLinesKept)) {
    rows = planes * p.out_channels_per_group();
    depth = planes * channels * p.taps();
    blocks = ceil_div(rows, kernels<T>().rows);
    height = round_up(ceil_div(rows, blocks), planes);
    blocks = ceil_div(rows, height);
    strip_lines = std::max<int64_t>(kStripVectors / ceil_div(columns, lanes), 1);
  }
  int64_t sums_row() const { return strip_lines * round_up(columns, lanes); }
};

template <typename T>
struct ByLinesWorker {
  int64_t *along, *offsets;
  T* lines;
  T* weights;      // [block][depth][row]
  Sum<T>* starts;  // [row]
  Sum<T>* sums;    // [row][vector][lane]
  ByLinesWorker(const ByLinesPlan<T>& plan, Arena* arena) {
    along = arena->take<int64_t>(plan.column.kernel_size);
    offsets = arena->take<int64_t>(plan.depth);
    lines = arena->take<T>(plan.lines_elements());
    weights = arena->take<T>(plan.blocks * plan.height * plan.depth);
    starts = arena->take<Sum<T>>(plan.blocks * plan.height);
    sums = arena->take<Sum<T>>(plan.height * plan.sums_row());
  }
};

template <typename T>
struct ByLines : LinesEngine<T, ByLinesPlan<T>> {
  using Worker = ByLinesWorker<T>;
  using Base = LinesEngine<T, ByLinesPlan<T>>;
  using Base::Base, Base::p, Base::operands, Base::plan, Base::weight, Base::output, Base::padded,
      Base::taps_grid;
  static int64_t pairs_together(const Problem& p) { return pairs_of_group(p); }

  int64_t rows_of(int64_t b) const { return std::min(plan.height, plan.rows - b * plan.height); }

  void pack_group(int64_t g, const Worker& worker) const {
    if constexpr (kChannelsOf<T> > 1) {
      std::fill_n(worker.weights, plan.rows * plan.depth, T{});  // of a last channel by itself
      for (int64_t b = 0; b < plan.blocks; ++b)
        pack_weights(weight, taps_grid, p.in_channels_per_group(), g, b * plan.height, rows_of(b),
                     worker.weights + b * plan.height * plan.depth, 1, rows_of(b));
    }
    for (int64_t row = 0; row < plan.rows; ++row) {
      const int64_t b = row / plan.height, co = row / plan.planes, q = row % plan.planes;
      T* const to = worker.weights + b * plan.height * plan.depth + row % plan.height;
      if constexpr (kChannelsOf<T> == 1) pack_weights(weight, taps_grid, g, co, q, to, rows_of(b));
      worker.starts[row] = start_of<Sum<T>>(p, operands, g, co, q);
    }
  }

  // Some lines of all channels, the first at x in the packed lines and at `offset` in the output,
  // each `apart` from the last there.
  void make_strip(const Strip& strip, const T* x, int64_t offset, int64_t apart,
                  const Worker& worker) const {
    const Kernels<T>& kernel = kernels<T>();
    const int64_t lanes = plan.lanes, sums_row = strip.vectors * lanes;
    for (int64_t b = 0; b < plan.blocks; ++b) {
      const int64_t rows = rows_of(b), first = b * plan.height;
      for (int64_t v = 0; v < strip.vectors; v += kernel.vectors) {
        const int64_t width = std::min<int64_t>(kernel.vectors, strip.vectors - v);
        const T* from[kMaxVectors];
        for (int64_t j = 0; j < width; ++j) from[j] = x + strip.start(v + j, lanes);
        kernel.outer_offsets[rows - 1][width - 1](plan.depth, worker.weights + first * plan.depth,
                                                  from, worker.offsets, worker.sums + v * lanes,
                                                  sums_row, worker.starts + first);
      }
      const Finish finish{operands.accumulate, p.activation};
      for (int64_t q = 0; q < plan.planes; ++q)
        for (int64_t l = 0; l < strip.lines; ++l) {
          const Lines to{
              output.at(offset + first / plan.planes * output.stride.out_channel + q + l * apart),
              rows / plan.planes, output.stride.out_channel, strip.columns,
              output.stride.axis[p.axes - 1]};
          kernels<Sum<T>>().scatter(output.store,
                                    worker.sums + q * sums_row + l * strip.sums_row(lanes),
                                    plan.planes * sums_row, finish, to);
        }
    }
  }

  // One place of a block of pairs, those of a group behind each other.
  void task(const Place& place, const Pairs& pairs, int64_t block, const Worker& worker) const {
    padded.clear(worker.lines);
    fill_offsets(plan, worker.along, worker.offsets);
    for_each_pair(p, pairs, block, [&](int64_t n, int64_t g, bool is_new) {
      if (is_new) pack_group(g, worker);
      padded.pack(place, n, g, worker.lines);
      const int64_t image = offset_of(p, output, place, n, g);
      for_each_strip(plan, plan.strip_lines, place, line_step(p, output),
                     [&](const Strip& strip, int64_t x, int64_t offset, int64_t apart) {
                       make_strip(strip, worker.lines + x, image + offset, apart, worker);
                     });
    });
  }

  static std::string refuses(const Problem& p) {
    const auto too_many = [&](const char* what, auto bytes_of) {
      return refuses_bytes(what, largest(p, [&](const Problem& q) {
                             return writes_nothing(q) ? 0.0 : bytes_of(ByLinesPlan<T>(q));
                           }));
    };
    const std::string weights = too_many("weights and offsets", [](const ByLinesPlan<T>& plan) {
      return double(plan.depth) * double(plan.rows * int64_t(sizeof(T)) + int64_t(sizeof(int64_t)));
    });
    return !weights.empty() ? weights : too_many("lines", [](const ByLinesPlan<T>& plan) {
      return plan.bytes(sizeof(T));
    });
  }

  // Of a forward problem: the tile, the lines packed, the sums written, and the weights of each group.
  static double seconds(const Problem& p, bool again) {
    if (writes_nothing(p)) return 0;
    const ByLinesPlan<T> plan(p);
    const Strip strip(std::min(plan.strip_lines, plan.line.output_size), plan.columns,
                      plan.x_step * plan.line_length(), plan.lanes);
    const double maps = double(p.batch) * double(p.groups);
    const double lines = maps * double(plan.outer_positions) * double(plan.line.output_size) *
                         double(plan.column_blocks);
    const double vectors = lines * double(strip.vectors) / double(strip.lines);
    const double products = vectors * double(plan.depth) * double(plan.rows + plan.blocks);
    const double rows = double(plan.rows);
    const Pairs pairs(p, pairs_together(p));
    const double weights = double(plan.places()) * double(std::max(p.groups, pairs.blocks)) * rows *
                           double(plan.depth);
    return products * kProduct + pack_seconds(p, plan, again) +
           rows * (vectors * kWritten + lines * kLine) + weights * kPackWeight<T> + maps * kMap;
  }
};

}  // namespace

const Way by_lines = way_of<ByLines>();

}  // namespace torchconv::indirect_detail
