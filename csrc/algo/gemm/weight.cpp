// gemm, by weight: W[co, m] = sum over (n,o) of Y[co, (n,o)] * X[m, (n,o)], m = (ci, t).
//
// The depth of this product is the positions, along which the gather's rows run. One of its sides is
// turned, so that vectors lie across them:
//
//     W[co, m]     X, gathered first, into rows of m, and some rows of Y at a time into panels
//     W^T[m, co]   Y alone, as a tile reads the rows of X as they were gathered; but then W is turned
//                  as it is stored, which many positions make up for
#include "algo/gemm/parts.h"

namespace torchconv::gemm_detail {
namespace {

constexpr int64_t kSumsBytes = 768 << 10;   // of a block of W
constexpr int64_t kPartialBytes = 1 << 20;  // of sums kept apart for a split reduction
constexpr int64_t kLeastBlock = 64;         // rows or columns of W that are still worth halving
constexpr int64_t kLongestChunk = 256;      // of a W of more blocks than one
constexpr int64_t kLeastChunk = 96;         // where positions are fewer, blocks of W are not larger

// How a weight gradient is cut: rows (output channels) and columns m of W into blocks, and, where
// these are few, the positions into splits, whose partial sums are added in order at the end. These
// and the chunks do not depend on the threads; the blocks may, for an element's sum does not know
// its block.
template <typename T>
struct WeightPlan {
  int workers;
  int64_t planes, products, rows, columns;          // of one group's W
  int64_t rows_per_block, row_blocks, packed_rows;  // of a block, blocks, and packed at a time
  int64_t m_per_block, m_blocks;
  int64_t positions, chunk, chunk_row, chunks, splits;

  WeightPlan(const Problem& p, int threads) {
    const Kernels<T>& kernel = kernels<T>();
    workers = workers_for(p, threads);
    planes = planes_of(p.dtype);
    products = products_of(planes);
    rows = p.out_channels_per_group();
    columns = p.taps() * p.in_channels_per_group();
    positions = p.batch * p.output_positions();
    chunk = depth_chunk<T>(positions, planes);
    const int64_t longest = kLongestChunk / planes, part = int64_t(sizeof(T)) * products / planes;
    // The shorter a chunk, the larger a block, and the less often is anything packed again.
    if (std::max(rows, columns) * chunk * part > kBlockBytes && chunk > longest)
      chunk = round_up(ceil_div(positions, ceil_div(positions, longest)), kernel.steps);
    chunks = ceil_div(positions, chunk);
    // No power of two, or all rows share a set of the cache.
    chunk_row = has_matrices<T>() ? line_of<T>(chunk) : chunk + kernel.lanes;
    const int64_t most = kBlockBytes / (std::max(chunk, kLeastChunk) * part);
    m_blocks = ceil_div(columns, round_down(most, 2 * kernel.lanes));
    const int64_t sum_bytes = products * int64_t(sizeof(Sum<T>));
    const int64_t most_rows = kSumsBytes / (ceil_div(columns, m_blocks) * sum_bytes);
    row_blocks = ceil_div(rows, round_down(most_rows, 2 * kernel.rows));
    const int64_t room = kPartialBytes / (p.groups * rows * columns * sum_bytes);
    splits = std::min({ceil_div(kTasksWanted, p.groups * row_blocks * m_blocks), chunks,
                       std::max<int64_t>(room, 1)});
    // Too few tasks: halve what is the longer side, unless that is a tile.
    while (p.groups * row_blocks * m_blocks * splits < least_tasks(workers)) {
      const int64_t height = ceil_div(rows, row_blocks), width = ceil_div(columns, m_blocks);
      if (std::max(height, width) < kLeastBlock) break;
      ++(height >= width ? row_blocks : m_blocks);
    }
    even_blocks(rows, columns, p.groups * splits, workers, &row_blocks, &m_blocks);
    const int64_t unit = std::max(2 * kernel.rows, kernel.lanes);  // of panels and of vectors
    rows_per_block = round_up(ceil_div(rows, row_blocks), unit);
    row_blocks = ceil_div(rows, rows_per_block);
    packed_rows = std::min(rows_per_block, round_down(most / planes, unit));
    // Whole vectors, so that all blocks but the last may be made where they are stored.
    m_per_block = round_up(ceil_div(columns, m_blocks), has_matrices<T>() ? unit : kernel.lanes);
    m_blocks = ceil_div(columns, m_per_block);
  }
  int64_t product_elements() const { return rows_per_block * m_per_block; }
  int64_t block_elements() const { return products * product_elements(); }
};

template <typename T>
struct WeightWorker {
  T* patches;  // [m_per_block][chunk_row] of X, as gathered
  T* turned;   // [product][chunk][m_per_block] of X
  T* panels;  // [product][packed_rows / tile][chunk][tile] of Y; or its rows [chunk][packed_rows]; or
              // lines
  T* strips;     // those rows as strips
  Sum<T>* sums;  // [product][rows_per_block][m_per_block] of W; or [m_per_block][rows_per_block]
  WeightWorker(const WeightPlan<T>& plan, Arena* arena) {
    patches = arena->take<T>(plan.m_per_block * plan.chunk_row);
    turned = arena->take<T>(has_matrices<T>() ? 0 : plan.products * plan.chunk * plan.m_per_block);
    panels = arena->take<T>(plan.products * plan.packed_rows * panel_depth<T>(plan.chunk));
    strips = arena->take<T>(strips_elements<T>(plan.chunk, plan.packed_rows));
    sums = arena->take<Sum<T>>(plan.splits == 1 ? plan.block_elements() : 0);
  }
};

template <typename T>
struct ByWeight {
  const Problem& p;
  const WeightPlan<T>& plan;
  Reals input, weight, output;
  bool transposed;  // W^T is made

  ByWeight(const Problem& problem, const Operands& o, const WeightPlan<T>& weight_plan)
      : p(problem),
        plan(weight_plan),
        input(o.input, p.dtype),
        weight(o.weight, p.dtype),
        output(o.output, p.dtype),
        transposed(has_matrices<T>() ||
                   (plan.planes == 1 && turns_weight<T>(plan.rows, plan.positions) &&
                    turns_patches(problem, input))) {}

  struct Block {
    int64_t g, r0, r1, m0, m1;  // rows and columns of group g
  };
  Block block(int64_t b) const {
    const int64_t r = b / plan.m_blocks % plan.row_blocks * plan.rows_per_block;
    const int64_t m = b % plan.m_blocks * plan.m_per_block;
    return {b / plan.m_blocks / plan.row_blocks, r, std::min(plan.rows, r + plan.rows_per_block), m,
            std::min(plan.columns, m + plan.m_per_block)};
  }

  // The block's rows of Y at positions [first, first + count), as panels.
  void pack_outputs(const Block& b, int64_t first, int64_t count, T* to) const {
    const int64_t tile = kernels<T>().rows, rows = b.r1 - b.r0, row = output.stride.out_channel;
    const int64_t part = plan.packed_rows * plan.chunk;
    const Grid grid = joined_grid(p, output.stride);
    for_each_run(grid, first, count, [&](const Run& run) {
      const int64_t offset =
          run.n * output.stride.batch + b.g * output.stride.group + b.r0 * row + grid.offset(run);
      for (int64_t r = 0; r < rows; r += tile) {
        const int64_t height = std::min(tile, rows - r);
        for (int64_t q = 0; q < plan.planes; ++q) {
          const Lines lines{output.at(offset + r * row + q), height, row, run.count,
                            grid.stride[grid.axes - 1]};
          kernels<T>().interleave(output.store, lines, Sum<T>(1),
                                  to + q * part + r * count + run.column * height, 1, height);
        }
      }
    });
    if (plan.planes == 2) add_planes(to, part, rows * count);
  }

  // The same as rows, [position][row].
  void turn_outputs(const Block& b, int64_t first, int64_t count, T* to) const {
    const int64_t rows = b.r1 - b.r0, row = output.stride.out_channel;
    const Grid grid = joined_grid(p, output.stride);
    for_each_run(grid, first, count, [&](const Run& run) {
      char* const at = output.at(run.n * output.stride.batch + b.g * output.stride.group +
                                 b.r0 * row + grid.offset(run));
      const int64_t step = grid.stride[grid.axes - 1];
      T* const place = to + run.column * plan.packed_rows;
      if (row == 1)
        kernels<T>().gather(output.store, Lines{at, run.count, step, rows, 1}, place,
                            plan.packed_rows);
      else
        kernels<T>().interleave(output.store, Lines{at, rows, row, run.count, step}, Sum<T>(1),
                                place, 1, plan.packed_rows);
    });
  }

  // The same as strips. Of lines, two positions at a time are turned, as one number.
  void strip_outputs(const Block& b, int64_t first, int64_t count,
                     const WeightWorker<T>& worker) const {
    const int64_t rows = b.r1 - b.r0, row = output.stride.out_channel;
    if (row == 1) {
      turn_outputs(b, first, count, worker.panels);
      return kernels<T>().strips(count, rows, worker.panels, plan.packed_rows, worker.strips);
    }
    const int64_t line = line_of<T>(count), whole = whole_steps<T>(count);
    const Grid grid = joined_grid(p, output.stride);
    for_each_run(grid, first, count, [&](const Run& run) {
      char* const at = output.at(run.n * output.stride.batch + b.g * output.stride.group +
                                 b.r0 * row + grid.offset(run));
      kernels<T>().gather(output.store, Lines{at, rows, row, run.count, grid.stride[grid.axes - 1]},
                          worker.panels + run.column, line);
    });
    end_lines(rows, count, worker.panels, line);
    const int64_t lanes = kernels<T>().lanes;
    for (int64_t r = 0; r < rows; r += lanes)
      kernels<uint32_t>().turn(
          Store::i32,
          Lines{worker.panels + r * line, std::min(lanes, rows - r), line / 2, whole / 2, 1},
          reinterpret_cast<uint32_t*>(worker.strips + r * whole), lanes);
  }

  // The block's rows of X at these positions, turned.
  void pack_inputs(const Block& b, int64_t first, int64_t count,
                   const WeightWorker<T>& worker) const {
    const int64_t part = plan.chunk * plan.m_per_block;
    for (int q = 0; q < plan.planes; ++q)
      pack_positions(p, input, b.g, q, b.m0, b.m1, first, count, worker.patches, plan.chunk_row,
                     worker.turned + q * part, plan.m_per_block);
    if (plan.planes == 2) add_planes(worker.turned, part, count * plan.m_per_block);
  }

  int64_t sums_row() const { return transposed ? plan.rows_per_block : plan.m_per_block; }

  // The block's place in W, where tiles can write there directly; else null.
  Sum<T>* in_place(const Block& b) const {
    const Grid grid = weight_grid(p, weight.stride);
    if (transposed || plan.splits > 1 || plan.planes > 1 || weight.bytes != sizeof(Sum<T>) ||
        grid.axes > 1 || grid.stride[0] != 1 || (b.m1 - b.m0) % kernels<T>().lanes != 0)
      return nullptr;
    return reinterpret_cast<Sum<T>*>(
        weight.at(b.g * weight.stride.group + b.r0 * weight.stride.out_channel + b.m0));
  }

  // Split s of a block, into sums whose rows lie `row` apart.
  void task(const Block& b, int64_t s, Sum<T>* sums, int64_t row,
            const WeightWorker<T>& worker) const {
    const int64_t begin = plan.chunks * s / plan.splits, end = plan.chunks * (s + 1) / plan.splits;
    for (int64_t c = begin; c < end; ++c) {
      const int64_t first = c * plan.chunk, count = std::min(plan.chunk, plan.positions - first);
      if (transposed)
        pack_patches(p, input, b.g, 0, b.m0, b.m1, first, count, worker.patches, plan.chunk_row);
      else
        pack_inputs(b, first, count, worker);
      if (has_matrices<T>()) end_lines(b.m1 - b.m0, count, worker.patches, plan.chunk_row);
      for (Block piece = b; piece.r0 < b.r1; piece.r0 = piece.r1) {
        piece.r1 = std::min(piece.r0 + plan.packed_rows, b.r1);
        if (transposed) {
          if (has_matrices<T>())
            strip_outputs(piece, first, count, worker);
          else
            turn_outputs(piece, first, count, worker.panels);
          multiply_lines<T>(b.m1 - b.m0, piece.r1 - piece.r0, count, worker.patches, plan.chunk_row,
                            has_matrices<T>() ? worker.strips : worker.panels, plan.packed_rows,
                            sums + piece.r0 - b.r0, row, c > begin);
          continue;
        }
        pack_outputs(piece, first, count, worker.panels);
        for (int64_t q = 0; q < plan.products; ++q)
          multiply<T>(piece.r1 - piece.r0, b.m1 - b.m0, count,
                      worker.panels + q * plan.packed_rows * plan.chunk,
                      worker.turned + q * plan.chunk * plan.m_per_block, plan.m_per_block,
                      sums + q * plan.product_elements() + (piece.r0 - b.r0) * row, row, nullptr,
                      c > begin);
      }
    }
  }

  void store(const Block& b, Sum<T>* sums) const {
    if (plan.planes == 2)
      combine_products(sums, plan.product_elements(), b.r1 - b.r0, plan.m_per_block, b.m1 - b.m0);
    const Grid grid = weight_grid(p, weight.stride);
    const int64_t row = weight.stride.out_channel;
    for_each_run(grid, b.m0, b.m1 - b.m0, [&](const Run& run) {
      const int64_t offset = b.g * weight.stride.group + b.r0 * row + grid.offset(run);
      if (transposed) {
        const Lines lines{weight.at(offset), run.count, grid.stride[grid.axes - 1], b.r1 - b.r0,
                          row};
        kernels<T>().scatter(weight.store, sums + run.column * sums_row(), sums_row(), Finish{},
                             lines);
        return;
      }
      for (int q = 0; q < plan.planes; ++q) {
        const Lines lines{weight.at(offset + q), b.r1 - b.r0, row, run.count,
                          grid.stride[grid.axes - 1]};
        kernels<T>().scatter(weight.store, sums + q * plan.product_elements() + run.column,
                             plan.m_per_block, Finish{}, lines);
      }
    });
  }
};

}  // namespace

template <typename T>
void run_weight(Problem p, Operands operands, const Context& context) {
  straighten_taps(&p, &operands.weight);
  taps_to_channels(&p, &operands);
  simplify(&p, &operands);
  const WeightPlan<T> plan(p, context.threads);
  const ByWeight<T> by_weight(p, operands, plan);
  const int64_t blocks = p.groups * plan.row_blocks * plan.m_blocks;
  const int64_t split_elements = plan.splits > 1 ? blocks * plan.block_elements() : 0;
  Arena arena{static_cast<char*>(context.scratch)};
  Sum<T>* const partial = arena.take<Sum<T>>(plan.splits * split_elements);
  char* const private_memory = arena.base + arena.used;
  Arena counter{nullptr};
  WeightWorker<T>(plan, &counter);

  for_each_task<T>(context, blocks * plan.splits, plan.workers, [&](int64_t task, int w) {
    Arena own{private_memory + w * counter.used};
    const WeightWorker<T> worker(plan, &own);
    const int64_t number = task / plan.splits, s = task % plan.splits;
    const auto b = by_weight.block(number);
    if (Sum<T>* const place = by_weight.in_place(b))
      return by_weight.task(b, s, place, by_weight.weight.stride.out_channel, worker);
    Sum<T>* const sums = plan.splits == 1
                             ? worker.sums
                             : partial + s * split_elements + number * plan.block_elements();
    by_weight.task(b, s, sums, by_weight.sums_row(), worker);
    if (plan.splits == 1) by_weight.store(b, sums);
  });
  if (plan.splits == 1) return;
  for_each_task<T>(context, blocks, plan.workers, [&](int64_t b, int) {
    Sum<T>* const sums = partial + b * plan.block_elements();
    for (int64_t s = 1; s < plan.splits; ++s)
      for (int64_t i = 0; i < plan.block_elements(); ++i) sums[i] += sums[s * split_elements + i];
    by_weight.store(by_weight.block(b), sums);
  });
}

template <typename T>
int64_t weight_scratch(const Problem& p, int threads) {
  const WeightPlan<T> plan(p, threads);
  const int64_t blocks = p.groups * plan.row_blocks * plan.m_blocks;
  Arena arena{nullptr};
  arena.take<Sum<T>>(plan.splits > 1 ? plan.splits * blocks * plan.block_elements() : 0);
  for (int w = 0; w < plan.workers; ++w) WeightWorker<T>(plan, &arena);
  return arena.used;
}

template void run_weight<float>(Problem, Operands, const Context&);
template void run_weight<double>(Problem, Operands, const Context&);
template void run_weight<uint16_t>(Problem, Operands, const Context&);
template void run_weight<uint32_t>(Problem, Operands, const Context&);
template void run_weight<uint64_t>(Problem, Operands, const Context&);
template void run_weight<BFloat16>(Problem, Operands, const Context&);
template int64_t weight_scratch<float>(const Problem&, int);
template int64_t weight_scratch<double>(const Problem&, int);
template int64_t weight_scratch<uint16_t>(const Problem&, int);
template int64_t weight_scratch<uint32_t>(const Problem&, int);
template int64_t weight_scratch<uint64_t>(const Problem&, int);
template int64_t weight_scratch<BFloat16>(const Problem&, int);

}  // namespace torchconv::gemm_detail
