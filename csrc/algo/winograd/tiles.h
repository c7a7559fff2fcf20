// The tiles of the input, V = Bt x, and the walk over tiles: the same whether winograd makes the
// output or the weight.
#pragma once

#include "algo/winograd/plan.h"

namespace torchconv::winograd_detail {

// Steps over the elements of lines of vectors: as many as a tile has along all axes but the last,
// along which lines go on from tile to tile.
inline void line_steps(const Tiling& tiling, int64_t line, int64_t TileAxis::* size,
                       int64_t* step) {
  packed_steps(
      tiling.axes, tiling.lanes,
      [&](int a) { return a == tiling.last ? line : tiling.axis[a].*size; }, step);
}

// Calls f(run) for the runs of tiles of one line of one image.
template <typename F>
void for_each_tile_run(const Tiling& tiling, int64_t first, int64_t count, const F& f) {
  const int64_t apart = tiling.axis[tiling.last].tiles_apart;
  for_each_run(tiling.tiles, first, count, [&](Run run) {
    int64_t left = run.count;
    while (left > 0) {
      run.count = std::min({left, tiling.run, apart - run.o[tiling.last] % apart});
      f(run);
      run.o[tiling.last] += run.count;
      run.column += run.count;
      left -= run.count;
    }
  });
}

// Adds where line number `line` of the outputs of a run lies; false where it lies beyond the last.
bool add_line_offset(const Tiling& tiling, const Problem& p, const Reals& output, const Run& run,
                     int64_t line, int64_t* offset);

// The taps of one pair of channels.
Grid tap_grid(Problem p, const View& weight);

struct InputTiles {
  const Problem& p;
  const Tiling& tiling;
  Reals input;
  TileTransform to_points;

  // `plane` lies between the elements of one point and the next's.
  InputTiles(const Problem& problem, const View& view, const Tiling& cut, int64_t plane);

  // The tiles of a run, a vector of the channels [begin, end) of group g at a time, the first point
  // to at(tile, channel); tiles are counted from the block's first, channels from `begin`.
  template <typename At>
  void transform(const Run& run, int64_t g, int64_t begin, int64_t end, float* lines,
                 float* between, const At& at) const {
    for (int64_t ci = begin; ci < end; ci += tiling.lanes) {
      const int64_t offset =
          run.n * input.stride.batch + g * input.stride.group + ci * input.stride.in_channel;
      for (int64_t l = 0; l < tiling.lines; ++l)
        pack_line(run, l, offset, std::min(tiling.lanes, end - ci),
                  lines + l * tiling.line * tiling.lanes);
      for (int64_t t = 0; t < run.count; ++t)
        to_points.apply(lines + t * tiling.axis[tiling.last].outputs * tiling.lanes,
                        at(run.column + t, ci - begin), between);
    }
  }

 private:
  void pack_line(const Run& run, int64_t line, int64_t offset, int64_t channels, float* to) const;
  int64_t reach(int a) const;
  int64_t index(int a, int64_t tile, int64_t k) const;
};

}  // namespace torchconv::winograd_detail
