// The tiles of the input, V = Bt x, and the walk over tiles: the same whether winograd makes the
// output or the weight.
#pragma once

#include "algo/winograd/plan.h"

namespace torchconv::winograd_detail {

// Steps over the elements of lines of vectors: as many as a tile has along all axes but the last,
// along which lines go on from tile to tile, and tiles of interleaved problems lie side by side.
inline void line_steps(const Tiling& tiling, int64_t line, int64_t TileAxis::* size,
                       int64_t* step) {
  packed_steps(
      tiling.axes, tiling.lanes,
      [&](int a) { return a == tiling.last ? line : tiling.axis[a].*size; }, step);
  step[tiling.last] *= tiling.beside;
}

// Calls f(run) for the runs of tiles of one line of one image.
template <typename F>
void for_each_tile_run(const Tiling& tiling, int64_t first, int64_t count, const F& f) {
  const int64_t all = tiling.axis[tiling.last].interleaved;
  for_each_run(tiling.tiles, first, count, [&](Run run) {
    int64_t left = run.count;
    while (left > 0) {
      run.count = std::min({left, tiling.beside, all - run.o[tiling.last] % all});
      if (run.count == all) run.count = round_down(std::min(left, tiling.run), all);
      f(run);
      run.o[tiling.last] += run.count;
      run.column += run.count;
      left -= run.count;
    }
  });
}

// Calls f(vector, index, count) for the stretches of a line of a run's tiles, each of so many elements
// along the last axis: which vector of the line begins it, where along the axis, at stride 1, it lies,
// and its length. Side by side, all interleaved problems make one.
template <typename F>
void for_each_stretch(const Tiling& tiling, const Run& run, int64_t elements, const F& f) {
  const TileAxis& along = tiling.axis[tiling.last];
  const int64_t beside = tiling.beside_of(run), origin = along.origin(run.o[tiling.last]);
  const int64_t count = (run.count / beside - 1) * along.outputs + elements;
  if (beside == along.dilation) return f(int64_t{0}, origin, count * beside);
  for (int64_t k = 0; k < count; ++k) f(k * tiling.beside, origin + k * along.dilation, beside);
}

// Adds where line number `line` of the outputs of a run lies; false where it lies beyond the last.
bool add_line_offset(const Tiling& tiling, const Problem& p, const Reals& output, const Run& run,
                     int64_t line, int64_t* offset);

// Channels of one phase, of the depth that products sum over: [lanes of channels][phase][channel],
// so that the phases of a line are read one after the other.
struct Piece {
  int64_t at, channels;  // from where on they lie, counted from the first asked for
  int64_t ci;
  int64_t tap[kMaxAxes];  // the phase's first
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
      piece.tap[a] = tiling.axis[a].first_tap(rest % tiling.axis[a].phases);
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
      const int64_t tap = run.o[a] * tiling.axis[a].stride + piece.tap[a];
      if (tap >= p.axis[a].kernel_size) return;
      offset += tap * weight.axis[a];
    }
    const int64_t stride = tiling.axis[last].stride;
    const int64_t left = ceil_div(p.axis[last].kernel_size - piece.tap[last], stride);
    f(run.column, std::min(tiling.axis[last].taps, left), offset, stride * weight.axis[last]);
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
        to_points.apply(lines + tiling.place(run, t, tiling.axis[tiling.last].outputs),
                        at(run.column + t, ci - begin), between);
    }
  }

 private:
  void pack_line(const Run& run, int64_t line, int64_t offset, const Piece& piece, bool alone,
                 float* to) const;
  void pack_stretch(int64_t v, int64_t count, int64_t offset, const Piece& piece, bool alone,
                    float* to) const;
  void clear(int64_t count, const Piece& piece, bool alone, float* to) const;
  int64_t reach(int a) const;
  int64_t index(int a, int64_t v) const;
};

}  // namespace torchconv::winograd_detail
