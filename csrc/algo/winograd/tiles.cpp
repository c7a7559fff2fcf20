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
  const auto first = [&](int a, int64_t o) {
    return o * tiling.axis[a].stride + piece.tap[a] * tiling.axis[a].dilation - p.axis[a].padding;
  };
  offset += piece.ci * input.stride.in_channel;
  bool inside = true;
  for (int a = last; a-- > 0;) {
    const TileAxis& t = tiling.axis[a];
    const int64_t i = index(a, first(a, t.origin(run.o[a]) + line % t.points * t.dilation));
    inside &= i >= 0;
    offset += i * input.stride.axis[a];
    line /= t.points;
  }
  for_each_stretch(tiling, run, tiling.axis[last].points, [&](int64_t k, int64_t o, int64_t count) {
    float* const here = to + k * tiling.lanes;
    if (inside)
      pack_stretch(first(last, o), count, offset, piece, alone, here);
    else
      clear(count, piece, alone, here);
  });
}

void InputTiles::clear(int64_t count, const Piece& piece, bool alone, float* to) const {
  const int64_t lanes = tiling.lanes;
  if (alone) return void(std::fill_n(to, count * lanes, 0.0f));
  for (int64_t k = 0; k < count; ++k) std::fill_n(to + k * lanes, piece.channels, 0.0f);
}

// Of `count` elements of the last axis, one stride apart, the first at padded index v.
void InputTiles::pack_stretch(int64_t v, int64_t count, int64_t offset, const Piece& piece,
                              bool alone, float* to) const {
  const int last = tiling.last;
  const int64_t lanes = tiling.lanes, d = p.axis[last].stride, step = input.stride.axis[last];
  const int64_t most = std::min(p.axis[last].input_size - 1, reach(last));
  const int64_t end = v <= most ? std::min(count, (most - v) / d + 1) : 0;
  const int64_t begin = v < 0 ? std::min(end, ceil_div(-v, d)) : 0;
  const auto turn = [&](int64_t i, int64_t k, int64_t length) {
    const Lines lines{input.at(offset + i * step), piece.channels, input.stride.in_channel, length,
                      length > 1 ? step * d : 1};
    if (alone)
      kernels<float>().turn(input.store, lines, to + k * lanes, lanes);
    else
      kernels<float>().interleave(input.store, lines, 1.0f, to + k * lanes, 1, lanes);
  };
  if (begin < end) turn(v + begin * d, begin, end - begin);
  for (int64_t k = 0; k < count; ++k) {
    if (k == begin && begin < end) k = end;
    if (k >= count) break;
    const int64_t i = index(last, v + k * d);
    if (i < 0)
      clear(1, piece, alone, to + k * lanes);
    else
      turn(i, k, 1);
  }
}

// The largest padded index that an output meets: tiles reach further.
int64_t InputTiles::reach(int a) const {
  const Axis& x = p.axis[a];
  return (x.output_size - 1) * x.stride - x.padding + (x.kernel_size - 1) * x.dilation;
}

// The input index of padded index v; -1: a zero.
int64_t InputTiles::index(int a, int64_t v) const {
  return v <= reach(a) ? fold(p.padding_mode, v, p.axis[a].input_size) : -1;
}

}  // namespace torchconv::winograd_detail
