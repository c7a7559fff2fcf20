// gemm, by weight: W[co, m] = sum over (n,o) of Y[co, (n,o)] * X[m, (n,o)], m = (ci, t).
//
// Rows of Y and of X both run along the positions, so both come out of the same gather, unturned;
// tiles of dot products keep one vector of partial sums each.
#include "algo/gemm/parts.h"

namespace torchconv::gemm_detail {
namespace {

// Of chunk and block, 256 to 1024 and 96 to 384 were tried on ResNet-50's layers: longer chunks
// cost cache, shorter ones take the sum across lanes too often, narrower blocks pack Y too often.
constexpr int64_t kChunkPositions = 512;
constexpr int64_t kColumnsPerBlock = 256;
constexpr int64_t kSumsBytes = 1 << 20;     // of a block of W
constexpr int64_t kPartialBytes = 1 << 20;  // of sums kept apart for a split reduction
constexpr int64_t kTasksWanted = 16;

// How a weight gradient is cut: rows (output channels) and columns m of W into blocks, and, where
// these are few, the positions into splits, whose partial sums are added in order at the end. None
// of it depends on the threads.
template <typename T>
struct WeightPlan {
  int workers;
  int64_t planes, rows, columns;  // of one group's W, planes counted
  int64_t rows_per_block, row_blocks, m_per_block, m_blocks;
  int64_t positions, chunk, chunk_row, chunks, splits;

  WeightPlan(const Problem& p, int threads) {
    const int64_t lanes = kernels<T>().lanes;
    workers = workers_for(p, threads);
    planes = planes_of(p.dtype);
    const int64_t m = p.taps() * p.in_channels_per_group();
    rows = p.out_channels_per_group() * planes;
    columns = m * planes;
    row_blocks = ceil_div(rows, kSumsBytes / (kColumnsPerBlock * int64_t(sizeof(T))));
    rows_per_block = round_up(ceil_div(rows, row_blocks), 2);
    m_blocks = ceil_div(columns, kColumnsPerBlock);
    m_per_block = ceil_div(m, m_blocks);
    m_blocks = ceil_div(m, m_per_block);
    positions = p.batch * p.output_positions();
    const int64_t longest = kChunkPositions * int64_t(sizeof(float)) / int64_t(sizeof(T));
    chunk = round_up(ceil_div(positions, ceil_div(positions, longest)), lanes);
    chunk_row = chunk + lanes;  // no power of two, or all rows fall into one set of the cache
    chunks = ceil_div(positions, chunk);
    const int64_t blocks = p.groups * row_blocks * m_blocks;
    const int64_t most = kPartialBytes / (p.groups * rows * columns * int64_t(sizeof(T)));
    splits = std::min({ceil_div(kTasksWanted, blocks), chunks, std::max<int64_t>(most, 1)});
  }
  int64_t block_columns() const { return m_per_block * planes; }
  int64_t block_elements() const { return rows_per_block * block_columns(); }
};

template <typename T>
struct WeightWorker {
  T* patches;  // [block_columns][chunk_row] of X
  T* rows;     // [dot_rows][chunk_row] of Y
  T* sums;     // [rows_per_block][block_columns] of W
  WeightWorker(const WeightPlan<T>& plan, Arena* arena) {
    patches = arena->take<T>(plan.block_columns() * plan.chunk_row);
    rows = arena->take<T>(kMaxDotRows * plan.chunk_row);
    sums = arena->take<T>(plan.splits == 1 ? plan.block_elements() : 0);
  }
};

template <typename T>
struct ByWeight {
  const Problem& p;
  const WeightPlan<T>& plan;
  OutputAsInput y;
  Reals input, weight, output;

  ByWeight(const Problem& problem, const Operands& o, const WeightPlan<T>& weight_plan)
      : p(problem),
        plan(weight_plan),
        y(problem, o.output),
        input(o.input, p.dtype),
        weight(o.weight, p.dtype),
        output(y.operands.input, p.dtype) {}

  struct Block {
    int64_t g, r0, r1, m0, m1;  // rows (planes counted) and columns (not) of group g
  };
  Block block(int64_t b) const {
    const int64_t r = b / plan.m_blocks % plan.row_blocks * plan.rows_per_block;
    const int64_t m = b % plan.m_blocks * plan.m_per_block;
    return {b / plan.m_blocks / plan.row_blocks, r, std::min(plan.rows, r + plan.rows_per_block), m,
            std::min(plan.columns / plan.planes, m + plan.m_per_block)};
  }

  // The tail of each row up to a whole vector, which the tiles read, is zero.
  void clear_tail(T* rows, int64_t count, int64_t used, int64_t depth) const {
    for (int64_t r = 0; r < count; ++r)
      std::fill(rows + r * plan.chunk_row + used, rows + r * plan.chunk_row + depth, T(0));
  }

  void pack_outputs(const Block& b, int64_t r, int64_t rows, int64_t first, int64_t count,
                    T* to) const {
    for (int q = 0; q < plan.planes; ++q)
      pack_patches(y.problem, output, b.g, q, (r + b.r0) / plan.planes,
                   (r + b.r0 + rows) / plan.planes, first, count, to + q * plan.chunk_row,
                   plan.planes * plan.chunk_row);
  }

  // Adds the products over positions [first, first + count) to the block's sums.
  void add_chunk(const Block& b, int64_t first, int64_t count,
                 const WeightWorker<T>& worker) const {
    const Kernels<T>& kernel = kernels<T>();
    const int64_t depth = round_up(count, kernel.lanes), m = b.m1 - b.m0, columns = m * plan.planes;
    for (int q = 0; q < plan.planes; ++q)
      pack_patches(p, input, b.g, q, b.m0, b.m1, first, count,
                   worker.patches + q * m * plan.chunk_row, plan.chunk_row);
    clear_tail(worker.patches, columns, count, depth);
    const int64_t tile_rows = kernel.dot_rows / plan.planes * plan.planes;
    for (int64_t r = 0; r < b.r1 - b.r0; r += tile_rows) {
      const int64_t rows = std::min(tile_rows, b.r1 - b.r0 - r);
      pack_outputs(b, r, rows, first, count, worker.rows);
      clear_tail(worker.rows, rows, count, depth);
      for (int64_t c = 0; c < columns; c += kernel.dot_columns) {
        const int64_t width = std::min<int64_t>(kernel.dot_columns, columns - c);
        kernel.dot[rows - 1][width - 1](
            depth, worker.rows, plan.chunk_row, worker.patches + c * plan.chunk_row, plan.chunk_row,
            worker.sums + r * plan.block_columns() + c, plan.block_columns());
      }
    }
  }

  // Split s of a block, into worker.sums.
  void task(const Block& b, int64_t s, const WeightWorker<T>& worker) const {
    std::fill(worker.sums, worker.sums + plan.block_elements(), T(0));
    for (int64_t c = plan.chunks * s / plan.splits; c < plan.chunks * (s + 1) / plan.splits; ++c) {
      const int64_t first = c * plan.chunk;
      add_chunk(b, first, std::min(plan.chunk, plan.positions - first), worker);
    }
  }

  // (yr + i yi)(xr + i xi) from the four real products: the two rows of a channel end up holding
  // the real and the imaginary part in their first m columns.
  void combine_planes(const Block& b, T* sums) const {
    const int64_t m = b.m1 - b.m0, row = plan.block_columns();
    for (int64_t r = 0; r < b.r1 - b.r0; r += 2, sums += 2 * row)
      for (int64_t j = 0; j < m; ++j) {
        sums[j] -= sums[row + m + j];
        sums[row + j] += sums[m + j];
      }
  }

  void store(const Block& b, T* sums) const {
    if (plan.planes == 2) combine_planes(b, sums);
    const Grid grid = weight_grid(p, weight.stride);
    const int64_t row = weight.stride.out_channel;
    for_each_run(grid, b.m0, b.m1 - b.m0, [&](const Run& run) {
      const int64_t offset =
          b.g * weight.stride.group + b.r0 / plan.planes * row + grid.offset(run);
      for (int q = 0; q < plan.planes; ++q) {
        const Lines lines{weight.at(offset + q), (b.r1 - b.r0) / plan.planes, row, run.count,
                          grid.stride[grid.axes - 1]};
        kernels<T>().scatter(weight.store, sums + q * plan.block_columns() + run.column,
                             plan.planes * plan.block_columns(), false, lines);
      }
    });
  }
};

}  // namespace

template <typename T>
void run_weight(Problem p, Operands operands, const Context& context) {
  straighten_taps(&p, &operands.weight);
  simplify(&p, &operands);
  const WeightPlan<T> plan(p, context.threads);
  const ByWeight<T> by_weight(p, operands, plan);
  const int64_t blocks = p.groups * plan.row_blocks * plan.m_blocks;
  const int64_t split_elements = plan.splits > 1 ? blocks * plan.block_elements() : 0;
  Arena arena{static_cast<char*>(context.scratch)};
  T* const partial = arena.take<T>(plan.splits * split_elements);
  char* const private_memory = arena.base + arena.used;
  Arena counter{nullptr};
  WeightWorker<T>(plan, &counter);

  for_each_task<T>(context, blocks * plan.splits, plan.workers, [&](int64_t task, int w) {
    Arena own{private_memory + w * counter.used};
    WeightWorker<T> worker(plan, &own);
    const int64_t b = task / plan.splits, s = task % plan.splits;
    if (plan.splits > 1) worker.sums = partial + s * split_elements + b * plan.block_elements();
    by_weight.task(by_weight.block(b), s, worker);
    if (plan.splits == 1) by_weight.store(by_weight.block(b), worker.sums);
  });
  if (plan.splits == 1) return;
  for_each_task<T>(context, blocks, plan.workers, [&](int64_t b, int) {
    T* const sums = partial + b * plan.block_elements();
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
  arena.take<T>(plan.splits > 1 ? plan.splits * blocks * plan.block_elements() : 0);
  for (int w = 0; w < plan.workers; ++w) WeightWorker<T>(plan, &arena);
  return arena.used;
}

template void run_weight<float>(Problem, Operands, const Context&);
template void run_weight<double>(Problem, Operands, const Context&);
template int64_t weight_scratch<float>(const Problem&, int);
template int64_t weight_scratch<double>(const Problem&, int);

}  // namespace torchconv::gemm_detail
