// The weight gradient as products over the bases of a box, and how they are cut.
//
//     sum[row, shift, column] += gradient[base, row] * box[base + shift, column]
//
// A row is an output channel, a column an input channel, and the bases, positions of the output,
// are the depth. The box is form.h's, and the gradient of a tile lies beside it in the same pieces,
// in the order of its bases, with zeros for those that do not exist.
//
// A block sums some columns of 64 rows, or of 64 for each of its warpgroups, under a set of shifts,
// over one of the splits of all tiles: its sums stay in registers from the first tile to the last.
// A second kernel adds the splits in their order. How all that is cut depends on the problem alone.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/algorithm.h"
#include "cuda/algo/direct/plan.h"

namespace torchconv::cuda::sliding {

constexpr int kTileBases = kUnits * kUnit;
constexpr int kRows = 64;            // of a product
constexpr int kDepthStep = 16;       // bases of a product
constexpr int kLoadParts = 4;        // of the loads of a tile, each beside two products a shift
constexpr int kMostWeightSlots = 4;  // of tiles
constexpr int64_t kMultiprocessors = 132;
constexpr int64_t kMostWeightShared = 224 << 10;  // bytes of a block, one on a multiprocessor
constexpr int64_t kMostWeightSplits = 264;
constexpr int64_t kLeastTiles = 2;  // of a split

// Shifts and columns of a warpgroup: up to 192 sums a thread, of 255 registers. The products are
// written out for all of the shifts and for one less; a warpgroup with fewer makes some for nobody.
struct WeightShape {
  int shifts, columns;
};
constexpr WeightShape kWeightShapes[] = {{1, 128}, {1, 64},  {3, 128}, {3, 64}, {5, 64},
                                         {5, 32},  {10, 32}, {5, 16},  {13, 16}};
// Pieces of a part of a tile that have registers to wait in.
TORCHCONV_HOST_DEVICE constexpr int held_of(WeightShape s) {
  const int sums = s.shifts * s.columns / 2;
  return sums > 160 ? 1 : sums > 104 ? 2 : 3;
}

// What pieces are brought in from: the input or the output's gradient. A piece has neighbouring
// channels of a position. Where positions lie end to end in memory and no shift parts them, it has
// eight of these of one channel instead: a piece of a line.
struct Source {
  int64_t batch = 0, channel = 0, axis[kAxes] = {};  // strides, in elements
  // Index of an axis = (base + within) * stride + phase - padding, where it is of [0, size).
  int64_t stride[kAxes] = {}, padding[kAxes] = {}, size[kAxes] = {};
  PaddingMode padding_mode = PaddingMode::zeros;
  bool lines = false;
  int copy_bytes = 0;  // of each asynchronous copy that a piece is made of; 0: it is put together
  // Pieces of a position (or of eight), and positions (or eights); what is between them in a slot.
  int pieces = 0, positions = 0;
  int first = 0, to_piece = 0, to_position = 0;
  int first_place = 0;  // of the table of places
  int rounds = 0;       // pieces that each thread loads
  Divisor by;           // what neighbours count

  // Of neighbours in memory, the pieces of a position come first.
  TORCHCONV_HOST_DEVICE bool pieces_first() const { return !lines && copy_bytes > 0; }
};

struct WeightForm {
  Form f;  // of which `pieces` is of the columns of a block
  Source source[2];
  int row_units = 1;  // 2: each warpgroup has rows of its own, and all shifts of the set
  int sets = 1;       // of shifts
  int64_t row_tiles = 1, column_tiles = 1;
  int splits = 1;
  int64_t split_tiles = 0;
  int slots = 2, slot_pieces = 0;
  int ahead = 1;   // tiles that are on their way while one is multiplied
  int rounds = 0;  // pieces that a thread puts together in a part of a tile
  bool accumulate = false;
  float* partial = nullptr;  // [split][group][row tile][column tile][shift][row][column]

  TORCHCONV_HOST_DEVICE int rows() const { return kRows * row_units; }
  TORCHCONV_HOST_DEVICE int64_t blocks() const {
    return f.groups * row_tiles * column_tiles * sets * splits;
  }
  TORCHCONV_HOST_DEVICE int64_t partial_of(int split, int64_t group, int64_t row_tile,
                                           int64_t column_tile, int columns) const {
    return (((split * f.groups + group) * row_tiles + row_tile) * column_tiles + column_tile) *
           f.shifts * rows() * columns;
  }
};

struct WeightPlan {
  WeightForm form;
  WeightShape shape = {0, 0};  // none: the problem is none for this algorithm
  int64_t shared_bytes = 0, partial_bytes = 0;
  double cycles = 0;
};

// A position within its tile.
struct Digits {
  uint16_t image, within[kAxes], phase[kAxes], none;
};

struct WeightPlaces {
  int64_t digits, places, shifts, bytes;  // where each begins, after the slots
};
TORCHCONV_HOST_DEVICE inline WeightPlaces weight_places(const WeightForm& w) {
  const int64_t positions = w.source[0].positions + w.source[1].positions;
  WeightPlaces s;
  s.digits = int64_t(w.slots) * w.slot_pieces * kPieceBytes;
  s.places = s.digits + positions * int64_t(sizeof(Digits));
  s.shifts = s.places + 2 * positions * int64_t(sizeof(int64_t));  // of two tiles
  s.bytes = s.shifts + w.f.shifts * 4;
  return s;
}

// Where the pieces of a source lie in a slot, from `first` on; returns where the next may begin.
// From plane to plane, or from eight positions of lines to the next, it is a few pieces past a
// multiple of eight: what is written at once meets different banks.
inline int set_pieces(Source* s, int first, int rows, int positions) {
  const int pieces = rows / kGroup, eights = int(ceil_div(positions, kGroup));
  const int plane = eights * kGroup + (pieces < kGroup ? kGroup / pieces : 1);
  s->first = first;
  s->pieces = s->lines ? rows : pieces;
  s->positions = s->lines ? eights : positions;
  s->to_piece = s->lines ? 1 : plane;
  s->to_position = s->lines ? rows + 1 : 1;
  s->rounds = int(ceil_div(s->pieces * s->positions, kThreads));
  s->by = Divisor(s->pieces_first() ? s->pieces : s->positions);
  return first + std::max(pieces * plane, eights * (rows + 1));  // the same for both
}

// All that follows from a tile, a shape, whose the rows are, and how the sources lie.
inline void set_shape(WeightForm* w, WeightShape shape, int row_units) {
  Form& f = w->f;
  w->row_units = row_units;
  w->row_tiles = ceil_div(f.joined * f.outs, w->rows());
  w->column_tiles = ceil_div(f.joined * f.channels, shape.columns);
  w->sets = int(ceil_div(f.shifts, shape.shifts * (kUnits / row_units)));
  Source &x = w->source[0], &y = w->source[1];
  w->slot_pieces =
      set_pieces(&y, set_pieces(&x, 0, shape.columns, f.positions), w->rows(), kTileBases);
  y.first_place = x.positions;
  w->slots = kMostWeightSlots;
  while (w->slots > 2 && weight_places(*w).bytes > kMostWeightShared) --w->slots;
  w->ahead = w->slots > 2 ? 2 : 1;
  const int by_hand = (x.copy_bytes ? 0 : x.rounds) + (y.copy_bytes ? 0 : y.rounds);
  w->rounds = int(ceil_div(by_hand, kLoadParts));
}

// The lines and the tile; false where there are none.
inline bool set_weight_tile(const Problem& p, const Operands& operands, Form* f) {
  if (!set_problem(p, operands, f)) return false;
  f->elements = int(kPieceBytes / element_bytes(p.dtype));
  if (f->batch == 0 || f->channels == 0 || f->outs == 0) return false;
  if (f->all_channels > kMostChannels || f->all_outs > kMostChannels) return false;
  for (const Line& x : f->line)
    if (x.bases < 1 || x.shifts < 1 || x.bases > kMostSize) return false;
  // Groups are joined until they fill a product: off the diagonal its sums are nobody's.
  const int64_t groups = f->all_channels / f->channels;
  f->joined = 1;
  while (f->joined < groups && f->joined * 2 * f->channels <= 64 &&
         f->joined * 2 * f->outs <= kRows)
    f->joined *= 2;
  f->groups = ceil_div(groups, f->joined);
  const int64_t columns = f->joined * f->channels;
  if (!choose_tile(f, int(std::min<int64_t>(columns, 64)))) return false;
  const double elements = double(f->all_outs) * double(f->channels) * f->shifts;
  return f->shifts <= kMostShifts && elements < 4e9;  // 32 bits count them
}

// Cycles of a multiprocessor for a tile: products, of which one of 64 x columns x 16 takes half a
// cycle a column and a few more; loads; and its begin and end.
inline double tile_cycles(const WeightForm& w, WeightShape shape, const Problem& p) {
  const int parts = w.sets * (kUnits / w.row_units);
  const double shifts = std::max(double(w.f.shifts) / parts, std::max(shape.shifts - 1.0, 1.0));
  const double products = kTileBases / kDepthStep * kUnits * shifts * (shape.columns / 2 + 6);
  // Lines of an even length are copied, if only four bytes at a time.
  const bool in_lines = w.f.line[kAxes - 1].bases % 2 == 0;
  const bool still = shape.shifts == 1 && w.f.line[kAxes - 1].stride == 1;
  const bool is_copied[2] = {p.channels_last || (in_lines && still), p.channels_last || in_lines};
  double copies = 0, by_hand = 0, rounds = 0;
  for (int s = 0; s < 2; ++s) {
    const Source& source = w.source[s];
    (is_copied[s] ? copies : by_hand) += source.pieces * source.positions;
    rounds += is_copied[s] ? 0 : source.rounds;
  }
  // Loads that find no register to wait in are waited for.
  const double waits = std::max(std::ceil(rounds / kLoadParts / held_of(shape)) - 1, 0.0);
  return std::max(products, 0.8 * copies) + 1.5 * by_hand + waits * kLoadParts * 600 + 300;
}

// Of all shapes, the quickest with its quickest number of splits, by the problem alone: axes that
// no tap moves along are one line or not, as the views lie, and it has to fit both ways.
inline WeightPlan choose_weight(const Problem& p) {
  WeightPlan best;
  WeightForm as_given, joined;
  Problem simple = p;
  Operands none;
  simplify(&simple, &none);
  if (!set_weight_tile(p, Operands{}, &as_given.f)) return best;
  if (!set_weight_tile(simple, none, &joined.f)) return best;
  for (const WeightShape& shape : kWeightShapes)
    for (int row_units = 1; row_units <= kUnits; ++row_units) {
      if (row_units > 1 && joined.f.joined * joined.f.outs <= kRows) continue;
      set_shape(&as_given, shape, row_units), set_shape(&joined, shape, row_units);
      if (weight_places(as_given).bytes > kMostWeightShared) continue;
      if (weight_places(joined).bytes > kMostWeightShared) continue;
      const double cycles = tile_cycles(joined, shape, p);
      const int64_t tiles = joined.f.tiles / joined.f.groups;
      joined.splits = 1;
      const int64_t blocks = joined.blocks();
      if (blocks > kMostBlocks / kMostWeightSplits) continue;
      const int64_t partial = 4 * joined.f.groups * joined.row_tiles * joined.column_tiles *
                              joined.f.shifts * joined.rows() * shape.columns;
      const int64_t most = std::min({ceil_div(tiles, kLeastTiles), kMostWeightSplits,
                                     ceil_div(2 * kMultiprocessors, blocks)});
      for (int64_t splits = 1; splits <= most; ++splits) {
        const double rounds = double(ceil_div(blocks * splits, kMultiprocessors));
        const double total = rounds * (double(ceil_div(tiles, splits)) * cycles + 2000) +
                             double(splits * partial) / 1200;  // bytes a cycle, there and back
        if (best.shape.shifts > 0 && total >= best.cycles) continue;
        best.cycles = total, best.shape = shape, best.form = joined;
        best.form.splits = int(splits), best.partial_bytes = splits * partial;
      }
    }
  return best;
}

inline Source source_of(const View& view, int64_t channel) {
  Source s;
  s.batch = view.batch, s.channel = channel;
  for (int a = 0; a < kAxes; ++a) s.axis[a] = view.axis[a], s.stride[a] = 1;
  return s;
}

// Sets how a source's pieces lie in memory: as they are needed, all of one there or none; or, if it
// may be, as copies of lines; or in no such way. Of a group and of all there are so many channels.
inline void set_copies(Source* s, const View& view, int64_t channels, int64_t all, bool lines) {
  const auto fit = [&](int bytes, int axes, int64_t neighbour) {
    const int64_t elements = bytes / 2;
    bool fits = neighbour == 1 && uintptr_t(view.data) % uintptr_t(bytes) == 0 &&
                s->batch % elements == 0 && view.group % elements == 0;
    for (int a = 0; a < axes; ++a) fits &= s->axis[a] % elements == 0;
    return fits;
  };
  if (fit(kPieceBytes, kAxes, s->channel) && channels % kGroup == 0 && all % kGroup == 0) {
    s->copy_bytes = kPieceBytes;
    return;
  }
  for (int bytes : {16, 8, 4})
    if (lines && s->copy_bytes == 0 && s->channel % (bytes / 2) == 0 &&
        fit(bytes, kAxes - 1, s->axis[kAxes - 1]))
      s->copy_bytes = bytes, s->lines = true;
}

// The problem with its views: the tile is theirs, the rest is chosen.
inline WeightPlan plan_weight(Problem p, Operands operands) {
  WeightPlan plan = choose_weight(p);
  if (plan.shape.shifts == 0) return plan;
  WeightForm w;
  Form& f = w.f;
  simplify(&p, &operands);
  set_weight_tile(p, operands, &f);
  w.accumulate = operands.accumulate;
  Source &x = w.source[0], &y = w.source[1];
  x = source_of(f.input, f.input.in_channel), y = source_of(f.output, f.output.out_channel);
  x.padding_mode = p.padding_mode;
  for (int a = 0; a < kAxes; ++a) {
    const Line& line = f.line[a];
    x.stride[a] = line.stride, x.padding[a] = line.padding;
    x.size[a] = line.input_size, y.size[a] = line.bases;
  }
  const Line& last = f.line[kAxes - 1];
  const bool still = f.shifts == 1 && plan.shape.shifts == 1 && last.stride == 1 &&
                     last.padding == 0 && p.padding_mode == PaddingMode::zeros;
  set_copies(&x, f.input, f.joined * f.channels, f.all_channels, still);
  set_copies(&y, f.output, f.joined * f.outs, f.all_outs, true);
  set_shape(&w, plan.shape, plan.form.row_units);
  w.splits = plan.form.splits;
  w.split_tiles = ceil_div(f.tiles / f.groups, w.splits);
  plan.shared_bytes = weight_places(w).bytes;
  plan.form = w;
  return plan;
}

// In weight.cu, of what plan_weight() has a shape for; the sums of the splits go to the scratch.
void run_weight(const Problem& p, const Operands& operands, const Context& context);

}  // namespace torchconv::cuda::sliding
