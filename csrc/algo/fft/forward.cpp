// fft, forward. Per pass over as many output channels as its transformed weights allow:
//
//     for each block of output channels:    W = weights of each point            all workers
//     for each block of tiles:                                                   one task
//       for each block of output channels:      L2
//         for each chunk of input channels:  X = points;  Y += X W,  plane by plane
//         y = outputs of Y + bias
#include "algo/fft/tiles.h"

namespace torchconv::fft_detail {
namespace {

// Taps that run backwards (a true convolution, an input gradient) are read forwards, and need no
// conjugate. Of axes that disagree none is turned round.
bool straighten(const Problem& p, View* weight) {
  int64_t offset = 0;
  for (int a = 0; a < p.axes; ++a) {
    if (!is_tiled(p.axis[a])) continue;
    if (weight->axis[a] >= 0) return false;
    offset += (p.axis[a].kernel_size - 1) * weight->axis[a];
  }
  for (int a = 0; a < p.axes; ++a)
    if (is_tiled(p.axis[a])) weight->axis[a] = -weight->axis[a];
  weight->data = static_cast<char*>(weight->data) + offset * element_bytes(p.dtype);
  return true;
}

template <typename T>
struct Worker {
  T* tile;      // [line][real, imaginary]
  T* input;     // [plane][tile block][channel][tile]
  T* products;  // [plane][tile][output channel]
  Worker(const Plan& plan, Arena* arena) {
    tile = arena->take<T>(plan.tile_elements());
    input = arena->take<T>(plan.vectors() * plan.column_plane);
    products = arena->take<T>(plan.vectors() * plan.product_plane);
  }
};

template <typename T>
struct Forward {
  const Problem& p;
  const Operands& operands;
  const Plan& plan;
  const Tiles<T>& tiles;
  View straight;
  bool turned;  // the taps are straightened, and do run backwards
  Reals input, weight, output;
  int64_t skip[kMaxAxes];  // to the first output of a tile

  static View straightened(const Problem& p, View weight, bool* turned) {
    *turned = straighten(p, &weight);
    return weight;
  }

  Forward(const Problem& problem, const Operands& o, const Plan& fft_plan, const Tiles<T>& t)
      : p(problem),
        operands(o),
        plan(fft_plan),
        tiles(t),
        straight(straightened(problem, o.weight, &turned)),
        input(o.input, p.dtype),
        weight(straight, p.dtype),
        output(o.output, p.dtype) {
    for (int a = 0; a < p.axes; ++a) skip[a] = turned ? p.axis[a].kernel_size - 1 : 0;
  }

  int64_t rows_of(int64_t block) const { return std::min(plan.rows, plan.out - block * plan.rows); }

  // Output channel r of a block, and input channel ci.
  void transform_weight(int64_t g, int64_t block, int64_t r, int64_t ci, T* block_weights,
                        const Worker<T>& worker) const {
    const int64_t offset = g * weight.stride.group +
                           (block * plan.rows + r) * weight.stride.out_channel +
                           ci * weight.stride.in_channel;
    tiles.read(weight, offset, taps_of(p), !turned, T(1) / T(plan.points), worker.tile,
               block_weights + plan.row_place(r, ci, plan.in), plan.row_plane);
  }

  void transform_input(int64_t g, int64_t first, int64_t count, int64_t ci, int64_t channels,
                       const Worker<T>& worker) const {
    for (int64_t t = 0; t < count; ++t) {
      const Stretches s = input_of(p, plan, (first + t) % plan.per_image);
      const int64_t image = (first + t) / plan.per_image * input.stride.batch;
      for (int64_t k = 0; k < channels; ++k)
        tiles.read(input, image + g * input.stride.group + (ci + k) * input.stride.in_channel, s,
                   false, T(1), worker.tile, worker.input + plan.column_place(t, k, channels),
                   plan.column_plane);
    }
  }

  // Input channels [ci, ci + depth) of a block of weights.
  void multiply(int64_t rows, int64_t count, int64_t ci, int64_t depth, const T* block_weights,
                const Worker<T>& worker) const {
    const FftKernels<T>& kernel = kernels<T>().fft;
    for (int64_t point = 0; point < plan.vectors(); ++point) {
      const T* const w = block_weights + point * plan.row_plane;
      const T* const x = worker.input + point * plan.column_plane;
      T* const y = worker.products + point * plan.product_plane;
      for (int64_t t = 0; t < count; t += plan.column_step)
        for (int64_t r = 0; r < rows; r += plan.row_step)
          kernel.products[std::min(plan.row_step, rows - r) -
                          1][std::min(plan.column_step, count - t) - 1](
              depth, w + plan.row_place(r, ci, plan.in), plan.row_step * plan.vector(),
              x + plan.column_place(t, 0, depth), plan.column_step * plan.vector(),
              y + (t * plan.rows + r) * plan.vector(), plan.rows * plan.vector(), ci > 0);
    }
  }

  void store(int64_t g, int64_t block, int64_t first, int64_t count,
             const Worker<T>& worker) const {
    for (int64_t t = 0; t < count; ++t) {
      const Stretches s = output_of(p, plan, (first + t) % plan.per_image);
      const int64_t image = (first + t) / plan.per_image * output.stride.batch;
      for (int64_t r = 0; r < rows_of(block); ++r) {
        const int64_t co = block * plan.rows + r;
        T start[2] = {};
        read_bias(g, co, start);
        tiles.write(worker.products + (t * plan.rows + r) * plan.vector(), plan.product_plane, skip,
                    start, Finish{operands.accumulate, p.activation}, worker.tile, output,
                    image + g * output.stride.group + co * output.stride.out_channel, s);
      }
    }
  }
  void read_bias(int64_t g, int64_t co, T* start) const {
    if (!operands.bias.data) return;
    const Reals bias(operands.bias, p.dtype);
    const int64_t offset = g * bias.stride.group + co * bias.stride.out_channel;
    kernels<T>().gather(bias.store, Lines{bias.at(offset), 1, 0, bias.planes, 1}, start, 2);
  }

  // One block of tiles by the blocks of output channels of task `number` of all groups'.
  void task(int64_t number, int64_t tile_block, const T* task_weights,
            const Worker<T>& worker) const {
    const int64_t g = number / plan.tasks_per_group;
    const int64_t first = tile_block * plan.columns;
    const int64_t count = std::min(plan.columns, plan.tile_count - first);
    const int64_t begin = number % plan.tasks_per_group * plan.blocks_per_task;
    const int64_t end = std::min(begin + plan.blocks_per_task, plan.row_blocks);
    for (int64_t block = begin; block < end; ++block) {
      const T* const w = task_weights + (block - begin) * plan.weights_elements();
      int64_t ci = 0;
      do {  // once, too, where there is no input channel
        const int64_t depth = std::min(plan.depth, plan.in - ci);
        if (block == begin || plan.in > plan.depth)
          transform_input(g, first, count, ci, depth, worker);
        multiply(rows_of(block), count, ci, depth, w, worker);
        ci += plan.depth;
      } while (ci < plan.in);
      store(g, block, first, count, worker);
    }
  }
};

}  // namespace

template <typename T>
void run_forward(Problem p, Operands operands, const Context& context) {
  if (writes_nothing(p)) return;
  order_axes(&p, &operands);
  const Plan plan(p, context.threads);
  Arena arena{static_cast<char*>(context.scratch)};
  const Transform<T> transform(plan, &arena);
  const Tiles<T> tiles(plan, transform);
  T* const weights =
      arena.take<T>(plan.tasks_per_pass * plan.blocks_per_task * plan.weights_elements());
  const Forward<T> forward(p, operands, plan, tiles);
  Arena counter{nullptr};
  Worker<T>(plan, &counter);
  const auto worker_of = [&](int worker) {
    Arena own{arena.base + arena.used + worker * counter.used};
    return Worker<T>(plan, &own);
  };
  const int64_t all = p.groups * plan.tasks_per_group;
  const int64_t task_elements = plan.blocks_per_task * plan.weights_elements();
  for (int64_t pass = 0; pass < all; pass += plan.tasks_per_pass) {
    const int64_t numbers = std::min(plan.tasks_per_pass, all - pass);
    for_each_task<T>(context, numbers * plan.blocks_per_task * plan.rows, plan.workers,
                     [&](int64_t t, int w) {
                       const int64_t n = t / plan.rows / plan.blocks_per_task, r = t % plan.rows;
                       const int64_t number = pass + n;
                       const int64_t block = number % plan.tasks_per_group * plan.blocks_per_task +
                                             t / plan.rows % plan.blocks_per_task;
                       if (block >= plan.row_blocks || r >= forward.rows_of(block)) return;
                       for (int64_t ci = 0; ci < plan.in; ++ci)
                         forward.transform_weight(number / plan.tasks_per_group, block, r, ci,
                                                  weights + t / plan.rows * plan.weights_elements(),
                                                  worker_of(w));
                     });
    for_each_task<T>(context, numbers * plan.column_blocks, plan.workers, [&](int64_t t, int w) {
      const int64_t n = t / plan.column_blocks;
      forward.task(pass + n, t % plan.column_blocks, weights + n * task_elements, worker_of(w));
    });
  }
}

template <typename T>
int64_t forward_scratch(const Problem& problem, int threads) {
  if (writes_nothing(problem)) return 0;
  Problem p = problem;
  Operands none;
  order_axes(&p, &none);
  const Plan plan(p, threads);
  Arena arena{nullptr};
  const Transform<T> transform(plan, &arena);
  arena.take<T>(plan.tasks_per_pass * plan.blocks_per_task * plan.weights_elements());
  for (int w = 0; w < plan.workers; ++w) Worker<T>(plan, &arena);
  return arena.used;
}

template void run_forward<float>(Problem, Operands, const Context&);
template void run_forward<double>(Problem, Operands, const Context&);
template int64_t forward_scratch<float>(const Problem&, int);
template int64_t forward_scratch<double>(const Problem&, int);

}  // namespace torchconv::fft_detail
