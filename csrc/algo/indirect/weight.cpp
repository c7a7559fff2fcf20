// indirect, by weight: vectors of output channels, whose sums are the weight's,
//
//     w[k][co] = sum over o of x[offset[k] + place[o]] * y[o][co],    k = (ci, t)
//
// so taps are the rows of a tile. The sum over batch and places is cut into splits, a number that
// the problem alone sets; each adds its places in order, and the splits' sums are added in order.
#include "algo/indirect/parts.h"

namespace torchconv::indirect_detail {
namespace {

constexpr int64_t kOutputsKept = 128 << 10;   // bytes of a place's outputs
constexpr int64_t kPartialBytes = 512 << 10;  // of the splits' sums

template <typename T>
struct WeightPlan : PlacesPlan<T> {
  int64_t units, splits;  // places x batch, and the parts that their sum is cut into

  explicit WeightPlan(const Problem& p) : PlacesPlan<T>(p) {
    const double outputs = double(outputs_elements()) * double(sizeof(T));
    if (outputs > kOutputsKept)
      this->set_band(int64_t(double(this->band) * kOutputsKept / outputs));
    units = this->places() * p.batch;
    const int64_t most =
        kPartialBytes / std::max<int64_t>(p.groups * sums_elements() * int64_t(sizeof(T)), 1);
    splits = std::clamp<int64_t>(std::min(ceil_div(kTasksWanted, p.groups), most), 1,
                                 std::max<int64_t>(units, 1));
  }
  int64_t row() const { return this->vectors.count * this->lanes; }
  int64_t outputs_elements() const { return this->band * this->columns * row(); }
  int64_t sums_elements() const { return this->depth * row(); }
};

template <typename T>
struct WeightWorker {
  int64_t *along, *offsets, *places;
  T* lines;
  T* outputs;  // [block][position][vector][lane]
  T* start;    // [lane] zeros
  WeightWorker(const WeightPlan<T>& plan, Arena* arena) {
    along = arena->take<int64_t>(plan.column.kernel_size);
    offsets = arena->take<int64_t>(plan.depth);
    places = arena->take<int64_t>(plan.band * plan.columns);
    lines = arena->take<T>(plan.lines_elements());
    outputs = arena->take<T>(plan.outputs_elements());
    start = arena->take<T>(plan.lanes);
  }
};

template <typename T>
int64_t worker_bytes(const WeightPlan<T>& plan) {
  Arena counter{nullptr};
  WeightWorker<T>(plan, &counter);
  return counter.used;
}

template <typename T>
struct ByWeight {
  const Problem& p;
  const WeightPlan<T>& plan;
  bool accumulate;
  Reals weight, output;
  PaddedLines<T> padded;
  Grid taps_grid;

  ByWeight(const Problem& problem, const Operands& o, const WeightPlan<T>& its_plan)
      : p(problem),
        plan(its_plan),
        accumulate(o.accumulate),
        weight(o.weight, p.dtype),
        output(o.output, p.dtype),
        padded{p, plan, Reals(o.input, p.dtype)},
        taps_grid(weight_grid(p, weight.stride)) {}

  // Calls f(block, vector of the block, of all).
  template <typename F>
  void for_each_vector(const F& f) const {
    for (int64_t b = 0; b < plan.vectors.blocks; ++b)
      for (int64_t v = plan.vectors.begin(b); v < plan.vectors.begin(b + 1); ++v)
        f(b, v - plan.vectors.begin(b), v);
  }
  // Where vector `i` of a block starts among `rows` rows of all blocks.
  int64_t place_of(int64_t block, int64_t i, int64_t rows) const {
    return (plan.vectors.begin(block) * rows + i) * plan.lanes;
  }

  // The output's positions at a place, as rows of vectors of channels.
  void pack_outputs(const Place& place, int64_t n, int64_t g, T* to) const {
    const int64_t base =
        offset_of(p, output, place) + n * output.stride.batch + g * output.stride.group;
    const int64_t count = place.lines * place.columns;
    for_each_vector([&](int64_t b, int64_t i, int64_t v) {
      const int64_t row = plan.vectors.width(b) * plan.lanes;
      for (int64_t l = 0; l < place.lines; ++l) {
        const int64_t offset =
            base + plan.vectors.first(v) * output.stride.out_channel + l * line_step(p, output);
        kernels<T>().turn(output.store,
                          Lines{output.at(offset), plan.vectors.size(v), output.stride.out_channel,
                                place.columns, output.stride.axis[p.axes - 1]},
                          to + place_of(b, i, count) + l * place.columns * row, row);
      }
    });
  }

  // sums: [block][k][vector][lane].
  void add_place(const Place& place, const WeightWorker<T>& worker, T* sums) const {
    const int64_t count = place.lines * place.columns, lanes = plan.lanes;
    for (int64_t b = 0; b < plan.vectors.blocks; ++b) {
      const int64_t width = plan.vectors.width(b), row = width * lanes;
      const int64_t tiles = ceil_div(plan.depth, plan.tile_rows(b));
      for (int64_t t = 0; t < tiles; ++t) {
        const int64_t begin = plan.depth * t / tiles, end = plan.depth * (t + 1) / tiles;
        kernels<T>().outer_places[end - begin - 1][width - 1](
            count, worker.lines, worker.offsets + begin, worker.places,
            worker.outputs + place_of(b, 0, count), sums + place_of(b, 0, plan.depth) + begin * row,
            row, true);
      }
    }
  }

  void store(int64_t g, const T* sums, const WeightWorker<T>& worker) const {
    std::fill_n(worker.start, plan.lanes, T(0));
    for_each_vector([&](int64_t b, int64_t i, int64_t v) {
      const int64_t base =
          g * weight.stride.group + plan.vectors.first(v) * weight.stride.out_channel;
      const int64_t row = plan.vectors.width(b) * plan.lanes;
      for_each_run(taps_grid, 0, plan.depth, [&](const Run& run) {
        const Lines lines{weight.at(base + taps_grid.offset(run)), plan.vectors.size(v),
                          weight.stride.out_channel, run.count,
                          taps_grid.stride[taps_grid.axes - 1]};
        kernels<T>().turn_back(weight.store, sums + place_of(b, i, plan.depth) + run.column * row,
                               row, worker.start, Finish{accumulate}, lines);
      });
    });
  }

  // The units of a split: images of one place after the other.
  void add_split(int64_t g, int64_t split, const WeightWorker<T>& worker, T* sums) const {
    fill_offsets(plan, worker.along, worker.offsets);
    std::fill_n(sums, plan.sums_elements(), T(0));
    const int64_t first = plan.units * split / plan.splits;
    const int64_t end = plan.units * (split + 1) / plan.splits;
    Place place;
    for (int64_t unit = first; unit < end; ++unit) {
      const int64_t n = unit % p.batch;
      if (unit == first || n == 0) {
        place = plan.place(p, unit / p.batch);
        padded.clear(worker.lines);
        plan.fill_places(place.lines, place.columns, worker.places);
      }
      padded.pack(place, n, g, worker.lines);
      pack_outputs(place, n, g, worker.outputs);
      add_place(place, worker, sums);
    }
  }

  // The sums of a group's splits, [split][...], added to the first's.
  void finish(int64_t g, T* sums, const WeightWorker<T>& worker) const {
    const int64_t count = plan.sums_elements();
    for (int64_t split = 1; split < plan.splits; ++split)
      for (int64_t i = 0; i < count; ++i) sums[i] += sums[split * count + i];
    store(g, sums, worker);
  }
};

// Sums of every split, or of a worker's group.
template <typename T>
int64_t sums_bytes(const WeightPlan<T>& plan, const Problem& p, int threads) {
  Arena counter{nullptr};
  const int64_t all = plan.splits > 1 ? p.groups * plan.splits : threads;
  counter.take<T>(all * plan.sums_elements());
  return counter.used;
}

std::string refuses(const Problem& p) {
  if (p.result != Result::weight || is_complex(p.dtype)) return "not a real weight gradient";
  if (writes_nothing(p) || p.in_channels * p.taps() == 0) return "an empty sum or weight";
  return in_compute_type(p.dtype, [&]<typename T>(T) {
    const WeightPlan<T> plan(p);
    const std::string of_sums =
        refuses_bytes("sums", double(plan.sums_elements()) * double(sizeof(T)));
    return !of_sums.empty() ? of_sums : refuses_bytes("lines", double(worker_bytes(plan)));
  });
}

// The tile, the lines packed, the outputs turned, and the sums written.
double seconds(const Problem& p) {
  return in_compute_type(p.dtype, [&]<typename T>(T) {
    const WeightPlan<T> plan(p);
    const double maps = double(p.batch) * double(p.groups), vectors = double(plan.vectors.count);
    const double lines = maps * double(plan.outer_positions) * double(plan.line.output_size) *
                         double(plan.column_blocks);
    const double places = lines * double(plan.columns);
    return double(plan.depth) * places * product_seconds(plan) + places * vectors * kTurned +
           pack_seconds(p, plan, false) + lines * vectors * kLine + maps * kMap +
           double(p.groups * (plan.splits + 1)) * double(plan.depth) * vectors * kTurned;
  });
}

int64_t scratch_bytes(const Problem& p, int threads) {
  return in_compute_type(p.dtype, [&]<typename T>(T) {
    const WeightPlan<T> plan(p);
    const int workers = workers_for(p, threads);
    return sums_bytes(plan, p, workers) + workers * worker_bytes(plan);
  });
}

void run(const Problem& p, const Operands& operands, const Context& context) {
  in_compute_type(p.dtype, [&]<typename T>(T) {
    const WeightPlan<T> plan(p);
    const ByWeight<T> by_weight(p, operands, plan);
    const int threads = workers_for(p, context.threads);
    char* const workers = static_cast<char*>(context.scratch) + sums_bytes(plan, p, threads);
    const auto worker_of = [&](int number) {
      Arena own{workers + number * worker_bytes(plan)};
      return WeightWorker<T>(plan, &own);
    };
    const auto sums_of = [&](int64_t number) {
      return static_cast<T*>(context.scratch) + number * plan.sums_elements();
    };
    if (plan.splits == 1) {
      for_each_task<T>(context, p.groups, threads, [&](int64_t g, int number) {
        by_weight.add_split(g, 0, worker_of(number), sums_of(number));
        by_weight.store(g, sums_of(number), worker_of(number));
      });
      return;
    }
    for_each_task<T>(context, p.groups * plan.splits, threads, [&](int64_t task, int number) {
      by_weight.add_split(task / plan.splits, task % plan.splits, worker_of(number), sums_of(task));
    });
    for_each_task<T>(context, p.groups, threads, [&](int64_t g, int number) {
      by_weight.finish(g, sums_of(g * plan.splits), worker_of(number));
    });
  });
}

}  // namespace

const Way by_weight = {refuses, seconds, scratch_bytes, run};

}  // namespace torchconv::indirect_detail
