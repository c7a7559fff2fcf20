// A tile on its way to shared memory: by asynchronous copies where its pieces lie in memory as they
// are needed, else by loads that wait in registers until the products beside them have been
// started.
#pragma once

#include "cuda/algo/direct/box.h"
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

__device__ __forceinline__ void set_places(const WeightForm& w, const WeightBlock& block,
                                           const WeightTile& tile, int64_t* places,
                                           int first = int(threadIdx.x), int step = kThreads) {
  const int in_box = w.source[0].positions;
#pragma unroll 1
  for (int i = first; i < block.positions; i += step)
    places[i] = place_in(w.source[i >= in_box], w.f.batch, tile, block.digits[i], w.f.elements);
}

// A piece of a thread: where it goes to, and comes from.
template <typename T>
struct PieceAt {
  static constexpr int kElements = kPieceBytes / int(sizeof(T));
  int to = -1;  // bytes of the slot; none
  const T* from = nullptr;
  int numbers = 0;  // that there are
};
template <typename T>
__device__ __forceinline__ PieceAt<T> piece_at(const WeightForm& w, const WeightBlock& block,
                                               const int64_t* places, int s, int round) {
  constexpr int kElements = PieceAt<T>::kElements;
  PieceAt<T> piece;
  const Source& source = w.source[s];
  const int number = round * kThreads + int(threadIdx.x);
  if (number >= source.pieces * source.positions) return piece;
  int low = number;
  const int high = source.by.split(&low);
  const int position = source.pieces_first ? high : low, which = source.pieces_first ? low : high;
  const int64_t place = places[source.first_place + position];
  const int channel = source.lines ? which : which * kElements;
  const int left = (s ? block.channels[1] : block.channels[0]) - channel;
  piece.to = source.first + which * source.to_piece + position * source.to_position;
  piece.from = static_cast<const T*>(s ? block.from[1] : block.from[0]);
  if (left > 0 && source.lines) piece.numbers = int(place & 15);
  if (left > 0 && !source.lines && place != kNowhere)
    piece.numbers = left < kElements ? left : kElements;
  if (piece.numbers > 0)
    piece.from += (source.lines ? place >> 4 : place) + channel * source.channel;
  return piece;
}

// The asynchronous copies of a piece, of whose numbers there are so many.
template <int bytes, typename T>
__device__ __forceinline__ void start_copies(const Source& source, unsigned char* to, const T* from,
                                             int numbers) {
  constexpr int kElements = PieceAt<T>::kElements, kEach = bytes / int(sizeof(T));
  // Neighbours' pieces of lines are 16 bytes apart: eight threads begin with the same number.
  const int turn = kEach == 1 && source.lines ? int(threadIdx.x) / 8 : 0;
  if (numbers == kElements) {
#pragma unroll
    for (int i = 0; i < kElements; i += kEach) {
      const int first = (i + turn) & (kElements - 1);
      copy_async<bytes>(to + first * source.to_number, from + first * source.step);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kElements; i += kEach) {
    const int first = (i + turn) & (kElements - 1);
    const int left = numbers - first, count = left < 0 ? 0 : left < kEach ? left : kEach;
    copy_async<bytes>(to + first * source.to_number, from + (count > 0 ? first * source.step : 0),
                      count * int(sizeof(T)));
  }
}

// Starts the copies, for a part of a tile, of what lies in memory as the slot has it.
template <typename T>
__device__ __forceinline__ void copy_part(const WeightForm& w, const WeightBlock& block,
                                          unsigned char* slot, const int64_t* places, int part) {
#pragma unroll 1
  for (int s = 0; s < 2; ++s) {
    const Source& source = w.source[s];
    const int bytes = source.copy_bytes;
    if (bytes == 0) continue;
    const int rounds = (source.rounds + kLoadParts - 1) / kLoadParts;
#pragma unroll 1
    for (int r = part * rounds; r < (part + 1) * rounds; ++r) {
      const PieceAt<T> piece = piece_at<T>(w, block, places, s, r);
      if (piece.to < 0) continue;
      if (bytes == 16)
        start_copies<16>(source, slot + piece.to, piece.from, piece.numbers);
      else if (bytes == 8)
        start_copies<8>(source, slot + piece.to, piece.from, piece.numbers);
      else
        start_copies<4>(source, slot + piece.to, piece.from, piece.numbers);
    }
  }
}

// A part of what is put together, on its way to a slot. Floats never are.
template <typename T, int kHeld>
struct PartLoad {  // kHeld of its pieces wait in registers; what more it has comes in after them
  static constexpr int kElements = PieceAt<T>::kElements;
  Piece<T> held[kHeld];
  int to[kHeld];

  __device__ __forceinline__ void start(const WeightForm& w, const WeightBlock& block,
                                        const int64_t* places, int part) {
    if constexpr (sizeof(T) < 4) load(w, block, places, part * w.rounds, w.rounds);
  }
  __device__ __forceinline__ void finish(const WeightForm& w, const WeightBlock& block,
                                         unsigned char* slot, const int64_t* places, int part) {
    if (sizeof(T) == 4 || w.rounds == 0) return;
    store(slot);
#pragma unroll 1
    for (int r = kHeld; r < w.rounds; r += kHeld) {
      load(w, block, places, part * w.rounds + r, w.rounds - r);
      store(slot);
    }
  }

 private:
  __device__ __forceinline__ void load(const WeightForm& w, const WeightBlock& block,
                                       const int64_t* places, int first, int count) {
    const int of_box = w.source[0].copy_bytes > 0 ? 0 : w.source[0].rounds;
#pragma unroll
    for (int j = 0; j < kHeld; ++j) {
      to[j] = -1;
      const int s = first + j >= of_box;
      if (j >= count || (s && w.source[1].copy_bytes > 0)) continue;
      const PieceAt<T> piece = piece_at<T>(w, block, places, s, first + j - (s ? of_box : 0));
      to[j] = piece.to;
      held[j] = {};
      const T* from = piece.from;
      const int64_t step = w.source[s].step;
      if (piece.numbers == kElements) {
#pragma unroll
        for (int k = 0; k < kElements; ++k, from += step) held[j].number[k] = *from;
      } else {
#pragma unroll
        for (int k = 0; k < kElements; ++k, from += step)
          if (k < piece.numbers) held[j].number[k] = *from;
      }
    }
  }
  __device__ __forceinline__ void store(unsigned char* slot) {
#pragma unroll
    for (int j = 0; j < kHeld; ++j)
      if (to[j] >= 0) *reinterpret_cast<Piece<T>*>(slot + to[j]) = held[j];
  }
};

}  // namespace torchconv::cuda::sliding
