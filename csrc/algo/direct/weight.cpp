// direct, by weight: every tap of a block keeps one vector of sums while the lines of the output
// meet those of the input.
//
// The sum over batch and places is cut into splits, a number that the problem alone sets; each adds
// its places in order, one vector of sums a tap, and the splits' totals are added in order.
#include "algo/direct/parts.h"

namespace torchconv::direct_detail {
namespace {

constexpr int64_t kPartialBytes = 256 << 10;

struct WeightPlan : LinesPlan {
  int64_t rows, taps;     // of one group: output channels and taps of one, planes counted
  int64_t units, splits;  // places x batch, and the parts that their sum is cut into
  int64_t groups_per_task, group_blocks;
  int64_t sums;  // of one row, filled up to whole vectors

  WeightPlan(const Problem& p, const LinesPlan& plan, int64_t real_bytes) : LinesPlan(plan) {
    rows = p.out_channels_per_group() * planes;
    taps = planes * channels * p.taps();
    sums = round_up(taps, lanes);
    units = places() * p.batch;
    const int64_t most = kPartialBytes / (p.groups * rows * sums * real_bytes);
    splits = std::clamp<int64_t>(std::min(ceil_div(kTasksWanted, p.groups), most), 1,
                                 std::max<int64_t>(units, 1));
    const double products = p.multiply_adds() / double(p.groups * splits);
    groups_per_task =
        std::clamp<int64_t>(int64_t(kTaskProducts / std::max(products, 1.0)), 1, p.groups);
    group_blocks = ceil_div(p.groups, groups_per_task);
  }
  int64_t group_totals() const { return rows * sums; }
};

template <typename T>
struct Worker {
  T* lines;
  T* outputs;  // [line][column]
  T* sums;     // [row][tap][lane]
  T* totals;   // [row][tap]
  Worker(const WeightPlan& plan, Arena* arena) {
    lines = arena->take<T>(plan.lines_elements());
    outputs = arena->take<T>(plan.band * plan.columns);
    sums = arena->take<T>(plan.group_totals() * plan.lanes);
    totals = arena->take<T>(plan.group_totals());
  }
};

template <typename T>
struct ByWeight {
  const Problem& p;
  const WeightPlan& plan;
  const int64_t* along;
  Reals weight, output;
  PaddedLines<T> padded;

  ByWeight(const Problem& problem, const Operands& o, const WeightPlan& weight_plan,
           const int64_t* columns)
      : p(problem),
        plan(weight_plan),
        along(columns),
        weight(o.weight, p.dtype),
        output(o.output, p.dtype),
        padded{p, plan, Reals(o.input, p.dtype)} {}

  struct OutputLines {
    const T* data;
    int64_t row;
  };
  // The lines of a row (output channel and plane) at a place, where they are or packed.
  OutputLines lines_of(const Place& place, int64_t n, int64_t g, int64_t row, T* packed) const {
    const int64_t step = output.stride.axis[p.axes - 1];
    const int64_t down = p.axes > 1 ? output.stride.axis[p.axes - 2] : 0;
    const int64_t offset = offset_of(p, output, place) + n * output.stride.batch +
                           g * output.stride.group + row / plan.planes * output.stride.out_channel +
                           row % plan.planes;
    if (is_plain<T>(output, step)) return {reinterpret_cast<const T*>(output.at(offset)), down};
    const Lines lines{output.at(offset), place.lines, down, place.columns, step};
    kernels<T>().gather(output.store, lines, packed, plan.columns);
    return {packed, plan.columns};
  }

  // The taps of one image, those that meet lines x_step apart together.
  void meet_image(const Place& place, const OutputLines& y, const T* x, T* sums) const {
    const Kernels<T>& kernel = kernels<T>();
    const int64_t columns = plan.column.kernel_size, x_row = plan.x_step * plan.line_length();
    for (int64_t t = 0; t < columns;) {
      const int64_t width = ceil_div(columns - t, ceil_div(columns - t, kernel.tap_columns));
      for (int64_t r = 0; r < std::min(plan.line_step, place.lines); ++r)
        for (int64_t first = 0; first < plan.tap_classes(); ++first) {
          const int64_t all = ceil_div(plan.line.kernel_size - first, plan.tap_step);
          for (int64_t done = 0, rows; done < all; done += rows) {
            rows = ceil_div(all - done, ceil_div(all - done, kernel.tap_rows[width - 1]));
            const int64_t h = first + done * plan.tap_step;
            const int64_t line = (r > 0 ? r * plan.line.stride : 0) + h * plan.line.dilation;
            kernel.meet[rows - 1][width - 1](
                ceil_div(place.lines - r, plan.line_step), place.columns, y.data + r * y.row,
                plan.line_step < place.lines ? plan.line_step * y.row : 0,
                x + line * plan.line_length(), x_row, along + t,
                sums + (h * columns + t) * plan.lanes, plan.weight_row);
          }
        }
      t += width;
    }
  }

  // Split s of group g, into worker.totals. `cleared` is the place the lines were cleared for.
  void add_up(int64_t g, int64_t s, int64_t* cleared, const Worker<T>& worker) const {
    std::fill_n(worker.sums, plan.group_totals() * plan.lanes, T(0));
    const int64_t image_taps = plan.line.kernel_size * plan.column.kernel_size;
    for (int64_t u = plan.units * s / plan.splits; u < plan.units * (s + 1) / plan.splits; ++u) {
      const Place place = plan.place(p, u / p.batch);
      if (*cleared != u / p.batch) padded.clear(worker.lines);
      *cleared = u / p.batch;
      padded.pack(place, u % p.batch, g, worker.lines);
      for (int64_t row = 0; row < plan.rows; ++row) {
        const OutputLines y = lines_of(place, u % p.batch, g, row, worker.outputs);
        for (int64_t image = 0; image < plan.images; ++image) {
          int64_t offset = 0;
          if (padded.meets(place, image % plan.outer_taps, &offset))
            meet_image(place, y, worker.lines + image * plan.image_elements(),
                       worker.sums + (row * plan.sums + image * image_taps) * plan.lanes);
        }
      }
    }
    kernels<T>().add_lanes(plan.group_totals(), worker.sums, worker.totals);
  }

  // (yr + i yi)(xr + i xi) from the four real products: the two rows of a channel end up holding
  // the real and the imaginary part in the first half of their taps.
  void combine_planes(T* totals) const {
    const int64_t half = plan.taps / 2;
    for (int64_t r = 0; r < plan.rows; r += 2, totals += 2 * plan.sums)
      for (int64_t j = 0; j < half; ++j) {
        totals[j] -= totals[plan.sums + half + j];
        totals[plan.sums + j] += totals[half + j];
      }
  }

  void store(int64_t g, T* totals) const {
    if (plan.planes == 2) combine_planes(totals);
    const Grid grid = weight_grid(p, weight.stride);
    for_each_run(grid, 0, plan.taps / plan.planes, [&](const Run& run) {
      for (int64_t q = 0; q < plan.planes; ++q) {
        const int64_t offset = g * weight.stride.group + q + grid.offset(run);
        const Lines lines{weight.at(offset), plan.rows / plan.planes, weight.stride.out_channel,
                          run.count, grid.stride[grid.axes - 1]};
        kernels<T>().scatter(weight.store, totals + q * plan.sums + run.column,
                             plan.planes * plan.sums, Finish{}, lines);
      }
    });
  }
};

template <typename T>
WeightPlan weight_plan_of(const Problem& p) {
  return WeightPlan(p, plan_of<T>(p), sizeof(T));
}

}  // namespace

template <typename T>
void run_weight(const Problem& p, const Operands& operands, const Context& context) {
  const WeightPlan plan = weight_plan_of<T>(p);
  Arena arena{static_cast<char*>(context.scratch)};
  int64_t* const along = arena.take<int64_t>(plan.column.kernel_size);
  plan.fill_along(along);
  const int64_t split_totals = plan.splits > 1 ? p.groups * plan.group_totals() : 0;
  T* const partial = arena.take<T>(plan.splits * split_totals);
  const ByWeight<T> by_weight(p, operands, plan, along);
  Arena counter{nullptr};
  Worker<T>(plan, &counter);
  for_each_task<T>(context, plan.group_blocks * plan.splits, workers_for(p, context.threads),
                   [&](int64_t task, int w) {
                     Arena own{arena.base + arena.used + w * counter.used};
                     Worker<T> worker(plan, &own);
                     const int64_t first = task / plan.splits * plan.groups_per_task;
                     const int64_t end = std::min(first + plan.groups_per_task, p.groups);
                     int64_t cleared = -1;
                     for (int64_t g = first; g < end; ++g) {
                       const int64_t s = task % plan.splits;
                       if (plan.splits > 1)
                         worker.totals = partial + s * split_totals + g * plan.group_totals();
                       by_weight.add_up(g, s, &cleared, worker);
                       if (plan.splits == 1) by_weight.store(g, worker.totals);
                     }
                   });
  if (plan.splits == 1) return;
  for (int64_t g = 0; g < p.groups; ++g) {
    T* const totals = partial + g * plan.group_totals();
    for (int64_t s = 1; s < plan.splits; ++s)
      for (int64_t i = 0; i < plan.group_totals(); ++i) totals[i] += totals[s * split_totals + i];
    by_weight.store(g, totals);
  }
}

template <typename T>
int64_t weight_scratch(const Problem& p, int threads) {
  const WeightPlan plan = weight_plan_of<T>(p);
  Arena arena{nullptr};
  arena.take<int64_t>(plan.column.kernel_size);
  arena.take<T>(plan.splits > 1 ? plan.splits * p.groups * plan.group_totals() : 0);
  for (int w = 0; w < workers_for(p, threads); ++w) Worker<T>(plan, &arena);
  return arena.used;
}

template void run_weight<float>(const Problem&, const Operands&, const Context&);
template void run_weight<double>(const Problem&, const Operands&, const Context&);
template void run_weight<uint16_t>(const Problem&, const Operands&, const Context&);
template void run_weight<uint32_t>(const Problem&, const Operands&, const Context&);
template void run_weight<uint64_t>(const Problem&, const Operands&, const Context&);
template int64_t weight_scratch<float>(const Problem&, int);
template int64_t weight_scratch<double>(const Problem&, int);
template int64_t weight_scratch<uint16_t>(const Problem&, int);
template int64_t weight_scratch<uint32_t>(const Problem&, int);
template int64_t weight_scratch<uint64_t>(const Problem&, int);

}  // namespace torchconv::direct_detail
