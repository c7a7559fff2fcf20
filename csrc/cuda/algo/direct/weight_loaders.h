// The tiles of a split on their way through the slots: one or two warpgroups bring them in, two others
// multiply. A slot is filled when all of the loaders have arrived, and emptied when all of the others
// have.
#pragma once

#include "cuda/algo/direct/weight_block.h"

namespace torchconv::cuda::sliding {

TORCHCONV_HOST_DEVICE constexpr int block_threads(bool by_patches) {
  return kThreads + loaders(by_patches);
}
// Registers of a thread, of 64 Ki in all. By patches, loaders have several pieces on their way.
TORCHCONV_HOST_DEVICE constexpr int loader_registers(bool by_patches) {
  return by_patches ? 72 : 40;
}
TORCHCONV_HOST_DEVICE constexpr int product_registers(bool by_patches) {
  return by_patches ? 184 : 232;
}

template <bool by_patches>
__device__ __forceinline__ void set_up_slots(const WeightForm& w, const WeightBlock& block) {
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < w.slots; ++slot) {
      set_up(&block.filled[slot], loaders(by_patches));
      set_up(&block.emptied[slot], kThreads);
    }
    set_up(block.placed, loaders(by_patches));
    publish_barriers();
  }
  __syncthreads();
}

// A slot after the other, and how often they have been through.
struct Slot {
  int number = 0, parity = 0;
  __device__ __forceinline__ void to_next(int slots) {
    if (++number == slots) number = 0, parity ^= 1;
  }
};

// A loader's share of a source: the first piece and position, and how far it is to the next.
struct Share {
  int piece, pieces, position, positions;
};
template <bool by_patches>
__device__ __forceinline__ Share share_of(const Source& source) {
  const int thread = int(threadIdx.x) - kThreads, threads = source.low_threads;
  const int low = thread & (threads - 1), high = thread / threads;
  const int high_threads = loaders(by_patches) / threads;
  if (source.pieces_first) return {low, threads, high, high_threads};
  return {high, high_threads, low, threads};
}

// The asynchronous copies of a piece, of whose numbers there are so many.
template <int bytes, typename T>
__device__ __forceinline__ void start_copies(unsigned char* to, const T* from, int numbers) {
  constexpr int kElements = kPieceBytes / int(sizeof(T)), kEach = bytes / int(sizeof(T));
#pragma unroll
  for (int first = 0; first < kElements; first += kEach) {
    const int left = numbers - first, count = left < 0 ? 0 : left < kEach ? left : kEach;
    copy_async<bytes>(to + first * int(sizeof(T)), from + (count > 0 ? first : 0),
                      count * int(sizeof(T)));
  }
}

// A source of which a loader brings its share to a slot.
template <typename T>
struct Load {
  static constexpr int kElements = kPieceBytes / int(sizeof(T));
  const Source& source;
  const Share& share;
  const int64_t* places;
  const T* first;
  int channels;  // that exist
  unsigned char* slot;

  // Where a piece comes from, and how many numbers of it there are.
  __device__ __forceinline__ const T* from(int position, int piece, int* numbers) const {
    const int64_t place = places[source.first_place + position];
    const int there = source.lines ? int(place & 15) : place == kNowhere ? 0 : kElements;
    const int channel = source.lines ? piece : piece * kElements;
    const int left = channels - channel, exist = source.lines && left > 0 ? kElements : left;
    *numbers = exist < 0 ? 0 : exist < there ? exist : there;
    if (*numbers == 0) return first;
    return first + (source.lines ? place >> 4 : place) + channel * source.channel;
  }
  __device__ __forceinline__ unsigned char* to(int position, int piece) const {
    return slot + source.first + position * source.to_position + piece * source.to_piece;
  }

  template <int bytes>
  __device__ __forceinline__ void copy() const {
#pragma unroll 1
    for (int p = share.position; p < source.positions; p += share.positions)
#pragma unroll(bytes == 16 ? 4 : 1)
      for (int i = share.piece; i < source.pieces; i += share.pieces) {
        int numbers;
        const T* const at = from(p, i, &numbers);
        start_copies<bytes>(to(p, i), at, numbers);
      }
  }

  // Puts pieces together, so many at once.
  template <int together>
  __device__ __forceinline__ void gather() const {
    int p = share.position, i = share.piece;
    if (i >= source.pieces) return;
#pragma unroll 1
    while (p < source.positions) {
      Piece<T> piece[together] = {};
      unsigned char* at[together];
#pragma unroll
      for (int j = 0; j < together; ++j) {
        at[j] = nullptr;
        if (p >= source.positions) continue;
        at[j] = to(p, i);
        int numbers;
        const T* const number = from(p, i, &numbers);
#pragma unroll
        for (int k = 0; k < kElements; ++k)
          if (k < numbers) piece[j].number[k] = number[k * source.step];
        i += share.pieces;
        if (i >= source.pieces) i = share.piece, p += share.positions;
      }
#pragma unroll
      for (int j = 0; j < together; ++j)
        if (at[j]) store_piece(at[j], piece[j]);
    }
  }
};

template <typename T, bool by_patches>
__device__ __forceinline__ void load_source(const WeightForm& w, const WeightBlock& block, int s,
                                            const int64_t* places, unsigned char* slot) {
  const Source& source = w.source[s];
  const Share share = share_of<by_patches>(source);
  const Load<T> load = {source,
                        share,
                        places,
                        static_cast<const T*>(s ? block.from[1] : block.from[0]),
                        s ? block.channels[1] : block.channels[0],
                        slot};
  switch (source.copy_bytes) {
    case 16: return load.template copy<16>();
    case 8: return load.template copy<8>();
    case 4: return load.template copy<4>();
    default: load.template gather<by_patches ? 16 / Load<T>::kElements : 1>();
  }
}

// Rounds floats that have been copied, which the products would cut off: each loader its own.
__device__ __forceinline__ void round_pieces(const Source& source, unsigned char* slot) {
  constexpr int kTogether = 4;
  const Share share = share_of<true>(source);
#pragma unroll 1
  for (int p = share.position; p < source.positions; p += share.positions)
#pragma unroll 1
    for (int i = share.piece; i < source.pieces; i += kTogether * share.pieces) {
      Piece<float> held[kTogether];
      unsigned char* const at = slot + source.first + p * source.to_position + i * source.to_piece;
      const int step = share.pieces * source.to_piece, left = source.pieces - i;
#pragma unroll
      for (int k = 0; k < kTogether; ++k)
        if (k * share.pieces < left) held[k] = *reinterpret_cast<Piece<float>*>(at + k * step);
#pragma unroll
      for (int k = 0; k < kTogether; ++k)
        if (k * share.pieces < left) store_piece(at + k * step, held[k]);
    }
}

// The way of the loaders.
template <typename T, bool by_patches>
__device__ __forceinline__ void load_tiles(const WeightForm& w, const WeightBlock& block,
                                           const WeightTask& task) {
  const int tiles = tiles_of(w, task), thread = int(threadIdx.x) - kThreads;
  const auto places_of = [&](int i) { return block.places + i % 2 * block.positions; };
  WeightTile tile = weight_tile(w.f, task.split * w.split_tiles);
  set_places(w, block, tile, places_of(0), thread, loaders(by_patches));
  Slot slot;
#pragma unroll 1
  for (int i = 0; i < tiles; ++i) {
    arrive(block.placed);
    wait_for(block.placed, i & 1);
    wait_for(&block.emptied[slot.number], slot.parity ^ 1);
    unsigned char* const to = block.slots + slot.number * (w.slot_pieces * kPieceBytes);
    load_source<T, by_patches>(w, block, 0, places_of(i), to);
    load_source<T, by_patches>(w, block, 1, places_of(i), to);
    commit_copies();
    to_next(w.f, &tile);
    if (i + 1 < tiles) set_places(w, block, tile, places_of(i + 1), thread, loaders(by_patches));
    wait_copies<0>();
    if constexpr (sizeof(T) == 4)  // patches are rounded in registers
      if (w.source[1].copy_bytes > 0) round_pieces(w.source[1], to);
    publish_shared();
    arrive(&block.filled[slot.number]);
    slot.to_next(w.slots);
  }
}

// Parts the loaders from the others, who alone come back.
template <typename T, bool by_patches>
__device__ __forceinline__ bool is_loader(const WeightForm& w, const WeightBlock& block,
                                          const WeightTask& task) {
  set_up_slots<by_patches>(w, block);
  if (threadIdx.x >= kThreads) {
    leave_registers<loader_registers(by_patches)>();
    load_tiles<T, by_patches>(w, block, task);
    return true;
  }
  take_registers<product_registers(by_patches)>();
  return false;
}

// The way of the others: multiply(slot, part) with the parts of each tile.
template <typename Multiply>
__device__ __forceinline__ void multiply_tiles(const WeightForm& w, const WeightBlock& block,
                                               const WeightTask& task, const Multiply& multiply) {
  const int tiles = tiles_of(w, task);
  Slot slot;
#pragma unroll 1
  for (int i = 0; i < tiles; ++i) {
    wait_for(&block.filled[slot.number], slot.parity);
#pragma unroll 1
    for (int part = 0; part < kParts; ++part) multiply(slot.number, part);
    wait_products<0>();
    arrive(&block.emptied[slot.number]);
    slot.to_next(w.slots);
  }
}

}  // namespace torchconv::cuda::sliding
