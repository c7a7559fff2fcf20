// The sums of a weight gradient's splits.
//
// Bases that do not exist have zeros for a gradient, but the box may have numbers there, which
// other bases see under other shifts: an infinity among them makes a NaN of a sum that should not
// know it, as does one of the gradient in the padding. So a sum that is NaN is made again from its
// definition.
#pragma once

#include <algorithm>

#include "cuda/algo/direct/weight_form.h"
#include "cuda/micro/number.h"

namespace torchconv::cuda::sliding {

// An element of the weight.
struct Element {
  uint32_t group, out, channel, tap[kAxes];
};

template <typename T>
__device__ __forceinline__ float from_definition(const WeightForm& w, const Element& e) {
  const Form& f = w.f;
  const int64_t x0 = e.group * f.input.group + e.channel * f.input.in_channel;
  const int64_t y0 = e.group * f.output.group + e.out * f.output.out_channel;
  const int64_t positions = f.line[0].bases * f.line[1].bases * f.line[2].bases;
  float sum = 0;
  for (int64_t number = 0; number < f.batch * positions && sum == sum; ++number) {
    int64_t rest = number, x = x0, y = y0;
    bool there = true;
    for (int a = kAxes - 1; a >= 0; --a) {
      const Line& line = f.line[a];
      const int64_t base = rest % line.bases;
      rest /= line.bases;
      const int64_t index =
          fold(f.padding_mode, base * line.stride - line.padding + e.tap[a] * line.dilation,
               line.input_size);
      there &= index >= 0;
      x += index * f.input.axis[a], y += base * f.output.axis[a];
    }
    if (there)
      sum += read<T, float>(f.input.data, x + rest * f.input.batch) *
             read<T, float>(f.output.data, y + rest * f.output.batch);
  }
  return sum;
}

constexpr int kSplitWarps = 8;  // of a block
constexpr int kPairs = 9;       // whose numbers are on their way at once

// How the elements are shared out: a unit is of one output, of some shifts and some chunks of
// neighbouring channels, in pairs; a lane has a vector of a chunk. Several warps share a unit's splits
// out among them.
struct SplitUnits {
  Divisor shifts;  // of a unit
  int chunks = 1, pairs = 1, warps = 1;
  int of_shifts = 1, of_channels = 1;  // units of an output
  Divisor tile, taps[kAxes];           // channels of a tile; shifts of an axis
  bool in_a_row = false;  // all taps of a channel lie end to end, then the next channel's
  bool writes_vectors = false;
  int64_t count = 0;
};
inline SplitUnits split_units(const WeightForm& w, int vector, int64_t bytes) {
  const Form& f = w.f;
  const int chunks = int(ceil_div(f.channels, kWarp * vector));
  SplitUnits u;
  u.of_shifts = int(ceil_div(f.shifts, kPairs));
  const int shifts = int(ceil_div(f.shifts, u.of_shifts));
  u.shifts = Divisor(shifts);
  u.chunks = std::min(kPairs / shifts, chunks), u.pairs = shifts * u.chunks;
  u.of_channels = int(ceil_div(chunks, u.chunks));
  u.tile = Divisor(w.channel_tile);
  u.warps = w.splits < 4 ? 1 : w.splits < 8 ? 2 : w.splits < 32 ? 4 : kSplitWarps;
  u.count = f.all_outs * u.of_shifts * u.of_channels;
  const View& view = f.weight;
  u.in_a_row = u.of_shifts == 1 && view.in_channel == f.shifts;
  u.writes_vectors = !w.accumulate && uintptr_t(view.data) % uintptr_t(vector * bytes) == 0 &&
                     view.group % vector == 0 && view.out_channel % vector == 0;
  int64_t step = 1;
  bool apart = view.in_channel == 1;
  for (int a = kAxes - 1; a >= 0; --a) {
    const bool moves = f.line[a].shifts > 1;
    u.taps[a] = Divisor(f.line[a].shifts);
    u.in_a_row &= !moves || view.axis[a] == step;
    apart &= !moves || view.axis[a] % vector == 0;
    step *= f.line[a].shifts;
  }
  u.writes_vectors &= u.in_a_row || apart;
  return u;
}

// A unit's first element, and where its output begins in the weight and in the partial sums.
struct SplitUnit {
  Element first;  // of which tap[0] counts the shifts of all axes
  int64_t weight, sums;
  int column;  // of channel 0, in the joined group
};
__device__ __forceinline__ SplitUnit split_unit(const WeightForm& w, const SplitUnits& u, int chunk,
                                                int64_t number) {
  const Form& f = w.f;
  uint32_t rest = uint32_t(number);
  SplitUnit unit = {};
  unit.first.tap[0] = split_off(&rest, u.of_shifts) * u.shifts.size;
  unit.first.channel = split_off(&rest, u.of_channels) * u.chunks * chunk;
  unit.first.out = split_off(&rest, f.outs), unit.first.group = rest;
  const uint32_t member = split_off(&rest, f.joined);
  const uint32_t out = member * uint32_t(f.outs) + unit.first.out;
  const uint32_t tile = out / uint32_t(w.out_tile);
  unit.column = int(member) * int(f.channels);
  unit.sums =
      w.partial_of(0, rest, tile, 0) + int64_t(out - tile * uint32_t(w.out_tile)) * w.channel_tile;
  unit.weight = unit.first.group * f.weight.group + unit.first.out * f.weight.out_channel;
  return unit;
}

__device__ __forceinline__ void taps_of(const SplitUnits& u, int shift, uint32_t (&tap)[kAxes]) {
#pragma unroll
  for (int a = kAxes - 1; a >= 0; --a) {
    int rest = shift;
    shift = u.taps[a].split(&rest);
    tap[a] = uint32_t(rest);
  }
}

// Writes sums of a unit: number `e` and on of its numbers as they lie in shared memory.
template <typename T, int vector>
__device__ __forceinline__ void write_sums(const WeightForm& w, const SplitUnits& u,
                                           const SplitUnit& unit, int e,
                                           const Pack<float, vector>& sums) {
  constexpr int kChunk = kWarp * vector;
  const Form& f = w.f;
  const int first_shift = int(unit.first.tap[0]), first_channel = int(unit.first.channel);
  const int last_channel = int(f.channels) - first_channel;
  T* const data = static_cast<T*>(f.weight.data);
  bool whole = u.writes_vectors;
#pragma unroll
  for (int v = 0; v < vector; ++v) whole &= sums.value[v] == sums.value[v];
#pragma unroll
  for (int v = 0; v < vector; ++v) {
    int shift = u.in_a_row ? e + v : e / kChunk;
    const int quotient = u.shifts.split(&shift);
    const int line = u.in_a_row ? quotient : quotient * kChunk + e % kChunk + v;
    shift += first_shift;
    if (line >= last_channel || shift >= f.shifts) return;
    int64_t at = unit.weight + (first_channel + line) * f.weight.in_channel;
    uint32_t tap[kAxes];
    if (u.in_a_row) {
      at += shift;
    } else {
      taps_of(u, shift, tap);
#pragma unroll
      for (int a = 0; a < kAxes; ++a) at += tap[a] * f.weight.axis[a];
    }
    if (whole) {
      Pack<T, vector> elements;
#pragma unroll
      for (int i = 0; i < vector; ++i) write<T, float>(elements.value, i, sums.value[i]);
      *reinterpret_cast<Pack<T, vector>*>(data + at) = elements;
      return;
    }
    float sum = sums.value[v];
    if (sum != sum) {
      Element element = unit.first;
      element.channel = uint32_t(first_channel + line);
      taps_of(u, shift, element.tap);
      sum = from_definition<T>(w, element);
    }
    if (w.accumulate) sum += read<T, float>(data, at);
    write<T, float>(data, at, sum);
  }
}

// The sums of the splits, in their order but for what warps share out among them. They go through
// shared memory, from where threads that are neighbours write what are neighbours in the weight.
template <typename T, int vector>
__global__ void __launch_bounds__(kSplitWarps* kWarp, 2)
    add_weight_splits(WeightForm w, SplitUnits u) {
  constexpr int kChunk = kWarp * vector;
  constexpr int kTogether = vector > 1 ? 1 : 4;  // splits that are on their way at once
  __shared__ Pack<float, vector> sums[kSplitWarps][kPairs * kWarp];
  const Form& f = w.f;
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  const int team = warp / u.warps, part = warp - team * u.warps, teams = kSplitWarps / u.warps;
  const int64_t split_step = w.partial_of(1, 0, 0, 0);
  const int64_t shift_step = int64_t(w.out_tile) * w.channel_tile,
                tile_step = f.shifts * shift_step;
  const int channels = int(f.channels), unit_shifts = int(u.shifts.size);
  wait_for_kernel();
#pragma unroll 1
  for (int64_t i = int64_t(blockIdx.x) * teams; i < u.count; i += int64_t(gridDim.x) * teams) {
    const bool exists = i + team < u.count;
    const SplitUnit unit = split_unit(w, u, kChunk, exists ? i + team : i);
    const int first_shift = int(unit.first.tap[0]), first_channel = int(unit.first.channel);
    const int begin = w.splits * part / u.warps, end = w.splits * (part + 1) / u.warps;
    Pack<float, vector> sum[kPairs] = {};
    const float* at[kPairs];  // nobody's pairs read the first one's numbers
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      int shift = j, channel = lane * vector;
      channel += u.shifts.split(&shift) * kChunk + first_channel;
      shift += first_shift;
      if (j >= u.pairs || channel >= channels || shift >= f.shifts)
        channel = first_channel, shift = first_shift;
      channel += unit.column;
      const int tile = u.tile.split(&channel);
      at[j] = w.partial + unit.sums + begin * split_step + shift * shift_step + tile * tile_step +
              channel;
    }
    int split = begin;
#pragma unroll 1
    for (; split < end; split += kTogether) {
      Pack<float, vector> number[kTogether][kPairs];
#pragma unroll
      for (int k = 0; k < kTogether; ++k)
#pragma unroll
        for (int j = 0; j < kPairs; ++j)
          number[k][j] = *reinterpret_cast<const Pack<float, vector>*>(
              at[j] + (split + k < end ? k * split_step : 0));
#pragma unroll
      for (int j = 0; j < kPairs; ++j) {
        at[j] += kTogether * split_step;
#pragma unroll
        for (int k = 0; k < kTogether; ++k)
#pragma unroll
          for (int v = 0; v < vector; ++v)
            if (split + k < end) sum[j].value[v] += number[k][j].value[v];
      }
    }
    __syncthreads();  // nobody reads the sums of the unit before
    float* const mine = sums[warp][0].value;
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      if (j >= u.pairs) break;
      int shift = j;
      const int line = u.shifts.split(&shift) * kChunk + lane * vector;
      if (u.in_a_row)
#pragma unroll
        for (int v = 0; v < vector; ++v) mine[(line + v) * unit_shifts + shift] = sum[j].value[v];
      else
        sums[warp][j * kWarp + lane] = sum[j];
    }
    __syncthreads();
    if (!exists) continue;
#pragma unroll 1
    for (int e = part * kWarp + lane; e < u.pairs * kWarp; e += u.warps * kWarp) {
      Pack<float, vector> all = {};
      for (int k = 0; k < u.warps; ++k)
#pragma unroll
        for (int v = 0; v < vector; ++v) all.value[v] += sums[team * u.warps + k][e].value[v];
      write_sums<T, vector>(w, u, unit, e * vector, all);
    }
  }
}

}  // namespace torchconv::cuda::sliding
