// winograd, by weight: the transposed form, w = Gt [sum over the tiles of (A y) * (Bt x)]. Per block
// of output and input channels, and per split of the tiles:
//
//     for each block of tiles:   V = Bt x,  U = A y                        one task
//       for each point:            M += Ut V     a matrix product: channels x channels
//     w = Gt M                                  one transform a pair of channels
//
// The sums M of all points are what a task keeps; where they do not fit, channels are cut into
// blocks, and each block transforms its tiles anew. Where blocks are few, the tiles are split, and
// the splits' weights added in order at the end. None of it depends on the threads.
#include "algo/winograd/tiles.h"

namespace torchconv::winograd_detail {
namespace {

constexpr int64_t kSumsBytes = 1 << 20;     // of M
constexpr int64_t kTilesBytes = 768 << 10;  // of V and U
constexpr int64_t kLeastTiles = 40;   // of a split: fewer do not pay for the transform of its sums
constexpr int64_t kThreadsMeant = 4;  // by a choice between cuts; these divide most machines'
constexpr double kProductSeconds = 1 / 6e9;  // of vectors
constexpr double kTileVector = 11;    // a point's vector, made, in products of vectors; measured
constexpr double kWeightVector = 22;  // and one of M, transformed and stored
constexpr double kStrided = 1.45;  // times as long under a stride: 1.2 to 1.6, for three channels 2

struct WeightPlan : Tiling {
  int workers;
  int64_t in_vectors, out_vectors;  // of a group's channels
  int64_t in_channels = 0, in_blocks = 1, out_channels = 0, out_blocks = 1;  // of a block
  int64_t blocks = 1, splits = 1;
  double work = 0;  // in products of vectors, as kThreadsMeant threads share it
  int64_t input_plane, output_plane, sums_plane;  // elements of one point's matrix

  WeightPlan(const Problem& p, int threads) : Tiling(p) {
    workers = workers_for(p, threads);
    in_vectors = ceil_div(depth, lanes);
    out_vectors = ceil_div(p.out_channels_per_group(), lanes);
    const int64_t most = kSumsBytes / (points * lanes * lanes * int64_t(sizeof(float)));
    for (int64_t o = ceil_div(out_vectors, std::max<int64_t>(most, 1)); o <= out_vectors; ++o) {
      const int64_t height = ceil_div(out_vectors, o);
      if (ceil_div(out_vectors, height) != o) continue;  // has been tried
      const int64_t least = ceil_div(in_vectors, std::max<int64_t>(most / height, 1));
      for (int64_t i = least; i <= std::min(least + 3, in_vectors); ++i)
        try_cut(p, height, ceil_div(in_vectors, i));
    }
    const int64_t tile_bytes = points * (in_channels + out_channels) * int64_t(sizeof(float));
    const int64_t tiles_of_split = std::max<int64_t>(ceil_div(tile_count, splits), 1);
    const int64_t most_tiles = std::max<int64_t>(kTilesBytes / tile_bytes, rows);
    set_block(ceil_div(tiles_of_split, ceil_div(tiles_of_split, most_tiles)));
    input_plane = plane_of(tiles_per_block * in_channels, lanes);
    output_plane = plane_of(tiles_per_block * out_channels, lanes);
    sums_plane = plane_of(out_channels * in_channels, lanes);
  }

  // Elements of the weights of a block, and of all of them.
  int64_t block_elements() const { return out_channels * in_channels * taps; }
  int64_t partial_elements() const { return splits > 1 ? splits * blocks * block_elements() : 0; }

 private:
  // Keeps a cut into blocks of so many vectors of channels where it is the least work so far.
  void try_cut(const Problem& p, int64_t out, int64_t in) {
    const int64_t o = ceil_div(out_vectors, out), i = ceil_div(in_vectors, in);
    const int64_t all = p.groups * o * i;
    const int64_t bytes = all * out * in * lanes * lanes * taps * int64_t(sizeof(float));
    const int64_t parts =
        std::clamp<int64_t>(std::min(tile_count / kLeastTiles, kWeightsBytes / bytes), 1,
                            std::max<int64_t>(ceil_div(kTasksWanted, all), 1));
    const double tiles_of_part = double(tile_count) / double(parts), each = double(points);
    const double pairs = double(out * in * lanes);
    const double vector = each * kTileVector + kTileSeconds / kProductSeconds;
    const double task =
        tiles_of_part * (each * pairs + vector * double(out + in)) + each * pairs * kWeightVector;
    const double rounds = double(ceil_div(all * parts, kThreadsMeant) * kThreadsMeant);
    if (work > 0 && task * rounds >= work) return;
    work = task * rounds;
    in_channels = in * lanes;
    out_channels = out * lanes;
    in_blocks = i;
    out_blocks = o;
    blocks = all;
    splits = parts;
  }
};

struct WeightWorker {
  float* input;    // [point][tile][input channels]
  float* output;   // [point][output channels / lanes][tile][lanes]
  float* sums;     // [point][output channels][input channels]
  float* lines;    // [line][vector] of what a run of tiles sees
  float* between;  // what lies between two axes of a transform
  float* taps;     // [tap][lanes] of the weight
  float* start;    // [lanes] zeros
  WeightWorker(const WeightPlan& plan, Arena* arena) {
    input = arena->take<float>(plan.points * plan.input_plane);
    output = arena->take<float>(plan.points * plan.output_plane);
    sums = arena->take<float>(plan.points * plan.sums_plane);
    lines = arena->take<float>(plan.lines * plan.line * plan.lanes);
    between = arena->take<float>(2 * plan.points * plan.lanes);
    taps = arena->take<float>(plan.taps * plan.lanes);
    start = arena->take<float>(plan.lanes);
  }
};

int64_t weight_worker_bytes(const WeightPlan& plan) {
  Arena counter{nullptr};
  WeightWorker(plan, &counter);
  return counter.used;
}

struct ByWeight {
  const Problem& p;
  const Operands& operands;
  const WeightPlan& plan;
  bool backwards[kMaxAxes];
  View straight;
  InputTiles tiles;
  Reals weight, output;
  Grid taps;
  TileTransform to_points, to_taps;
  int64_t first_tap;  // where the first tap lies among the packed ones

  ByWeight(const Problem& problem, const Operands& o, const WeightPlan& weight_plan)
      : p(problem),
        operands(o),
        plan(weight_plan),
        straight(straightened(problem, o.weight, backwards)),
        tiles(problem, o.input, weight_plan, weight_plan.input_plane),
        weight(straight, p.dtype),
        output(o.output, p.dtype),
        taps(tap_grid(p, weight.stride)),
        to_points(points_transform()),
        to_taps(taps_transform()) {}

  TileTransform points_transform() const {
    int64_t from[kMaxAxes], to[kMaxAxes];
    line_steps(plan, plan.output_line, &TileAxis::outputs, from);
    packed_steps(plan.axes, plan.output_plane, [&](int a) { return plan.axis[a].points; }, to);
    return {plan, TileTransform::output_back, from, to};
  }
  TileTransform taps_transform() {
    int64_t from[kMaxAxes], to[kMaxAxes];
    packed_steps(plan.axes, plan.sums_plane, [&](int a) { return plan.axis[a].points; }, from);
    packed_steps(plan.axes, plan.lanes, [&](int a) { return plan.axis[a].taps; }, to);
    first_tap = 0;
    for (int a = 0; a < plan.axes; ++a) {
      if (!backwards[a]) continue;
      first_tap += (plan.axis[a].taps - 1) * to[a];
      to[a] = -to[a];
    }
    return {plan, TileTransform::weight_back, from, to};
  }

  struct Block {
    int64_t g, co, out_channels, ci, in_channels;
  };
  Block block(int64_t b) const {
    const int64_t co = b / plan.in_blocks % plan.out_blocks * plan.out_channels;
    const int64_t ci = b % plan.in_blocks * plan.in_channels;
    return {b / plan.in_blocks / plan.out_blocks, co,
            std::min(plan.out_channels, p.out_channels_per_group() - co), ci,
            std::min(plan.in_channels, plan.depth - ci)};
  }

  // The line number `line` of the outputs of a run, `channels` of it, turned: zeros beyond the last.
  void pack_line(const Run& run, int64_t line, int64_t offset, int64_t channels, float* to) const {
    const int64_t size = p.axis[plan.last].output_size, step = output.stride.axis[plan.last];
    const bool inside = add_line_offset(plan, p, output, run, line, &offset);
    for_each_stretch(
        plan, run, plan.axis[plan.last].outputs, [&](int64_t k, int64_t o, int64_t count) {
          float* const here = to + k * plan.lanes;
          const int64_t length = inside ? std::clamp<int64_t>(size - o, 0, count) : 0;
          if (length > 0) {
            const Lines lines{output.at(offset + o * step), channels, output.stride.out_channel,
                              length, length > 1 ? step : 1};
            kernels<float>().turn(output.store, lines, here, plan.lanes);
          }
          std::fill(here + length * plan.lanes, here + count * plan.lanes, 0.0f);
        });
  }

  void transform_output(const Block& b, const Run& run, const WeightWorker& worker) const {
    for (int64_t c = 0; c < b.out_channels; c += plan.lanes) {
      const int64_t offset = run.n * output.stride.batch + b.g * output.stride.group +
                             (b.co + c) * output.stride.out_channel;
      for (int64_t l = 0; l < plan.output_lines; ++l)
        pack_line(run, l, offset, std::min(plan.lanes, b.out_channels - c),
                  worker.lines + l * plan.output_line * plan.lanes);
      for (int64_t t = 0; t < run.count; ++t)
        to_points.apply(worker.lines + plan.place(run, t, plan.axis[plan.last].outputs),
                        worker.output + c * plan.tiles_per_block + (run.column + t) * plan.lanes,
                        worker.between);
    }
  }

  // M (+)= Ut V over a block of tiles, at every point.
  void multiply(const Block& b, int64_t tile_count, bool add, const WeightWorker& worker) const {
    const Kernels<float>& kernel = kernels<float>();
    const int64_t vectors = ceil_div(b.in_channels, plan.lanes), row = plan.in_channels;
    for (int64_t point = 0; point < plan.points; ++point) {
      const float* const u = worker.output + point * plan.output_plane;
      const float* const v = worker.input + point * plan.input_plane;
      float* const m = worker.sums + point * plan.sums_plane;
      for (int64_t strips = ceil_div(vectors, kernel.vectors), at = 0; strips > 0; --strips) {
        const int64_t width = ceil_div(vectors - at, strips), column = at * plan.lanes;
        for (int64_t co = 0; co < b.out_channels; co += plan.rows)
          kernel.outer_vectors[std::min(plan.rows, b.out_channels - co) - 1][width - 1](
              tile_count, u + co / plan.lanes * plan.tiles_per_block * plan.lanes + co % plan.lanes,
              v + column, row, m + co * row + column, row, nullptr, add);
        at += width;
      }
    }
  }

  // The sums of split s of a block.
  void add_up(const Block& b, int64_t s, const WeightWorker& worker) const {
    const int64_t begin = plan.tile_count * s / plan.splits;
    const int64_t end = plan.tile_count * (s + 1) / plan.splits;
    for (int64_t first = begin; first < end; first += plan.tiles_per_block) {
      const int64_t count = std::min(plan.tiles_per_block, end - first);
      for_each_tile_run(plan, first, count, [&](const Run& run) {
        tiles.transform(
            run, b.g, b.ci, b.ci + b.in_channels, worker.lines, worker.between,
            [&](int64_t tile, int64_t ci) { return worker.input + tile * plan.in_channels + ci; });
        transform_output(b, run, worker);
      });
      multiply(b, count, first > begin, worker);
    }
    if (begin == end) std::fill_n(worker.sums, plan.points * plan.sums_plane, 0.0f);
  }

  // Calls f(co, ci, number) for the vectors of weights of a block.
  template <typename F>
  void for_each_vector(const Block& b, const F& f) const {
    int64_t number = 0;
    for (int64_t co = 0; co < b.out_channels; ++co)
      for (int64_t ci = 0; ci < b.in_channels; ci += plan.lanes) f(co, ci, number++);
  }

  // The taps of input channels [ci, ci + lanes) of an output channel, counted from the block's.
  void store(const Block& b, int64_t co, int64_t ci, const float* from, const float* start) const {
    if (plan.phases > 1) return store_phases(b, co, ci, from, start);
    const View& stride = weight.stride;
    const int64_t base =
        b.g * stride.group + (b.co + co) * stride.out_channel + (b.ci + ci) * stride.in_channel;
    for_each_run(taps, 0, plan.taps, [&](const Run& run) {
      const Lines lines{weight.at(base + taps.offset(run)),
                        std::min(plan.lanes, b.in_channels - ci), stride.in_channel, run.count,
                        taps.stride[taps.axes - 1]};
      kernels<float>().turn_back(weight.store, from + run.column * plan.lanes, plan.lanes, start,
                                 Finish{operands.accumulate}, lines);
    });
  }

  void store_phases(const Block& b, int64_t co, int64_t ci, const float* from,
                    const float* start) const {
    const View& stride = weight.stride;
    const int64_t base = b.g * stride.group + (b.co + co) * stride.out_channel;
    const int64_t end = std::min(ci + plan.lanes, b.in_channels);
    for_each_piece(plan, b.ci + ci, b.ci + end, [&](const Piece& piece) {
      for_each_tap_line(
          plan, p, stride, piece, [&](int64_t tap, int64_t count, int64_t offset, int64_t step) {
            const Lines lines{weight.at(base + piece.ci * stride.in_channel + offset),
                              piece.channels, stride.in_channel, count, step};
            kernels<float>().turn_back(weight.store, from + tap * plan.lanes + piece.at, plan.lanes,
                                       start, Finish{operands.accumulate}, lines);
          });
    });
  }

  // Split s of a block; `partial`, if any, is where its weights are kept.
  void task(const Block& b, int64_t s, float* partial, const WeightWorker& worker) const {
    add_up(b, s, worker);
    std::fill_n(worker.start, plan.lanes, 0.0f);
    const int64_t elements = plan.taps * plan.lanes;
    for_each_vector(b, [&](int64_t co, int64_t ci, int64_t number) {
      float* const made = partial ? partial + number * elements : worker.taps;
      to_taps.apply(worker.sums + co * plan.in_channels + ci, made + first_tap, worker.between);
      if (!partial) store(b, co, ci, made, worker.start);
    });
  }

  // Adds the splits of a block, in order, `apart` elements from each to the next.
  void join(const Block& b, float* partial, int64_t apart, const WeightWorker& worker) const {
    std::fill_n(worker.start, plan.lanes, 0.0f);
    const int64_t elements = plan.taps * plan.lanes;
    for_each_vector(b, [&](int64_t co, int64_t ci, int64_t number) {
      float* const sums = partial + number * elements;
      for (int64_t s = 1; s < plan.splits; ++s)
        for (int64_t k = 0; k < elements; ++k) sums[k] += sums[s * apart + k];
      store(b, co, ci, sums, worker.start);
    });
  }
};

}  // namespace

void run_weight(Problem p, Operands operands, const Context& context) {
  if (p.out_channels * p.in_channels_per_group() == 0) return;
  simplify(&p, &operands);
  const WeightPlan plan(p, context.threads);
  Arena arena{static_cast<char*>(context.scratch)};
  float* const partial = arena.take<float>(plan.partial_elements());
  const ByWeight by_weight(p, operands, plan);
  const int64_t own_bytes = weight_worker_bytes(plan);
  const auto worker_of = [&](int worker) {
    Arena own{arena.base + arena.used + worker * own_bytes};
    return WeightWorker(plan, &own);
  };
  const int64_t apart = plan.blocks * plan.block_elements();
  for_each_task<float>(context, plan.blocks * plan.splits, plan.workers, [&](int64_t t, int w) {
    const int64_t b = t / plan.splits, s = t % plan.splits;
    float* const kept = partial + s * apart + b * plan.block_elements();
    by_weight.task(by_weight.block(b), s, plan.splits > 1 ? kept : nullptr, worker_of(w));
  });
  if (plan.splits == 1) return;
  for_each_task<float>(context, plan.blocks, plan.workers, [&](int64_t b, int w) {
    by_weight.join(by_weight.block(b), partial + b * plan.block_elements(), apart, worker_of(w));
  });
}

int64_t weight_scratch(const Problem& problem, int threads) {
  if (problem.out_channels * problem.in_channels_per_group() == 0) return 0;
  Problem p = problem;
  Operands none;
  simplify(&p, &none);
  const WeightPlan plan(p, threads);
  Arena arena{nullptr};
  arena.take<float>(plan.partial_elements());
  return arena.used + plan.workers * weight_worker_bytes(plan);
}

double weight_cost(const Problem& p) {
  if (p.out_channels * p.in_channels_per_group() == 0) return 0;
  double strided = 1;
  for (int a = 0; a < p.axes; ++a)
    if (p.axis[a].stride > 1) strided = kStrided;
  return WeightPlan(p, 1).work * kProductSeconds * strided;
}

}  // namespace torchconv::winograd_detail
