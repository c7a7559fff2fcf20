// lanes, depthwise by input with a stride: x[c][i] += y[c][o] * w[c, t], vectors of groups.
//
// A task turns the lines of the output that a band of input lines meets once, for all the forward
// problems of core/relabel.h. These write to panels of the band, which are then stored whole.
#include "algo/lanes/parts.h"
#include "algo/lanes/phases.h"
#include "algo/lanes/planes.h"

namespace torchconv::lanes_detail {
namespace {

constexpr int64_t kTasksPerWorker = 4;
constexpr int64_t kPanelBytes = 192 << 10;  // of panels: a part of an L2 cache

const Axis& line_of(const Problem& p) {
  static const Axis none{};
  return p.axes > 1 ? p.axis[p.axes - 2] : none;
}

// Of a line of the input, of what of the output belongs to it, and of the rows of taps they meet.
double line_bytes(const Problem& p) {
  const double vector = in_compute_type(
      p.dtype, []<typename T>(T) { return double(kernels<T>().lanes) * double(sizeof(T)); });
  const Axis& line = line_of(p);
  const double input = double(p.input_positions()) / double(line.input_size);
  const double output = double(p.output_positions()) / double(line.output_size);
  double rows = sizeof(TapRows);
  for (int a = 0; a < p.axes - 2; ++a)
    rows *= double(p.axis[a].input_size) * double(p.axis[a].kernel_size);
  return vector * (input + output / double(line.stride)) + rows;
}

// The panels of a problem, and the phases that fill them.
struct Panels {
  const Problem& p;
  const Phases& phases;
  int64_t lanes, band, bands, output_lines;
  int64_t input_outer = 1, output_outer = 1;  // positions

  Panels(const Problem& problem, const Phases& all, int64_t vector_lanes)
      : p(problem), phases(all), lanes(vector_lanes) {
    const Axis& line = line_of(p);
    band = std::clamp<int64_t>(int64_t(kPanelBytes / line_bytes(p)), 1, line.input_size);
    bands = ceil_div(line.input_size, band);
    band = ceil_div(line.input_size, bands);
    const int64_t reach = (line.kernel_size - 1) * line.dilation;
    output_lines = std::min(line.output_size, (band + reach) / line.stride + 1);
    for (int a = 0; a < p.axes - 2; ++a) {
      input_outer *= p.axis[a].input_size;
      output_outer *= p.axis[a].output_size;
    }
  }

  // Of the outputs of a phase in a band.
  int64_t most_lines(const Phased& one) const {
    if (p.axes == 1) return 1;
    const Phase& line = one.phases[p.axes - 2];
    return std::min(line.axis.output_size, band / std::max<int64_t>(line.index_step, 1) + 1);
  }

  int64_t input_columns() const { return p.axis[p.axes - 1].input_size; }
  int64_t output_columns() const { return p.axis[p.axes - 1].output_size; }
  int64_t input_elements() const { return input_outer * band * input_columns() * lanes; }
  int64_t output_elements() const { return output_outer * output_lines * output_columns() * lanes; }
};

// The outputs of a phase below a line of the input: its first ones.
int64_t outputs_before(const Phase& phase, int64_t line) {
  const int64_t apart = line - phase.first_index;
  const int64_t step = std::max<int64_t>(phase.index_step, 1);
  return apart <= 0 ? 0 : std::min(ceil_div(apart, step), phase.axis.output_size);
}

// What one phase makes of a band, at one of its outer positions: outputs from input + to on.
template <typename T>
struct Part {
  LanePlanes planes;
  const T* weights;
  int64_t to;
};

template <typename T>
struct Worker {
  T *output, *input, *weights, *zeros;
  Part<T>* parts;
  TapRows* rows;
  Worker(const Panels& panels, Arena* arena) {
    int64_t weight = 0, count = 0, most = 0;
    for (int i = 0; i < panels.phases.count; ++i) {
      const Cut cut = cut_of<T>(panels.phases.all[i].problem);
      weight += cut.weight_elements();
      count += cut.outer_positions;
      most += cut.outer_positions * cut.outer_taps * panels.most_lines(panels.phases.all[i]);
    }
    output = arena->take<T>(panels.output_elements());
    input = arena->take<T>(panels.input_elements());
    weights = arena->take<T>(weight);
    zeros = arena->take<T>(panels.lanes);
    parts = arena->take<Part<T>>(count);
    rows = arena->take<TapRows>(most);
  }
};

template <typename T>
struct ByInput {
  const Problem& p;
  const Operands& operands;
  const Panels& panels;
  const Worker<T>& worker;
  int64_t lanes = panels.lanes;
  Reals input{operands.input, p.dtype}, output{operands.output, p.dtype};
  bool has_gaps = phases_leave_gaps(p);
  // The band that is planned.
  int64_t band = -1, first = 0, lines = 0;
  int64_t parts = 0;
  Inside met = {};  // of the output's lines

  int64_t out_line() const { return panels.output_columns() * lanes; }
  int64_t in_line() const { return panels.input_columns() * lanes; }
  int64_t out_plane() const { return panels.output_lines * out_line(); }
  int64_t in_plane() const { return panels.band * in_line(); }

  void prepare(int64_t block) const {
    std::fill_n(worker.zeros, lanes, T(0));
    T* weights = worker.weights;
    for (int i = 0; i < panels.phases.count; ++i) {
      const Phased& one = panels.phases.all[i];
      const Cut cut = cut_of<T>(one.problem);
      Groups<T>(one.problem, one.operands, cut).pack_weights(block, 0, 1, weights);
      weights += cut.weight_elements();
    }
  }

  // The piece that a phase makes of the band.
  Piece piece_of(const Phased& one, const Cut& cut) const {
    Piece piece{};
    piece.columns = cut.column.output_size;
    piece.lines = 1;
    if (p.axes == 1) return piece;
    const Phase& line = one.phases[p.axes - 2];
    piece.line = outputs_before(line, first);
    piece.lines = outputs_before(line, first + lines) - piece.line;
    return piece;
  }

  void plan(int64_t number) {
    if (band == number) return;
    band = number;
    first = number * panels.band;
    lines = std::min(panels.band, line_of(p).input_size - first);
    met = {line_of(p).output_size, 0};
    for (int i = 0; i < panels.phases.count; ++i) {
      const Cut cut = cut_of<T>(panels.phases.all[i].problem);
      const Piece piece = piece_of(panels.phases.all[i], cut);
      const Window window = window_of(cut, piece);
      if (piece.lines * window.lines == 0) continue;
      met.begin = std::min(met.begin, window.line);
      met.end = std::max(met.end, window.line + window.lines);
    }
    met.begin = std::min(met.begin, met.end);
    const T* weights = worker.weights;
    TapRows* rows = worker.rows;
    parts = 0;
    for (int i = 0; i < panels.phases.count; ++i) {
      const Cut cut = cut_of<T>(panels.phases.all[i].problem);
      plan_phase(panels.phases.all[i], cut, weights, &rows);
      weights += cut.weight_elements();
    }
  }

  void plan_phase(const Phased& one, const Cut& cut, const T* weights, TapRows** rows) {
    const int last = p.axes - 1;
    Operands in_panels = one.operands;  // whose outer positions lie in the panels
    int64_t outer = out_plane();
    for (int a = last - 2; a >= 0; outer *= p.axis[a--].output_size)
      in_panels.input.axis[a] = outer;
    const Groups<T> groups(one.problem, in_panels, cut);
    const Window window{met.begin, met.end - met.begin, 0, panels.output_columns()};
    const int64_t down = p.axes > 1 ? one.phases[last - 1].index_step : 0;
    const LaneSteps steps{out_line(), lanes, down * in_line(), one.phases[last].index_step * lanes};
    Piece piece = piece_of(one, cut);
    for (int64_t position = 0; position < cut.outer_positions && piece.lines > 0; ++position) {
      index_of(one.problem, last - 1, &Axis::output_size, position, piece.outer);
      Part<T>& part = worker.parts[parts++];
      part.weights = weights;
      part.to = one.phases[last].first_index * lanes;
      if (p.axes > 1)
        part.to += (one.phases[last - 1].first_index + piece.line * down - first) * in_line();
      outer = in_plane();
      for (int a = last - 2; a >= 0; outer *= p.axis[a--].input_size)
        part.to += (one.phases[a].first_index + piece.outer[a] * one.phases[a].index_step) * outer;
      part.planes = planes_of(cut, piece, window, steps, *rows, [&](int64_t t, int64_t* o) {
        return groups.outer_offset(piece, t, o);
      });
      *rows += part.planes.planes * piece.lines;
    }
  }

  // Calls f(sheet, position) for some lines of a tensor at its outer positions.
  template <typename F>
  void for_each_plane(const Reals& tensor, int64_t Axis::* size, int64_t n, int64_t block,
                      int64_t from, int64_t count, const F& f) const {
    const int last = p.axes - 1;
    const int64_t down = p.axes > 1 ? tensor.stride.axis[last - 1] : 0;
    const int64_t group = block * lanes;
    int64_t positions = 1;
    for (int a = 0; a < last - 1; ++a) positions *= p.axis[a].*size;
    for (int64_t position = 0; position < positions; ++position) {
      int64_t outer[kMaxAxes];
      index_of(p, last - 1, size, position, outer);
      int64_t offset = n * tensor.stride.batch + group * tensor.stride.group + from * down;
      for (int a = 0; a < last - 1; ++a) offset += outer[a] * tensor.stride.axis[a];
      f(Sheet{tensor.at(offset), std::min(lanes, p.groups - group), tensor.stride.group, count,
              down, p.axis[last].*size, tensor.stride.axis[last]},
        position);
    }
  }

  // The planned band of an image.
  void make(int64_t n, int64_t block) const {
    for_each_plane(output, &Axis::output_size, n, block, met.begin, met.end - met.begin,
                   [&](const Sheet& sheet, int64_t position) {
                     kernels<T>().to_lanes(output.store, sheet,
                                           worker.output + position * out_plane(), out_line(),
                                           lanes);
                   });
    if (has_gaps) std::fill_n(worker.input, panels.input_elements(), T(0));
    for (const Part<T>* part = worker.parts; part < worker.parts + parts; ++part)
      kernels<T>().lanes_planes(part->planes, part->weights, worker.zeros, worker.output,
                                worker.input + part->to);
    for_each_plane(input, &Axis::input_size, n, block, first, lines,
                   [&](const Sheet& sheet, int64_t position) {
                     kernels<T>().from_lanes(input.store, worker.input + position * in_plane(),
                                             in_line(), lanes, Finish{operands.accumulate}, sheet);
                   });
  }
};

}  // namespace

bool holds_bands(const Problem& p) {
  if (p.result != Result::input || p.padding_mode != PaddingMode::zeros || p.channels_last ||
      is_complex(p.dtype) || !is_depthwise(p))
    return false;
  if (p.batch * p.groups * p.input_positions() * p.output_positions() * p.taps() == 0) return false;
  int64_t phases = 1;
  for (int a = 0; a < p.axes; ++a) {
    if (std::max(p.axis[a].stride, p.axis[a].dilation) > kMostStep) return false;
    phases *= count_phases(p, a);
  }
  const Axis& line = line_of(p);
  const double reach = double(line.kernel_size - 1) * double(line.dilation);
  return phases > 1 && phases <= kMostPhases && line_bytes(p) * (1 + reach) <= 2 * kPanelBytes;
}

template <typename T>
void run_input_planes(const Problem& p, const Operands& operands, const Context& context) {
  const Phases phases(p, operands);
  const Panels panels(p, phases, kernels<T>().lanes);
  Arena counter{nullptr};
  Worker<T>(panels, &counter);
  const int workers = workers_for(p, context.threads);
  const int64_t blocks = ceil_div(p.groups, panels.lanes), pieces = p.batch * panels.bands;
  // No sum is cut, so the number of tasks may depend on the workers.
  const int64_t wanted = workers == 1 ? 1 : ceil_div(kTasksPerWorker * workers, blocks);
  const int64_t shares = std::min(wanted, pieces);
  for_each_task<T>(context, blocks * shares, workers, [&](int64_t task, int w) {
    Arena own{static_cast<char*>(context.scratch) + w * counter.used};
    const Worker<T> worker(panels, &own);
    ByInput<T> by_input{p, operands, panels, worker};
    const int64_t block = task / shares, share = task % shares;
    by_input.prepare(block);
    for (int64_t i = pieces * share / shares; i < pieces * (share + 1) / shares; ++i) {
      by_input.plan(i / p.batch);
      by_input.make(i % p.batch, block);
    }
  });
}

template <typename T>
int64_t input_planes_scratch(const Problem& p, int threads) {
  const Phases phases(p, Operands{});
  const Panels panels(p, phases, kernels<T>().lanes);
  Arena arena{nullptr};
  for (int w = 0; w < workers_for(p, threads); ++w) Worker<T>(panels, &arena);
  return arena.used;
}

template void run_input_planes<float>(const Problem&, const Operands&, const Context&);
template void run_input_planes<double>(const Problem&, const Operands&, const Context&);
template void run_input_planes<uint16_t>(const Problem&, const Operands&, const Context&);
template void run_input_planes<uint32_t>(const Problem&, const Operands&, const Context&);
template void run_input_planes<uint64_t>(const Problem&, const Operands&, const Context&);
template int64_t input_planes_scratch<float>(const Problem&, int);
template int64_t input_planes_scratch<double>(const Problem&, int);
template int64_t input_planes_scratch<uint16_t>(const Problem&, int);
template int64_t input_planes_scratch<uint32_t>(const Problem&, int);
template int64_t input_planes_scratch<uint64_t>(const Problem&, int);

}  // namespace torchconv::lanes_detail
