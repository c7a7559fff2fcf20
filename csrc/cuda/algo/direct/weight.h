// The weight gradient by blocks of two warpgroups, and the kernel that adds their splits.
//
// A tile's gradient goes from shared memory to registers once, 16 bases at a time, and is
// multiplied there with the box under each shift of the warpgroup. Meanwhile the next tile comes
// in, in parts.
//
// Bases that do not exist have zeros for a gradient, but the box may have numbers there, which
// other bases see under other shifts: an infinity among them makes a NaN of a sum that should not
// know it, as does one of the gradient in the padding. So a sum that is NaN is made again from its
// definition.
#pragma once

#include "cuda/algo/direct/kernel.h"
#include "cuda/algo/direct/weight_load.h"

namespace torchconv::cuda::sliding {

// What a block and its warpgroup sum.
struct WeightTask {
  int split, set;
  int64_t column_tile, row_tile, group;
  int first_shift, shifts;  // of the warpgroup
  int row;                  // the warpgroup's first, of the block's
};
__device__ __forceinline__ WeightTask weight_task(const WeightForm& w) {
  uint32_t number = blockIdx.x;
  WeightTask task;
  task.set = int(split_off(&number, w.sets));
  task.column_tile = split_off(&number, w.column_tiles);
  task.row_tile = split_off(&number, w.row_tiles);
  task.group = split_off(&number, w.f.groups);
  task.split = int(number);  // blocks that run together read the same tiles
  // The same in all lanes, as the compiler is to see.
  const int unit = __shfl_sync(0xffffffff, int(threadIdx.x) / kWarpgroup, 0);
  const int each = kUnits / w.row_units, parts = w.sets * each;
  const int part = task.set * each + (w.row_units > 1 ? 0 : unit);
  task.first_shift = part * w.f.shifts / parts;
  task.shifts = (part + 1) * w.f.shifts / parts - task.first_shift;
  task.row = w.row_units > 1 ? unit * kRows : 0;
  return task;
}

template <typename T>
__device__ __forceinline__ WeightBlock weight_block(const WeightForm& w, const WeightTask& task,
                                                    int columns) {
  unsigned char* const shared = dynamic_shared<unsigned char>();
  const WeightPlaces places = weight_places(w);
  WeightBlock block;
  block.slots = shared;
  block.digits = reinterpret_cast<Digits*>(shared + places.digits);
  block.places = reinterpret_cast<int64_t*>(shared + places.places);
  block.shifts = reinterpret_cast<int*>(shared + places.shifts);
  block.positions = w.source[0].positions + w.source[1].positions;
  const int64_t all[2] = {w.f.all_channels, w.f.all_outs};
  const int64_t each[2] = {w.f.joined * w.f.channels, w.f.joined * w.f.outs};
  const int64_t first[2] = {task.column_tile * columns, task.row_tile * w.rows()};
  const void* const data[2] = {w.f.input.data, w.f.output.data};
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    const int64_t begin = task.group * each[s], left = all[s] - begin;
    block.channels[s] = int((left < each[s] ? left : each[s]) - first[s]);
    block.from[s] = static_cast<const T*>(data[s]) + (begin + first[s]) * w.source[s].channel;
  }
  return block;
}

// The products of a warpgroup: its gradient, of which a lane has an address for the matrices that
// it loads, with the box. A step is 16 bases.
struct Factors {
  int gradient, gradient_step;  // bytes of a slot
  bool lines;                   // of the gradient
  Operand box;
  int unit_step, step;  // pieces
};

template <bool across>
__device__ __forceinline__ Factors factors_of(const WeightForm& w, const WeightBlock& block,
                                              const WeightTask& task) {
  const Form& f = w.f;
  const Source &x = w.source[0], &y = w.source[1];
  const int thread = int(threadIdx.x), lane = thread % kWarp;
  // Matrices 0 and 1 are of eight bases and two times eight rows, 2 and 3 of the next eight bases.
  const int row = task.row + thread / kWarp % 4 * 16 + lane / 8 % 2 * 8, eight = lane / 16;
  const int at = y.lines ? row + lane % 8 + eight * y.to_position
                         : row / 8 * y.to_piece + lane % 8 + eight * kGroup;
  const int group = across ? position_of(f, place_of_group(f, 0, 1)) : x.to_position;
  const int unit = across ? position_of(f, place_of_group(f, 1, 0)) : 8 * x.to_position;
  const int columns = across ? x.to_piece : kGroup;  // from eight to eight
  return {(y.first + at) * kPieceBytes,
          (y.lines ? 2 * y.to_position : kDepthStep) * kPieceBytes,
          y.lines,
          Operand(distances(group * kPieceBytes, columns * kPieceBytes) + pieces_at(block.slots)),
          unit,
          2 * group};
}

// A group of the products of 16 bases under the first `count` shifts.
template <typename Number, int columns, int count, bool across, int shifts>
__device__ __forceinline__ void start_step(const uint32_t (&gradient)[4], const Operand& box,
                                           int at, const int (&shift)[shifts],
                                           float (&sum)[shifts][columns / 2]) {
  begin_products();
#pragma unroll
  for (int s = 0; s < count; ++s)
    multiply_held<Number, columns, across>(sum[s], gradient, box + (at + shift[s]));
  commit_products();
}

struct alignas(8) Pair {
  float number[2];
};
template <int shifts, int columns>
__device__ __forceinline__ void store_sums(const WeightForm& w, const WeightTask& task,
                                           const float (&sum)[shifts][columns / 2]) {
  float* const partial =
      w.partial + w.partial_of(task.split, task.group, task.row_tile, task.column_tile, columns);
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp % 4;
  const int row = task.row + warp * 16 + lane / 4;
#pragma unroll
  for (int s = 0; s < shifts; ++s) {
    if (s >= task.shifts) break;
    float* const at = partial + (int64_t(task.first_shift + s) * w.rows() + row) * columns;
#pragma unroll
    for (int j = 0; j < columns / 2; j += 2)
      *reinterpret_cast<Pair*>(at + j % 4 * 4 * columns + j / 4 * 8 + lane % 4 * 2) = {
          sum[s][j], sum[s][j + 1]};
  }
}

// `across`: the box has channels in its pieces, else positions.
template <typename Number, int shifts, int columns, bool across>
__global__ void __launch_bounds__(kThreads, 1) slide_weight(WeightForm w) {
  const Form& f = w.f;
  const WeightTask task = weight_task(w);
  const WeightBlock block = weight_block<Number>(w, task, columns);
#pragma unroll 1
  for (int i = int(threadIdx.x); i < block.positions; i += kThreads) {
    const int s = i >= w.source[0].positions, position = s ? i - w.source[0].positions : i;
    block.digits[i] = s || !across ? digits_of_base(f, position * (w.source[s].lines ? kGroup : 1))
                                   : digits_of_box(f, position);
  }
  int shift[shifts];
#pragma unroll
  for (int s = 0; s < shifts; ++s)
    shift[s] = moved_by(f, s < task.shifts ? task.first_shift + s : 0);
  const int64_t first_tile = task.split * w.split_tiles;
  const int64_t left = f.tiles / f.groups - first_tile;
  const int64_t tiles = left < w.split_tiles ? left : w.split_tiles;  // 0 or less: none
  const Factors factors = factors_of<across>(w, block, task);
  const int slot_bytes = w.slot_pieces * kPieceBytes;
  const auto places_of = [&](int64_t i) { return block.places + int(i % 2) * block.positions; };

  float sum[shifts][columns / 2] = {};
  PartLoad<Number, held_of({shifts, columns})> load;
  WeightTile tile = weight_tile(f, first_tile);  // whose places are looked up next
  int slot = 0, fill = 0;                        // of the tile multiplied, and of the one coming
  __syncthreads();
#pragma unroll 1
  for (int i = 0; i < w.ahead; ++i, ++fill) {
    set_places(w, block, tile, places_of(i));
    to_next(f, &tile);
    __syncthreads();
    unsigned char* const to = block.slots + fill * slot_bytes;
    if (i < tiles) {
#pragma unroll 1
      for (int part = 0; part < kLoadParts; ++part) {
        copy_part<Number>(w, block, to, places_of(i), part);
        load.start(w, block, places_of(i), part);
        load.finish(w, block, to, places_of(i), part);
      }
    }
    commit_copies();
  }
  set_places(w, block, tile, places_of(w.ahead));
#pragma unroll 1
  for (int64_t i = 0; i < tiles; ++i) {
    if (w.ahead > 1)
      wait_copies<1>();
    else
      wait_copies<0>();
    publish_shared();
    __syncthreads();  // the tile is there, and nobody needs the slot of the coming one
    const int64_t coming = i + w.ahead;
    const int64_t* const places = places_of(coming);
    unsigned char* const to = block.slots + fill * slot_bytes;
    const unsigned char* const gradient = block.slots + slot * slot_bytes + factors.gradient;
#pragma unroll 1
    for (int part = 0; part < kLoadParts; ++part) {
      if (coming < tiles) load.start(w, block, places, part);
      const unsigned char* const rows = gradient + part * 2 * factors.gradient_step;
      const int box =
          slot * w.slot_pieces + part / 2 * factors.unit_step + part % 2 * 2 * factors.step;
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        uint32_t held[4];
        wait_products<1>();  // the group before the last had such registers
        if (factors.lines)
          load_matrices<4, false>(held, rows + k * factors.gradient_step);
        else
          load_matrices<4, true>(held, rows + k * factors.gradient_step);
        const int at = box + k * factors.step;
        if (shifts > 1 && task.shifts < shifts)
          start_step<Number, columns, shifts - 1, across>(held, factors.box, at, shift, sum);
        else
          start_step<Number, columns, shifts, across>(held, factors.box, at, shift, sum);
      }
      if (coming >= tiles) continue;
      copy_part<Number>(w, block, to, places, part);
      load.finish(w, block, to, places, part);
    }
    commit_copies();
    to_next(f, &tile);
    if (coming + 1 < tiles) set_places(w, block, tile, places_of(coming + 1));
    if (w.slots == w.ahead + 1) wait_products<0>();  // the next coming tile takes this slot
    if (++slot == w.slots) slot = 0;
    if (++fill == w.slots) fill = 0;
  }
  wait_products<0>();
  allow_next_kernel();

  store_sums<shifts, columns>(w, task, sum);
}

template <int count>
struct alignas(4 * count) Floats {
  float value[count];
};

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

// The sums of the splits, in their order: a warp for each output channel and tap, its lanes along the
// channels, `vector` of them each.
template <typename T, int vector>
__global__ void __launch_bounds__(128, 6)
    add_weight_splits(WeightForm w, int columns, int64_t lines) {
  constexpr int kTogether = 16 / vector;  // splits on their way at once
  const Form& f = w.f;
  wait_for_kernel();
  const int64_t split_step = w.partial_of(1, 0, 0, 0, columns);
  const int warps = int(gridDim.x) * 4, lane = int(threadIdx.x) % kWarp;
  for (int64_t i = int64_t(blockIdx.x) * 4 + threadIdx.x / kWarp; i < lines; i += warps) {
    uint32_t rest = uint32_t(i);
    Element e;
    const uint32_t shift = split_off(&rest, f.shifts);
    e.out = split_off(&rest, f.outs), e.group = rest;
    const uint32_t member = split_off(&rest, f.joined);
    const uint32_t row = member * uint32_t(f.outs) + e.out, row_tile = row / uint32_t(w.rows());
    const int64_t in_tile =
        (int64_t(shift) * w.rows() + row - row_tile * uint32_t(w.rows())) * columns;
    int64_t at = e.group * f.weight.group + e.out * f.weight.out_channel;
    uint32_t taps = shift;
#pragma unroll
    for (int a = kAxes - 1; a >= 0; --a) {
      e.tap[a] = split_off(&taps, f.line[a].shifts);
      at += e.tap[a] * f.weight.axis[a];
    }
    for (int channel = lane * vector; channel < f.channels; channel += kWarp * vector) {
      const uint32_t column = member * uint32_t(f.channels) + uint32_t(channel);
      const uint32_t column_tile = column / uint32_t(columns);
      const float* partial = w.partial + w.partial_of(0, rest, row_tile, column_tile, columns) +
                             in_tile + column - column_tile * uint32_t(columns);
      float sum[vector] = {};
#pragma unroll 1
      for (int first = 0; first < w.splits; first += kTogether, partial += kTogether * split_step) {
        Floats<vector> part[kTogether] = {};
#pragma unroll
        for (int j = 0; j < kTogether; ++j)
          if (first + j < w.splits)
            part[j] = *reinterpret_cast<const Floats<vector>*>(partial + j * split_step);
#pragma unroll
        for (int j = 0; j < kTogether; ++j)
#pragma unroll
          for (int v = 0; v < vector; ++v) sum[v] += part[j].value[v];
      }
#pragma unroll
      for (int v = 0; v < vector; ++v) {
        e.channel = uint32_t(channel + v);
        if (sum[v] != sum[v]) sum[v] = from_definition<T>(w, e);
        const int64_t element = at + (channel + v) * f.weight.in_channel;
        if (w.accumulate) sum[v] += read<T, float>(f.weight.data, element);
        write<T, float>(f.weight.data, element, sum[v]);
      }
    }
  }
}

}  // namespace torchconv::cuda::sliding
