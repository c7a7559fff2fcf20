// lanes, by input with a stride: x[ci][i] += y[co][o] * w[co, ci, t], each of them a vector of groups;
// but for depthwise ones (planes_input.cpp).
//
// The forward problems of core/relabel.h write every stride-th element, which a vector does not do
// well. Here a task holds an image of the input as panels, to which each of them writes its vectors
// where they belong; then the image is stored whole.
#include "algo/lanes/groups.h"
#include "algo/lanes/parts.h"
#include "algo/lanes/phases.h"

namespace torchconv::lanes_detail {
namespace {

constexpr int64_t kTasksPerWorker = 4;
constexpr int64_t kImageBytes = 256 << 10;  // of panels: a part of an L2 cache
int64_t image_elements(const Problem& p, int64_t lanes) {
  return planes_of(p.dtype) * p.in_channels_per_group() * p.input_positions() * lanes;
}

// What all phases need of a worker.
template <typename T>
struct Worker {
  T *input, *weights, *start, *image;
  LaneTap* taps;
  Worker(const Phases& phases, int64_t elements, Arena* arena) {
    int64_t pieces = 0, weight = 0, depth = 0, rows = 0;
    for (int i = 0; i < phases.count; ++i) {
      const Cut cut = cut_of<T>(phases.all[i].problem);
      pieces = std::max(pieces, cut.input_elements());
      weight += cut.weight_elements();
      depth += cut.depth;
      rows = cut.rows_out;
    }
    input = arena->take<T>(pieces);
    weights = arena->take<T>(weight);
    start = arena->take<T>(rows * kernels<T>().lanes);
    image = arena->take<T>(elements);
    taps = arena->take<LaneTap>(depth);
  }
};

template <typename T>
struct ByInput {
  const Problem& p;
  const Operands& operands;
  const Phases& phases;
  Reals input;
  int64_t lanes = kernels<T>().lanes;
  bool has_gaps;

  ByInput(const Problem& problem, const Operands& o, const Phases& forward)
      : p(problem), operands(o), phases(forward), input(o.input, p.dtype) {
    has_gaps = phases_leave_gaps(p);
  }

  int64_t rows() const { return planes_of(p.dtype) * p.in_channels_per_group(); }

  // The weights and taps of all phases, one after the other.
  void prepare(int64_t block, const Worker<T>& worker) const {
    T* weights = worker.weights;
    LaneTap* taps = worker.taps;
    std::fill_n(worker.start, rows() * lanes, T(0));
    for (int i = 0; i < phases.count; ++i) {
      const Phased& one = phases.all[i];
      const Cut cut = cut_of<T>(one.problem);
      const Groups<T> groups(one.problem, one.operands, cut);
      const int64_t most = kernels<T>().lane_rows;
      cut.fill_taps(taps);
      for (int64_t r = 0; r < cut.rows_out; r += most)
        groups.pack_weights(block, r, std::min(most, cut.rows_out - r),
                            weights + r * cut.depth * lanes);
      weights += cut.weight_elements();
      taps += cut.depth;
    }
  }

  // The pieces of image n that one phase makes.
  void add_phase(const Phased& one, const Cut& cut, int64_t n, int64_t block, const T* weights,
                 const LaneTap* taps, const Worker<T>& worker) const {
    const Groups<T> groups(one.problem, one.operands, cut);
    const int64_t per_image = cut.pieces / p.batch, plane = p.input_positions() * lanes;
    const int last = p.axes - 1;
    for (int64_t i = 0; i < per_image; ++i) {
      const Piece piece = cut.piece(one.problem, n * per_image + i);
      groups.pack_input(piece, block, worker.input);
      LaneMap map = cut.map(piece);
      int64_t first = 0, inner = lanes;
      for (int a = last; a >= 0; inner *= p.axis[a--].input_size) {
        const int64_t o = a == last ? piece.column : a == last - 1 ? piece.line : piece.outer[a];
        const int64_t step = one.phases[a].index_step * inner;
        first += one.phases[a].first_index * inner + o * step;
        if (a == last) map.y_column = step;
        if (a == last - 1) map.y_line = step;
      }
      map.y_image = plane;
      const int64_t most = kernels<T>().lane_rows;
      for (int64_t r = 0; r < cut.rows_out; r += most)
        kernels<T>().lanes_slide[std::min(most, cut.rows_out - r) - 1](
            cut.depth, taps, map, weights + r * cut.depth * lanes, worker.start, worker.input,
            worker.image + first + r * plane);
    }
  }

  void make(int64_t n, int64_t block, const Worker<T>& worker) const {
    if (has_gaps) std::fill_n(worker.image, image_elements(p, lanes), T(0));
    const T* weights = worker.weights;
    const LaneTap* taps = worker.taps;
    for (int i = 0; i < phases.count; ++i) {
      const Cut cut = cut_of<T>(phases.all[i].problem);
      add_phase(phases.all[i], cut, n, block, weights, taps, worker);
      weights += cut.weight_elements();
      taps += cut.depth;
    }
    store(n, block, worker.image);
  }

  void store(int64_t n, int64_t block, const T* from) const {
    const int last = p.axes - 1;
    const int64_t columns = p.axis[last].input_size;
    const int64_t lines = p.axes > 1 ? p.axis[last - 1].input_size : 1;
    const int64_t down = p.axes > 1 ? input.stride.axis[last - 1] : 0;
    const int64_t first = block * lanes, images = p.input_positions() / (lines * columns);
    for (int64_t r = 0; r < rows(); ++r)
      for (int64_t image = 0; image < images; ++image, from += lines * columns * lanes) {
        int64_t offset = n * input.stride.batch + first * input.stride.group + r % input.planes +
                         r / input.planes * input.stride.in_channel;
        for (int64_t a = last - 2, rest = image; a >= 0; --a) {
          offset += rest % p.axis[a].input_size * input.stride.axis[a];
          rest /= p.axis[a].input_size;
        }
        const Sheet sheet{input.at(offset),
                          std::min(lanes, p.groups - first),
                          input.stride.group,
                          lines,
                          down,
                          columns,
                          input.stride.axis[last]};
        kernels<T>().from_lanes(input.store, from, columns * lanes, lanes,
                                Finish{operands.accumulate}, sheet);
      }
  }
};

}  // namespace

template <typename T>
bool holds_images(const Problem& p) {
  if (p.result != Result::input || p.padding_mode != PaddingMode::zeros) return false;
  if (p.batch * p.in_channels * p.input_positions() == 0) return false;
  if (p.channels_last) return false;  // whose vectors are written in place, whatever the stride
  int64_t phases = 1;
  for (int a = 0; a < p.axes; ++a) phases *= count_phases(p, a);
  const double bytes = double(p.in_channels_per_group()) * double(p.input_positions()) *
                       double(planes_of(p.dtype) * kernels<T>().lanes * int64_t(sizeof(T)));
  if (is_depthwise(p) && !is_complex(p.dtype))
    return false;  // in bands, or else by forward problems
  return phases > 1 && phases <= kMostPhases && bytes <= kImageBytes;
}

template <typename T>
void run_input(const Problem& p, const Operands& operands, const Context& context) {
  const Phases phases(p, operands);
  const ByInput<T> by_input(p, operands, phases);
  Arena counter{nullptr};
  Worker<T>(phases, image_elements(p, by_input.lanes), &counter);
  const int workers = workers_for(p, context.threads);
  const int64_t blocks = ceil_div(p.groups, by_input.lanes);
  // No sum is cut, so the number of tasks may depend on the workers.
  const int64_t wanted = workers == 1 ? 1 : ceil_div(kTasksPerWorker * workers, blocks);
  const int64_t shares = std::min(wanted, p.batch);
  for_each_task<T>(context, blocks * shares, workers, [&](int64_t task, int w) {
    Arena own{static_cast<char*>(context.scratch) + w * counter.used};
    const Worker<T> worker(phases, image_elements(p, by_input.lanes), &own);
    const int64_t block = task / shares, share = task % shares;
    by_input.prepare(block, worker);
    for (int64_t n = p.batch * share / shares; n < p.batch * (share + 1) / shares; ++n)
      by_input.make(n, block, worker);
  });
}

template <typename T>
int64_t input_scratch(const Problem& p, int threads) {
  const Phases phases(p, Operands{});
  Arena arena{nullptr};
  for (int w = 0; w < workers_for(p, threads); ++w)
    Worker<T>(phases, image_elements(p, kernels<T>().lanes), &arena);
  return arena.used;
}

template bool holds_images<float>(const Problem&);
template bool holds_images<double>(const Problem&);
template bool holds_images<uint16_t>(const Problem&);
template bool holds_images<uint32_t>(const Problem&);
template bool holds_images<uint64_t>(const Problem&);
template void run_input<float>(const Problem&, const Operands&, const Context&);
template void run_input<double>(const Problem&, const Operands&, const Context&);
template void run_input<uint16_t>(const Problem&, const Operands&, const Context&);
template void run_input<uint32_t>(const Problem&, const Operands&, const Context&);
template void run_input<uint64_t>(const Problem&, const Operands&, const Context&);
template int64_t input_scratch<float>(const Problem&, int);
template int64_t input_scratch<double>(const Problem&, int);
template int64_t input_scratch<uint16_t>(const Problem&, int);
template int64_t input_scratch<uint32_t>(const Problem&, int);
template int64_t input_scratch<uint64_t>(const Problem&, int);

}  // namespace torchconv::lanes_detail
