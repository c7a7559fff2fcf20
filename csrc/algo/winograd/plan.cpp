#include "algo/winograd/plan.h"

#include <algorithm>

namespace torchconv::winograd_detail {
namespace {

constexpr int64_t kStripsWeights = 1 << 20;  // bytes of a group's weights beyond those L2 holds
constexpr int64_t kLeastStrips = 4;          // of several blocks of tiles: as many workers have one

// Larger tiles save more products; three axes of F(4,3) would lose too many digits, and few outputs
// may fill no larger tile. F(2,5) loses fewer: on three axes no single error is larger than on two of
// F(4,3), though twice as large in the mean. F(4,5), of eight points, would err twice as much on two.
Tile tile_for(const Axis& x, int tiled_axes) {
  const int64_t outputs = ceil_div(x.output_size, x.dilation);
  switch (taps_of(x)) {
    case 2:
      return tiled_axes > 2 || ceil_div(outputs, 3) * 4 < ceil_div(outputs, 5) * 6 ? Tile::f3_2
                                                                                   : Tile::f5_2;
    case 3: return tiled_axes > 2 || outputs < 3 ? Tile::f2_3 : Tile::f4_3;
    case 4: return Tile::f3_4;
    case 5: return Tile::f2_5;
    default: return Tile::plain;
  }
}

}  // namespace

View straightened(const Problem& p, View weight, bool* backwards) {
  int64_t offset = 0;
  for (int a = 0; a < p.axes; ++a) {
    backwards[a] = weight.axis[a] < 0 && p.axis[a].kernel_size > 1 && phases_of(p.axis[a]) == 1;
    if (!backwards[a]) continue;
    offset += (p.axis[a].kernel_size - 1) * weight.axis[a];
    weight.axis[a] = -weight.axis[a];
  }
  weight.data = static_cast<char*>(weight.data) + offset * element_bytes(p.dtype);
  return weight;
}

Tiling::Tiling(const Problem& p) {
  const Kernels<float>& kernel = kernels<float>();
  axes = p.axes;
  last = axes - 1;
  lanes = kernel.lanes;
  rows = kernel.rows;
  int tiled = 0;
  for (int a = 0; a < axes; ++a) tiled += is_tiled(p.axis[a]);
  tiles.axes = axes;
  for (int a = 0; a < axes; ++a) {
    const Axis& x = p.axis[a];
    TileAxis& t = axis[a];
    t.tile = tile_for(x, tiled);
    const TileKernels<float>& of = kernel.tiles[int(t.tile)];
    t.points = of.points;
    t.outputs = of.outputs;
    t.taps = of.taps;
    t.dilation = is_tiled(x) ? x.dilation : 1;
    t.stride = x.stride;
    t.strides = strides_of(x);
    t.phases = phases_of(x);
    phases *= t.phases;
    t.interleaved = std::clamp<int64_t>(x.output_size, 1, t.dilation);
    tiles.size[a] = t.interleaved * ceil_div(ceil_div(x.output_size, t.dilation), t.outputs);
    tiles.stride[a] = 0;
    tiles.per_image *= tiles.size[a];
    points *= t.points;
    taps *= t.taps;
    if (a < last) {
      lines *= t.points;
      output_lines *= t.outputs;
    }
  }
  tile_count = p.batch * tiles.per_image;
  in_channels = p.in_channels_per_group();
  depth = phases * in_channels;
}

void Tiling::set_block(int64_t block) {
  tiles_per_block = block;
  const TileAxis& along = axis[last];
  beside = std::min(kTilesPerRun, along.interleaved);
  const int64_t most = std::min(tiles.size[last] / along.interleaved, kTilesPerRun / beside);
  const int64_t each = std::clamp<int64_t>(block / beside, 1, std::max<int64_t>(most, 1));
  run = each * beside;
  line = ((each - 1) * along.outputs + along.points) * beside;
  output_line = each * along.outputs * beside;
}

Plan::Plan(const Problem& p, int threads) : Tiling(p) {
  const Kernels<float>& kernel = kernels<float>();
  workers = workers_for(p, threads);
  padded_depth = round_up(depth, lanes);
  channels = p.out_channels_per_group();
  vectors = ceil_div(channels, lanes);
  const int64_t vector_bytes =
      points * std::max<int64_t>(depth, 1) * lanes * int64_t(sizeof(float));
  strips = ceil_div(vectors, std::clamp<int64_t>(kWeightsBytes / vector_bytes, 1, kernel.vectors));
  strip = ceil_div(vectors, strips) * lanes;
  cut_strips();
  if (!by_strips) cut_tiles(p);
  input_plane = plane_of(tiles_per_block * padded_depth, lanes);
  product_plane = plane_of(tiles_per_block * strip, lanes);
}

// By strips where the weights are more than all tiles' input, and than L2 holds: each task makes the
// weights of its strip, a chunk at a time, that never leave L2, and multiplies all tiles by them. Or
// by strips for a block of tiles after another, each of which makes the weights anew, where that and
// all tiles once a strip still are less to carry than all weights once a small block.
void Plan::cut_strips() {
  const int64_t bytes = points * int64_t(sizeof(float)), all_tiles = round_up(tile_count, rows);
  const int64_t input_bytes = bytes * all_tiles * padded_depth;
  const int64_t weights_bytes = bytes * depth * vectors * lanes;
  const int64_t most = round_down(std::min(kWeightsBytes / (bytes * std::max(padded_depth, lanes)),
                                           kBlockBytes / (bytes * strip)),
                                  rows);
  tile_blocks = ceil_div(all_tiles, std::max(most, rows));
  const int64_t carried = strips * input_bytes + tile_blocks * weights_bytes;
  const int64_t else_carried = ceil_div(tile_count, most_tiles()) * weights_bytes;
  const bool pays = tile_blocks == 1 ? input_bytes <= weights_bytes
                                     : strips >= kLeastStrips && carried < else_carried;
  by_strips = weights_bytes > kStripsWeights && most > 0 && pays;
  tasks_per_group = strips_per_task = tasks_per_pass = 1;
  chunk = depth;
  if (by_strips) {
    set_block(round_up(ceil_div(tile_count, tile_blocks), rows));
    tile_blocks = ceil_div(tile_count, tiles_per_block);
    chunk = std::min(depth, std::max(round_down(kChunkBytes / (bytes * strip), lanes), lanes));
  }
  weight_plane = plane_of(chunk * strip, lanes);
  whole_plane = plane_of(depth * strip, lanes);
}

// Of a block whose transformed input and products a task wants near.
int64_t Plan::most_tiles() const {
  const int64_t tile_bytes = points * (padded_depth + strip) * int64_t(sizeof(float));
  return std::max<int64_t>(kBlockBytes / tile_bytes, rows);
}

// Else blocks of tiles, whose transformed input stays in L2 while weights, transformed before, pass.
void Plan::cut_tiles(const Problem& p) {
  tile_blocks = std::max(ceil_div(tile_count, most_tiles()),
                         std::min<int64_t>(workers, ceil_div(tile_count, 2 * rows)));
  tile_blocks += parts_to_even(tile_blocks, p.groups, workers);
  set_block(round_up(ceil_div(tile_count, tile_blocks), rows));
  tile_blocks = ceil_div(tile_count, tiles_per_block);

  const int64_t strip_bytes = strip_elements() * int64_t(sizeof(float));
  const int64_t most_strips = std::max<int64_t>(kWeightsBytes / strip_bytes, 1);
  tasks_per_group = ceil_div(strips, most_strips);
  while (tile_blocks * p.groups * tasks_per_group < workers && tasks_per_group < strips)
    tasks_per_group = std::min(tasks_per_group * 2, strips);
  strips_per_task = ceil_div(strips, tasks_per_group);
  tasks_per_group = ceil_div(strips, strips_per_task);
  tasks_per_pass =
      std::clamp<int64_t>(most_strips / strips_per_task, 1, p.groups * tasks_per_group);
}

int64_t worker_bytes(const Plan& plan) {
  Arena counter{nullptr};
  Worker(plan, &counter);
  return counter.used;
}

TileTransform::TileTransform(const Tiling& tiling, Stage stage, const int64_t* from_step,
                             const int64_t* to_step)
    : half_(tiling.points * tiling.lanes) {
  const auto kernel = [&](int a) -> const TileKernels<float>& {
    return kernels<float>().tiles[int(tiling.axis[a].tile)];
  };
  const auto before = [&](int a) {
    return stage == weight        ? kernel(a).taps
           : stage == output_back ? kernel(a).outputs
                                  : kernel(a).points;
  };
  const auto after = [&](int a) {
    return stage == output        ? kernel(a).outputs
           : stage == weight_back ? kernel(a).taps
                                  : kernel(a).points;
  };
  int tiled[kMaxAxes];  // along the others there is one element, which stays
  for (int a = 0; a < tiling.axes; ++a)
    if (tiling.axis[a].tile != Tile::plain) tiled[passes_++] = a;
  if (passes_ == 0) tiled[passes_++] = tiling.last;  // a copy
  int64_t from[kMaxAxes], to[kMaxAxes];
  std::copy_n(from_step, tiling.axes, from);
  for (int k = 0; k < passes_; ++k) {
    const int a = tiled[k];
    // Axes up to this one have their new size once it is through.
    const auto size = [&](int b) { return int64_t(b <= a ? after(b) : before(b)); };
    if (k == passes_ - 1)
      std::copy_n(to_step, tiling.axes, to);
    else
      packed_steps(tiling.axes, tiling.lanes, size, to);
    Pass& pass = pass_[k];
    const TileKernels<float>& of = kernel(a);
    pass.transform = stage == input         ? of.input
                     : stage == weight      ? of.weight
                     : stage == output      ? of.output
                     : stage == output_back ? of.output_back
                                            : of.weight_back;
    pass.from_step = from[a];
    pass.to_step = to[a];
    Loop* loop = pass.loop;
    for (int i = 0; i < passes_; ++i)
      if (const int b = tiled[i]; b != a) *loop++ = Loop{size(b), from[b], to[b]};
    std::copy_n(to, tiling.axes, from);
  }
}

void TileTransform::apply(const float* from, float* to, float* between) const {
  for (int a = 0; a < passes_; ++a) {
    const Pass& pass = pass_[a];
    float* const made = a == passes_ - 1 ? to : between + a % 2 * half_;
    const Loop &lines = pass.loop[0], &middle = pass.loop[1], &outer = pass.loop[2];
    for (int64_t i = 0; i < outer.count; ++i)
      for (int64_t j = 0; j < middle.count; ++j)
        pass.transform(from + i * outer.from + j * middle.from, pass.from_step, lines.from,
                       made + i * outer.to + j * middle.to, pass.to_step, lines.to, lines.count);
    from = made;
  }
}

}  // namespace torchconv::winograd_detail
