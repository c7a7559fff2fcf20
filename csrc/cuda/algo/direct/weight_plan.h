// How a weight gradient is cut into products, tiles and splits, and where its pieces come from. On the
// host; weight_form.h has the mathematics.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/algorithm.h"
#include "cuda/algo/direct/plan.h"
#include "cuda/algo/direct/weight_form.h"

namespace torchconv::cuda::sliding {

constexpr int kMostWeightSlots = 4;  // of tiles
constexpr int64_t kMultiprocessors = 132;
constexpr int64_t kMostWeightShared = 224 << 10;  // bytes of a block, one on a multiprocessor
constexpr int64_t kMostWeightSplits = 264;
constexpr int64_t kLeastTiles = 2;       // of a split
constexpr int64_t kMostPatchTile = 128;  // channels
// Measured on an H200: what products take, by what they are counted at below; a loader's cycles for a
// piece that is copied, that is put together with others, and that is put together alone or of
// numbers far apart; and for a tile.
constexpr double kProductCycles = 2.7;
constexpr double kCopyCycles = 190, kNearCycles = 420, kFarCycles = 800, kTileCycles = 5000;

struct WeightPlan {
  WeightForm form;
  WeightShape shape = {0, 0, false};  // none: the problem is none for this algorithm
  int64_t shared_bytes = 0, partial_bytes = 0;
  double cycles = 0;
};

// Where the pieces of a source lie in a slot, from byte `first` on; returns where the next may begin,
// whichever way they lie. Planes and lines are so far apart that what threads write at once, or what
// a warp reads as patches, meets different banks.
inline int set_pieces(Source* s, int first, int channels, int positions, bool by_patches,
                      int elements) {
  const int pieces = channels / elements, of_line = int(ceil_div(positions, elements));
  const int gap = by_patches ? 4 : pieces < kGroup ? kGroup / pieces : 1;
  const int plane = (int(round_up(positions, kGroup)) + gap) * kPieceBytes;
  s->first = first;
  s->pieces = s->lines ? channels : pieces;
  s->positions = s->lines ? of_line : positions;
  s->to_piece = s->lines ? kPieceBytes : plane;
  s->to_position = s->lines ? (channels + 1) * kPieceBytes : kPieceBytes;
  const int low = s->pieces_first ? s->pieces : s->positions;
  while (s->low_threads < low && s->low_threads < loaders(by_patches)) s->low_threads *= 2;
  return first + std::max(pieces * plane, of_line * (channels + 1) * kPieceBytes);
}

// A way to cut a block out of outputs, shifts and channels.
struct WeightCut {
  WeightShape shape;
  int row_units;     // by gradients
  int channel_tile;  // by patches
};

// All that follows from a tile, a cut, and how the sources lie.
inline void set_cut(WeightForm* w, const WeightCut& cut) {
  Form& f = w->f;
  const WeightShape& shape = cut.shape;
  w->row_units = shape.by_patches ? 1 : cut.row_units;
  w->channel_tile = shape.by_patches ? cut.channel_tile : shape.columns;
  w->out_tile = shape.by_patches ? shape.columns : kRows * cut.row_units;
  w->out_tiles = ceil_div(f.joined * f.outs, w->out_tile);
  w->channel_tiles = ceil_div(f.joined * f.channels, w->channel_tile);
  w->products =
      shape.by_patches ? int(ceil_div(int64_t(f.shifts) * w->channel_tile, kRows)) : f.shifts;
  w->sets = int(ceil_div(w->products, shape.products * (kUnits / w->row_units)));
  Source &x = w->source[0], &y = w->source[1];
  const bool patches = shape.by_patches;
  const int end = set_pieces(&x, 0, w->channel_tile, f.positions, patches, f.elements);
  w->slot_pieces = set_pieces(&y, end, w->out_tile, kTileBases, patches, f.elements) / kPieceBytes;
  y.first_place = x.positions;
  w->slots = kMostWeightSlots;
  while (w->slots > 2 && weight_places(*w).bytes > kMostWeightShared) --w->slots;
}

// The lines and the tile; false where there are none. Groups are joined until they fill a product of
// so many channels and outputs: off the diagonal its sums are nobody's.
inline bool set_weight_tile(const Problem& p, const Operands& operands, int channels, int outs,
                            Form* f) {
  if (!set_problem(p, operands, f)) return false;
  f->elements = int(kPieceBytes / element_bytes(p.dtype));
  if (f->batch == 0 || f->channels == 0 || f->outs == 0) return false;
  if (f->all_channels > kMostChannels || f->all_outs > kMostChannels) return false;
  for (const Line& x : f->line)
    if (x.bases < 1 || x.shifts < 1 || x.bases > kMostSize) return false;
  const int64_t groups = f->all_channels / f->channels;
  f->joined = 1;
  while (f->joined < groups && f->joined * 2 * f->channels <= channels &&
         f->joined * 2 * f->outs <= outs)
    f->joined *= 2;
  f->groups = ceil_div(groups, f->joined);
  const int64_t columns = f->joined * f->channels;
  if (!choose_tile(f, int(std::min<int64_t>(columns, channels)))) return false;
  const double elements = double(f->all_outs) * double(f->channels) * f->shifts;
  return f->shifts <= kMostShifts && elements < 4e9;  // 32 bits count them
}
inline bool set_weight_tile(const Problem& p, const Operands& operands, bool by_patches, Form* f) {
  return by_patches ? set_weight_tile(p, operands, 32, 32, f)
                    : set_weight_tile(p, operands, 64, kRows, f);
}

// Cycles of a multiprocessor for a tile: of its products, of which one of 64 x columns x 32 bytes takes
// half a cycle a column and a few more, or what shared memory takes for its operands; or of its loads
// beside them.
inline double tile_cycles(const WeightForm& w, const WeightShape& shape, const Problem& p) {
  const bool patches = shape.by_patches, floats = p.dtype == DType::float32;
  const bool in_lines = w.f.line[kAxes - 1].bases % 2 == 0;  // copied, if four bytes at a time
  const int threads = loaders(patches), steps = kTileBases / (2 * w.f.elements);
  const auto load = [&](const Source& source, bool is_copied, double cycles) {
    const auto rounds = double(ceil_div(source.pieces * source.positions, threads));
    return rounds * (is_copied ? kCopyCycles : cycles);
  };
  const bool copies_lines = in_lines && !p.channels_last;
  double products = 0, loads = kTileCycles;
  if (patches) {
    const double written = std::max((shape.products + 1) / 2, 1) * std::min(w.products, kUnits);
    const double numbers = floats ? 16 : 32;  // read, by a warpgroup
    const double one = std::max(shape.columns / 2.0, numbers + shape.columns / 4.0) + 6;
    products = steps * std::max(double(w.products) / w.sets, written) * one;
    loads += load(w.source[0], p.channels_last, kNearCycles) +
             load(w.source[1], copies_lines, p.channels_last ? kFarCycles : kNearCycles);
  } else {
    const double parts = double(w.sets) * (kUnits / w.row_units);
    const double shifts = std::max(w.f.shifts / parts, std::max(shape.products - 1.0, 1.0));
    const bool still = shape.products == 1 && w.f.line[kAxes - 1].stride == 1;
    products = steps * kUnits * shifts * (shape.columns / 2 + 6);
    loads += load(w.source[0], p.channels_last || (in_lines && still), kFarCycles) +
             load(w.source[1], p.channels_last || in_lines, kFarCycles);
  }
  return std::max(kProductCycles * products, loads);
}

// Calls body(cut) with the ways to cut a problem whose axes are joined as they may be.
template <typename Body>
inline void for_each_cut(const Form& f, const WeightShape& shape, const Body& body) {
  if (!shape.by_patches) {
    body(WeightCut{shape, 1, 0});
    if (f.joined * f.outs > kRows) body(WeightCut{shape, 2, 0});
    return;
  }
  // As many channels as one set of products has room for, or one tile more; or several sets.
  const int64_t all = f.joined * f.channels;
  const int64_t room = int64_t(shape.products) * kUnits * kRows / f.shifts;
  const int64_t most = std::clamp<int64_t>(room / f.elements * f.elements, 1, kMostPatchTile);
  const int64_t tiles = ceil_div(all, most);
  int64_t last = 0;
  for (int64_t channels : {ceil_div(all, tiles), ceil_div(all, tiles + 1), int64_t(16), int64_t(32),
                           int64_t(64), int64_t(128)}) {
    const int64_t tile = round_up(std::min(channels, all), f.elements);
    if (tile != last) body(WeightCut{shape, 1, int(tile)});
    last = tile;
  }
}

// Of all cuts, the quickest with its quickest number of splits, by the problem alone: axes that no
// tap moves along are one line or not, as the views lie, and it has to fit both ways.
inline WeightPlan choose_weight(const Problem& p) {
  WeightPlan best;
  Problem simple = p;
  Operands none;
  simplify(&simple, &none);
  WeightForm as_given, joined;
  const auto consider = [&](const WeightCut& cut) {
    set_cut(&as_given, cut), set_cut(&joined, cut);
    if (weight_places(as_given).bytes > kMostWeightShared) return;
    if (weight_places(joined).bytes > kMostWeightShared) return;
    const double cycles = tile_cycles(joined, cut.shape, p);
    const int64_t tiles = joined.f.tiles / joined.f.groups;
    joined.splits = 1;
    const int64_t blocks = joined.blocks();
    if (blocks > kMostBlocks / kMostWeightSplits) return;
    const int64_t partial = 4 * joined.partial_of(1, 0, 0, 0);
    const int64_t most = std::min(
        {ceil_div(tiles, kLeastTiles), kMostWeightSplits, ceil_div(2 * kMultiprocessors, blocks)});
    for (int64_t splits = 1; splits <= most; ++splits) {
      const double rounds = double(ceil_div(blocks * splits, kMultiprocessors));
      const double total = rounds * (double(ceil_div(tiles, splits)) * cycles + 2000) +
                           double(splits * partial) / 660;  // bytes a cycle, there and back
      if (best.shape.products > 0 && total >= best.cycles) continue;
      best.cycles = total, best.shape = cut.shape, best.form = joined;
      best.form.splits = int(splits), best.partial_bytes = splits * partial;
    }
  };
  for (bool by_patches : {false, true}) {
    if (!by_patches && p.dtype == DType::float32) continue;  // no product takes its box as it lies
    if (!set_weight_tile(p, Operands{}, by_patches, &as_given.f)) continue;
    if (!set_weight_tile(simple, none, by_patches, &joined.f)) continue;
    for (const WeightShape& shape : kWeightShapes)
      if (shape.by_patches == by_patches) for_each_cut(joined.f, shape, consider);
  }
  return best;
}

inline Source source_of(const View& view, int64_t channel) {
  Source s;
  s.batch = view.batch, s.channel = s.step = channel;
  for (int a = 0; a < kAxes; ++a) s.axis[a] = view.axis[a], s.stride[a] = 1;
  return s;
}

// Whether pieces of so many bytes, of neighbours that are so far apart, lie in memory as they are, and
// aligned; with the last axis or not.
inline bool lie_together(const Source& s, const View& view, int bytes, int elements,
                         int64_t neighbour, int axes) {
  const int64_t count = bytes * elements / kPieceBytes;
  bool fits = neighbour == 1 && uintptr_t(view.data) % uintptr_t(bytes) == 0 &&
              s.batch % count == 0 && view.group % count == 0;
  for (int a = 0; a < axes; ++a) fits &= s.axis[a] % count == 0;
  return fits;
}

// Makes the pieces those of lines that lie end to end, if some copies fit them.
inline void set_lines(Source* s, const View& view, int elements) {
  for (int bytes : {16, 8, 4})
    if (s->copy_bytes == 0 && bytes * elements > kPieceBytes &&
        s->channel % (bytes * elements / kPieceBytes) == 0 &&
        lie_together(*s, view, bytes, elements, s->axis[kAxes - 1], kAxes - 1))
      s->copy_bytes = bytes, s->lines = true, s->step = 1;
}

// Sets how a source's pieces lie in memory: as they are needed, all of one there or none; or, if it
// may be, as copies of lines; or in no such way. Of a group and of all there are so many channels.
inline void set_copies(Source* s, const View& view, int64_t channels, int64_t all, int elements,
                       bool lines) {
  if (lie_together(*s, view, kPieceBytes, elements, s->channel, kAxes) &&
      channels % elements == 0 && all % elements == 0) {
    s->copy_bytes = kPieceBytes, s->pieces_first = true;
    return;
  }
  if (lines) set_lines(s, view, elements);
}

// The same by patches, where the gradient is in lines whichever way it lies.
inline void set_patch_copies(WeightForm* w) {
  const Form& f = w->f;
  Source &x = w->source[0], &y = w->source[1];
  set_copies(&x, f.input, f.joined * f.channels, f.all_channels, f.elements, false);
  set_lines(&y, f.output, f.elements);
  if (y.lines) return;
  y.lines = true, y.step = y.axis[kAxes - 1];
  y.pieces_first = y.channel == 1 && y.step != 1;
}

// The problem with its views: the tile is theirs, the rest is chosen.
inline WeightPlan plan_weight(Problem p, Operands operands) {
  WeightPlan plan = choose_weight(p);
  if (plan.shape.products == 0) return plan;
  WeightForm w;
  Form& f = w.f;
  simplify(&p, &operands);
  set_weight_tile(p, operands, plan.shape.by_patches, &f);
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
  const bool still = f.shifts == 1 && plan.shape.products == 1 && last.stride == 1 &&
                     last.padding == 0 && p.padding_mode == PaddingMode::zeros;
  if (plan.shape.by_patches) {
    set_patch_copies(&w);
  } else {
    set_copies(&x, f.input, f.joined * f.channels, f.all_channels, f.elements, still);
    set_copies(&y, f.output, f.joined * f.outs, f.all_outs, f.elements, true);
  }
  set_cut(&w, {plan.shape, plan.form.row_units, plan.form.channel_tile});
  w.splits = plan.form.splits;
  w.split_tiles = ceil_div(f.tiles / f.groups, w.splits);
  plan.shared_bytes = weight_places(w).bytes;
  plan.form = w;
  return plan;
}

// In weight.cu, of what plan_weight() has a shape for; the sums of the splits go to the scratch.
void run_weight(const Problem& p, const Operands& operands, const Context& context);
// Puts those sums there, in weight_gradients.cu and weight_patches.cu.
void sum_by_gradients(const WeightPlan& plan, DType dtype, const Context& context);
void sum_by_patches(const WeightPlan& plan, DType dtype, const Context& context);

}  // namespace torchconv::cuda::sliding
