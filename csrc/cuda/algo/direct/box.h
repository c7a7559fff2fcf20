// The box of a chunk on its way to shared memory: by asynchronous copies where a piece lies in memory as
// it is needed, else by loads that wait in registers until the products have been started.
#pragma once

#include "cuda/algo/direct/plan.h"
#include "cuda/micro/number.h"

namespace torchconv::cuda::sliding {

struct Block {
  unsigned char *box, *taps;
  int64_t* places;
  Column* columns;
  Barrier* barriers;
  int* shifts;
  int box_bytes, tap_bytes;  // of a slot
};

// 16 bytes of neighbours along the channels.
template <typename T>
struct alignas(kPieceBytes) Piece {
  T number[kPieceBytes / sizeof(T)];
};

// Floats are rounded to TF32: the products would cut them off.
template <typename T>
__device__ __forceinline__ void store_piece(unsigned char* at, Piece<T> piece) {
  if constexpr (sizeof(T) == 4)
#pragma unroll
    for (int j = 0; j < 4; ++j) piece.number[j] = float_of(to_tf32(piece.number[j]));
  *reinterpret_cast<Piece<T>*>(at) = piece;
}

// A chunk's box on its way to shared memory.
struct Box {
  unsigned char* to;
  const void* from;  // the chunk's first channel at place 0
  int channels;      // of the chunk that exist
};

// The box of a chunk, in as many parts as the chunk has steps. A thread has every kThreads-th piece:
// neighbours have neighbouring pieces of a position, or neighbouring positions, as the input lies.
template <typename Number, int columns>
struct BoxLoad {
  using T = Stored<Number>;
  static constexpr int kElements = kPieceBytes / int(sizeof(T));
  Piece<T> held;  // waits in registers; what more the part has comes in after it

  static __device__ __forceinline__ bool copies(const Form& f) {
    return sizeof(T) == 2 && f.vectors;
  }

  __device__ __forceinline__ void start(const Form& f, const Block& block, const Box& box,
                                        int part) {
    const int first = part * f.rounds * kThreads + int(threadIdx.x);
    const int end = f.pieces * f.positions;
    if (copies(f)) {
#pragma unroll 2
      for (int r = 0, number = first; r < f.rounds && number < end; ++r, number += kThreads) {
        const At at = place(f, block, number);
        const bool there = at.there && at.piece * kElements < box.channels;
        const T* const from = static_cast<const T*>(box.from);
        copy_async<kPieceBytes>(box.to + at.shared, there ? from + at.global : from,
                                there ? kPieceBytes : 0);
      }
      return;
    }
    if (first < end) held = read(f, box, place(f, block, first));
  }

  __device__ __forceinline__ void finish(const Form& f, const Block& block, const Box& box,
                                         int part) {
    if (copies(f)) return;
    const int first = part * f.rounds * kThreads + int(threadIdx.x);
    const int end = f.pieces * f.positions;
    if (first < end) store_piece(box.to + place(f, block, first).shared, held);
    constexpr int kTogether = columns == 64 ? 3 : 2;  // on their way at once, as registers allow
#pragma unroll 1
    for (int r = 1; r < f.rounds; r += kTogether) {
      Piece<T> pieces[kTogether];
      int to[kTogether];
#pragma unroll
      for (int i = 0; i < kTogether; ++i) {
        const int number = first + (r + i) * kThreads;
        to[i] = -1;
        if (r + i >= f.rounds || number >= end) continue;
        const At at = place(f, block, number);
        to[i] = at.shared;
        pieces[i] = read(f, box, at);
      }
#pragma unroll
      for (int i = 0; i < kTogether; ++i)
        if (to[i] >= 0) store_piece(box.to + to[i], pieces[i]);
    }
    publish_shared();
  }

 private:
  struct At {
    int shared;      // bytes
    int piece;       // of the position
    bool there;      // not in the padding
    int64_t global;  // elements
  };
  static __device__ __forceinline__ At place(const Form& f, const Block& block, int number) {
    int low = number;
    const int high = f.vectors ? f.by_pieces.split(&low) : f.by_positions.split(&low);
    const int position = f.vectors ? high : low, piece = f.vectors ? low : high;
    const int64_t at = block.places[position];
    return {(piece * f.plane + position) * kPieceBytes, piece, at != kNowhere,
            at + piece * kElements * f.input.in_channel};
  }

  static __device__ __forceinline__ Piece<T> read(const Form& f, const Box& box, const At& at) {
    Piece<T> piece = {};
    if (!at.there) return piece;
    const T* from = static_cast<const T*>(box.from) + at.global;
    const int left = box.channels - at.piece * kElements;
    if (f.vectors) {
      if (left > 0) piece = *reinterpret_cast<const Piece<T>*>(from);
    } else if (left >= kElements) {
#pragma unroll
      for (int j = 0; j < kElements; ++j, from += f.input.in_channel) piece.number[j] = *from;
    } else {
#pragma unroll
      for (int j = 0; j < kElements; ++j, from += f.input.in_channel)
        if (j < left) piece.number[j] = *from;
    }
    return piece;
  }
};

}  // namespace torchconv::cuda::sliding
