// indirect, by weight: vectors of output channels, whose sums are the weight's,
//
//     w[k][co] = sum over o of x[offset[k] + place[o]] * y[o][co],    k = (ci, t)
//
// for groups enough to share out, whose taps are the rows of a tile.
#include "algo/indirect/parts.h"

namespace torchconv::indirect_detail {
namespace {

template <typename T>
struct WeightWorker {
  int64_t *along, *offsets, *places;
  T* lines;
  T* outputs;  // [block][position][vector][lane]
  T* sums;     // [block][k][vector][lane]
  T* start;    // [lane] zeros
  WeightWorker(const PlacesPlan<T>& plan, Arena* arena) {
    const int64_t row = plan.vectors.count * plan.lanes, positions = plan.band * plan.columns;
    along = arena->take<int64_t>(plan.column.kernel_size);
    offsets = arena->take<int64_t>(plan.depth);
    places = arena->take<int64_t>(positions);
    lines = arena->take<T>(plan.lines_elements());
    outputs = arena->take<T>(positions * row);
    sums = arena->take<T>(plan.depth * row);
    start = arena->take<T>(plan.lanes);
  }
};

template <typename T>
int64_t worker_bytes(const Problem& p) {
  Arena counter{nullptr};
  WeightWorker<T>(PlacesPlan<T>(p), &counter);
  return counter.used;
}

template <typename T>
struct ByWeight {
  const Problem& p;
  const PlacesPlan<T>& plan;
  bool accumulate;
  Reals weight, output;
  PaddedLines<T> padded;
  Grid taps_grid;

  ByWeight(const Problem& problem, const Operands& o, const PlacesPlan<T>& its_plan)
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

  void add_place(const Place& place, const WeightWorker<T>& worker) const {
    const int64_t count = place.lines * place.columns, lanes = plan.lanes;
    for (int64_t b = 0; b < plan.vectors.blocks; ++b) {
      const int64_t width = plan.vectors.width(b), row = width * lanes;
      const int64_t tiles = ceil_div(plan.depth, plan.tile_rows(b));
      for (int64_t t = 0; t < tiles; ++t) {
        const int64_t begin = plan.depth * t / tiles, end = plan.depth * (t + 1) / tiles;
        kernels<T>().outer_places[end - begin - 1][width - 1](
            count, worker.lines, worker.offsets + begin, worker.places,
            worker.outputs + place_of(b, 0, count),
            worker.sums + place_of(b, 0, plan.depth) + begin * row, row, true);
      }
    }
  }

  void store(int64_t g, const WeightWorker<T>& worker) const {
    for_each_vector([&](int64_t b, int64_t i, int64_t v) {
      const int64_t base =
          g * weight.stride.group + plan.vectors.first(v) * weight.stride.out_channel;
      const int64_t row = plan.vectors.width(b) * plan.lanes;
      for_each_run(taps_grid, 0, plan.depth, [&](const Run& run) {
        const Lines lines{weight.at(base + taps_grid.offset(run)), plan.vectors.size(v),
                          weight.stride.out_channel, run.count,
                          taps_grid.stride[taps_grid.axes - 1]};
        kernels<T>().turn_back(weight.store,
                               worker.sums + place_of(b, i, plan.depth) + run.column * row, row,
                               worker.start, Finish{accumulate}, lines);
      });
    });
  }

  void task(int64_t g, const WeightWorker<T>& worker) const {
    fill_offsets(plan, worker.along, worker.offsets);
    std::fill_n(worker.sums, plan.depth * plan.vectors.count * plan.lanes, T(0));
    std::fill_n(worker.start, plan.lanes, T(0));
    for (int64_t i = 0; i < plan.places(); ++i) {
      const Place place = plan.place(p, i);
      padded.clear(worker.lines);
      plan.fill_places(place.lines, place.columns, worker.places);
      for (int64_t n = 0; n < p.batch; ++n) {
        padded.pack(place, n, g, worker.lines);
        pack_outputs(place, n, g, worker.outputs);
        add_place(place, worker);
      }
    }
    store(g, worker);
  }
};

std::string refuses(const Problem& p) {
  if (p.result != Result::weight || is_complex(p.dtype) || p.groups < kTasksWanted)
    return "not a real weight gradient of many groups";
  return in_compute_type(p.dtype, [&]<typename T>(T) {
    return refuses_bytes("lines and sums", double(worker_bytes<T>(p)) / 2);
  });
}

double seconds(const Problem& p) {
  return in_compute_type(p.dtype, [&]<typename T>(T) {
    const PlacesPlan<T> plan(p);
    const double maps = double(p.batch) * double(p.groups), vectors = double(plan.vectors.count);
    const double lines = maps * double(plan.outer_positions) * double(plan.line.output_size) *
                         double(plan.column_blocks);
    const double places = lines * double(plan.columns);
    return double(plan.depth) * places * product_seconds(plan) + places * vectors * kTurned +
           pack_seconds(p, plan, false) + lines * vectors * kLine +
           double(p.groups) * double(plan.depth) * vectors * 2 * kTurned + maps * kMap;
  });
}

int64_t scratch_bytes(const Problem& p, int threads) {
  return workers_for(p, threads) *
         in_compute_type(p.dtype, [&]<typename T>(T) { return worker_bytes<T>(p); });
}

void run(const Problem& p, const Operands& operands, const Context& context) {
  in_compute_type(p.dtype, [&]<typename T>(T) {
    const PlacesPlan<T> plan(p);
    const ByWeight<T> by_weight(p, operands, plan);
    const int64_t apart = worker_bytes<T>(p);
    for_each_task<T>(context, p.groups, workers_for(p, context.threads), [&](int64_t g, int w) {
      Arena own{static_cast<char*>(context.scratch) + w * apart};
      by_weight.task(g, WeightWorker<T>(plan, &own));
    });
  });
}

}  // namespace

const Way by_weight = {refuses, seconds, scratch_bytes, run};

}  // namespace torchconv::indirect_detail
