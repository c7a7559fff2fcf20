// gemm, forward, of few positions: a 1x1 kernel on one pixel, a kernel as large as the input.
//
// Then W is the large side, each of its elements is multiplied only a few times, and to pack it would
// take longer than to multiply it. So the sides change places: X is packed, W is read where it lies,
//
//     Y^T[(n,o), co] = sum over m of X^T[(n,o), m] * W[co, m]
//
// where W's rows are contiguous (forward) by dot products of them with those of X^T, and where its
// columns are (by input) as the side of a tile that lies in rows already:
//
//     for each chunk of the depth:  pack X^T
//       dots:   for some rows of W:       each with all of X^T
//       tiles:  for some columns of W:    for a strip of them: X^T panels * strip
//
// Either way memory sets the pace. Sums run over the depth in an order that no cut of W's rows
// changes, so these are cut by the threads.
#include "algo/gemm/parts.h"

namespace torchconv::gemm_detail {
namespace {

// Measured: with more positions panels of W repay. Tiles reach further than dots, as they load less;
// dots of many steps furthest, as neither lanes nor positions are left over.
constexpr int64_t kFewForDots = 12;
constexpr int64_t kFewForDeepDots = 64;
constexpr int64_t kDeep = 512;
constexpr int64_t kFewForTiles = 24;
constexpr int64_t kFewBytes = 16 << 10;    // of a chunk of X^T: half of an L1 cache
constexpr int64_t kDeepBytes = 256 << 10;  // of one of more positions, in an L2 cache
constexpr int64_t kLeastDepth = 256;       // of a chunk
constexpr int64_t kRowsBytes = 1 << 20;    // of sums and of a strip of W
constexpr int64_t kAliasedBytes = 4096;    // columns so far apart share a set of the L1 cache

// How it is cut. Only the blocks of rows depend on the threads.
template <typename T>
struct FewPlan {
  int workers;
  int64_t rows, depth, positions, chunk, rows_per_block, row_blocks, width;  // of a panel of X^T

  FewPlan(const Problem& p, int threads) {
    const Kernels<T>& kernel = kernels<T>();
    workers = workers_for(p, threads);
    rows = p.out_channels_per_group();
    depth = p.taps() * p.in_channels_per_group();
    positions = p.batch * p.output_positions();
    const int64_t most = std::max(
        (positions > kFewForTiles ? kDeepBytes : kFewBytes) / (positions * int64_t(sizeof(T))),
        kLeastDepth);
    chunk = round_up(ceil_div(depth, std::max<int64_t>(ceil_div(depth, most), 1)), kernel.lanes);
    const int64_t line = 64 / int64_t(sizeof(T));
    const int64_t most_rows = kRowsBytes / ((positions + kDepthAtATime) * int64_t(sizeof(T)));
    const int64_t blocks = std::max(ceil_div(workers, p.groups), ceil_div(rows, most_rows));
    rows_per_block = round_up(ceil_div(rows, blocks), line);
    row_blocks = ceil_div(rows, rows_per_block);
    width = std::min<int64_t>(positions, kernel.rows);
  }
};

template <typename T>
struct FewWorker {
  T* patches;    // [chunk][positions] of X
  T* turned;     // [positions][chunk] of X^T
  T* strip;      // [kDepthAtATime][rows_per_block] of W, where a tile cannot read it
  Sum<T>* sums;  // [positions][rows_per_block] of Y^T
  FewWorker(const FewPlan<T>& plan, Arena* arena) {
    patches = arena->take<T>(plan.chunk * plan.positions);
    turned = arena->take<T>(plan.chunk * plan.positions);
    strip = arena->take<T>(kDepthAtATime * plan.rows_per_block);
    sums = arena->take<Sum<T>>(plan.positions * plan.rows_per_block);
  }
};

template <typename T>
struct Few {
  const Problem& p;
  const Operands& operands;
  const FewPlan<T>& plan;
  Reals input, weight, output;
  int64_t depth_step;  // of W

  Few(const Problem& problem, const Operands& o, const FewPlan<T>& few_plan, int64_t step)
      : p(problem),
        operands(o),
        plan(few_plan),
        input(o.input, p.dtype),
        weight(o.weight, p.dtype),
        output(o.output, p.dtype),
        depth_step(step) {}

  struct Block {
    int64_t g, r0, rows;
  };
  Block block(int64_t task) const {
    const int64_t r0 = task % plan.row_blocks * plan.rows_per_block;
    return {task / plan.row_blocks, r0, std::min(plan.rows_per_block, plan.rows - r0)};
  }

  char* weights(const Block& b, int64_t k) const {
    return weight.at(b.g * weight.stride.group + b.r0 * weight.stride.out_channel + k * depth_step);
  }

  // The sums begin at the bias.
  void start(const Block& b, Sum<T>* sums) const {
    std::fill(sums, sums + plan.positions * plan.rows_per_block, Sum<T>(0));
    if (!operands.bias.data) return;
    const Reals bias(operands.bias, p.dtype);
    const int64_t step = bias.stride.out_channel;
    const Lines lines{bias.at(b.g * bias.stride.group + b.r0 * step), 1, 0, b.rows, step};
    for (int64_t j = 0; j < plan.positions; ++j)
      kernels<Sum<T>>().gather(bias.store, lines, sums + j * plan.rows_per_block, 0);
  }

  // Depth [k0, k0 + count) of W's rows, each contiguous, times X^T.
  void dots(const Block& b, int64_t k0, int64_t count, const FewWorker<T>& worker) const {
    pack_positions(p, input, b.g, 0, k0, k0 + count, 0, plan.positions, worker.patches,
                   plan.positions, worker.turned, plan.chunk);
    const Lines lines{weights(b, k0), b.rows, weight.stride.out_channel, count, 1};
    kernels<T>().dots(weight.store, lines, worker.turned, plan.chunk, plan.positions, worker.sums,
                      plan.rows_per_block);
  }

  // The same for W's columns, each contiguous: X^T as panels of [k][position].
  void tiles(const Block& b, int64_t k0, int64_t count, const FewWorker<T>& worker) const {
    const Kernels<T>& kernel = kernels<T>();
    for (int64_t j = 0; j < plan.positions; j += plan.width) {
      const int64_t width = std::min(plan.width, plan.positions - j);
      pack_patches(p, input, b.g, 0, k0, k0 + count, j, width, worker.turned + j * count, width);
      kernel.arrange(count, width, worker.turned + j * count);
    }
    const bool in_place = weight.bytes == sizeof(T);
    const int64_t whole = in_place ? b.rows / kernel.lanes * kernel.lanes : 0;
    const int64_t most =
        depth_step * weight.bytes % kAliasedBytes ? kDepthAtATime : kDepthAtATime / 2;
    for (int64_t k = 0; k < count; k += most) {
      const int64_t some = std::min(most, count - k);
      char* const at = weights(b, k0 + k);
      if (whole > 0)
        multiply(0, whole, k, some, count, reinterpret_cast<const T*>(at), depth_step, worker);
      if (whole == b.rows) continue;
      const Lines rest{at + whole * weight.bytes, some, depth_step, b.rows - whole, 1};
      const int64_t row = round_up(b.rows - whole, kernel.lanes);
      kernel.gather(weight.store, rest, worker.strip, row);
      multiply(whole, row, k, some, count, worker.strip, row, worker);
    }
  }

  // Adds to columns [first, first + columns) of Y^T, whole vectors, some steps of the depth.
  void multiply(int64_t first, int64_t columns, int64_t k, int64_t some, int64_t count, const T* b,
                int64_t b_row, const FewWorker<T>& worker) const {
    const Kernels<T>& kernel = kernels<T>();
    const int64_t strip = kernel.vectors * kernel.lanes;
    for (int64_t c = 0; c < columns; c += strip)
      for (int64_t j = 0; j < plan.positions; j += plan.width) {
        const int64_t width = std::min(plan.width, plan.positions - j);
        kernel.outer[width - 1][std::min(strip, columns - c) / kernel.lanes - 1](
            some, worker.turned + j * count + k * width, b + c, b_row,
            worker.sums + j * plan.rows_per_block + first + c, plan.rows_per_block, nullptr, true);
      }
  }

  void store(const Block& b, const Sum<T>* sums) const {
    const Grid grid = joined_grid(p, output.stride);
    for_each_run(grid, 0, plan.positions, [&](const Run& run) {
      const int64_t offset = run.n * output.stride.batch + b.g * output.stride.group +
                             b.r0 * output.stride.out_channel + grid.offset(run);
      const Lines lines{output.at(offset), run.count, grid.stride[grid.axes - 1], b.rows,
                        b.rows > 1 ? output.stride.out_channel : 1};
      kernels<T>().scatter(output.store, sums + run.column * plan.rows_per_block,
                           plan.rows_per_block, Finish{operands.accumulate, p.activation}, lines);
    });
  }

  void task(const Block& b, bool rows_lie_together, const FewWorker<T>& worker) const {
    start(b, worker.sums);
    for (int64_t k = 0; k < plan.depth; k += plan.chunk) {
      const int64_t count = std::min(plan.chunk, plan.depth - k);
      if (rows_lie_together)
        dots(b, k, count, worker);
      else
        tiles(b, k, count, worker);
    }
    store(b, worker.sums);
  }
};

}  // namespace

bool is_few(const Problem& p, bool rows_lie_together) {
  const int64_t positions = p.batch * p.output_positions();
  // Matrices are multiplied as fast as W comes from memory.
  const bool matrices = p.dtype == DType::bfloat16 && has_matrices<BFloat16>();
  const bool deep = !matrices && p.taps() * p.in_channels_per_group() >= kDeep;
  const int64_t few_for_tiles = matrices ? 0 : kFewForTiles;
  const int64_t few = !rows_lie_together ? few_for_tiles : deep ? kFewForDeepDots : kFewForDots;
  return !is_complex(p.dtype) && p.out_channels * positions > 0 && positions <= few;
}

template <typename T>
bool run_few(const Problem& p, const Operands& operands, const Context& context) {
  const Grid grid = weight_grid(p, operands.weight);
  const int64_t step = grid.stride[grid.axes - 1];
  const bool rows_lie_together = step == 1;
  if (grid.axes > 1 || (!rows_lie_together && operands.weight.out_channel != 1)) return false;
  if (!is_few(p, rows_lie_together)) return false;
  const FewPlan<T> plan(p, context.threads);
  const Few<T> few(p, operands, plan, step);
  Arena counter{nullptr};
  FewWorker<T>(plan, &counter);
  for_each_task<T>(context, p.groups * plan.row_blocks, plan.workers, [&](int64_t task, int w) {
    Arena own{static_cast<char*>(context.scratch) + w * counter.used};
    few.task(few.block(task), rows_lie_together, FewWorker<T>(plan, &own));
  });
  return true;
}

template <typename T>
int64_t few_scratch(const Problem& p, int threads) {
  if (!is_few(p, false) && !is_few(p, true)) return 0;
  const FewPlan<T> plan(p, threads);
  Arena arena{nullptr};
  for (int w = 0; w < plan.workers; ++w) FewWorker<T>(plan, &arena);
  return arena.used;
}

template bool run_few<float>(const Problem&, const Operands&, const Context&);
template bool run_few<double>(const Problem&, const Operands&, const Context&);
template bool run_few<uint16_t>(const Problem&, const Operands&, const Context&);
template bool run_few<uint32_t>(const Problem&, const Operands&, const Context&);
template bool run_few<uint64_t>(const Problem&, const Operands&, const Context&);
template bool run_few<BFloat16>(const Problem&, const Operands&, const Context&);
template int64_t few_scratch<float>(const Problem&, int);
template int64_t few_scratch<double>(const Problem&, int);
template int64_t few_scratch<uint16_t>(const Problem&, int);
template int64_t few_scratch<uint32_t>(const Problem&, int);
template int64_t few_scratch<uint64_t>(const Problem&, int);
template int64_t few_scratch<BFloat16>(const Problem&, int);

}  // namespace torchconv::gemm_detail
