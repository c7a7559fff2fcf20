// direct: taps slide over padded lines. For groups of few channels, above all depthwise, where a
// matrix tile would stay empty and a gather of patches costs more than their products.
//
//     y[co, line, j] = sum over ci, t of
//                          w[co, ci, t] * x[ci, line of t, j * stride + t * dilation]
//
// A task packs the lines of the input that a band of output lines sees, padding included, a strided
// line as `stride` lines of every stride-th element. Then every tap is one offset into them, the
// same for all outputs, and the vectors of a line of y stay in registers while all taps go by.
//
// Forward and, by relabelling, by input. Complex numbers are pairs of reals: two planes of lines,
// and yr = wr xr - wi xi, yi = wi xr + wr xi.
#include "core/check.h"
#include "core/fold.h"
#include "core/relabel.h"
#include "micro/pack.h"
#include "micro/tasks.h"

namespace torchconv {
namespace {

constexpr int64_t kLinesBytes = 128 << 10;     // that a band aims to keep: a part of an L2 cache
constexpr int64_t kMostLinesBytes = 1 << 20;   // that a band of one output line may need
constexpr int64_t kMostTapsBytes = 256 << 10;  // of offsets and weights
constexpr int64_t kMostColumns = 1024;
constexpr int64_t kLinesAtATime = 8;

// How a forward problem is cut: tasks are batch x groups x outer positions x bands x column blocks.
// "Outer" are the axes before the last two, "line" the next to last (of size 1 if there is none).
struct DirectPlan {
  int workers;
  int64_t planes, channels, outer_taps, outer_positions, taps;
  Axis line, column;
  int64_t columns, column_blocks;
  int64_t slots, slot;  // lines that a strided line is packed as, and the length of each
  int64_t band, bands, lines;

  DirectPlan(const Problem& p, int threads, int64_t lanes, int64_t real_bytes) {
    workers = workers_for(p, threads);
    planes = planes_of(p.dtype);
    channels = p.in_channels_per_group();
    column = p.axis[p.axes - 1];
    if (p.axes > 1) line = p.axis[p.axes - 2];
    outer_taps = outer_positions = 1;
    for (int a = 0; a < p.axes - 2; ++a) {
      outer_taps *= p.axis[a].kernel_size;
      outer_positions *= p.axis[a].output_size;
    }
    taps = planes * channels * p.taps();
    column_blocks = ceil_div(column.output_size, kMostColumns);
    columns = round_up(ceil_div(column.output_size, column_blocks), lanes);
    column_blocks = ceil_div(column.output_size, columns);
    slots = std::min(column.stride, column.kernel_size);
    slot = columns + (is_dense() ? reach(column) / column.stride : 0);

    const double line_bytes =
        double(planes * channels * outer_taps) * double(slots) * double(slot) * double(real_bytes);
    const double room = kLinesBytes / std::max(line_bytes, 1.0) - double(reach(line));
    band = std::clamp<int64_t>(int64_t(room / double(line.stride)), 1, line.output_size);
    bands = ceil_div(line.output_size, band);
    lines = (band - 1) * line.stride + reach(line) + 1;
  }

  // Elements between the first and the last tap.
  static int64_t reach(const Axis& x) {
    return std::max<int64_t>(x.kernel_size - 1, 0) * x.dilation;
  }
  // Whether every residue of the stride is a slot; else every tap is one.
  bool is_dense() const { return slots == column.stride; }
  int64_t line_length() const { return slots * slot; }
  int64_t elements() const { return planes * channels * outer_taps * lines * line_length(); }
  double bytes(int64_t real_bytes) const {
    return double(planes * channels * outer_taps) * double(lines) * double(slots) * double(slot) *
           double(real_bytes);
  }
};

template <typename T>
DirectPlan plan_of(const Problem& p, int threads) {
  return DirectPlan(p, threads, kernels<T>().lanes, sizeof(T));
}

template <typename T>
struct Worker {
  T* lines;    // [plane][ci][outer tap][line][slot][column] of the input
  T* weights;  // [tap]
  T* sums;     // [line][column] of the output
  Worker(const DirectPlan& plan, Arena* arena) {
    lines = arena->take<T>(plan.elements());
    weights = arena->take<T>(plan.taps);
    sums = arena->take<T>(kLinesAtATime * plan.columns);
  }
};

// The index of `number` in row-major order over axes [0, count).
void index_of(const Problem& p, int count, int64_t Axis::* size, int64_t number, int64_t* index) {
  for (int a = count - 1; a >= 0; --a) {
    index[a] = number % (p.axis[a].*size);
    number /= p.axis[a].*size;
  }
}

// Where each tap, in the order (plane, ci, t), finds the first output's element among the lines.
void fill_offsets(const DirectPlan& plan, int64_t* offsets) {
  const int64_t images = plan.planes * plan.channels * plan.outer_taps;
  for (int64_t image = 0; image < images; ++image)
    for (int64_t h = 0; h < plan.line.kernel_size; ++h)
      for (int64_t t = 0; t < plan.column.kernel_size; ++t) {
        const int64_t along = t * plan.column.dilation, stride = plan.column.stride;
        const int64_t at =
            plan.is_dense() ? along % stride * plan.slot + along / stride : t * plan.slot;
        *offsets++ = (image * plan.lines + h * plan.line.dilation) * plan.line_length() + at;
      }
}

template <typename T>
struct Direct {
  const Problem& p;
  const Operands& operands;
  const DirectPlan& plan;
  const int64_t* offsets;
  Reals input, weight, output;

  Direct(const Problem& problem, const Operands& o, const DirectPlan& direct_plan,
         const int64_t* at)
      : p(problem),
        operands(o),
        plan(direct_plan),
        offsets(at),
        input(o.input, p.dtype),
        weight(o.weight, p.dtype),
        output(o.output, p.dtype) {}

  struct Block {
    int64_t n, g, outer[kMaxAxes], line, lines, column, columns;  // of the output
  };
  Block block(int64_t task) const {
    Block b;
    b.column = task % plan.column_blocks * plan.columns;
    b.columns = std::min(plan.columns, plan.column.output_size - b.column);
    task /= plan.column_blocks;
    b.line = task % plan.bands * plan.band;
    b.lines = std::min(plan.band, plan.line.output_size - b.line);
    task /= plan.bands;
    index_of(p, p.axes - 2, &Axis::output_size, task % plan.outer_positions, b.outer);
    task /= plan.outer_positions;
    b.g = task % p.groups;
    b.n = task / p.groups;
    return b;
  }

  // `rows` lines of the input, `apart` from each other, from `offset` on, slot by slot.
  void pack_lines(const Block& b, int64_t offset, int64_t rows, int64_t apart, T* to) const {
    Reals lines = input;
    lines.stride.in_channel = apart;
    const Axis& x = plan.column;
    const int64_t first = b.column * x.stride - x.padding;
    for (int64_t s = 0; s < plan.slots; ++s)
      pack_line(lines, p.padding_mode, offset, x.input_size, input.stride.axis[p.axes - 1],
                first + (plan.is_dense() ? s : s * x.dilation), x.stride, plan.slot, rows,
                to + s * plan.slot, plan.line_length());
  }

  // The lines that a band sees of one channel's image, from its padded line `first` on.
  void pack_image(const Block& b, int64_t offset, int64_t first, int64_t count, T* to) const {
    const int64_t apart = p.axes > 1 ? input.stride.axis[p.axes - 2] : 0;
    const auto line = [&](int64_t l) { return to + l * plan.line_length(); };
    for (int64_t l = 0; l < count;) {
      const int64_t i = fold(p.padding_mode, first + l, plan.line.input_size);
      if (i < 0) {
        std::fill_n(line(l++), plan.line_length(), T(0));
        continue;
      }
      // Lines inside the image go together; a folded one goes alone.
      const int64_t inside = i == first + l ? std::min(plan.line.input_size - i, count - l) : 1;
      pack_lines(b, offset + i * apart, inside, apart, line(l));
      l += inside;
    }
  }

  void pack_input(const Block& b, T* to) const {
    const int64_t first = b.line * plan.line.stride - plan.line.padding;
    const int64_t count = (b.lines - 1) * plan.line.stride + plan.reach(plan.line) + 1;
    const int64_t image = plan.lines * plan.line_length();
    for (int64_t plane = 0; plane < plan.planes; ++plane)
      for (int64_t ci = 0; ci < plan.channels; ++ci)
        for (int64_t t = 0; t < plan.outer_taps; ++t, to += image) {
          int64_t offset = plane + b.n * input.stride.batch + b.g * input.stride.group +
                           ci * input.stride.in_channel;
          if (outer_offset(b, t, &offset))
            pack_image(b, offset, first, count, to);
          else
            std::fill_n(to, image, T(0));
        }
  }

  // Adds where an outer tap meets the input; false where it meets nothing.
  bool outer_offset(const Block& b, int64_t number, int64_t* offset) const {
    int64_t tap[kMaxAxes];
    index_of(p, p.axes - 2, &Axis::kernel_size, number, tap);
    for (int a = 0; a < p.axes - 2; ++a) {
      const Axis& x = p.axis[a];
      const int64_t v = b.outer[a] * x.stride - x.padding + tap[a] * x.dilation;
      const int64_t i = fold(p.padding_mode, v, x.input_size);
      if (i < 0) return false;
      *offset += i * input.stride.axis[a];
    }
    return true;
  }

  // The weights of part q of output channel co, in the order (plane, ci, t).
  void pack_weights(const Block& b, int64_t co, int64_t q, T* to) const {
    const Grid grid = weight_grid(p, weight.stride);
    const int64_t channel = b.g * weight.stride.group + co * weight.stride.out_channel;
    for_each_run(grid, 0, plan.taps, [&](const Run& run) {  // the "image" of a run is its plane
      const int64_t offset = channel + (q ^ run.n) + grid.offset(run);
      const Lines lines{weight.at(offset), 1, 0, run.count, grid.stride[grid.axes - 1]};
      const T sign = q == 0 && run.n == 1 ? T(-1) : T(1);
      kernels<T>().interleave(weight.store, lines, sign, to + run.column, 0, 1);
    });
  }

  T start_of(const Block& b, int64_t co, int64_t q) const {
    T start = 0;
    if (!operands.bias.data) return start;
    const Reals bias(operands.bias, p.dtype);
    const int64_t offset = b.g * bias.stride.group + co * bias.stride.out_channel + q;
    kernels<T>().gather(bias.store, Lines{bias.at(offset), 1, 0, 1, 1}, &start, 1);
    return start;
  }

  // Slides the packed weights of part q of output channel co over the band.
  void make_lines(const Block& b, int64_t co, int64_t q, const Worker<T>& worker) const {
    const int64_t along = output.stride.axis[p.axes - 1];
    const int64_t down = p.axes > 1 ? output.stride.axis[p.axes - 2] : 0;
    int64_t offset = q + b.n * output.stride.batch + b.g * output.stride.group +
                     co * output.stride.out_channel + b.line * down + b.column * along;
    for (int a = 0; a < p.axes - 2; ++a) offset += b.outer[a] * output.stride.axis[a];

    const T start = start_of(b, co, q);
    // A huge stride has one line, and no product.
    const int64_t x_row = b.lines > 1 ? plan.line.stride * plan.line_length() : 0;
    for (int64_t l = 0; l < b.lines; l += kLinesAtATime) {
      const int64_t lines = std::min(kLinesAtATime, b.lines - l);
      kernels<T>().slide(plan.taps, worker.weights, offsets, worker.lines + l * x_row, x_row, start,
                         lines, b.columns, worker.sums, plan.columns);
      const Lines to{output.at(offset + l * down), lines, down, b.columns, along};
      kernels<T>().scatter(output.store, worker.sums, plan.columns, operands.accumulate, to);
    }
  }

  void task(const Block& b, const Worker<T>& worker) const {
    pack_input(b, worker.lines);
    for (int64_t co = 0; co < p.out_channels_per_group(); ++co)
      for (int64_t q = 0; q < plan.planes; ++q) {
        pack_weights(b, co, q, worker.weights);
        make_lines(b, co, q, worker);
      }
  }
};

template <typename T>
void run_forward(const Problem& p, const Operands& operands, const Context& context) {
  if (writes_nothing(p)) return;
  const DirectPlan plan = plan_of<T>(p, context.threads);
  Arena arena{static_cast<char*>(context.scratch)};
  int64_t* const offsets = arena.take<int64_t>(plan.taps);
  fill_offsets(plan, offsets);
  const Direct<T> direct(p, operands, plan, offsets);
  Arena counter{nullptr};
  Worker<T>(plan, &counter);
  const int64_t tasks = p.batch * p.groups * plan.outer_positions * plan.bands * plan.column_blocks;
  for_each_task<T>(context, tasks, plan.workers, [&](int64_t task, int worker) {
    Arena own{arena.base + arena.used + worker * counter.used};
    direct.task(direct.block(task), Worker<T>(plan, &own));
  });
}

template <typename T>
int64_t forward_scratch(const Problem& p, int threads) {
  if (writes_nothing(p)) return 0;
  const DirectPlan plan = plan_of<T>(p, threads);
  Arena arena{nullptr};
  arena.take<int64_t>(plan.taps);
  for (int w = 0; w < plan.workers; ++w) Worker<T>(plan, &arena);
  return arena.used;
}

std::string refuses(const Problem& p) {
  if (is_integer(p.dtype)) return std::string(name(p.dtype)) + " (direct needs a floating dtype)";
  if (p.result == Result::weight) return "by weight (direct computes forward and by input)";
  const bool wide = in_double(p.dtype);
  const int64_t real_bytes = wide ? sizeof(double) : sizeof(float);
  const double taps = double(planes_of(p.dtype)) * double(p.taps()) *
                      double(std::max(p.in_channels_per_group(), p.out_channels_per_group()));
  if (taps * 16 > kMostTapsBytes)
    return std::to_string(int64_t(taps)) + " taps a channel (direct keeps at most " +
           std::to_string(kMostTapsBytes / 16) + ")";
  const double bytes = largest(p, [&](const Problem& forward) {
    if (writes_nothing(forward)) return 0.0;
    return (wide ? plan_of<double>(forward, 1) : plan_of<float>(forward, 1)).bytes(real_bytes);
  });
  if (bytes > kMostLinesBytes)
    return "lines of " + std::to_string(int64_t(bytes)) + " bytes (direct keeps at most " +
           std::to_string(kMostLinesBytes) + ")";
  return "";
}

// One unaligned load a product, about half of the tile's rate; and the lines, packed once a group.
double cost(const Problem& p, int threads) {
  const double lanes = in_double(p.dtype) ? kernels<double>().lanes : kernels<float>().lanes;
  const double planes = planes_of(p.dtype);
  const double lines = double(p.batch) * double(p.in_channels) * planes *
                       double(std::max(p.input_positions(), p.output_positions()));
  const double seconds = p.multiply_adds() * planes * planes / (lanes * 2e9) + lines / 2e9;
  return 2e-7 + seconds / workers_for(p, threads);
}

int64_t scratch_bytes(const Problem& p, int threads) {
  return largest(p, [&](const Problem& forward) {
    return in_double(p.dtype) ? forward_scratch<double>(forward, threads)
                              : forward_scratch<float>(forward, threads);
  });
}

void run(const Problem& p, const Operands& operands, const Context& context) {
  for_each_forward(p, operands, [&](const Problem& forward, const Operands& views) {
    if (in_double(p.dtype))
      run_forward<double>(forward, views, context);
    else
      run_forward<float>(forward, views, context);
  });
}

}  // namespace

extern const Algorithm direct;
const Algorithm direct = {"direct", refuses, cost, scratch_bytes, run};

}  // namespace torchconv
