#include "algo/winograd/tiles.h"

#include "core/fold.h"

namespace torchconv::winograd_detail {

bool add_line_offset(const Tiling& tiling, const Problem& p, const Reals& output, const Run& run,
                     int64_t line, int64_t* offset) {
  for (int a = tiling.last; a-- > 0;) {
    const TileAxis& t = tiling.axis[a];
    const int64_t o = t.origin(run.o[a]) + line % t.outputs * t.dilation;
    if (o >= p.axis[a].output_size) return false;
    *offset += o * output.stride.axis[a];
    line /= t.outputs;
  }
  return true;
}

Grid tap_grid(Problem p, const View& weight) {
  p.in_channels = p.groups = 1;
  return weight_grid(p, weight);
}

namespace {

TileTransform points_transform(const Tiling& tiling, int64_t plane) {
  int64_t from[kMaxAxes], to[kMaxAxes];
  line_steps(tiling, tiling.line, &TileAxis::points, from);
  packed_steps(tiling.axes, plane, [&](int a) { return tiling.axis[a].points; }, to);
  return {tiling, TileTransform::input, from, to};
}

}  // namespace

InputTiles::InputTiles(const Problem& problem, const View& view, const Tiling& cut, int64_t plane)
    : p(problem), tiling(cut), input(view, p.dtype), to_points(points_transform(cut, plane)) {}

// The line number `line` that a run sees, of a piece, turned; the other lanes of its vectors are
// zeros where the piece is alone, and else left to others.
void InputTiles::pack_line(const Run& run, int64_t line, int64_t offset, const Piece& piece,
                           bool alone, float* to) const {
  const int last = tiling.last;
  const int64_t count = (run.count - 1) * tiling.axis[last].outputs + tiling.axis[last].points;
  const int64_t lanes = tiling.lanes;
  const auto clear = [&](int64_t k, int64_t length) {
    if (alone) return void(std::fill_n(to + k * lanes, length * lanes, 0.0f));
    for (int64_t end = k + length; k < end; ++k) std::fill_n(to + k * lanes, piece.channels, 0.0f);
  };
  offset += piece.ci * input.stride.in_channel;
  for (int a = last; a-- > 0;) {
    const int64_t i = index(a, run.o[a], line % tiling.axis[a].points, piece.phase[a]);
    if (i < 0) return clear(0, count);
    offset += i * input.stride.axis[a];
    line /= tiling.axis[a].points;
  }
  const Axis& x = p.axis[last];
  const TileAxis& along = tiling.axis[last];
  const int64_t d = along.dilation * along.stride, step = input.stride.axis[last];
  const int64_t first = along.origin(run.o[last]) * along.stride + piece.phase[last] - x.padding;
  const int64_t most = std::min(x.input_size - 1, reach(last));
  const int64_t end = first <= most ? std::min(count, (most - first) / d + 1) : 0;
  const int64_t begin = first < 0 ? std::min(end, ceil_div(-first, d)) : 0;
  const auto turn = [&](int64_t i, int64_t k, int64_t length) {
    const Lines lines{input.at(offset + i * step), piece.channels, input.stride.in_channel, length,
                      length > 1 ? step * d : 1};
    if (alone)
      kernels<float>().turn(input.store, lines, to + k * lanes, lanes);
    else
      kernels<float>().interleave(input.store, lines, 1.0f, to + k * lanes, 1, lanes);
  };
  if (begin < end) turn(first + begin * d, begin, end - begin);
  for (int64_t k = 0; k < count; ++k) {
    if (k == begin && begin < end) k = end;
    if (k >= count) break;
    const int64_t i = index(last, run.o[last], k, piece.phase[last]);
    if (i < 0)
      clear(k, 1);
    else
      turn(i, k, 1);
  }
}

// The largest padded index that an output meets: tiles reach further.
int64_t InputTiles::reach(int a) const {
  const Axis& x = p.axis[a];
  return (x.output_size - 1) * x.stride - x.padding + (x.kernel_size - 1) * x.dilation;
}

// The input index of element k of a tile and those after it, of a phase; -1: a zero.
int64_t InputTiles::index(int a, int64_t tile, int64_t k, int64_t phase) const {
  const TileAxis& t = tiling.axis[a];
  const int64_t v = (t.origin(tile) + k * t.dilation) * t.stride + phase - p.axis[a].padding;
  return v <= reach(a) ? fold(p.padding_mode, v, p.axis[a].input_size) : -1;
}

}  // namespace torchconv::winograd_detail
