// From a problem and its views to a Form: how bases become tiles, and channels chunks. On the host.
#pragma once

#include <algorithm>

#include "core/relabel.h"
#include "cuda/algo/direct/form.h"

namespace torchconv::cuda::sliding {

constexpr int64_t kMostShared = 200 << 10;  // bytes of a block
constexpr int64_t kGoodShared = 110 << 10;  // two blocks on a multiprocessor
constexpr int64_t kEnoughTiles = 132;       // a block for each multiprocessor of an H100
constexpr int kMostSplits = 16;
constexpr int kLeastSteps = 6;  // of a split: fewer would be over before they begin
constexpr int64_t kMostShifts = 1024;
constexpr int64_t kMostExtent = 1 << 14;  // positions of an axis of the box
constexpr int64_t kStepBytes = 24 << 10;  // of taps that a step has, about
constexpr int kTapSlots = 3;
// Where the sums go before they are written: of each warp, 16 rows of 32 columns.
constexpr int kStoreColumns = 32, kStorePitch = kStoreColumns + 1;
constexpr int64_t kStoreBytes = kThreads / 32 * 16 * kStorePitch * 4;
constexpr int64_t kMostChannels = 1 << 24;
constexpr int64_t kMostSize = int64_t(1) << 40;

// Of a launch: how many columns a tile has, what shared memory holds, and the packed taps.
struct Plan {
  Form form;
  int columns = 0;  // of a tile; 0: the problem is none for this algorithm
  int64_t shared_bytes = 0, packed_bytes = 0, partial_bytes = 0;
};

struct SharedPlaces {
  int64_t box, taps, places, columns, barriers, shifts, bytes;  // where each begins
};
// Of a block: boxes, taps, then the tables.
TORCHCONV_HOST_DEVICE inline SharedPlaces shared_places(const Form& f, int columns) {
  SharedPlaces s;
  s.box = 0;
  s.taps = s.box + int64_t(f.slots) * f.pieces * f.plane * kPieceBytes;
  s.places = s.taps + kTapSlots * f.step_shifts * tap_bytes(f.pieces, columns);
  if (s.places < kStoreBytes) s.places = kStoreBytes;
  s.columns = s.places + round_up(f.positions * 8, 16);
  s.barriers = s.columns + columns * int64_t(sizeof(Column));
  s.shifts = s.barriers + kTapSlots * int64_t(sizeof(Barrier));
  s.bytes = s.shifts + f.shifts * 4;
  return s;
}

// Sets how bases make tiles; false where an axis is too long for a box.
inline bool set_tile(Form* f, int unit_axis, int group_axis) {
  f->unit_images = unit_axis < 0;
  f->box_batch = unit_axis < 0 ? kUnits : 1;
  int pitch = 1;
  f->shifts = 1;
  for (int a = kAxes - 1; a >= 0; --a) {
    Line& x = f->line[a];
    const int one = a == 2 ? kGroup : 1, unit = one * (a == group_axis ? kUnit / kGroup : 1);
    f->group_step[a] = a == group_axis ? one : 0;
    f->unit_step[a] = a == unit_axis ? unit : 0;
    x.box = unit * (a == unit_axis ? kUnits : 1);
    const int64_t reach = (x.shifts - 1) * x.dilation;
    const int64_t phases = std::min(x.stride, reach + 1);
    const int64_t extent = x.box + reach / x.stride;
    if (phases * extent > kMostExtent) return false;
    x.phases = int(phases), x.extent = int(extent);
    x.tiles = ceil_div(x.bases, x.box);
    f->pitch[a] = pitch;
    if (int64_t(pitch) * phases * extent > kMostExtent) return false;
    pitch *= int(phases * extent);
    f->shifts *= x.shifts;
  }
  f->pitch[kAxes] = pitch;
  f->positions = f->box_batch * pitch;
  if (f->positions > kMostExtent) return false;
  // Planes two pieces past a multiple of eight: neighbouring planes meet different banks.
  f->plane = int(round_up(f->positions, 8)) + 2;
  f->tiles = f->groups * ceil_div(f->batch, f->box_batch) * f->line[0].tiles * f->line[1].tiles *
             f->line[2].tiles;
  return true;
}

// The fewest tiles, with little around them.
inline bool choose_tile(Form* f, int columns) {
  constexpr int kChoices[][2] = {{1, 1}, {2, 1}, {-1, 1}, {0, 1}, {2, 2}, {1, 2}, {-1, 2}};
  double best = 0;
  int chosen = -1;
  for (int c = 0; c < 7; ++c) {
    if (!set_tile(f, kChoices[c][0], kChoices[c][1])) continue;
    const double cost = double(f->tiles) * (double(f->shifts) * columns + 2 * double(f->positions));
    if (chosen < 0 || cost < best) best = cost, chosen = c;
  }
  return chosen >= 0 && set_tile(f, kChoices[chosen][0], kChoices[chosen][1]);
}

// Shifts of a step that their taps leave room for; a whole line of the last axis where it fits.
inline int step_shifts(const Form& f, int64_t bytes) {
  const int most = int(std::clamp<int64_t>(kStepBytes / bytes, 1, f.shifts));
  const int steps = int(ceil_div(f.shifts, most));
  return int(ceil_div(f.shifts, steps));
}

inline void set_depth(Form* f, int columns) {
  const int64_t all = ceil_div(f->joined * f->channels, f->elements);
  for (int pieces : {8, 4, 2}) {
    f->pieces = pieces;
    f->chunks = int(ceil_div(all, pieces));
    f->step_shifts = step_shifts(*f, tap_bytes(pieces, columns));
    f->steps = int(ceil_div(f->shifts, f->step_shifts));
    f->slots = f->chunks < 3 ? f->chunks : 3;
    f->rounds = int(ceil_div(ceil_div(pieces * f->positions, kThreads), f->steps));
    if (pieces == 2) return;
    if (round_up(all, 2) < pieces) continue;
    if (shared_places(*f, columns).bytes <= kGoodShared) return;
  }
}

inline Plan finish(const Problem& p, Form f) {
  Plan plan;
  f.elements = int(kPieceBytes / element_bytes(p.dtype));
  if (f.batch == 0 || f.channels == 0 || f.outs == 0) return {};
  if (f.all_channels > kMostChannels || f.all_outs > kMostChannels) return {};
  f.column_phases = 1;
  for (Line& x : f.line) {
    if (x.bases < 1 || x.shifts < 1 || x.shifts > kMostShifts || x.bases > kMostSize) return {};
    if (x.step > 64) return {};
    f.column_phases *= int(x.step);
  }
  // Groups are joined until they fill the least depth and columns of a product.
  const int64_t groups = f.all_channels / f.channels;
  f.joined = 1;
  while (f.joined < groups && f.joined * 2 * f.channels <= 2 * f.elements &&
         f.joined * 2 * f.outs * f.column_phases <= 64)
    f.joined *= 2;
  f.groups = ceil_div(groups, f.joined);
  f.columns = f.joined * f.outs * f.column_phases;
  plan.columns = f.columns <= 16 ? 16 : f.columns <= 32 ? 32 : f.columns <= 64 ? 64 : 128;
  if (f.columns > kMostChannels) return {};
  if (!choose_tile(&f, plan.columns) || f.shifts > kMostShifts) return {};
  // Few tiles: narrower ones, then several blocks for each.
  while (plan.columns > 64 && f.tiles * ceil_div(f.columns, plan.columns) < kEnoughTiles)
    plan.columns /= 2;
  f.column_tiles = ceil_div(f.columns, plan.columns);
  set_depth(&f, plan.columns);
  const int64_t tiles = f.tiles * f.column_tiles, steps = int64_t(f.chunks) * f.steps;
  f.splits = int(std::min({kEnoughTiles / std::min(tiles, kEnoughTiles), steps / kLeastSteps,
                           int64_t(f.chunks), int64_t(kMostSplits)}));
  if (f.splits < 1) f.splits = 1;
  f.split_chunks = int(ceil_div(f.chunks, f.splits));
  f.splits = int(ceil_div(f.chunks, f.split_chunks));
  plan.partial_bytes = f.splits > 1 ? f.splits * tiles * kThreads * (plan.columns / 2) * 4 : 0;
  plan.shared_bytes = shared_places(f, plan.columns).bytes;
  if (plan.shared_bytes > kMostShared) return {};
  f.by_positions = Divisor(f.positions), f.by_pieces = Divisor(f.pieces);
  f.fills = int(ceil_div(f.pieces * f.positions, f.rounds * kThreads));
  if (f.tiles * f.column_tiles * f.splits >= int64_t(1) << 31) return {};
  plan.packed_bytes =
      f.groups * f.column_tiles * f.chunks * f.shifts * tap_bytes(f.pieces, plan.columns);
  plan.form = f;
  return plan;
}

inline void set_views(const Operands& o, int axes, Form* f) {
  View* const mine[] = {&f->input, &f->weight, &f->output};
  const View* const given[] = {&o.input, &o.weight, &o.output};
  for (int v = 0; v < 3; ++v) {
    *mine[v] = *given[v];
    for (int a = kMaxAxes - 1; a >= 0; --a) {
      const int from = a - (kAxes - axes);
      mine[v]->axis[a] = a < kAxes && from >= 0 ? given[v]->axis[from] : 0;
    }
  }
  f->bias = o.bias;
}

// Lines, views and sizes of a problem whose bases are the output's positions; false where it is none
// for this algorithm.
inline bool set_problem(const Problem& p, const Operands& operands, Form* f) {
  if (p.axes > kAxes) return false;
  f->padding_mode = p.padding_mode;
  f->batch = p.batch;
  f->channels = p.in_channels_per_group(), f->outs = p.out_channels_per_group();
  f->all_channels = p.in_channels, f->all_outs = p.out_channels;
  for (int a = 0; a < p.axes; ++a) {
    const Axis& x = p.axis[a];
    Line& line = f->line[kAxes - p.axes + a];
    if (x.dilation < 1 || x.stride < 1 || x.kernel_size > kMostShifts) return false;
    line.bases = line.output_size = x.output_size;
    line.input_size = x.input_size, line.stride = x.stride, line.padding = x.padding;
    line.dilation = x.dilation, line.shifts = int(x.kernel_size), line.taps = x.kernel_size;
  }
  set_views(operands, p.axes, f);
  return true;
}

// A forward problem; its axes may be joined where the views allow it, or stay as they are.
inline Plan plan_forward(Problem p, Operands operands, bool joins) {
  if (joins) simplify(&p, &operands);
  Form f;
  return set_problem(p, operands, &f) ? finish(p, f) : Plan{};
}

// An input gradient under a stride: all phases at once.
inline Plan plan_by_phases(const Problem& p, const Operands& operands) {
  if (p.axes > kAxes || p.padding_mode != PaddingMode::zeros) return {};
  Operands o = operands;
  std::swap(o.input, o.output);
  for (View* v : {&o.input, &o.weight, &o.output}) std::swap(v->in_channel, v->out_channel);
  Form f;
  f.batch = p.batch;
  f.channels = p.out_channels_per_group(), f.outs = p.in_channels_per_group();
  f.all_channels = p.out_channels, f.all_outs = p.in_channels;
  for (int a = 0; a < p.axes; ++a) {
    const Axis& x = p.axis[a];
    Line& line = f.line[kAxes - p.axes + a];
    if (x.kernel_size < 1 || x.kernel_size > kMostShifts || x.output_size < 1) return {};
    if (x.stride > 1 && x.dilation > 1) return {};
    const int64_t s = x.stride, last = x.input_size - 1 + x.padding;  // v = i + padding
    const int64_t low = x.padding >= 0 ? x.padding / s : -ceil_div(-x.padding, s);
    const int64_t high = last >= 0 ? last / s : -ceil_div(-last, s);
    line.bases = high - low + 1;
    line.shifts = int(ceil_div(x.kernel_size, s));
    line.dilation = x.dilation, line.input_size = x.output_size;
    line.padding = (line.shifts - 1) * x.dilation - low;  // o = base + low - (shifts - 1 - shift)
    line.step = s, line.first = low * s - x.padding, line.output_size = x.input_size;
    line.tap = s * (line.shifts - 1), line.tap_shift = -s, line.tap_phase = 1;
    line.taps = x.kernel_size;
  }
  set_views(o, p.axes, &f);
  return finish(p, f);
}

}  // namespace torchconv::cuda::sliding
