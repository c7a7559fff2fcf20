// gemm, forward: Y[co, (n,o)] = sum over m of W[co, m] * X[m, (n,o)], m = (ci, t).
//
// A task computes a block of Y, some channels by some positions, and walks the depth m in chunks.
// Of each chunk it packs its piece of X, and some rows of W at a time, both small enough to stay in
// L2; then a strip of X, as wide as a tile, stays in L1 while the panels of W stream past it:
//
//     for each chunk of the depth:  pack X
//       for some rows of W:         pack W (panels)
//         for each strip of X:                           L1
//           for each panel of W:                         L2
//             tile: C += panel * strip                   registers
//
// Where the output's layout allows, C is the output itself. Of complex numbers X, W and C have three
// parts each (parts.h).
#include "algo/gemm/parts.h"

namespace torchconv::gemm_detail {
namespace {

constexpr int64_t kSumsBytes = 768 << 10;  // of Y
constexpr int64_t kLeastShallow = 16;      // vectors of a row of X, where all rows are kept in L1
// Rows of X in place lie in_channel apart. Where that is a multiple of so many bytes they share a few
// sets of the caches (64 sets of 64 bytes), and a strip of them does not stay.
constexpr int64_t kAliasedBytes = 1 << 10;

// How a forward problem is cut.
template <typename T>
struct ForwardPlan {
  int workers;
  int64_t planes, products;
  int64_t rows, depth, chunk;                       // rows of one group
  int64_t rows_per_block, row_blocks, packed_rows;  // of a block, blocks, and packed at a time
  int64_t positions, columns, column_blocks;        // columns of a block

  ForwardPlan(const Problem& p, int threads) {
    const Kernels<T>& kernel = kernels<T>();
    workers = workers_for(p, threads);
    planes = planes_of(p.dtype);
    products = products_of(planes);
    rows = p.out_channels_per_group();
    depth = p.taps() * p.in_channels_per_group();
    positions = p.batch * p.output_positions();
    chunk = depth_chunk<T>(depth, planes);
    const int64_t chunk_bytes = products * chunk * int64_t(sizeof(T));
    int64_t most_columns = std::min(planes * kBlockBytes / chunk_bytes, kMostColumns);
    // Of a shallow block all stays in L1.
    const int64_t in_strip = kStripBytes / chunk_bytes;
    if (in_strip >= kLeastShallow * kernel.lanes) most_columns = std::min(most_columns, in_strip);
    column_blocks = ceil_div(positions, round_down(most_columns, kernel.lanes));
    cut_columns(kernel.lanes);
    const int64_t most_rows = kSumsBytes / (products * columns * int64_t(sizeof(Sum<T>)));
    row_blocks = ceil_div(rows, round_down(most_rows, kernel.rows));
    // Too few tasks: halve what costs less to pack twice.
    while (p.groups * row_blocks * column_blocks < least_tasks(workers)) {
      if (rows / row_blocks < kernel.rows && positions / column_blocks < kernel.lanes) break;
      if (positions * row_blocks <= rows * column_blocks && rows / row_blocks >= kernel.rows)
        row_blocks *= 2;
      else
        column_blocks *= 2;
    }
    even_blocks(rows, positions, p.groups, workers, &row_blocks, &column_blocks);
    cut_columns(kernel.lanes);
    rows_per_block = round_up(ceil_div(rows, row_blocks), kernel.rows);
    row_blocks = ceil_div(rows, rows_per_block);
    const int64_t pieces = ceil_div(rows_per_block * chunk_bytes, kBlockBytes);
    packed_rows = round_up(ceil_div(rows_per_block, pieces), kernel.rows);
  }

  void cut_columns(int64_t lanes) {
    columns = round_up(ceil_div(positions, column_blocks), lanes);
    column_blocks = ceil_div(positions, columns);
  }
};

template <typename T>
struct Worker {
  T* patches;     // [product][chunk][columns] of X
  T* strips;      // the same as strips
  T* panels;      // [product][packed_rows / rows][chunk][rows] of W; or lines
  Sum<T>* sums;   // [product][rows_per_block][columns] of Y
  Sum<T>* start;  // [plane][rows_per_block]: where the sums begin
  Worker(const ForwardPlan<T>& plan, Arena* arena) {
    patches = arena->take<T>(plan.products * plan.chunk * plan.columns);
    strips = arena->take<T>(strips_elements<T>(plan.chunk, plan.columns));
    panels = arena->take<T>(plan.products * plan.packed_rows * panel_depth<T>(plan.chunk));
    sums = arena->take<Sum<T>>(plan.products * plan.rows_per_block * plan.columns);
    start = arena->take<Sum<T>>(plan.planes * plan.rows_per_block);
  }
};

// Packs rows [r0, r0 + rows) of a plane of W, depth [k0, k1), as panels of [k][row].
//
// Where rows lie closer in memory than channels of the depth do (by input), all panels take their
// piece of a few steps of the depth before the next is read; else panel after panel.
template <typename T>
void pack_panels(const Problem& p, const Reals& weight, int64_t g, int64_t plane, int64_t r0,
                 int64_t rows, int64_t k0, int64_t k1, T* to) {
  const int64_t tile = kernels<T>().rows, row = weight.stride.out_channel;
  const Grid grid = weight_grid(p, weight.stride);
  const int64_t channel = plane + g * weight.stride.group + r0 * row;
  const bool across = row < weight.stride.in_channel;
  const int64_t together = across ? rows : tile;
  const int64_t most = across && grid.axes == 1 ? kDepthAtATime : k1 - k0;
  for (int64_t begin = 0; begin < rows; begin += together)
    for (int64_t k = k0; k < k1; k += most)
      for_each_run(grid, k, std::min(most, k1 - k), [&](const Run& run) {
        const int64_t offset = channel + grid.offset(run);
        for (int64_t r = begin; r < begin + together && r < rows; r += tile) {
          const int64_t count = std::min(tile, rows - r);
          T* const panel = to + r * (k1 - k0) + (k - k0 + run.column) * count;
          const Lines lines{weight.at(offset + r * row), count, row, run.count,
                            grid.stride[grid.axes - 1]};
          kernels<T>().interleave(weight.store, lines, Sum<T>(1), panel, 1, count);
        }
      });
}

// The same as lines.
template <typename T>
void pack_lines(const Problem& p, const Reals& weight, int64_t g, int64_t r0, int64_t rows,
                int64_t k0, int64_t k1, T* to) {
  const int64_t row = weight.stride.out_channel, line = line_of<T>(k1 - k0);
  const Grid grid = weight_grid(p, weight.stride);
  for_each_run(grid, k0, k1 - k0, [&](const Run& run) {
    const Lines lines{weight.at(g * weight.stride.group + r0 * row + grid.offset(run)), rows, row,
                      run.count, grid.stride[grid.axes - 1]};
    kernels<T>().gather(weight.store, lines, to + run.column, line);
  });
  end_lines(rows, k1 - k0, to, line);
}

// The forward problem's tensors and plan, as the tasks see them.
template <typename T>
struct Forward {
  const Problem& p;
  const Operands& operands;
  const ForwardPlan<T>& plan;
  Reals input, weight, output;
  Grid grid;       // of the output, joined
  bool in_rows;    // an image's positions lie side by side in memory, as they are summed: tiles may
                   // write there
  bool is_matrix;  // a 1x1 kernel over such an image: tiles may read it without a gather

  Forward(const Problem& problem, const Operands& o, const ForwardPlan<T>& forward_plan)
      : p(problem),
        operands(o),
        plan(forward_plan),
        input(o.input, p.dtype),
        weight(o.weight, p.dtype),
        output(o.output, p.dtype),
        grid(joined_grid(p, output.stride)) {
    in_rows = plan.planes == 1 && output.bytes == sizeof(Sum<T>) && grid.axes == 1 &&
              grid.stride[0] == 1 && p.activation == Activation::none;
    is_matrix = plan.planes == 1 && !has_matrices<T>() && input.bytes == sizeof(T) &&
                is_pointwise(p) && input.stride.axis[0] == 1 &&
                input.stride.in_channel * input.bytes % kAliasedBytes != 0;
  }

  // Rows [r0, r0 + rows) of group g, at positions [first, first + count).
  struct Block {
    int64_t g, r0, rows, first, count;
  };
  Block block(int64_t task) const {
    const int64_t first = task % plan.column_blocks * plan.columns;
    const int64_t r0 = task / plan.column_blocks % plan.row_blocks * plan.rows_per_block;
    return {task / plan.column_blocks / plan.row_blocks, r0,
            std::min(plan.rows_per_block, plan.rows - r0), first,
            std::min(plan.columns, plan.positions - first)};
  }

  // Where the sums of a block's rows begin: at the bias.
  void pack_start(const Block& b, Sum<T>* start) const {
    std::fill(start, start + plan.planes * plan.rows_per_block, Sum<T>(0));
    if (!operands.bias.data) return;
    const Reals bias(operands.bias, p.dtype);
    const int64_t row = bias.stride.out_channel;
    const int64_t offset = b.g * bias.stride.group + b.r0 * row;
    for (int q = 0; q < plan.planes; ++q) {
      const Lines lines{bias.at(offset + q), 1, 0, b.rows, row};
      kernels<Sum<T>>().gather(bias.store, lines, start + q * plan.rows_per_block, 0);
    }
  }

  // Where a block's positions lie side by side in one image, their number there; else -1.
  int64_t position_in_image(const Block& b) const {
    const int64_t o = b.first % grid.per_image;
    return b.count % kernels<T>().lanes == 0 && o + b.count <= grid.per_image ? o : -1;
  }

  // The block's place in the output, where tiles can write there directly; else null.
  Sum<T>* output_in_place(const Block& b) const {
    const int64_t o = position_in_image(b);
    if (!in_rows || o < 0) return nullptr;
    return reinterpret_cast<Sum<T>*>(output.at(b.first / grid.per_image * output.stride.batch +
                                               b.g * output.stride.group +
                                               b.r0 * output.stride.out_channel + o));
  }

  // Rows k0, ... of the block of X where they lie in the input as a tile wants them; else null.
  const T* input_in_place(const Block& b, int64_t k0) const {
    const int64_t o = position_in_image(b);
    if (!is_matrix || o < 0) return nullptr;
    return reinterpret_cast<const T*>(input.at(b.first / grid.per_image * input.stride.batch +
                                               b.g * input.stride.group +
                                               k0 * input.stride.in_channel + o));
  }

  // Rows [k0, k1) of the block of X, as a product takes them.
  const T* pack_input(const Block& b, int64_t k0, int64_t k1, const Worker<T>& worker) const {
    if (k0 == k1) return worker.patches;  // there may be no taps
    const int64_t part = plan.chunk * plan.columns;
    T* const to = worker.patches;
    for (int q = 0; q < plan.planes; ++q)
      pack_patches(p, input, b.g, q, k0, k1, b.first, b.count, to + q * part, plan.columns);
    if (plan.planes == 2) add_planes(to, part, (k1 - k0) * plan.columns);
    if (!has_matrices<T>()) return to;
    kernels<T>().strips(k1 - k0, b.count, to, plan.columns, worker.strips);
    return worker.strips;
  }

  // Rows [r0, r0 + rows) of the block of W, depth [k0, k1).
  void pack_weight(const Block& b, int64_t r0, int64_t rows, int64_t k0, int64_t k1, T* to) const {
    if (has_matrices<T>()) return pack_lines(p, weight, b.g, b.r0 + r0, rows, k0, k1, to);
    const int64_t part = plan.packed_rows * plan.chunk;
    for (int q = 0; q < plan.planes; ++q)
      pack_panels(p, weight, b.g, q, b.r0 + r0, rows, k0, k1, to + q * part);
    if (plan.planes == 2) add_planes(to, part, rows * (k1 - k0));
  }

  // Of complex numbers the sums begin at zero: a bias would be rounded with all three.
  void combine(const Block& b, const Sum<T>* start, Sum<T>* sums) const {
    const int64_t part = plan.rows_per_block * plan.columns;
    combine_products(sums, part, b.rows, plan.columns, b.count);
    for (int q = 0; operands.bias.data && q < plan.planes; ++q)
      for (int64_t r = 0; r < b.rows; ++r)
        for (int64_t j = 0; j < b.count; ++j)
          sums[q * part + r * plan.columns + j] += start[q * plan.rows_per_block + r];
  }

  void store(const Block& b, const Sum<T>* sums) const {
    for_each_run(grid, b.first, b.count, [&](const Run& run) {
      const int64_t offset = run.n * output.stride.batch + b.g * output.stride.group +
                             b.r0 * output.stride.out_channel + grid.offset(run);
      for (int q = 0; q < plan.planes; ++q) {
        const Lines lines{output.at(offset + q), b.rows, output.stride.out_channel, run.count,
                          grid.stride[grid.axes - 1]};
        kernels<T>().scatter(output.store,
                             sums + q * plan.rows_per_block * plan.columns + run.column,
                             plan.columns, Finish{operands.accumulate, p.activation}, lines);
      }
    });
  }

  void task(const Block& b, const Worker<T>& worker) const {
    Sum<T>* const direct = output_in_place(b);
    Sum<T>* const sums = direct ? direct : worker.sums;
    const int64_t sums_row = direct ? output.stride.out_channel : plan.columns;
    pack_start(b, worker.start);
    int64_t k0 = 0;
    do {  // once, too, where there is no depth
      const int64_t k1 = std::min(plan.depth, k0 + plan.chunk);
      const T* const in_place = input_in_place(b, k0);
      const T* const x = in_place ? in_place : pack_input(b, k0, k1, worker);
      for (int64_t r = 0; r < b.rows; r += plan.packed_rows) {
        const int64_t rows = std::min(plan.packed_rows, b.rows - r);
        pack_weight(b, r, rows, k0, k1, worker.panels);
        for (int64_t q = 0; q < plan.products; ++q)
          multiply<T>(rows, b.count, k1 - k0, worker.panels + q * plan.packed_rows * plan.chunk,
                      x + q * plan.chunk * plan.columns,
                      in_place ? input.stride.in_channel : plan.columns,
                      sums + q * plan.rows_per_block * plan.columns + r * sums_row, sums_row,
                      plan.planes == 1 ? worker.start + r : nullptr,
                      k0 > 0 || (direct && operands.accumulate));
      }
      k0 = k1;
    } while (k0 < plan.depth);
    if (plan.planes == 2) combine(b, worker.start, worker.sums);
    if (!direct) store(b, worker.sums);
  }
};

}  // namespace

template <typename T>
void run_forward(Problem p, Operands operands, const Context& context) {
  if (writes_nothing(p)) return;
  straighten_taps(&p, &operands.weight);
  taps_to_channels(&p, &operands);
  simplify(&p, &operands);
  if (run_few<T>(p, operands, context)) return;
  const ForwardPlan<T> plan(p, context.threads);
  const Forward<T> forward(p, operands, plan);
  Arena counter{nullptr};
  Worker<T>(plan, &counter);
  for_each_task<T>(context, p.groups * plan.row_blocks * plan.column_blocks, plan.workers,
                   [&](int64_t task, int worker) {
                     Arena own{static_cast<char*>(context.scratch) + worker * counter.used};
                     forward.task(forward.block(task), Worker<T>(plan, &own));
                   });
}

template <typename T>
int64_t forward_scratch(const Problem& p, int threads) {
  if (writes_nothing(p)) return 0;
  const ForwardPlan<T> plan(p, threads);
  Arena arena{nullptr};
  for (int w = 0; w < plan.workers; ++w) Worker<T>(plan, &arena);
  return std::max(arena.used, few_scratch<T>(p, threads));
}

template void run_forward<float>(Problem, Operands, const Context&);
template void run_forward<double>(Problem, Operands, const Context&);
template void run_forward<uint16_t>(Problem, Operands, const Context&);
template void run_forward<uint32_t>(Problem, Operands, const Context&);
template void run_forward<uint64_t>(Problem, Operands, const Context&);
template void run_forward<BFloat16>(Problem, Operands, const Context&);
template int64_t forward_scratch<float>(const Problem&, int);
template int64_t forward_scratch<double>(const Problem&, int);
template int64_t forward_scratch<uint16_t>(const Problem&, int);
template int64_t forward_scratch<uint32_t>(const Problem&, int);
template int64_t forward_scratch<uint64_t>(const Problem&, int);
template int64_t forward_scratch<BFloat16>(const Problem&, int);

}  // namespace torchconv::gemm_detail
