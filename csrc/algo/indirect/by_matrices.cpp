// indirect, by matrices, where the machine multiplies tiles of them (Kernels::matrices): patches are
// copied, strip by strip, from packed lines of pairs of channels,
//
//     Y[co][o] = sum over k of W[co][k] * X[k][o],    k = (pair of channels, t, channel of the pair)
//
// so that of each element one copy is a pair's half, and its other patches are whole vectors of a
// table of offsets; a gather from the input itself puts every patch together number by number.
#include "algo/indirect/parts.h"

namespace torchconv::indirect_detail {
namespace {

constexpr int64_t kMatrixLines = 128 << 10;   // bytes of lines that a place keeps
constexpr int64_t kMostWorker = 2 << 20;      // bytes
constexpr int64_t kWeightsBytes = 640 << 10;  // of the rows of W that a task makes
constexpr int64_t kFewTasks = 4;              // that are made more by cutting the rows
constexpr int64_t kRowsProducts = 1 << 21;    // multiply-adds of a task of them
constexpr int64_t kStripsBytes = 256 << 10;   // of patches at a time
constexpr int64_t kChunk = 288;               // pairs of the depth: two strips stay in an L1 cache
constexpr int64_t kRowsTogether = 16;         // of W, to be packed
constexpr int64_t kStripVectors = 16;         // of outputs of a channel that are made at a time

// Seconds, as costs count them.
constexpr double kMatrixProduct = 1.7e-12;  // of two numbers
constexpr double kCopy = 1e-9;              // of a vector of pairs
constexpr double kMatrixWritten = 3e-9;     // of a vector of sums
constexpr double kPairWeights = 3.5e-9;     // of a vector of pairs of weights

using Pair = BFloat16Pair;

// A place of the output, and which channels of it.
struct RowsOfPlace : Place {
  int64_t first, rows;
};

struct MatricesPlan : LinesPlan {
  int64_t rows, row_blocks, all_rows;  // of W, those of a block
  int64_t depth;                       // pairs of a row
  int64_t weights_row;                 // numbers, from one packed row to the next
  int64_t chunk, strips;  // pairs of the depth, and vectors of outputs, that are copied at a time
  int64_t strip_lines;

  explicit MatricesPlan(const Problem& p) : LinesPlan(plan_of<Pair>(p, kMatrixLines)) {
    all_rows = p.out_channels_per_group();
    depth = channels * p.taps();
    weights_row = line_of<BFloat16>(2 * depth);
    // Rows by which a cache holds W; fewer where there are few places, as long as a task has enough to do.
    const int64_t bytes = all_rows * weights_row * int64_t(sizeof(BFloat16));
    const int64_t others = std::max<int64_t>(LinesPlan::places() * p.batch * p.groups, 1);
    const auto worth = int64_t(p.multiply_adds() / double(kRowsProducts));
    const int64_t blocks =
        std::max({ceil_div(bytes, kWeightsBytes), std::min(kFewTasks / others, worth), int64_t(1)});
    rows = round_up(ceil_div(all_rows, blocks), kernels<BFloat16>().rows);
    rows = std::min(rows, all_rows);
    row_blocks = ceil_div(all_rows, rows);
    const int64_t chunks = std::max<int64_t>(ceil_div(depth, kChunk), 1);
    chunk = whole_steps<BFloat16>(2 * std::max<int64_t>(ceil_div(depth, chunks), 1)) / 2;
    strips = std::max<int64_t>(kStripsBytes / (chunk * lanes * int64_t(sizeof(Pair))) / 2 * 2, 2);
    strip_lines = std::max<int64_t>(kStripVectors / ceil_div(columns, lanes), 1);
  }
  int64_t sums_row() const { return strip_lines * round_up(columns, lanes); }
  int64_t places() const { return LinesPlan::places() * row_blocks; }
  RowsOfPlace place(const Problem& p, int64_t number) const {
    const int64_t first = number % row_blocks * rows;
    return {LinesPlan::place(p, number / row_blocks), first, std::min(rows, all_rows - first)};
  }
};

struct MatricesWorker {
  int64_t *along, *offsets;
  Pair* lines;
  BFloat16* weights;  // [row][pair of channels][tap][channel]
  BFloat16* copied;   // a chunk of some strips
  float* starts;      // [row]
  float* sums;        // [row][vector][lane]
  MatricesWorker(const MatricesPlan& plan, Arena* arena) {
    along = arena->take<int64_t>(plan.column.kernel_size);
    offsets = arena->take<int64_t>(plan.depth);
    lines = arena->take<Pair>(plan.lines_elements());
    weights = arena->take<BFloat16>(plan.rows * plan.weights_row);
    copied = arena->take<BFloat16>(2 * plan.chunk * plan.strips * plan.lanes);
    starts = arena->take<float>(plan.rows);
    sums = arena->take<float>(plan.rows * plan.sums_row());
  }
};

struct ByMatrices : LinesEngine<Pair, MatricesPlan> {
  using Worker = MatricesWorker;
  using LinesEngine::LinesEngine;
  static int64_t pairs_together(const Problem& p) { return pairs_of_group(p); }

  // Rows [first, first + rows) of W. Those far apart in memory are read a few at a time, so that their
  // lines stay in a cache from channel to channel.
  void pack_group(int64_t g, int64_t first, int64_t rows, const Worker& worker) const {
    const bool far = weight.stride.out_channel > weight.stride.in_channel;
    const int64_t together = far ? kRowsTogether : rows;
    for (int64_t r = 0; r < rows; r += together)
      pack_rows(g, first + r, std::min(together, rows - r), worker.weights + r * plan.weights_row);
    end_lines(rows, 2 * plan.depth, worker.weights, plan.weights_row);
    for (int64_t r = 0; r < rows; ++r)
      worker.starts[r] = start_of<float>(p, operands, g, first + r, 0);
  }
  void pack_rows(int64_t g, int64_t co, int64_t rows, BFloat16* to) const {
    const int64_t channels = p.in_channels_per_group(), taps = p.taps();
    const int64_t row = weight.stride.out_channel, channel = weight.stride.in_channel;
    for (int64_t ci = 0; ci < channels; ci += 2)
      for_each_run(taps_grid, ci * taps, taps, [&](const Run& run) {
        char* const at = weight.at(g * weight.stride.group + co * row + taps_grid.offset(run));
        const Lines lines{at, rows, row, run.count, taps_grid.stride[taps_grid.axes - 1]};
        char* const second = ci + 1 < channels ? at + channel * weight.bytes : nullptr;
        kernels<Pair>().gather_pairs(lines, second,
                                     reinterpret_cast<Pair*>(to) + ci / 2 * taps + run.column,
                                     plan.weights_row / 2);
      });
  }

  // Some lines of `rows` channels, the first at x in the packed lines and at `offset` in the output,
  // each `apart` from the last there.
  void make_strip(const Strip& strip, int64_t rows, const Pair* x, int64_t offset, int64_t apart,
                  const Worker& worker) const {
    const int64_t lanes = plan.lanes, sums_row = strip.vectors * lanes;
    for (int64_t v = 0; v < strip.vectors; v += plan.strips) {
      const int64_t count = std::min(plan.strips, strip.vectors - v);
      int64_t k = 0;
      do {  // once, too, where there is no depth
        const int64_t depth = std::min(plan.chunk, plan.depth - k);
        const int64_t whole = whole_steps<BFloat16>(2 * depth);
        for (int64_t j = 0; j < count; ++j)
          kernels<Pair>().copy_strip(depth, x + strip.start(v + j, lanes), worker.offsets + k,
                                     worker.copied + j * whole * lanes);
        kernels<BFloat16>().matrices(rows, count * lanes, whole, worker.weights + 2 * k,
                                     plan.weights_row, worker.copied, worker.sums + v * lanes,
                                     sums_row, worker.starts, k > 0);
        k += plan.chunk;
      } while (k < plan.depth);
    }
    for (int64_t l = 0; l < strip.lines; ++l)
      kernels<float>().scatter(output.store, worker.sums + l * strip.sums_row(lanes), sums_row,
                               Finish{operands.accumulate, p.activation},
                               Lines{output.at(offset + l * apart), rows, output.stride.out_channel,
                                     strip.columns, output.stride.axis[p.axes - 1]});
  }

  void task(const RowsOfPlace& place, const Pairs& pairs, int64_t block,
            const Worker& worker) const {
    padded.clear(worker.lines);
    fill_offsets(plan, worker.along, worker.offsets);
    for_each_pair(p, pairs, block, [&](int64_t n, int64_t g, bool is_new) {
      if (is_new) pack_group(g, place.first, place.rows, worker);
      padded.pack(place, n, g, worker.lines);
      const int64_t base =
          offset_of(p, output, place, n, g) + place.first * output.stride.out_channel;
      for_each_strip(plan, plan.strip_lines, place, line_step(p, output),
                     [&](const Strip& strip, int64_t x, int64_t offset, int64_t apart) {
                       make_strip(strip, place.rows, worker.lines + x, base + offset, apart,
                                  worker);
                     });
    });
  }

  static std::string refuses(const Problem& p) {
    if (p.dtype != DType::bfloat16 || !has_matrices<BFloat16>())
      return "no matrices of this dtype that the machine multiplies";
    const auto bytes = double(largest(p, padded_bytes<ByMatrices>));
    return refuses_bytes("lines, weights and patches", bytes, kMostWorker);
  }

  // Of a forward problem: the products, the patches copied, the lines packed, the sums written, and the
  // weights of each group.
  static double seconds(const Problem& p, bool again, bool is_phase) {
    if (writes_nothing(p)) return 0;
    const MatricesPlan plan(p);
    const Strip strip(std::min(plan.strip_lines, plan.line.output_size), plan.columns,
                      plan.x_step * plan.line_length(), plan.lanes);
    const double maps = double(p.batch) * double(p.groups);
    const double blocks = double(plan.row_blocks), rows = double(plan.all_rows);
    const double lines = maps * double(plan.outer_positions) * double(plan.line.output_size) *
                         double(plan.column_blocks);
    const double vectors = lines * double(strip.vectors) / double(strip.lines);
    const double depth = double(whole_steps<BFloat16>(2 * plan.depth)) / 2;
    const double tall = blocks * double(round_up(plan.rows, plan.lanes));
    const Pairs pairs(p, pairs_together(p));
    const double packs = double(plan.places()) / blocks * double(std::max(p.groups, pairs.blocks));
    // A phase of a stride picks its taps out of a kernel's lines.
    const int64_t taps = std::max<int64_t>(is_phase ? plan.column.kernel_size : p.taps(), 1);
    const double runs = double(plan.depth) / double(taps) * double(ceil_div(taps, plan.lanes));
    return vectors * depth * (2 * tall * double(plan.lanes) * kMatrixProduct + blocks * kCopy) +
           blocks * pack_seconds(p, plan, again) +
           rows * (vectors * kMatrixWritten + lines * kLine) + packs * rows * runs * kPairWeights +
           blocks * maps * kMap;
  }
};

double seconds(const Problem& p) {
  bool phases = false;
  for (int a = 0; a < p.axes; ++a) phases |= p.result == Result::input && p.axis[a].stride > 1;
  return seconds_of<ByMatrices>(p, phases);
}

}  // namespace

const Way by_matrices = {ByMatrices::refuses, seconds, scratch_of<ByMatrices>, run_of<ByMatrices>};

}  // namespace torchconv::indirect_detail
