// indirect, by channels: vectors of output channels, for lines too short to fill one,
//
//     y[o][co] = sum over k = (ci, t) of x[place[o] + offset[k]] * w[k][co]
//
// Elements of x are found one by one, so lines stay whole whatever the stride, and positions of
// several lines make a tile. The sums are turned before they are written.
#include "algo/indirect/parts.h"

namespace torchconv::indirect_detail {
namespace {

constexpr int64_t kStripPlaces = 128;  // positions that are made at a time
constexpr int64_t kMostColumns = 512;

template <typename T>
struct ByChannelsPlan : PlacesPlan<T> {
  using Base = PlacesPlan<T>;
  using Base::columns, Base::lanes, Base::vectors, Base::depth;
  int64_t strip_lines, sums_row;

  explicit ByChannelsPlan(const Problem& p) : Base(p) {
    strip_lines = std::clamp<int64_t>(kStripPlaces / columns, 1, Base::band);
    sums_row = round_up(strip_lines * columns, lanes);
  }
  int64_t weights_elements() const { return depth * vectors.count * lanes; }
};

template <typename T>
struct ByChannelsWorker {
  int64_t *along, *offsets, *places;
  T* lines;
  T* weights;      // [block][depth][vector][lane]
  Sum<T>* starts;  // [vector][lane]
  Sum<T>* sums;    // [position][vector][lane], of a block
  Sum<T>* turned;  // [lane][position]
  ByChannelsWorker(const ByChannelsPlan<T>& plan, Arena* arena) {
    along = arena->take<int64_t>(plan.column.kernel_size);
    offsets = arena->take<int64_t>(plan.depth);
    places = arena->take<int64_t>(plan.sums_row);
    lines = arena->take<T>(plan.lines_elements());
    weights = arena->take<T>(plan.weights_elements());
    starts = arena->take<Sum<T>>(plan.vectors.count * plan.lanes);
    sums = arena->take<Sum<T>>(plan.sums_row * kMaxVectors * plan.lanes);
    turned = arena->take<Sum<T>>(plan.lanes * plan.sums_row);
  }
};

template <typename T>
struct ByChannels : LinesEngine<T, ByChannelsPlan<T>> {
  using Worker = ByChannelsWorker<T>;
  using Base = LinesEngine<T, ByChannelsPlan<T>>;
  using Base::Base, Base::p, Base::operands, Base::plan, Base::weight, Base::output, Base::padded,
      Base::taps_grid;
  static int64_t pairs_together(const Problem& p) { return pairs_of_group(p); }

  void pack_group(int64_t g, const Worker& worker) const {
    const ChannelVectors& vectors = plan.vectors;
    std::fill_n(worker.starts, vectors.count * plan.lanes, Sum<T>(0));
    if (kChannelsOf<T> > 1) std::fill_n(worker.weights, plan.weights_elements(), T{});
    for (int64_t b = 0; b < vectors.blocks; ++b)
      for (int64_t v = vectors.begin(b); v < vectors.begin(b + 1); ++v) {
        const int64_t co = vectors.first(v), rows = vectors.size(v), q = vectors.plane(v);
        const int64_t step = vectors.width(b) * plan.lanes, in_block = v - vectors.begin(b);
        pack_vector(g, co, rows, q,
                    worker.weights + (vectors.begin(b) * plan.depth + in_block) * plan.lanes, step);
        for (int64_t r = 0; r < rows; ++r)
          worker.starts[v * plan.lanes + r] = start_of<Sum<T>>(p, operands, g, co + r, q);
      }
  }
  // Rows of k of one vector, `step` apart.
  void pack_vector(int64_t g, int64_t co, int64_t rows, int64_t q, T* to, int64_t step) const {
    if constexpr (kChannelsOf<T> > 1)
      pack_weights(weight, taps_grid, p.in_channels_per_group(), g, co, rows, to, 1, step);
    else
      pack_numbers(g, co, rows, q, to, step);
  }
  void pack_numbers(int64_t g, int64_t co, int64_t rows, int64_t q, T* to, int64_t step) const {
    const int64_t base = g * weight.stride.group + co * weight.stride.out_channel;
    for_each_run(taps_grid, 0, plan.depth, [&](const Run& run) {
      const Lines lines{weight.at(base + (q ^ run.n) + taps_grid.offset(run)), rows,
                        weight.stride.out_channel, run.count, taps_grid.stride[taps_grid.axes - 1]};
      T* const first = to + run.column * step;
      kernels<T>().turn(weight.store, lines, first, step);
      if (q == 0 && run.n == 1)  // imaginary by imaginary
        for (int64_t k = 0; k < run.count; ++k)
          for (int64_t r = 0; r < rows; ++r) first[k * step + r] = -first[k * step + r];
    });
  }

  // Some lines of all channels, the first at x in the packed lines and at `offset` in the output.
  void make_strip(int64_t lines, int64_t columns, const T* x, int64_t offset,
                  const Worker& worker) const {
    const Kernels<Sum<T>>& kernel = kernels<Sum<T>>();
    const ChannelVectors& vectors = plan.vectors;
    const Finish finish{operands.accumulate, p.activation};
    const int64_t count = lines * columns, down = line_step(p, output);
    for (int64_t b = 0; b < vectors.blocks; ++b) {
      const int64_t width = vectors.width(b), row = width * plan.lanes;
      const T* const block = worker.weights + vectors.begin(b) * plan.depth * plan.lanes;
      const int64_t tiles = ceil_div(count, plan.tile_rows(b));
      for (int64_t t = 0; t < tiles; ++t) {
        const int64_t begin = count * t / tiles, end = count * (t + 1) / tiles;
        kernels<T>().outer_places[end - begin - 1][width - 1](
            plan.depth, x, worker.places + begin, worker.offsets, block, worker.sums + begin * row,
            row, false);
      }
      for (int64_t v = vectors.begin(b); v < vectors.begin(b + 1); ++v) {
        const Sum<T>* const sums = worker.sums + (v - vectors.begin(b)) * plan.lanes;
        const Sum<T>* const start = worker.starts + v * plan.lanes;
        const int64_t channel =
            offset + vectors.first(v) * output.stride.out_channel + vectors.plane(v);
        const auto line = [&](int64_t l) {
          return Lines{output.at(channel + l * down), vectors.size(v), output.stride.out_channel,
                       columns, output.stride.axis[p.axes - 1]};
        };
        if (turns_lines(columns)) {
          for (int64_t l = 0; l < lines; ++l)
            kernel.turn_back(output.store, sums + l * columns * row, row, start, finish, line(l));
          continue;
        }
        kernel.turn_back(kOwnStore<Sum<T>>, sums, row, start, Finish{},
                         Lines{worker.turned, vectors.size(v), plan.sums_row, count, 1});
        for (int64_t l = 0; l < lines; ++l)
          kernel.scatter(output.store, worker.turned + l * columns, plan.sums_row, finish, line(l));
      }
    }
  }
  // Whether lines of sums are turned one by one, to where they belong; else all of a strip, then
  // copied: shorter lines would leave much of a vector empty.
  bool turns_lines(int64_t columns) const {
    const int64_t rest = columns % plan.lanes;
    return output.stride.out_channel == 1 ||
           (output.stride.axis[p.axes - 1] == 1 && (rest == 0 || 2 * rest >= plan.lanes));
  }

  // One place of a block of pairs, those of a group behind each other.
  void task(const Place& place, const Pairs& pairs, int64_t block, const Worker& worker) const {
    padded.clear(worker.lines);
    fill_offsets(plan, worker.along, worker.offsets);
    plan.fill_places(plan.strip_lines, place.columns, worker.places);
    for_each_pair(p, pairs, block, [&](int64_t n, int64_t g, bool is_new) {
      if (is_new) pack_group(g, worker);
      padded.pack(place, n, g, worker.lines);
      const int64_t image = offset_of(p, output, place, n, g);
      for (int64_t l = 0; l < place.lines; l += plan.strip_lines)
        make_strip(std::min(plan.strip_lines, place.lines - l), place.columns,
                   worker.lines + (l > 0 ? l * plan.line.stride * plan.line_length() : 0),
                   image + l * line_step(p, output), worker);
    });
  }

  static std::string refuses(const Problem& p) {
    std::string refusal;
    for_each_forward(p, Operands{}, [&](const Problem& q, const Operands&) {
      if (!refusal.empty() || writes_nothing(q)) return;
      const ByChannelsPlan<T> plan(q);
      if (plan.columns > kMostColumns)
        refusal = "lines of " + std::to_string(plan.columns) + " (indirect by channels)";
      if (refusal.empty())
        refusal = refuses_bytes("weights and offsets",
                                double(plan.weights_elements()) * double(sizeof(T)) +
                                    double(plan.depth) * double(sizeof(int64_t)));
      if (refusal.empty()) refusal = refuses_bytes("lines", plan.bytes(sizeof(T)));
    });
    return refusal;
  }

  // Of a forward problem: the tile, the lines packed, the sums turned and written, and the weights.
  static double seconds(const Problem& p, bool again) {
    if (writes_nothing(p)) return 0;
    const ByChannelsPlan<T> plan(p);
    const double maps = double(p.batch) * double(p.groups), vectors = double(plan.vectors.count);
    const double lines = maps * double(plan.outer_positions) * double(plan.line.output_size) *
                         double(plan.column_blocks);
    const double places = lines * double(plan.columns);
    const Pairs pairs(p, pairs_together(p));
    const double packs = double(plan.places()) * double(std::max(p.groups, pairs.blocks));
    return places * (double(plan.depth) * product_seconds(plan) + vectors * kTurned) +
           pack_seconds(p, plan, again) +
           lines * double(plan.planes * p.out_channels_per_group()) * kLine +
           packs * vectors * double(plan.depth) * kTurnWeights<T> + maps * kMap;
  }
};

}  // namespace

const Way by_channels = way_of<ByChannels>();

}  // namespace torchconv::indirect_detail
