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

// Channels of one phase, of the depth that products sum over: [lanes of channels][phase][channel],
// so that the phases of a line are read one after the other.
struct Piece {
  int64_t at, channels;  // from where on they lie, counted from the first asked for
  int64_t ci;
  int64_t phase[kMaxAxes];
};

// Calls f(piece) for the pieces that make up [begin, end) of the depth.
template <typename F>
void for_each_piece(const Tiling& tiling, int64_t begin, int64_t end, const F& f) {
  Piece piece;
  for (int64_t m = begin; m < end; m += piece.channels) {
    const int64_t first = m / (tiling.lanes * tiling.phases) * tiling.lanes;
    const int64_t channels = std::min<int64_t>(tiling.lanes, tiling.in_channels - first);
    const int64_t in_block = m - first * tiling.phases, c = in_block % channels;
    piece.at = m - begin;
    piece.channels = std::min(channels - c, end - m);
    piece.ci = first + c;
    for (int64_t a = tiling.last, rest = in_block / channels; a >= 0; --a) {
      piece.phase[a] = rest % tiling.axis[a].phases;
      rest /= tiling.axis[a].phases;
    }
    f(piece);
  }
}

// The taps of one pair of channels.
Grid tap_grid(Problem p, const View& weight);

// Calls f(tap, count, offset, step) for the lines of taps of a phase: which tap of the phase is the
// first, and where in memory it and the next ones lie.
template <typename F>
void for_each_tap_line(const Tiling& tiling, const Problem& p, const View& weight,
                       const Piece& piece, const F& f) {
  Grid grid;
  grid.axes = tiling.axes;
  for (int a = 0; a < tiling.axes; ++a) grid.size[a] = tiling.axis[a].taps;
  grid.per_image = tiling.taps;
  const int last = tiling.last;
  for_each_run(grid, 0, tiling.taps, [&](const Run& run) {
    int64_t offset = 0;
    for (int a = 0; a < tiling.axes; ++a) {
      const int64_t tap = run.o[a] * tiling.axis[a].stride + piece.phase[a];
      if (tap >= p.axis[a].kernel_size) return;
      offset += tap * weight.axis[a];
    }
    const int64_t stride = tiling.axis[last].stride;
    f(run.column, ceil_div(p.axis[last].kernel_size - piece.phase[last], stride), offset,
      stride * weight.axis[last]);
  });
}

struct InputTiles {
  const Problem& p;
  const Tiling& tiling;
  Reals input;
  TileTransform to_points;

  // `plane` lies between the elements of one point and the next's.
  InputTiles(const Problem& problem, const View& view, const Tiling& cut, int64_t plane);

  // The tiles of a run, a vector of the depth [begin, end) of group g at a time, the first point to
  // at(tile, channel); tiles are counted from the block's first, channels from `begin`.
  template <typename At>
  void transform(const Run& run, int64_t g, int64_t begin, int64_t end, float* lines,
                 float* between, const At& at) const {
    const int64_t offset = run.n * input.stride.batch + g * input.stride.group;
    for (int64_t ci = begin; ci < end; ci += tiling.lanes) {
      const int64_t channels = std::min(tiling.lanes, end - ci);
      for_each_piece(tiling, ci, ci + channels, [&](const Piece& piece) {
        for (int64_t l = 0; l < tiling.lines; ++l)
          pack_line(run, l, offset, piece, piece.channels == channels,
                    lines + l * tiling.line * tiling.lanes + piece.at);
      });
      for (int64_t t = 0; t < run.count; ++t)
        to_points.apply(lines + t * tiling.axis[tiling.last].outputs * tiling.lanes,
                        at(run.column + t, ci - begin), between);
    }
  }

 private:
  void pack_line(const Run& run, int64_t line, int64_t offset, const Piece& piece, bool alone,
                 float* to) const;
  int64_t reach(int a) const;
  int64_t index(int a, int64_t tile, int64_t k, int64_t phase) const;
};

}  // namespace torchconv::winograd_detail
