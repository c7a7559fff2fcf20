// From a forward problem and its views to a Form: how the work is cut, which index is the inner one
// of the depth, and who reads what. All of it on the host.
#pragma once

#include <cstdlib>

#include "core/arithmetic.h"
#include "cuda/algo/gemm/form.h"

namespace torchconv::cuda {

// What a product is cut into, whatever the views: the same on every device, or the bits were not.
struct Plan {
  int size = 64;  // of a tile
  int64_t splits = 1;
};

// Blocks that keep an H100 busy: two on each of its 132 multiprocessors.
constexpr int64_t kEnoughTiles = 264;
// Below so many large tiles, splits counted, small ones are quicker: four of them for each.
constexpr int64_t kEnoughLargeTiles = 128;
// A large tile that is filled less than this is work for nobody.
constexpr int64_t kLargeFrom = 96;
// Depth tiles of a split: fewer would be over before the first copies have come.
constexpr int64_t kLeastDepth = 8;
constexpr int64_t kMostSplits = 64;

inline int64_t depth_of(const Problem& p) { return p.in_channels_per_group() * p.taps(); }
inline int64_t rows_of(const Problem& p) { return p.batch * p.output_positions(); }

inline int64_t tiles_of(const Problem& p, int size) {
  return ceil_div(rows_of(p), size) * ceil_div(p.out_channels_per_group(), size) * p.groups;
}

inline Plan plan_of(const Problem& forward) {
  const int64_t line = kLineBytes / element_bytes(forward.dtype);
  const int64_t most = ceil_div(depth_of(forward), line * kLeastDepth);
  const auto splits = [most](int64_t tiles) {
    int64_t count = kEnoughTiles / (tiles > 0 ? tiles : 1);
    if (count > most) count = most;
    return count < 1 ? 1 : count > kMostSplits ? kMostSplits : count;
  };
  Plan plan;
  const int64_t large = tiles_of(forward, 128);
  if (forward.dtype != DType::float64 && rows_of(forward) >= kLargeFrom &&
      forward.out_channels_per_group() >= kLargeFrom && large * splits(large) >= kEnoughLargeTiles)
    plan.size = 128;
  plan.splits = splits(tiles_of(forward, plan.size));
  return plan;
}

// At most kEnoughTiles tiles of sums: 17 MiB.
inline int64_t partial_bytes(const Problem& forward) {
  const int64_t splits = plan_of(forward).splits;
  const int64_t bytes = forward.dtype == DType::float64 ? 8 : 4;
  return splits == 1 ? 0 : splits * rows_of(forward) * forward.out_channels * bytes;
}

// Along the channels, or along the taps of the last axis: whichever fills its chunks better, or, if
// nothing is to choose, whichever lies together in the input.
inline bool inner_is_tap(const Problem& p, const View& input, int elements) {
  if (p.padding_mode != PaddingMode::zeros) return false;  // folded taps have no common step
  const Axis& x = p.axis[p.axes - 1];
  const auto waste = [elements](int64_t size) {
    return double(round_up(size, elements)) / double(size);
  };
  const bool taps_together = std::abs(x.dilation * input.axis[p.axes - 1]) == 1;
  const bool channels_together = std::abs(input.in_channel) == 1;
  return waste(x.kernel_size) * (taps_together ? 0.8 : 1.1) <
         waste(p.in_channels_per_group()) * (channels_together ? 0.8 : 1.0);
}

inline void set_depth(const Problem& p, Form* f) {
  f->elements = int(kChunkBytes / element_bytes(p.dtype));
  f->digits = p.axes + 1;
  if (depth_of(p) == 0) return;
  const bool tap = inner_is_tap(p, f->input, f->elements);
  Digit channel;
  channel.size = p.in_channels_per_group();
  channel.input = f->input.in_channel;
  channel.weight = f->weight.in_channel;
  f->digit[tap ? 0 : p.axes] = channel;
  for (int a = 0; a < p.axes; ++a) {
    Digit& digit = f->digit[tap ? a + 1 : a];
    digit.size = p.axis[a].kernel_size;
    digit.weight = f->weight.axis[a];
    digit.shift = p.axis[a].dilation;
    digit.axis = a;
  }
  Digit& inner = f->digit[p.axes];
  f->inner_size = inner.size;
  f->input_step = tap ? inner.shift * f->input.axis[p.axes - 1] : inner.input;
  f->weight_step = inner.weight;
  inner.size = ceil_div(inner.size, f->elements);
  f->chunks = 1;
  for (int d = 0; d < f->digits; ++d) f->chunks *= f->digit[d].size;
}

// Whether every chunk is 16 aligned bytes, all of them there or none.
inline bool weight_is_whole(const Form& f) {
  const auto fits = [&f](int64_t stride, int64_t size) {
    return size < 2 || stride % f.elements == 0;
  };
  bool whole = uintptr_t(f.weight.data) % kChunkBytes == 0 && f.weight_step == 1 &&
               f.inner_size % f.elements == 0 && fits(f.weight.group, f.groups) &&
               fits(f.weight.out_channel, f.columns);
  for (int d = 0; d < f.digits - 1; ++d) whole &= fits(f.digit[d].weight, f.digit[d].size);
  return whole;
}
inline bool input_is_whole(const Form& f) {
  const auto fits = [&f](int64_t stride, int64_t size) {
    return size < 2 || stride % f.elements == 0;
  };
  const int inner_axis = f.digit[f.digits - 1].axis;
  bool whole = uintptr_t(f.input.data) % kChunkBytes == 0 && f.input_step == 1 &&
               f.inner_size % f.elements == 0 && fits(f.input.group, f.groups) &&
               fits(f.input.batch, f.batch);
  for (int a = 0; a < f.axes; ++a) {
    const Axis& x = f.axis[a];
    if (a == inner_axis)  // a line that no row moves along, and that lies inside
      whole &=
          x.output_size == 1 && x.padding == 0 && x.dilation == 1 && x.kernel_size <= x.input_size;
    else
      whole &= fits(f.input.axis[a], x.input_size);
  }
  for (int d = 0; d < f.digits - 1; ++d) whole &= fits(f.digit[d].input, f.digit[d].size);
  return whole;
}

inline Form form_of(const Problem& p, const Operands& operands, void* partial) {
  Form f;
  f.input = operands.input, f.weight = operands.weight, f.output = operands.output;
  f.bias = operands.bias;
  f.accumulate = operands.accumulate;
  f.axes = p.axes;
  for (int a = 0; a < p.axes; ++a) f.axis[a] = p.axis[a];
  f.padding_mode = p.padding_mode;
  f.groups = p.groups, f.batch = p.batch;
  f.rows = rows_of(p), f.columns = p.out_channels_per_group();
  set_depth(p, &f);

  const int last = p.axes - 1;
  f.batch_fastest = p.batch > 1 && std::abs(f.input.batch) == 1;
  const int64_t row_step =
      f.batch_fastest ? f.input.batch : p.axis[last].stride * f.input.axis[last];
  f.input_by_rows = std::abs(row_step) == 1 || std::abs(f.input_step) != 1;
  f.weight_by_columns = std::abs(f.weight_step) != 1;
  f.output_by_rows = std::abs(f.batch_fastest ? f.output.batch : f.output.axis[last]) <=
                     std::abs(f.output.out_channel);
  f.input_whole = input_is_whole(f);
  f.weight_whole = weight_is_whole(f);

  const Plan plan = plan_of(p);
  f.row_tiles = ceil_div(f.rows, plan.size);
  f.column_tiles = ceil_div(f.columns, plan.size);
  f.splits = plan.splits;
  f.tiles_per_split = ceil_div(ceil_div(f.chunks, kChunks), f.splits);
  f.partial = partial;
  return f;
}

}  // namespace torchconv::cuda
