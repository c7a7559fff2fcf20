// gemm, by input: a product without a gather, whose rows are added up where the taps meet.
//
//     G[(ci,t), (n,o)] = sum over co of  W[co, ci, t] * Y[co, (n,o)]
//     X[ci, (n,i)]     = sum over all (t,o) that meet at i of  G[(ci,t), (n,o)]
//
// The forward problems of core/relabel.h gather each element of Y for every tap and only Ci rows
// share it; here each element of G is added once and Co products make it. That is the better way
// where input channels are few, and where a stride would cut the taps into many small problems.
//
// G is never stored whole: a task owns a block of X, some channels of some images or of a band of
// one, and adds each piece of G to it. With i + padding = stride * u + residue, X is kept as one
// slot a residue, so that a row of G is added to neighbouring elements:
//
//     u = o + floor(t * dilation / stride),    residue = t * dilation mod stride
#include "algo/gemm/input_plan.h"

namespace torchconv::gemm_detail {
namespace {

constexpr int64_t kDepthAtATime = 16;  // of W: lines that are read side by side
constexpr int64_t kShortLine = 16;     // makes a gather dear

template <typename T>
struct InputWorker {
  T* outputs;      // [product][chunk][columns] of Y
  T* strips;       // the same as strips
  T* panels;       // [product][packed_rows / tile][chunk][tile] of W; or lines
  Sum<T>* sums;    // [product][rows][columns] of G
  Sum<T>* result;  // [image][channel][plane][slot][u]... of X
  InputWorker(const InputPlan<T>& plan, Arena* arena) {
    outputs = arena->take<T>(plan.products * plan.chunk * plan.columns);
    strips = arena->take<T>(strips_elements<T>(plan.chunk, plan.columns));
    panels = arena->take<T>(plan.products * plan.packed_rows * panel_depth<T>(plan.chunk));
    sums = arena->take<Sum<T>>(plan.products * plan.rows * plan.columns);
    result = arena->take<Sum<T>>(plan.images * plan.channels * plan.planes * plan.image);
  }
};

template <typename T>
struct ByInput {
  const Problem& p;
  const Operands& operands;
  const InputPlan<T>& plan;
  OutputAsInput y;
  Reals input, weight, output;

  ByInput(const Problem& problem, const Operands& o, const InputPlan<T>& input_plan)
      : p(problem),
        operands(o),
        plan(input_plan),
        y(problem, o.output),
        input(o.input, p.dtype),
        weight(o.weight, p.dtype),
        output(y.operands.input, p.dtype) {}

  struct Block {
    int64_t g, c0, c1, n0, n1, u0, u1;  // channels, images and steps along the first axis of slots
    int64_t first, count;               // positions that reach them
  };
  Block block(int64_t task) const {
    Block b;
    b.u0 = task % plan.bands * plan.band;
    const SlottedAxis x(p.axis[0]);
    b.u1 = std::min(b.u0 + plan.band, x.length);
    task /= plan.bands;
    b.n0 = task % plan.image_blocks * plan.images;
    b.n1 = std::min(b.n0 + plan.images, p.batch);
    task /= plan.image_blocks;
    b.c0 = task % plan.channel_blocks * plan.channels;
    b.c1 = std::min(b.c0 + plan.channels, p.in_channels_per_group());
    b.g = task / plan.channel_blocks;
    const int64_t lines = x.axis.output_size, line = p.output_positions() / lines;
    const int64_t low = std::max<int64_t>(b.u0 - (x.length - lines), 0);
    const int64_t high = std::min(b.u1, lines);
    b.first = (b.n0 * lines + low) * line;
    b.count = ((b.n1 - b.n0 - 1) * lines + high - low) * line;
    return b;
  }

  // Rows [m0, m1) of G, m = (ci, t), over depth [k0, k1) of co, as panels of [k][row].
  void pack_weights(const Block& b, int64_t m0, int64_t m1, int64_t k0, int64_t k1, T* to) const {
    if (has_matrices<T>()) return pack_lines(b, m0, m1, k0, k1, to);
    const int64_t part = plan.packed_rows * plan.chunk;
    for (int q = 0; q < plan.planes; ++q) pack_plane(b, q, m0, m1, k0, k1, to + q * part);
    if (plan.planes == 2) add_planes(to, part, (m1 - m0) * (k1 - k0));
  }
  void pack_lines(const Block& b, int64_t m0, int64_t m1, int64_t k0, int64_t k1, T* to) const {
    const int64_t line = line_of<T>(k1 - k0);
    const Grid grid = weight_grid(p, weight.stride);
    const int64_t channel = b.g * weight.stride.group + k0 * weight.stride.out_channel;
    for_each_run(grid, m0, m1 - m0, [&](const Run& run) {
      const Lines lines{weight.at(channel + grid.offset(run)), run.count,
                        grid.stride[grid.axes - 1], k1 - k0, weight.stride.out_channel};
      kernels<T>().gather(weight.store, lines, to + run.column * line, line);
    });
    end_lines(m1 - m0, k1 - k0, to, line);
  }
  void pack_plane(const Block& b, int64_t plane, int64_t m0, int64_t m1, int64_t k0, int64_t k1,
                  T* to) const {
    const Grid grid = weight_grid(p, weight.stride);
    const int64_t tile = kernels<T>().rows, rows = m1 - m0, depth = k1 - k0;
    for (int64_t k = k0, end; k < k1; k = end) {
      end = std::min(k + kDepthAtATime, k1);
      const int64_t channel = plane + b.g * weight.stride.group + k * weight.stride.out_channel;
      for_each_run(grid, m0, rows, [&](const Run& run) {
        const int64_t step = grid.stride[grid.axes - 1], stop = run.column + run.count;
        for (int64_t m = run.column, next; m < stop; m = next) {
          const int64_t panel = m / tile * tile, width = std::min(tile, rows - panel);
          next = std::min(stop, panel + width);
          const int64_t offset = channel + grid.offset(run) + (m - run.column) * step;
          const Lines lines{weight.at(offset), next - m, step, end - k, weight.stride.out_channel};
          kernels<T>().interleave(weight.store, lines, Sum<T>(1),
                                  to + panel * depth + (k - k0) * width + m - panel, 1, width);
        }
      });
    }
  }

  // Depth [k0, k1) of Y at positions [first, first + count), as a product takes it.
  const T* pack_outputs(const Block& b, int64_t k0, int64_t k1, int64_t first, int64_t count,
                        const InputWorker<T>& worker) const {
    T* const to = worker.outputs;
    const int64_t part = plan.chunk * plan.columns;
    for (int q = 0; q < plan.planes; ++q)
      pack_patches(y.problem, output, b.g, q, k0, k1, first, count, to + q * part, plan.columns);
    if (plan.planes == 2) add_planes(to, part, (k1 - k0) * plan.columns);
    if (!has_matrices<T>()) return to;
    kernels<T>().strips(k1 - k0, count, to, plan.columns, worker.strips);
    return worker.strips;
  }

  // Adds a piece of G, rows [m0, m1) at positions [first, first + count), to the block of X.
  void add(const Block& b, int64_t m0, int64_t m1, int64_t first, int64_t count, const Sum<T>* sums,
           Sum<T>* result) const {
    const Grid grid = output_grid(p);
    const int64_t channel = plan.planes * plan.image;
    for (int64_t t = 0; t < plan.taps; ++t) {
      const int64_t from = ceil_div(std::max<int64_t>(m0 - t, 0), plan.taps);
      const int64_t until = ceil_div(std::max<int64_t>(m1 - t, 0), plan.taps);
      if (from >= until) continue;
      int64_t place[kMaxAxes], shift = 0;  // where output 0 lies along each axis; and in the band
      for (int64_t a = p.axes - 1, rest = t; a >= 0; --a) {
        const SlottedAxis x(p.axis[a]);
        const int64_t tap = rest % x.axis.kernel_size, slot = tap % x.slots;
        shift = x.shift(tap) - (a == 0 ? b.u0 : 0);
        place[a] = slot * (a == 0 ? plan.band : x.length) + shift;
        rest /= x.axis.kernel_size;
      }
      const Sum<T>* const rows = sums + (from * plan.taps + t - m0) * plan.columns;
      for_each_run(grid, first, count, [&](const Run& run) {
        // The part of the run inside the band.
        int64_t begin = 0, end = run.count;
        const int64_t u = run.o[0] + shift, band = b.u1 - b.u0;
        if (p.axes == 1) {
          begin = std::max<int64_t>(begin, -u);
          end = std::min(end, band - u);
        } else if (u < 0 || u >= band) {
          return;
        }
        if (begin >= end) return;
        int64_t offset = (run.n - b.n0) * plan.channels * channel + (from - b.c0) * channel + begin;
        for (int a = 0; a < p.axes; ++a) offset += (place[a] + run.o[a]) * plan.inner[a];
        for (int64_t q = 0; q < plan.planes; ++q) {
          const Lines to{result + offset + q * plan.image, until - from, channel, end - begin, 1};
          kernels<T>().scatter(kOwnStore<Sum<T>>,
                               rows + q * plan.rows * plan.columns + run.column + begin,
                               plan.taps * plan.columns, Finish{true}, to);
        }
      });
    }
  }

  // Stores the slots of the last axis, of all channels of the block; `from` is step u0 of slot 0.
  void store_last(const Block& b, const SlottedAxis& x, int64_t u0, int64_t u1, const Sum<T>* from,
                  int64_t length, int64_t to) const {
    const int64_t along = input.stride.axis[p.axes - 1], apart = plan.planes * plan.image;
    // The steps at which all slots are inside. Where these lie side by side they go together.
    Inside all{u0, u1};
    for (int64_t slot = 0; slot < x.slots; ++slot) {
      all.begin = std::max(all.begin, x.steps(slot).begin);
      all.end = std::min(all.end, x.steps(slot).end);
    }
    const bool together = along == 1 && x.axis.dilation == 1 && x.slots > 1 && all.begin < all.end;
    for (int64_t c = 0; together && c < b.c1 - b.c0; ++c) {
      const int64_t index = to + c * input.stride.in_channel + all.begin * x.axis.stride - x.low(0);
      const Lines lines{input.at(index), x.slots, 1, all.end - all.begin, x.axis.stride};
      kernels<T>().scatter(input.store, from + c * apart + all.begin - u0, length,
                           Finish{operands.accumulate}, lines);
    }
    const auto one_by_one = [&](int64_t slot, int64_t begin, int64_t end) {
      if (begin >= end) return;
      const int64_t index = to + (begin * x.axis.stride - x.low(slot)) * along;
      const Lines lines{input.at(index), b.c1 - b.c0, input.stride.in_channel, end - begin,
                        end - begin > 1 ? x.axis.stride * along : 1};
      kernels<T>().scatter(input.store, from + slot * length + begin - u0, apart,
                           Finish{operands.accumulate}, lines);
    };
    for (int64_t slot = 0; slot < x.slots; ++slot) {
      const Inside steps = x.steps(slot);
      const int64_t begin = std::max(u0, steps.begin), end = std::min(u1, steps.end);
      one_by_one(slot, begin, together ? all.begin : end);
      if (together) one_by_one(slot, all.end, end);
    }
  }

  // Stores the slots of axis a and of those inside it: `from` in the block, `to` in the input.
  template <int a = 0>
  void store(const Block& b, const Sum<T>* from, int64_t to) const {
    const SlottedAxis x(p.axis[a]);
    const int64_t u0 = a == 0 ? b.u0 : 0, u1 = a == 0 ? b.u1 : x.length;
    const int64_t length = a == 0 ? plan.band : x.length;
    if (a + 1 == p.axes) return store_last(b, x, u0, u1, from, length, to);
    for (int64_t slot = 0; slot < x.slots; ++slot) {
      const Inside steps = x.steps(slot);
      const int64_t begin = std::max(u0, steps.begin), end = std::min(u1, steps.end);
      if (begin >= end) continue;
      const Sum<T>* const at = from + (slot * length + begin - u0) * plan.inner[a];
      const int64_t index = to + (begin * x.axis.stride - x.low(slot)) * input.stride.axis[a];
      const int64_t step = end - begin > 1 ? x.axis.stride * input.stride.axis[a] : 1;
      if constexpr (a + 1 < kMaxAxes)
        for (int64_t u = 0; u < end - begin; ++u)
          store<a + 1>(b, at + u * plan.inner[a], index + u * step);
    }
  }

  void task(const Block& b, const InputWorker<T>& worker) const {
    const int64_t image = plan.channels * plan.planes * plan.image;
    std::fill(worker.result, worker.result + (b.n1 - b.n0) * image, Sum<T>(0));
    const int64_t m_end = b.c1 * plan.taps;
    for (int64_t m0 = b.c0 * plan.taps; m0 < m_end; m0 += plan.rows)
      for (int64_t j = 0; j < b.count; j += plan.columns) {
        const int64_t m1 = std::min(m_end, m0 + plan.rows), first = b.first + j;
        const int64_t count = std::min(plan.columns, b.count - j);
        for (int64_t k0 = 0; k0 < plan.depth; k0 += plan.chunk) {
          const int64_t k1 = std::min(plan.depth, k0 + plan.chunk);
          const T* const outputs = pack_outputs(b, k0, k1, first, count, worker);
          for (int64_t m = m0, end; m < m1; m = end) {
            end = std::min(m1, m + plan.packed_rows);
            pack_weights(b, m, end, k0, k1, worker.panels);
            for (int64_t q = 0; q < plan.products; ++q)
              multiply<T>(end - m, count, k1 - k0,
                          worker.panels + q * plan.packed_rows * plan.chunk,
                          outputs + q * plan.chunk * plan.columns, plan.columns,
                          worker.sums + (q * plan.rows + m - m0) * plan.columns, plan.columns,
                          nullptr, k0 > 0);
          }
        }
        if (plan.planes == 2)
          combine_products(worker.sums, plan.rows * plan.columns, m1 - m0, plan.columns, count);
        add(b, m0, m1, first, count, worker.sums, worker.result);
      }
    const int64_t group = b.g * input.stride.group + b.c0 * input.stride.in_channel;
    for (int64_t n = b.n0; n < b.n1; ++n)
      for (int64_t q = 0; q < plan.planes; ++q)
        store(b, worker.result + (n - b.n0) * image + q * plan.image,
              n * input.stride.batch + group + q);
  }
};

}  // namespace

// The shares of channels were measured at 3x3 and 5x5, for stride 1: at Ci = Co the two are even.
bool adds_up(const Problem& p) {
  if (p.padding_mode != PaddingMode::zeros) return false;
  const double elements = double(p.input_positions()) * double(p.batch) * double(p.in_channels) *
                          double(p.taps()) * double(p.output_positions()) * double(p.out_channels);
  if (elements == 0) return false;
  double bytes = element_bytes(p.dtype);
  bool strided = false;
  for (int a = 0; a < p.axes; ++a) {
    const SlottedAxis x(p.axis[a]);
    bytes *= double(a == 0 ? x.slots : x.slots * x.length);
    strided |= p.axis[a].stride > 1;
  }
  if (bytes > kResultBytes || (p.taps() == 1 && !strided)) return false;
  const int64_t from = p.out_channels_per_group(), to = p.in_channels_per_group();
  const bool short_lines = p.axis[p.axes - 1].output_size <= kShortLine;
  return strided || 4 * to <= from || (short_lines && to <= from);
}

bool leaves_gaps(const Problem& p) {
  for (int a = 0; a < p.axes; ++a)
    if (!SlottedAxis(p.axis[a]).covers()) return true;
  return false;
}

template <typename T>
void run_input(const Problem& p, const Operands& operands, const Context& context) {
  const InputPlan<T> plan(p, context.threads);
  const ByInput<T> by_input(p, operands, plan);
  Arena counter{nullptr};
  InputWorker<T>(plan, &counter);
  for_each_task<T>(context, plan.tasks(p), plan.workers, [&](int64_t task, int worker) {
    Arena own{static_cast<char*>(context.scratch) + worker * counter.used};
    by_input.task(by_input.block(task), InputWorker<T>(plan, &own));
  });
}

template <typename T>
int64_t input_scratch(const Problem& p, int threads) {
  const InputPlan<T> plan(p, threads);
  Arena arena{nullptr};
  for (int w = 0; w < plan.workers; ++w) InputWorker<T>(plan, &arena);
  return arena.used;
}

template void run_input<float>(const Problem&, const Operands&, const Context&);
template void run_input<double>(const Problem&, const Operands&, const Context&);
template void run_input<uint16_t>(const Problem&, const Operands&, const Context&);
template void run_input<uint32_t>(const Problem&, const Operands&, const Context&);
template void run_input<uint64_t>(const Problem&, const Operands&, const Context&);
template void run_input<BFloat16>(const Problem&, const Operands&, const Context&);
template int64_t input_scratch<float>(const Problem&, int);
template int64_t input_scratch<double>(const Problem&, int);
template int64_t input_scratch<uint16_t>(const Problem&, int);
template int64_t input_scratch<uint32_t>(const Problem&, int);
template int64_t input_scratch<uint64_t>(const Problem&, int);
template int64_t input_scratch<BFloat16>(const Problem&, int);

}  // namespace torchconv::gemm_detail
