// What a block of two warpgroups sums, and its way through the tiles of its split: while one tile is
// multiplied, the next comes in, in parts.
#pragma once

#include "cuda/algo/direct/kernel.h"
#include "cuda/algo/direct/weight_load.h"

namespace torchconv::cuda::sliding {

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

// Calls multiply(slot, part) with the parts of each tile of the block's split, when the tile is there.
// It may leave products that have not been waited for.
template <typename T, int held, typename Multiply>
__device__ __forceinline__ void for_each_part(const WeightForm& w, const WeightBlock& block,
                                              const WeightTask& task, const Multiply& multiply) {
  const Form& f = w.f;
  const int tiles = tiles_of(w, task);
  const int slot_bytes = w.slot_pieces * kPieceBytes;
  const auto places_of = [&](int i) { return block.places + i % 2 * block.positions; };

  PartLoad<T, held> load;
  WeightTile tile = weight_tile(f, task.split * w.split_tiles);  // whose places are looked up next
  int slot = 0, fill = 0;  // of the tile multiplied, and of the one coming
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
        copy_part<T>(w, block, to, places_of(i), part);
        load.start(w, block, places_of(i), part);
        load.finish(w, block, to, places_of(i), part);
      }
    }
    commit_copies();
  }
  set_places(w, block, tile, places_of(w.ahead));
#pragma unroll 1
  for (int i = 0; i < tiles; ++i) {
    if (w.ahead > 1)
      wait_copies<1>();
    else
      wait_copies<0>();
    publish_shared();
    __syncthreads();  // the tile is there, and nobody needs the slot of the coming one
    const int coming = i + w.ahead;
    const int64_t* const places = places_of(coming);
    unsigned char* const to = block.slots + fill * slot_bytes;
#pragma unroll 1
    for (int part = 0; part < kLoadParts; ++part) {
      if (coming < tiles) load.start(w, block, places, part);
      multiply(slot, part);
      if (coming >= tiles) continue;
      copy_part<T>(w, block, to, places, part);
      load.finish(w, block, to, places, part);
    }
    commit_copies();
    to_next(f, &tile);
    if (coming + 1 < tiles) set_places(w, block, tile, places_of(coming + 1));
    if (w.slots == w.ahead + 1) wait_products<0>();  // the next coming tile takes this slot
    if (++slot == w.slots) slot = 0;
    if (++fill == w.slots) fill = 0;
  }
}

}  // namespace torchconv::cuda::sliding
