#include "algo/fft/plan.h"

#include <cmath>
#include <limits>

namespace torchconv::fft_detail {
namespace {

// Nanoseconds for a complex vector: of a transform, a level and the rest, which reads and writes the
// tensor; of a product; of a sum, kept between two chunks; and of a weight, read from a cache that
// all share. Of the way to a transform. Measured on 30 problems of Zen 1, whose time they give
// within 25 %, and halved: there, gemm and direct take twice what their estimates, of Zen 5, say.
constexpr double kLevel = 0.8, kRest = 6, kProduct = 0.8, kSum = 0.75, kWeight = 2;
constexpr double kCall = 100;
// And for an element of a dilated line, which is picked out of those of the others between. Measured
// on lines of 2048 outputs, dilated by 2 to 128, and halved.
constexpr double kPicked = 1;

// Points of an axis, 2^k and 3 * 2^k of them, from the fewest that hold the taps to those that hold
// all outputs of one of the interleaved problems. Calls f(points) until it has.
template <typename F>
void for_each_size(const Axis& x, bool is_line, const Cut& cut, const F& f) {
  const int64_t unit = is_line ? cut.lanes : 1;
  const int64_t elements = is_line && cut.planes_of_dtype == 1 ? 2 : 1;  // of a point
  const double enough = double(ceil_div(x.output_size, x.dilation)) + double(x.kernel_size) - 1;
  for (int64_t power = 1; unit * power <= kMostPoints; power *= 2)
    for (const int64_t points : {unit * power, unit * power / 2 * 3}) {
      if (points < 2 || points > kMostPoints || (points > unit * power && power == 1)) continue;
      if (points * elements < x.kernel_size) continue;
      f(points);
      const bool makes_tile = !is_line || points >= cut.lanes * cut.lanes;  // alone
      if (makes_tile && double(points * elements) >= enough) return;
    }
}

Cut empty_cut(const Problem& p) {
  Cut cut;
  cut.axes = p.axes;
  in_compute_type(p.dtype, [&]<typename T>(T) {
    cut.lanes = kernels<T>().lanes;
    cut.real_bytes = sizeof(T);
  });
  cut.planes_of_dtype = planes_of(p.dtype);
  return cut;
}

void set_axis(const Problem& p, int a, int64_t points, Cut* cut) {
  const Axis& x = p.axis[a];
  TileAxis& t = cut->axis[a];
  t = TileAxis{};
  t.points = points;
  if (is_tiled(x)) {
    t.size = a == p.axes - 1 && cut->planes_of_dtype == 1 ? 2 * points : points;
    t.dilation = x.dilation;
  } else {
    t.stride = x.stride;
  }
  const int64_t each = ceil_div(x.output_size, t.dilation);
  t.outputs = std::clamp<int64_t>(t.size - x.kernel_size + 1, 1, std::max<int64_t>(each, 1));
  t.tiles_apart = ceil_div(each, t.outputs);
}

// What follows from the sizes of all axes; false where they make no tile.
bool finish_cut(const Problem& p, Cut* cut) {
  cut->points = cut->lines = cut->per_image = 1;
  for (int a = 0; a < p.axes; ++a) {
    const TileAxis& t = cut->axis[a];
    cut->points *= t.points;
    if (a < p.axes - 1) cut->lines *= t.points;
    cut->per_image *= t.tiles_apart * std::min(t.dilation, p.axis[a].output_size);
  }
  cut->tile_count = p.batch * cut->per_image;
  cut->positions = p.batch * p.output_positions();
  cut->imaginary = cut->last().points + cut->lanes;  // off a power of two, for the cache's sake
  cut->line = 2 * cut->imaginary;
  return cut->points % (cut->lanes * cut->lanes) == 0 && cut->point_bytes() <= kTileBytes;
}

// Calls f(cut) for every choice of sizes.
template <typename F>
void for_each_cut(const Problem& p, int a, Cut* cut, const F& f) {
  if (a == p.axes) {
    if (finish_cut(p, cut)) f(*cut);
    return;
  }
  const auto next = [&](int64_t points) {
    set_axis(p, a, points, cut);
    for_each_cut(p, a + 1, cut, f);
  };
  if (is_tiled(p.axis[a]))
    for_each_size(p.axis[a], a == p.axes - 1, *cut, next);
  else
    next(1);
}

}  // namespace

void order_axes(Problem* p, Operands* operands) {
  int line = p->axes - 1;
  while (line > 0 && !is_tiled(p->axis[line])) --line;
  for (int a = line; a + 1 < p->axes; ++a) {
    std::swap(p->axis[a], p->axis[a + 1]);
    for (View* v : {&operands->input, &operands->weight, &operands->output})
      std::swap(v->axis[a], v->axis[a + 1]);
  }
}

std::string refuses_tiles(const Problem& p) {
  Cut cut = empty_cut(p);
  int64_t least = std::numeric_limits<int64_t>::max();
  for_each_cut(p, 0, &cut, [&](const Cut& c) { least = std::min(least, c.point_bytes()); });
  std::string taps;
  for (int a = 0; a < p.axes; ++a) taps += (a ? "x" : "") + std::to_string(p.axis[a].kernel_size);
  if (least > kTileBytes)
    return "kernel size " + taps + " (fft has tiles of " + std::to_string(kTileBytes) + " bytes)";
  if (p.result != Result::weight && p.in_channels_per_group() > kWeightsBytes / least)
    return std::to_string(p.in_channels_per_group()) + " channels a group of kernel size " + taps +
           " (fft keeps " + std::to_string(kWeightsBytes) + " bytes of their transforms)";
  return "";
}

Plan::Plan(const Problem& p, int threads) {
  in = p.in_channels_per_group();
  out = p.out_channels_per_group();
  groups_ = p.groups;
  by_weight_ = p.result == Result::weight;
  double best = std::numeric_limits<double>::infinity();
  Cut cut = empty_cut(p), chosen = cut;
  for_each_cut(p, 0, &cut, [&](const Cut& c) {
    static_cast<Cut&>(*this) = c;
    if (least_seconds() >= best) return;
    by_weight_ ? block_weight(1) : block_forward(p, 1);
    const double s = seconds();
    if (s >= best) return;
    best = s;
    chosen = c;
  });
  static_cast<Cut&>(*this) = chosen;
  workers = workers_for(p, threads);
  by_weight_ ? block_weight(workers) : block_forward(p, workers);
}

namespace {

// Planes that lie a multiple of a few cache lines apart would fall into few sets of the cache.
int64_t plane_of(int64_t elements, int64_t vector) {
  return elements % (4 * vector) == 0 ? elements + vector : elements;
}

}  // namespace

// How many tiles, output and input channels go together: tiles share the weights as they are read,
// output channels the transforms of the input, and input channels the sums.
void Plan::block_forward(const Problem& p, int threads) {
  const Steps most = most_steps();
  const int64_t room = kBlockBytes / point_bytes(), deep = std::max<int64_t>(in, 1);
  const int64_t fitting = std::max<int64_t>(kWeightsBytes / (deep * point_bytes()), 1);
  Block best{1, 1, 1};
  double best_s = std::numeric_limits<double>::infinity();
  for (int64_t tiles = 1; tiles <= kMostTiles; tiles *= 2)
    for (const int64_t channels : {deep, std::min(kChunk, deep)}) {
      const int64_t left = room / tiles - channels;
      if (left < 1 && tiles + channels > 2) continue;
      columns = std::min(tiles, tile_count);
      depth = channels;
      rows = std::clamp<int64_t>(left, 1, std::min(out, fitting));
      row_step = std::min(most.rows, rows);
      if (rows < out) rows = ceil_div(out, ceil_div(out, round_down(rows, row_step)));
      rows = round_up(rows, row_step);
      cut_forward(p, 1);
      const double s = seconds();
      if (s >= best_s) continue;
      best_s = s;
      best = {rows, columns, depth};
    }
  static_cast<Block&>(*this) = best;
  row_step = std::min(most.rows, rows);
  cut_forward(p, threads);
}

// What follows from a block.
void Plan::cut_forward(const Problem& p, int threads) {
  row_blocks = ceil_div(out, rows);
  column_step = std::min(most_steps().columns, columns);
  column_blocks = ceil_div(tile_count, columns);
  const int64_t deep = std::max<int64_t>(in, 1);
  row_plane = plane_of(round_up(rows, row_step) * deep * vector(), vector());
  column_plane = plane_of(round_up(columns, column_step) * depth * vector(), vector());
  product_plane = plane_of(columns * rows * vector(), vector());
  const int64_t most = std::max<int64_t>(kWeightsBytes / (weights_elements() * real_bytes), 1);
  tasks_per_group = ceil_div(row_blocks, most);
  while (p.groups * tasks_per_group * column_blocks < threads && tasks_per_group < row_blocks)
    tasks_per_group = std::min(2 * tasks_per_group, row_blocks);
  blocks_per_task = ceil_div(row_blocks, tasks_per_group);
  tasks_per_group = ceil_div(row_blocks, blocks_per_task);
  tasks_per_pass = std::clamp<int64_t>(most / blocks_per_task, 1, p.groups * tasks_per_group);
}

// Sums of some output by some input channels, which both are transformed once for each block that
// they are in: nearly square, but for a few.
void Plan::block_weight(int threads) {
  const Steps most = most_steps();
  const int64_t room = kBlockBytes / point_bytes();
  depth = std::clamp<int64_t>(tile_count, 1, room >= 64 ? 4 : room >= 16 ? 2 : 1);
  double best = std::numeric_limits<double>::infinity();
  for (int64_t c = std::min(most.columns, in); c <= in; c = c < in ? std::min(2 * c, in) : c + 1) {
    const int64_t r = std::min((room - depth * c) / (c + depth), out);
    if (r < 1) break;
    const double transforms = double(in * ceil_div(out, r)) + double(out * ceil_div(in, c));
    if (transforms >= best) continue;
    best = transforms;
    columns = c;
    rows = r;
  }
  while (groups_ * ceil_div(out, rows) * ceil_div(in, columns) < threads && rows > most.rows)
    rows = ceil_div(rows, 2);
  row_step = std::min(most.rows, rows);
  column_step = std::min(most.columns, columns);
  row_blocks = ceil_div(out, rows);
  column_blocks = ceil_div(in, columns);
  row_plane = plane_of(round_up(rows, row_step) * depth * vector(), vector());
  column_plane = plane_of(round_up(columns, column_step) * depth * vector(), vector());
  product_plane = plane_of(columns * rows * vector(), vector());
}

Plan::Steps Plan::most_steps() const {
  return real_bytes == 4 ? Steps{kernels<float>().fft.rows, kernels<float>().fft.columns}
                         : Steps{kernels<double>().fft.rows, kernels<double>().fft.columns};
}

double Plan::seconds_of(double transforms, double others) const {
  const double products = double(in) * double(out) * double(tile_count) * kProduct;
  int tiled = 0;
  for (int a = 0; a < axes; ++a) tiled += axis[a].points > 1;
  const double rest = kRest * (1 + tiled) / 2;  // each axis goes through the tile anew
  const double vector_ns = transforms * (kLevel * std::log2(double(points)) + rest) + products;
  return double(groups_) * (double(vectors()) * (vector_ns + others) + transforms * kCall) * 1e-9;
}

// However it is cut into blocks.
double Plan::least_seconds() const {
  if (!by_weight_ && in > kWeightsBytes / point_bytes())
    return std::numeric_limits<double>::infinity();
  return seconds_of(double(in) * double(out) + double(tile_count) * double(in + out), 0);
}

double Plan::seconds() const {
  const double tiles = double(tile_count), i = double(in), o = double(out);
  const bool once = by_weight_ ? false : depth >= in;  // of its task, that is
  const double inputs = i * double(once ? tasks_per_group : row_blocks);
  const double outputs = o * (by_weight_ ? double(column_blocks) : 1);
  const double chunks =
      by_weight_ ? i * std::ceil(tiles / double(depth)) : tiles * std::ceil(i / double(depth));
  const double weights = by_weight_ ? 0 : i * o * double(column_blocks);
  const double picked =
      last().dilation > 1 ? double(groups_) * double(positions) * (inputs + outputs) : 0;
  return seconds_of(i * o + tiles * (inputs + outputs), chunks * o * kSum + weights * kWeight) +
         picked * kPicked * 1e-9;
}

}  // namespace torchconv::fft_detail
