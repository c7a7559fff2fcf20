// direct, forward, without a copy: where lines are neither strided nor folded and both tensors keep
// a line's elements side by side, taps slide over the planes of the input where they lie.
#include "algo/direct/parts.h"

namespace torchconv::direct_detail {
namespace {

constexpr int64_t kMostReach = 512;  // of a line's taps, copied at the tensor's ends
constexpr int64_t kFar = 1 << 30;    // steps whose products with whatever fits in memory fit
constexpr int64_t kLeastBand = 64;   // lines: a few more are read than in one piece

// Whether the output is so large that little of it would be left in the caches for those who read
// it: then it need not go there, nor what was in its place come first.
bool passes_caches(const Problem& p) {
  constexpr double kept = 8 << 20;
  return double(p.batch) * double(p.out_channels) * double(p.output_positions()) *
             double(element_bytes(p.dtype)) >
         kept;
}

// From the first element to behind the last.
int64_t extent(const Problem& p, const View& x) {
  int64_t last = (p.batch - 1) * x.batch + (p.groups - 1) * x.group +
                 (p.in_channels_per_group() - 1) * x.in_channel;
  for (int a = 0; a < p.axes; ++a) last += (p.axis[a].input_size - 1) * x.axis[a];
  return last + 1;
}

// One output channel at one outer position is a plane, and every line.dilation-th line of it a
// class, which slides over every line.dilation-th line of the input.
struct InPlacePlan : LineAxes {
  int64_t planes, classes;
  int64_t planes_per_task, plane_blocks, band, bands;

  explicit InPlacePlan(const Problem& p) : LineAxes(p) {
    planes = p.batch * p.out_channels * outer_positions;
    classes = std::min(line.dilation, line.output_size);
    const double products = p.multiply_adds() / double(planes * classes);
    planes_per_task =
        std::clamp<int64_t>(int64_t(kTaskProducts / std::max(products, 1.0)), 1, planes);
    plane_blocks = ceil_div(planes, planes_per_task);
    const int64_t lines = ceil_div(line.output_size, classes);
    const double fitting = kTaskProducts / std::max(products / double(lines), 1.0);
    band = std::clamp<int64_t>(int64_t(fitting), std::min(kLeastBand, lines), lines);
    bands = ceil_div(lines, band);
  }
  int64_t images(const Problem& p) const { return p.in_channels_per_group() * outer_taps; }
  int64_t weights(const Problem& p) const {
    return images(p) * line.kernel_size * column.kernel_size;
  }
  int64_t tasks() const { return plane_blocks * classes * bands; }
  bool shares_out(const Problem& p) const {
    return double(tasks()) >= std::min<double>(kTasksWanted, p.multiply_adds() / kTaskProducts);
  }
};

template <typename T>
struct Worker {
  SlidePlanes::Plane* planes;
  T* weights;
  T* window;
  T* held;  // or null
  Worker(const Problem& p, const InPlacePlan& plan, Arena* arena) {
    planes = arena->take<SlidePlanes::Plane>(plan.images(p));
    weights = arena->take<T>(plan.weights(p));
    window = arena->take<T>(kMaxSlideLines * (plan.reach(plan.column) + kernels<T>().lanes));
    held = passes_caches(p) ? arena->take<T>(kHeldElements) : nullptr;
  }
};

// A plane of the output, in the order (n, g, outer position, co), and the line that is its first.
struct OutputPlane {
  int64_t n, g, co;
  Place place{};
  OutputPlane(const Problem& p, const InPlacePlan& plan, int64_t number, int64_t line) {
    place.line = line;
    co = number % p.out_channels_per_group();
    number /= p.out_channels_per_group();
    index_of(p, p.axes - 2, &Axis::output_size, number % plan.outer_positions, place.outer);
    number /= plan.outer_positions;
    g = number % p.groups;
    n = number / p.groups;
  }
  void advance(const Problem& p) {
    if (++co < p.out_channels_per_group()) return;
    co = 0;
    for (int a = p.axes - 3; a >= 0; place.outer[a--] = 0)
      if (++place.outer[a] < p.axis[a].output_size) return;
    if (++g < p.groups) return;
    g = 0;
    ++n;
  }
};

template <typename T>
struct InPlace {
  const Problem& p;
  const Operands& operands;
  const InPlacePlan& plan;
  Reals input, weight, output;
  Grid taps_grid;
  View steps;  // how the kernel finds weights: where they lie, or packed as [ci][t]

  InPlace(const Problem& problem, const Operands& o, const InPlacePlan& in_place_plan)
      : p(problem),
        operands(o),
        plan(in_place_plan),
        input(o.input, p.dtype),
        weight(o.weight, p.dtype),
        output(o.output, p.dtype),
        taps_grid(weight_grid(p, weight.stride)),
        steps(weight.stride) {
    if (reads_weights()) return;
    steps.in_channel = 1;
    for (int a = p.axes - 1; a >= 0; --a) {
      steps.axis[a] = steps.in_channel;
      steps.in_channel *= p.axis[a].kernel_size;
    }
  }

  bool reads_weights() const { return weight.bytes == sizeof(T); }
  const T* weights_of(int64_t g, int64_t co, T* packed) const {
    if (reads_weights())
      return reinterpret_cast<const T*>(
          weight.at(g * weight.stride.group + co * weight.stride.out_channel));
    pack_weights(weight, taps_grid, g, co, 0, packed);
    return packed;
  }

  // Some lines of a class: all that does not depend on the plane.
  SlidePlanes lines_of(int64_t number, int64_t first) const {
    const Axis &x = plan.line, &column = plan.column;
    const int64_t count = ceil_div(x.output_size - number, plan.classes);
    const int64_t low = x.padding - number, high = x.input_size + low;  // of the class's first line
    SlidePlanes m;
    m.lines = std::min(plan.band, count - first);
    m.columns = column.output_size;
    m.y_row = plan.classes * line_step(p, output.stride);
    m.x_begin = (low > 0 ? ceil_div(low, x.dilation) : 0) - first;
    m.x_end = (high > 0 ? ceil_div(high, x.dilation) : 0) - first;
    m.x_row = x.dilation * line_step(p, input.stride);
    m.x_first = -column.padding;
    m.x_columns = column.input_size;
    m.dilation = column.dilation;
    m.x_elements = extent(p, input.stride);
    m.rows = x.kernel_size;
    m.taps = column.kernel_size;
    m.weight_row = line_step(p, steps);
    m.weight_tap = steps.axis[p.axes - 1];
    return m;
  }

  // The planes of the input that one of the output meets, and where.
  int64_t find_planes(int64_t offset, const int64_t* outer, SlidePlanes::Plane* planes) const {
    int64_t t[kMaxAxes], count = 0;
    for (int64_t tap = 0; tap < plan.outer_taps; ++tap) {
      int64_t x = offset, w = 0;
      index_of(p, p.axes - 2, &Axis::kernel_size, tap, t);
      if (!add_outer(p, p.axes - 2, input, t, outer, &x)) continue;
      for (int a = 0; a < p.axes - 2; ++a) w += t[a] * steps.axis[a];
      for (int64_t ci = 0; ci < p.in_channels_per_group(); ++ci)
        planes[count++] = {x + ci * input.stride.in_channel, w + ci * steps.in_channel};
    }
    return count;
  }

  void task(int64_t task, const Worker<T>& worker) const {
    const int64_t number = task % plan.classes;
    const int64_t first = task / plan.classes % plan.bands * plan.band;
    const int64_t block = task / (plan.classes * plan.bands);
    const int64_t line = number + first * plan.classes;
    if (line >= plan.line.output_size) return;
    SlidePlanes m = lines_of(number, first);
    const int64_t x_line = number - plan.line.padding + first * plan.line.dilation;
    const int64_t x_first = x_line * line_step(p, input.stride) - plan.column.padding;
    const int64_t begin = block * plan.planes_per_task;
    const int64_t end = std::min(begin + plan.planes_per_task, plan.planes);
    m.held = worker.held;
    OutputPlane at(p, plan, begin, line);
    for (int64_t plane = begin; plane < end; ++plane, at.advance(p)) {
      const int64_t x = at.n * input.stride.batch + at.g * input.stride.group + x_first;
      const int64_t y = at.n * output.stride.batch + at.g * output.stride.group +
                        at.co * output.stride.out_channel + offset_of(p, output, at.place);
      m.planes = find_planes(x, at.place.outer, worker.planes);
      m.plane = worker.planes;
      kernels<T>().slide_planes(input.store, m, input.data, weights_of(at.g, at.co, worker.weights),
                                start_of<T>(p, operands, at.g, at.co, 0), p.activation,
                                worker.window, output.at(y));
    }
  }
};

}  // namespace

bool slides_in_place(const Problem& p) {
  const auto is_plain = [](const Axis& x) {
    return x.stride == 1 && x.kernel_size > 0 && std::max(x.dilation, std::abs(x.padding)) <= kFar;
  };
  const LineAxes axes(p);
  if (p.result == Result::weight || p.padding_mode != PaddingMode::zeros) return false;
  if (is_complex(p.dtype) || is_integer(p.dtype) || !is_plain(axes.line) || !is_plain(axes.column))
    return false;
  if (axes.line.kernel_size > kMaxSlideRows || axes.reach(axes.column) > kMostReach) return false;
  bool all = true;
  for_each_forward(p, Operands{}, [&](const Problem& q, const Operands&) {
    all = all && (writes_nothing(q) || InPlacePlan(q).shares_out(q));
  });
  return all;
}

bool lies_in_place(const Problem& p, const Operands& operands) {
  // Without taps (what phases leave unwritten) or inputs there is nothing to slide over.
  if (p.taps() == 0 || p.input_positions() == 0) return false;
  const View& x = operands.input;
  bool forwards = x.batch >= 0 && x.group >= 0 && x.in_channel >= 0;
  for (int a = 0; a < p.axes; ++a) forwards &= x.axis[a] >= 0;
  return forwards && x.axis[p.axes - 1] == 1 && operands.output.axis[p.axes - 1] == 1 &&
         !operands.accumulate;
}

template <typename T>
void run_in_place(const Problem& p, const Operands& operands, const Context& context) {
  const InPlacePlan plan(p);
  const InPlace<T> in_place(p, operands, plan);
  const int64_t bytes = in_place_bytes<T>(p);
  for_each_task<T>(context, plan.tasks(), context.threads, [&](int64_t task, int number) {
    Arena own{static_cast<char*>(context.scratch) + number * bytes};
    in_place.task(task, Worker<T>(p, plan, &own));
  });
}

template <typename T>
int64_t in_place_bytes(const Problem& p) {
  Arena counter{nullptr};
  Worker<T>(p, InPlacePlan(p), &counter);
  return counter.used;
}

template void run_in_place<float>(const Problem&, const Operands&, const Context&);
template void run_in_place<double>(const Problem&, const Operands&, const Context&);
template int64_t in_place_bytes<float>(const Problem&);
template int64_t in_place_bytes<double>(const Problem&);

}  // namespace torchconv::direct_detail
