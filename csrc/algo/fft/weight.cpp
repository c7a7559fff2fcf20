// fft, by weight: the products of the points of input and output, summed over all tiles, and one
// way back.
//
//     for each block of output by input channels:                                one task
//       for each few tiles:  X, Y = points;  W += X conj(Y),  plane by plane
//       w = taps of W
//
// Tiles go in order, whatever the threads.
#include "algo/fft/tiles.h"

namespace torchconv::fft_detail {
namespace {

template <typename T>
struct Worker {
  T* tile;
  T* output;  // [plane][channel block][tile][channel]
  T* input;   // the same
  T* sums;    // [plane][input channel][output channel]
  Worker(const Plan& plan, Arena* arena) {
    tile = arena->take<T>(plan.tile_elements());
    output = arena->take<T>(plan.vectors() * plan.row_plane);
    input = arena->take<T>(plan.vectors() * plan.column_plane);
    sums = arena->take<T>(plan.vectors() * plan.product_plane);
  }
};

template <typename T>
struct ByWeight {
  const Problem& p;
  const Operands& operands;
  const Plan& plan;
  const Tiles<T>& tiles;
  Reals input, weight, output;

  ByWeight(const Problem& problem, const Operands& o, const Plan& fft_plan, const Tiles<T>& t)
      : p(problem),
        operands(o),
        plan(fft_plan),
        tiles(t),
        input(o.input, p.dtype),
        weight(o.weight, p.dtype),
        output(o.output, p.dtype) {}

  // Channels [co, co + rows) and [ci, ci + columns) of group g.
  struct Block {
    int64_t g, co, rows, ci, columns;
  };
  Block block(int64_t task) const {
    const int64_t ci = task % plan.column_blocks * plan.columns;
    const int64_t co = task / plan.column_blocks % plan.row_blocks * plan.rows;
    return {task / plan.column_blocks / plan.row_blocks, co, std::min(plan.rows, plan.out - co), ci,
            std::min(plan.columns, plan.in - ci)};
  }

  // Tiles [first, first + depth).
  void transform(const Block& b, int64_t first, int64_t depth, const Worker<T>& worker) const {
    for (int64_t k = 0; k < depth; ++k) {
      const int64_t n = (first + k) / plan.per_image, tile = (first + k) % plan.per_image;
      const Stretches in = input_of(p, plan, tile), out = output_of(p, plan, tile);
      const int64_t from = n * input.stride.batch + b.g * input.stride.group;
      for (int64_t c = 0; c < b.columns; ++c)
        tiles.read(input, from + (b.ci + c) * input.stride.in_channel, in, false, T(1), worker.tile,
                   worker.input + plan.column_place(c, k, depth), plan.column_plane);
      const int64_t of = n * output.stride.batch + b.g * output.stride.group;
      for (int64_t r = 0; r < b.rows; ++r)
        tiles.read(output, of + (b.co + r) * output.stride.out_channel, out, true,
                   T(1) / T(plan.points), worker.tile, worker.output + plan.row_place(r, k, depth),
                   plan.row_plane);
    }
  }

  void multiply(const Block& b, int64_t depth, bool add, const Worker<T>& worker) const {
    const FftKernels<T>& kernel = kernels<T>().fft;
    for (int64_t point = 0; point < plan.vectors(); ++point) {
      const T* const y = worker.output + point * plan.row_plane;
      const T* const x = worker.input + point * plan.column_plane;
      T* const w = worker.sums + point * plan.product_plane;
      for (int64_t c = 0; c < b.columns; c += plan.column_step)
        for (int64_t r = 0; r < b.rows; r += plan.row_step)
          kernel.products[std::min(plan.row_step, b.rows - r) -
                          1][std::min(plan.column_step, b.columns - c) - 1](
              depth, y + plan.row_place(r, 0, depth), plan.row_step * plan.vector(),
              x + plan.column_place(c, 0, depth), plan.column_step * plan.vector(),
              w + (c * plan.rows + r) * plan.vector(), plan.rows * plan.vector(), add);
    }
  }

  void store(const Block& b, const Worker<T>& worker) const {
    const Stretches taps = taps_of(p);
    const int64_t skip[kMaxAxes] = {};
    const T start[2] = {};
    for (int64_t c = 0; c < b.columns; ++c)
      for (int64_t r = 0; r < b.rows; ++r)
        tiles.write(worker.sums + (c * plan.rows + r) * plan.vector(), plan.product_plane, skip,
                    start, Finish{operands.accumulate}, worker.tile, weight,
                    b.g * weight.stride.group + (b.co + r) * weight.stride.out_channel +
                        (b.ci + c) * weight.stride.in_channel,
                    taps);
  }

  void task(const Block& b, const Worker<T>& worker) const {
    int64_t first = 0;
    do {  // once, too, where there is no tile
      const int64_t depth = std::min(plan.depth, plan.tile_count - first);
      transform(b, first, depth, worker);
      multiply(b, depth, first > 0, worker);
      first += plan.depth;
    } while (first < plan.tile_count);
    store(b, worker);
  }
};

}  // namespace

template <typename T>
void run_weight(Problem p, Operands operands, const Context& context) {
  order_axes(&p, &operands);
  const Plan plan(p, context.threads);
  Arena arena{static_cast<char*>(context.scratch)};
  const Transform<T> transform(plan, &arena);
  const Tiles<T> tiles(plan, transform);
  const ByWeight<T> by_weight(p, operands, plan, tiles);
  Arena counter{nullptr};
  Worker<T>(plan, &counter);
  for_each_task<T>(context, p.groups * plan.row_blocks * plan.column_blocks, plan.workers,
                   [&](int64_t task, int worker) {
                     Arena own{arena.base + arena.used + worker * counter.used};
                     by_weight.task(by_weight.block(task), Worker<T>(plan, &own));
                   });
}

template <typename T>
int64_t weight_scratch(const Problem& problem, int threads) {
  Problem p = problem;
  Operands none;
  order_axes(&p, &none);
  const Plan plan(p, threads);
  Arena arena{nullptr};
  const Transform<T> transform(plan, &arena);
  for (int w = 0; w < plan.workers; ++w) Worker<T>(plan, &arena);
  return arena.used;
}

template void run_weight<float>(Problem, Operands, const Context&);
template void run_weight<double>(Problem, Operands, const Context&);
template int64_t weight_scratch<float>(const Problem&, int);
template int64_t weight_scratch<double>(const Problem&, int);

}  // namespace torchconv::fft_detail
