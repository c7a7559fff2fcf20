// A forward problem as windows that slide over a box of the input in shared memory, and the
// arithmetic of its indices.
//
//     output[base, column] = sum over shift, channel of
//                            box[base + shift, channel] * taps[shift, channel, column]
//
// A base is a position of the output, a column an output channel, a shift a tap. An input gradient
// under a stride is one such problem, too: bases count whole strides, and the residues ("phases") of
// the input index stand beside the channels in the columns, each with the taps that reach it:
//
//     forward      o = base                           t = shift
//     by input     i = base * stride + phase - padding,   t = phase + stride * (shifts - 1 - shift)
//
// and what is no tap has a weight of zero.
//
// Shared memory holds pieces of 16 bytes, neighbours along the channels. The box is cut into planes,
// one for each piece of a position; a plane holds positions by axis, phases of the stride apart:
//
//     index of the box (phase, j)  is the input index  (first base + j) * stride + phase - padding
//
// so that bases that are neighbours are neighbours under every tap. A tile is 128 bases, two units of
// 64; a unit is eight groups of eight neighbours of the last axis, along the last axis or the one
// before it.
//
// Groups of few channels are joined: their taps are zero off the diagonal.
#pragma once

#include "core/arithmetic.h"
#include "core/fold.h"
#include "core/problem.h"
#include "cuda/micro/warpgroup.h"

namespace torchconv::cuda::sliding {

constexpr int kAxes = 3;
constexpr int kUnits = 2;  // of a tile, one for each warpgroup
constexpr int kGroup = 8;  // bases
constexpr int kUnit = 64;  // bases
constexpr int kThreads = kUnits * kWarpgroup;
constexpr int kPieceBytes = 16;
constexpr int64_t kNowhere = INT64_MIN;

struct Line {
  // Bases, and the input index of the first under shift 0.
  int64_t bases = 1, input_size = 1, stride = 1, padding = 0, dilation = 1;
  int shifts = 1;
  // Of the output: index = base * step + phase + first.
  int64_t step = 1, first = 0, output_size = 1;
  // The tap of a shift and a phase.
  int64_t tap = 0, tap_shift = 1, tap_phase = 0, taps = 1;
  // The box: `phases` times `extent` positions.
  int box = 1, phases = 1, extent = 1;
  int64_t tiles = 1;

  TORCHCONV_HOST_DEVICE int phase_of(int shift) const { return int(shift * dilation % stride); }
  TORCHCONV_HOST_DEVICE int reach_of(int shift) const { return int(shift * dilation / stride); }
};

struct Form {
  View input, weight, output, bias;
  PaddingMode padding_mode = PaddingMode::zeros;
  Line line[kAxes];
  int64_t groups = 1, batch = 1;           // groups after joining
  int64_t joined = 1;                      // groups that each of them is
  int64_t channels = 0, outs = 0;          // of one group before joining
  int64_t all_channels = 0, all_outs = 0;  // of all groups
  int64_t columns = 0;                     // of a joined group: outs * joined * phases of all axes
  int column_phases = 1;

  // The tile.
  int box_batch = 1;
  // From one unit, one group of eight to the next: bases by axis, and images.
  int unit_step[kAxes] = {}, group_step[kAxes] = {}, unit_images = 0;
  int positions = 0, plane = 0;  // of the box, and with what sets its planes apart
  int pitch[kAxes + 1] = {};     // positions from one index to the next; the last: image
  int shifts = 1;

  // Depth, in chunks of some pieces a position; a step is a chunk under some shifts.
  int elements = 8;                            // of a piece
  int pieces = 2;                              // of a chunk, even
  int chunks = 1, step_shifts = 1, steps = 1;  // steps of a chunk
  int slots = 3;                               // of boxes
  int rounds = 1;                              // pieces of a chunk that each thread loads in a step
  Divisor by_positions, by_pieces;
  bool vectors = false;  // a piece lies in memory as it is
  int64_t tiles = 0, column_tiles = 0;
  int splits = 1, split_chunks = 0;  // the depth is cut into so many, of so many chunks each
  float* partial = nullptr;          // the sums of each split: [split][tile][number][thread]
  const void* taps = nullptr;        // packed
  bool store_vectors = false;        // kPieceBytes of columns are written at once
  int fills = 1;                     // parts of a box that are not empty
};

// Bytes of a chunk's taps under one shift.
TORCHCONV_HOST_DEVICE constexpr int64_t tap_bytes(int pieces, int columns) {
  return int64_t(pieces) * columns * kPieceBytes;
}

// Where the index of a box comes from.
TORCHCONV_HOST_DEVICE inline int64_t index_of_box(const Line& x, int64_t base, int i) {
  const int phase = i / x.extent, j = i - phase * x.extent;
  return (base + j) * x.stride + phase - x.padding;
}
// Positions by which a shift moves along an axis of the box.
TORCHCONV_HOST_DEVICE inline int moved(const Line& x, int shift) {
  return x.phase_of(shift) * x.extent + x.reach_of(shift);
}
// Positions of the box from shift 0 to this one.
TORCHCONV_HOST_DEVICE inline int moved_by(const Form& f, int shift) {
  int positions = 0;
#pragma unroll
  for (int a = kAxes - 1; a >= 0; --a) {
    positions += moved(f.line[a], shift % f.line[a].shifts) * f.pitch[a];
    shift /= f.line[a].shifts;
  }
  return positions;
}

// The element of the input that a position of the box is, before the channel; kNowhere in the padding.
TORCHCONV_HOST_DEVICE inline int64_t place_of(const Form& f, int64_t image, const int64_t* base,
                                              int position) {
  int rest = position;
  const int n = rest / f.pitch[kAxes];
  rest -= n * f.pitch[kAxes];
  if (image + n >= f.batch) return kNowhere;
  int64_t at = (image + n) * f.input.batch;
#pragma unroll
  for (int a = 0; a < kAxes; ++a) {
    const Line& x = f.line[a];
    const int i = rest / f.pitch[a];
    rest -= i * f.pitch[a];
    const int64_t index = fold(f.padding_mode, index_of_box(x, base[a], i), x.input_size);
    if (index < 0 || index >= x.input_size) return kNowhere;  // the margin of a tile reaches far
    at += index * f.input.axis[a];
  }
  return at;
}

// The packed taps of one piece: neighbours along the channels, of one column and one shift.
struct TapPiece {
  int group, column, shift, channel;  // of the joined group
};
// Calls body(j, element of the weight) for each number j of the piece that is not zero.
template <typename Body>
TORCHCONV_HOST_DEVICE inline void for_taps(const Form& f, const TapPiece& piece, const Body& body) {
  const int all = int(f.joined * f.outs), outs = int(f.outs), channels = int(f.channels);
  if (piece.column >= f.columns) return;
  int phase = piece.column / all, shift = piece.shift;
  const int out = piece.column % all, member = out / outs;
  const int64_t group = int64_t(piece.group) * f.joined + member;
  if (group * f.channels >= f.all_channels) return;
  int64_t at = group * f.weight.group + out % outs * f.weight.out_channel;
#pragma unroll
  for (int a = kAxes - 1; a >= 0; --a) {
    const Line& x = f.line[a];
    const int step = int(x.step), s = shift % x.shifts, r = phase % step;
    shift /= x.shifts, phase /= step;
    const int64_t tap = x.tap + r * x.tap_phase + s * x.tap_shift;
    if (tap < 0 || tap >= x.taps) return;
    at += tap * f.weight.axis[a];
  }
  const int first = piece.channel - member * channels;  // of the member's
#pragma unroll
  for (int j = 0; j < kPieceBytes / 2; ++j)
    if (j < f.elements && first + j >= 0 && first + j < channels)
      body(j, at + (first + j) * f.weight.in_channel);
}

// A column of the output: elements from the base's, and the phase on each axis.
struct Column {
  int64_t at = kNowhere;
  int phase[kAxes] = {};
  float bias = 0;
};
TORCHCONV_HOST_DEVICE inline Column column_of(const Form& f, int group, int column) {
  Column c;
  const int all = int(f.joined * f.outs);
  int phase = column / all, out = column - phase * all;
  if (column >= f.columns || int64_t(group) * all + out >= f.all_outs) return c;
  const int member = out / int(f.outs);
  out -= member * int(f.outs);
  c.at = (group * f.joined + member) * f.output.group + out * f.output.out_channel;
#pragma unroll
  for (int a = kAxes - 1; a >= 0; --a) {
    const int step = int(f.line[a].step), rest = phase / step;
    c.phase[a] = phase - rest * step;
    phase = rest;
    c.at += c.phase[a] * f.output.axis[a];
  }
  return c;
}
// Elements from the first of the bias.
TORCHCONV_HOST_DEVICE inline int64_t bias_of(const Form& f, int group, int column) {
  const int out = column % int(f.joined * f.outs), member = out / int(f.outs);
  return (group * f.joined + member) * f.bias.group + out % int(f.outs) * f.bias.out_channel;
}

struct Tile {
  int column, group, split;    // the first column
  int64_t image, base[kAxes];  // the first of each
};
// Column tiles first: blocks that run together read the same boxes.
TORCHCONV_HOST_DEVICE inline Tile tile_at(const Form& f, uint32_t number, int columns) {
  Tile t;
  t.split = int(split_off(&number, f.splits));
  t.column = int(split_off(&number, f.column_tiles)) * columns;
#pragma unroll
  for (int a = kAxes - 1; a >= 0; --a)
    t.base[a] = int64_t(split_off(&number, f.line[a].tiles)) * f.line[a].box;
  t.group = int(split_off(&number, f.groups));
  t.image = int64_t(number) * f.box_batch;
  return t;
}

// Whether the columns from this one on to the next tile's have taps; all of one phase may have none.
TORCHCONV_HOST_DEVICE inline bool has_taps(const Form& f, int column, int columns) {
  const int all = int(f.joined * f.outs);
  int phase = column / all;
  if ((column + columns - 1) / all != phase && column + columns < f.columns) return true;
  bool has = true;
#pragma unroll
  for (int a = kAxes - 1; a >= 0; --a) {
    const int step = int(f.line[a].step);
    has &= phase % step < f.line[a].taps;
    phase /= step;
  }
  return has;
}

// Where a group of eight bases lies in the tile: its first base, and image.
struct Place {
  int image, base[kAxes];
};
TORCHCONV_HOST_DEVICE inline Place place_of_group(const Form& f, int unit, int group) {
  Place p;
  p.image = unit * f.unit_images;
#pragma unroll
  for (int a = 0; a < kAxes; ++a) p.base[a] = unit * f.unit_step[a] + group * f.group_step[a];
  return p;
}
TORCHCONV_HOST_DEVICE inline int position_of(const Form& f, const Place& p) {
  int at = p.image * f.pitch[kAxes];
#pragma unroll
  for (int a = 0; a < kAxes; ++a) at += p.base[a] * f.pitch[a];
  return at;
}

}  // namespace torchconv::cuda::sliding
