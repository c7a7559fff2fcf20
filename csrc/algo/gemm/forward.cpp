// gemm, forward: Y[co, (n,o)] = sum over m of W[co, m] * X[m, (n,o)], m = (ci, t).
//
// A strip of X, as many positions as a tile has columns, is gathered into L1; panels of packed W
// stream past it. Where the output's layout allows, tiles write straight into it.
#include "algo/gemm/parts.h"
#include "core/relabel.h"
#include "micro/pack.h"

namespace torchconv::gemm_detail {
namespace {

constexpr int64_t kStripBytes = 36 << 10;  // of X: most of an L1 cache of 32 to 48 kB
constexpr int64_t kSharedBytes = 1 << 20;  // of packed W, for each thread

// How a forward problem is cut. A block is a range of rows of one group's W; a strip is a range of
// positions; a task is one block and one strip, and walks the depth in chunks.
template <typename T>
struct ForwardPlan {
  int workers;
  int64_t planes, rows, depth, chunk;  // rows of one group
  int64_t rows_per_block, blocks_per_group, blocks, blocks_per_pass;
  int64_t positions, columns, strips;
  bool shared;  // W is packed once for all strips; else by each task as it goes

  ForwardPlan(const Problem& p, int threads) {
    const Kernels<T>& kernel = kernels<T>();
    workers = workers_for(p, threads);
    planes = is_complex(p.dtype) ? 2 : 1;
    rows = p.out_channels_per_group() * planes;
    depth = p.taps() * p.in_channels_per_group() * planes;
    positions = p.batch * p.output_positions();

    const int64_t vectors = ceil_div(positions, kernel.lanes);
    strips = ceil_div(vectors, kernel.vectors);
    columns = ceil_div(vectors, std::max<int64_t>(strips, 1)) * kernel.lanes;
    strips = ceil_div(positions, columns);
    const int64_t longest = kStripBytes / int64_t(kernel.vectors * kernel.lanes * sizeof(T));
    chunk = ceil_div(depth, std::max<int64_t>(ceil_div(depth, longest), 1));

    const int64_t row_bytes = std::max<int64_t>(depth, 1) * sizeof(T);
    const int64_t budget = kSharedBytes * workers / row_bytes / kernel.rows * kernel.rows;
    shared = strips > 2 && budget > 0;
    const int64_t most = shared ? std::min(budget, kMaxRowsPerBlock) : kMaxRowsPerBlock;
    blocks_per_group = ceil_div(rows, most);
    if (strips * p.groups < 2 * workers && workers > 1)  // too few tasks: cut the rows as well
      blocks_per_group = std::max(blocks_per_group, ceil_div(4 * workers, strips * p.groups));
    rows_per_block = round_up(ceil_div(rows, blocks_per_group), kernel.rows);
    blocks_per_group = ceil_div(rows, rows_per_block);
    blocks = blocks_per_group * p.groups;
    blocks_per_pass = shared ? std::max<int64_t>(budget / rows_per_block, 1) : blocks;
    blocks_per_pass = std::min(blocks_per_pass, blocks);
  }

  int64_t block_elements() const { return rows_per_block * depth; }
};

template <typename T>
struct Worker {
  T* strip;  // [chunk][columns] of X
  T* sums;   // [rows_per_block][columns] of Y
  T* panel;  // [chunk][rows] of W, where it is not shared
  Worker(const ForwardPlan<T>& plan, Arena* arena) {
    strip = arena->take<T>(plan.chunk * plan.columns);
    sums = arena->take<T>(plan.rows_per_block * plan.columns);
    panel = arena->take<T>(plan.shared ? 0 : plan.chunk * kMaxRows);
  }
};

// Packs rows [r, r + count) of W, depth [k0, k1), as [k][row]. Row r is output channel r / planes;
// of a complex one, plane 0 makes the real and plane 1 the imaginary part of Y:
//
//     yr = wr xr - wi xi,    yi = wi xr + wr xi
template <typename T>
void pack_panel(const Problem& p, const Reals& weight, int64_t g, int64_t r, int64_t count, int64_t k0,
                int64_t k1, T* to) {
  const Grid grid = weight_grid(p, weight.stride);
  const int64_t row = weight.stride.out_channel;
  const int64_t channel = g * weight.stride.group + r / weight.planes * row;
  for_each_run(grid, k0, k1 - k0, [&](const Run& run) {  // the "image" of a run is its plane
    int64_t offset = channel;
    for (int a = 0; a < grid.axes; ++a) offset += run.o[a] * grid.stride[a];
    for (int q = 0; q < weight.planes; ++q) {
      const Lines lines{weight.at(offset + (q ^ run.n)), count / weight.planes, row, run.count,
                        grid.stride[grid.axes - 1]};
      const T sign = q == 0 && run.n == 1 ? T(-1) : T(1);
      kernels<T>().interleave(weight.store, lines, sign, to + run.column * count + q, weight.planes,
                              count);
    }
  });
}

// The forward problem's tensors and plan, as the tasks see them.
template <typename T>
struct Forward {
  const Problem& p;
  const Operands& operands;
  const ForwardPlan<T>& plan;
  Reals input, weight, output;
  Grid grid;     // of the output, joined
  bool in_rows;    // an image's positions lie side by side in memory, as T: tiles may write to it
  bool is_matrix;  // a 1x1 kernel over such an image: tiles may read it without a gather

  Forward(const Problem& problem, const Operands& o, const ForwardPlan<T>& forward_plan)
      : p(problem), operands(o), plan(forward_plan), input(o.input, p.dtype),
        weight(o.weight, p.dtype), output(o.output, p.dtype), grid(joined_grid(p, output.stride)) {
    in_rows = plan.planes == 1 && output.bytes == sizeof(T) && grid.axes == 1 && grid.stride[0] == 1;
    const Axis& x = p.axis[0];
    is_matrix = plan.planes == 1 && input.bytes == sizeof(T) && p.axes == 1 && x.kernel_size == 1 &&
                x.stride == 1 && x.padding == 0 && x.input_size == x.output_size &&
                input.stride.axis[0] == 1;
  }

  // Rows of block b: [first, first + count) of group g.
  struct Block {
    int64_t g, first, count;
  };
  Block block(int64_t b) const {
    const int64_t first = b % plan.blocks_per_group * plan.rows_per_block;
    return {b / plan.blocks_per_group, first, std::min(plan.rows_per_block, plan.rows - first)};
  }

  // Where the sums of rows [r, ...) begin.
  void start_of(int64_t g, int64_t r, int64_t count, T* start) const {
    std::fill(start, start + count, T(0));
    if (!operands.bias.data) return;
    const Reals bias(operands.bias, p.dtype);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t co = (r + i) / plan.planes, plane = (r + i) % plan.planes;
      const int64_t offset = g * bias.stride.group + co * bias.stride.out_channel + plane;
      kernels<T>().gather(bias.store, Lines{bias.at(offset), 1, 0, 1, 1}, start + i, 1);
    }
  }

  // The strip's place in the output, where tiles can write there directly; else null.
  T* in_place(const Block& b, int64_t first, int64_t count) const {
    if (!in_rows || count % kernels<T>().lanes != 0) return nullptr;
    const int64_t n = first / grid.per_image, o = first % grid.per_image;
    if (o + count > grid.per_image) return nullptr;
    return reinterpret_cast<T*>(output.at(n * output.stride.batch + b.g * output.stride.group +
                                          b.first * output.stride.out_channel + o));
  }

  void store(const Block& b, int64_t first, int64_t count, const T* sums) const {
    for_each_run(grid, first, count, [&](const Run& run) {
      int64_t offset = run.n * output.stride.batch + b.g * output.stride.group +
                       b.first / plan.planes * output.stride.out_channel;
      for (int a = 0; a < grid.axes; ++a) offset += run.o[a] * grid.stride[a];
      for (int q = 0; q < plan.planes; ++q) {
        const Lines lines{output.at(offset + q), b.count / plan.planes, output.stride.out_channel,
                          run.count, grid.stride[grid.axes - 1]};
        kernels<T>().scatter(output.store, sums + q * plan.columns + run.column,
                             plan.planes * plan.columns, operands.accumulate, lines);
      }
    });
  }

  // Rows k0, ... of a strip of X where they lie in the input as a tile wants them; else null.
  const T* strip_in_place(int64_t g, int64_t k0, int64_t first, int64_t count) const {
    if (!is_matrix || count % kernels<T>().lanes != 0) return nullptr;
    const int64_t n = first / grid.per_image, o = first % grid.per_image;
    if (o + count > grid.per_image) return nullptr;
    return reinterpret_cast<const T*>(input.at(n * input.stride.batch + g * input.stride.group +
                                               k0 * input.stride.in_channel + o));
  }

  // Rows k0 .. k1 of the strip of X.
  void pack_strip(int64_t g, int64_t k0, int64_t k1, int64_t first, int64_t count, T* to) const {
    const int64_t half = plan.depth / plan.planes;
    for (int64_t k = k0; k < k1;) {
      const int64_t end = std::min(k1, (k / half + 1) * half), m = k % half;
      pack_patches(p, input, g, int(k / half), m, m + end - k, first, count,
                   to + (k - k0) * plan.columns, plan.columns);
      k = end;
    }
  }

  // One block of rows times one strip of positions. `packed` is the block's W, null if not shared.
  void task(const Block& b, int64_t s, const T* packed, const Worker<T>& worker) const {
    const Kernels<T>& kernel = kernels<T>();
    const int64_t first = s * plan.columns, count = std::min(plan.columns, plan.positions - first);
    const int64_t vectors = ceil_div(count, kernel.lanes);
    T* direct = in_place(b, first, count);
    T* sums = direct ? direct : worker.sums;
    const int64_t sums_row = direct ? output.stride.out_channel : plan.columns;
    for (int64_t k0 = 0; k0 < std::max<int64_t>(plan.depth, 1); k0 += std::max<int64_t>(plan.chunk, 1)) {
      const int64_t k1 = std::min(plan.depth, k0 + plan.chunk);
      const T* strip = strip_in_place(b.g, k0, first, count);
      const int64_t strip_row = strip ? input.stride.in_channel : plan.columns;
      if (!strip) pack_strip(b.g, k0, k1, first, count, worker.strip);
      for (int64_t r = 0; r < b.count; r += kernel.rows) {
        const int64_t rows = std::min<int64_t>(kernel.rows, b.count - r);
        const T* panel = packed ? packed + r * plan.depth + k0 * rows : worker.panel;
        if (!packed) pack_panel(p, weight, b.g, b.first + r, rows, k0, k1, worker.panel);
        T start[kMaxRows];
        if (k0 == 0) start_of(b.g, b.first + r, rows, start);
        kernel.outer[rows - 1][vectors - 1](k1 - k0, panel, strip ? strip : worker.strip,
                                            strip_row, sums + r * sums_row, sums_row, start,
                                            k0 > 0 || (direct && operands.accumulate));
      }
    }
    if (!direct) store(b, first, count, worker.sums);
  }
};

bool writes_nothing(const Problem& p) { return p.batch * p.out_channels * p.output_positions() == 0; }

}  // namespace

template <typename T>
void run_forward(Problem p, Operands operands, const Context& context) {
  if (writes_nothing(p)) return;
  straighten_taps(&p, &operands.weight);
  simplify(&p, &operands);
  const ForwardPlan<T> plan(p, context.threads);
  const Forward<T> forward(p, operands, plan);
  Arena arena{static_cast<char*>(context.scratch)};
  T* const packed = arena.take<T>(plan.shared ? plan.blocks_per_pass * plan.block_elements() : 0);
  char* const private_memory = arena.base + arena.used;
  Arena counter{nullptr};
  Worker<T>(plan, &counter);

  const int64_t tile_rows = kernels<T>().rows, panels = plan.rows_per_block / tile_rows;
  for (int64_t pass = 0; pass < plan.blocks; pass += plan.blocks_per_pass) {
    const int64_t blocks = std::min(plan.blocks_per_pass, plan.blocks - pass);
    if (plan.shared)
      for_each_task<T>(context, blocks * panels, plan.workers, [&](int64_t task, int) {
        const auto b = forward.block(pass + task / panels);
        const int64_t r = task % panels * tile_rows, rows = std::min(tile_rows, b.count - r);
        T* to = packed + task / panels * plan.block_elements() + r * plan.depth;
        if (rows > 0) pack_panel(p, forward.weight, b.g, b.first + r, rows, 0, plan.depth, to);
      });
    for_each_task<T>(context, blocks * plan.strips, plan.workers, [&](int64_t task, int worker) {
      Arena own{private_memory + worker * counter.used};
      const int64_t b = task / plan.strips;
      forward.task(forward.block(pass + b), task % plan.strips,
                   plan.shared ? packed + b * plan.block_elements() : nullptr, Worker<T>(plan, &own));
    });
  }
}

template <typename T>
int64_t forward_scratch(const Problem& p, int threads) {
  if (writes_nothing(p)) return 0;
  const ForwardPlan<T> plan(p, threads);
  Arena arena{nullptr};
  arena.take<T>(plan.shared ? plan.blocks_per_pass * plan.block_elements() : 0);
  for (int w = 0; w < plan.workers; ++w) Worker<T>(plan, &arena);
  return arena.used;
}

template void run_forward<float>(Problem, Operands, const Context&);
template void run_forward<double>(Problem, Operands, const Context&);
template int64_t forward_scratch<float>(const Problem&, int);
template int64_t forward_scratch<double>(const Problem&, int);

}  // namespace torchconv::gemm_detail
