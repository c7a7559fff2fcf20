// What a block sums, and where the positions of its tiles are in memory.
#pragma once

#include "cuda/algo/direct/kernel.h"
#include "cuda/algo/direct/weight_form.h"

namespace torchconv::cuda::sliding {

struct WeightTile {
  int64_t image, base[kAxes];  // the first of each
};
// Of a group.
__device__ __forceinline__ WeightTile weight_tile(const Form& f, int64_t number) {
  WeightTile tile;
#pragma unroll
  for (int a = kAxes - 1; a >= 0; --a) {
    tile.base[a] = number % f.line[a].tiles * f.line[a].box;
    number /= f.line[a].tiles;
  }
  tile.image = number * f.box_batch;
  return tile;
}
__device__ __forceinline__ void to_next(const Form& f, WeightTile* tile) {
#pragma unroll
  for (int a = kAxes - 1; a >= 0; --a) {
    tile->base[a] += f.line[a].box;
    if (tile->base[a] < f.line[a].bases) return;
    tile->base[a] = 0;
  }
  tile->image += f.box_batch;
}

__device__ __forceinline__ Digits digits_of_box(const Form& f, int position) {
  Digits d = {};
  int rest = position;
  d.image = uint16_t(rest / f.pitch[kAxes]);
  rest %= f.pitch[kAxes];
#pragma unroll
  for (int a = 0; a < kAxes; ++a) {
    const int i = rest / f.pitch[a];
    rest -= i * f.pitch[a];
    d.phase[a] = uint16_t(i / f.line[a].extent);
    d.within[a] = uint16_t(i % f.line[a].extent);
  }
  return d;
}
__device__ __forceinline__ Digits digits_of_base(const Form& f, int number) {
  const Place p = place_of_group(f, number / kUnit, number % kUnit / kGroup);
  Digits d = {};
  d.image = uint16_t(p.image);
#pragma unroll
  for (int a = 0; a < kAxes; ++a)
    d.within[a] = uint16_t(p.base[a] + (a == kAxes - 1 ? number % kGroup : 0));
  return d;
}

// The element of a source, before the channel; kNowhere where there is none. Of a line, that of its
// first position times 16, and how many of a piece's numbers there are.
__device__ __forceinline__ int64_t place_in(const Source& source, int64_t batch,
                                            const WeightTile& tile, const Digits& d, int elements) {
  const int64_t image = tile.image + d.image;
  int64_t at = image * source.batch, left = 0;
  bool there = image < batch;
#pragma unroll
  for (int a = 0; a < kAxes; ++a) {
    const int64_t unfolded =
        (tile.base[a] + d.within[a]) * source.stride[a] + d.phase[a] - source.padding[a];
    const int64_t index = fold(source.padding_mode, unfolded, source.size[a]);
    left = source.size[a] - index;
    there &= uint64_t(index) < uint64_t(source.size[a]);
    at += index * source.axis[a];
  }
  if (source.lines) return there ? at * 16 + (left < elements ? left : elements) : 0;
  return there ? at : kNowhere;
}

struct WeightBlock {
  unsigned char* slots;
  Digits* digits;
  int64_t* places;
  Barrier *filled, *emptied, *placed;  // of loaders: for each slot, and one
  int positions;                       // of both sources
  const void* from[2];                 // of each source, its first channel
  int channels[2];                     // that exist
};

// By all threads. `across`: the box is one, else it has the bases' own positions.
template <typename T, bool across>
__device__ __forceinline__ void set_digits(const WeightForm& w, const WeightBlock& block) {
  constexpr int kElements = kPieceBytes / int(sizeof(T));
#pragma unroll 1
  for (int i = int(threadIdx.x); i < block.positions; i += int(blockDim.x)) {
    const int s = i >= w.source[0].positions, position = s ? i - w.source[0].positions : i;
    block.digits[i] = s || !across
                          ? digits_of_base(w.f, position * (w.source[s].lines ? kElements : 1))
                          : digits_of_box(w.f, position);
  }
}

__device__ __forceinline__ void set_places(const WeightForm& w, const WeightBlock& block,
                                           const WeightTile& tile, int64_t* places, int first,
                                           int step) {
  const int in_box = w.source[0].positions;
#pragma unroll 1
  for (int i = first; i < block.positions; i += step)
    places[i] = place_in(w.source[i >= in_box], w.f.batch, tile, block.digits[i], w.f.elements);
}

// What a block and its warpgroup sum.
struct WeightTask {
  int split, set;
  int64_t channel_tile, out_tile, group;
  int first, products;  // of the warpgroup
  int row;              // by gradients: the warpgroup's first, of the block's
};
__device__ __forceinline__ WeightTask weight_task(const WeightForm& w) {
  uint32_t number = blockIdx.x;
  WeightTask task;
  task.set = int(split_off(&number, w.sets));
  task.channel_tile = split_off(&number, w.channel_tiles);
  task.out_tile = split_off(&number, w.out_tiles);
  task.group = split_off(&number, w.f.groups);
  task.split = int(number);  // blocks that run together read the same tiles
  // The same in all lanes, as the compiler is to see.
  const int unit = __shfl_sync(0xffffffff, int(threadIdx.x) / kWarpgroup, 0);
  const int each = kUnits / w.row_units, parts = w.sets * each;
  const int part = task.set * each + (w.row_units > 1 ? 0 : unit);
  task.first = part * w.products / parts;
  task.products = (part + 1) * w.products / parts - task.first;
  task.row = w.row_units > 1 ? unit * kRows : 0;
  return task;
}

template <typename T>
__device__ __forceinline__ WeightBlock weight_block(const WeightForm& w, const WeightTask& task) {
  unsigned char* const shared = dynamic_shared<unsigned char>();
  const WeightPlaces places = weight_places(w);
  WeightBlock block;
  block.slots = shared;
  block.digits = reinterpret_cast<Digits*>(shared + places.digits);
  block.places = reinterpret_cast<int64_t*>(shared + places.places);
  block.filled = reinterpret_cast<Barrier*>(shared + places.barriers);
  block.emptied = block.filled + w.slots, block.placed = block.emptied + w.slots;
  block.positions = w.source[0].positions + w.source[1].positions;
  const int64_t all[2] = {w.f.all_channels, w.f.all_outs};
  const int64_t each[2] = {w.f.joined * w.f.channels, w.f.joined * w.f.outs};
  const int64_t first[2] = {task.channel_tile * w.channel_tile, task.out_tile * w.out_tile};
  const void* const data[2] = {w.f.input.data, w.f.output.data};
#pragma unroll
  for (int s = 0; s < 2; ++s) {
    const int64_t begin = task.group * each[s], left = all[s] - begin;
    block.channels[s] = int((left < each[s] ? left : each[s]) - first[s]);
    block.from[s] = static_cast<const T*>(data[s]) + (begin + first[s]) * w.source[s].channel;
  }
  return block;
}

// Tiles of the block's split; 0 or less: none.
__device__ __forceinline__ int tiles_of(const WeightForm& w, const WeightTask& task) {
  const int64_t left = w.f.tiles / w.f.groups - task.split * w.split_tiles;
  return int(left < w.split_tiles ? left : w.split_tiles);
}

}  // namespace torchconv::cuda::sliding
