// One tile of sums by one block of two warpgroups.
//
// A step multiplies a chunk of channels under some shifts. While its products run, the taps of the
// next step come in, by one copy that no thread attends to, and a part of the next chunk's box.
#pragma once

#include "cuda/algo/direct/box.h"

namespace torchconv::cuda::sliding {

// An operand of products: where it is, which changes, and how it lies.
struct Operand {
  uint32_t at, how;
  __device__ __forceinline__ explicit Operand(uint64_t operand)
      : at(uint32_t(operand)), how(uint32_t(operand >> 32)) {
    keep(at), keep(how);
  }
  __device__ __forceinline__ uint64_t operator+(int pieces) const {
    return uint64_t(how) << 32 | (at + uint32_t(pieces));
  }
};

// D of a unit += the products of a step, between the given pieces of shared memory.
template <typename Number, int columns>
__device__ __forceinline__ void multiply_step(const Form& f, const int* shifts, int count,
                                              const Operand& box, int box_piece,
                                              const Operand& taps, int taps_piece,
                                              float (&sum)[columns / 2]) {
#pragma unroll 1
  for (int s = 0; s < count; ++s) {
    int at = box_piece + shifts[s];
#pragma unroll 1
    for (int k = 0; k < f.pieces; k += 2) {
      multiply_pieces<Number, columns>(sum, box + at, taps + taps_piece);
      at += 2 * f.plane;
      taps_piece += 2 * columns;
    }
  }
}

// The sums of a warp, to where they belong: 32 columns after the other through shared memory, where
// each lane finds a row of its own, or 16 bytes of columns.
template <typename Number, int columns>
__device__ __forceinline__ void store_tile(const Form& f, const Block& block, const Tile& tile,
                                           const float (&sum)[columns / 2]) {
  using T = Stored<Number>;
  constexpr int kAtOnce = columns < kStoreColumns ? columns : kStoreColumns;
  constexpr int kVector = kPieceBytes / int(sizeof(T));
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp;
  float* const sums = reinterpret_cast<float*>(block.box) + warp * 16 * kStorePitch;

  // The lane's row: 16 of a warp, in two groups of eight.
  const Place place = place_of_group(f, warp / 4, warp % 4 * 2 + lane / 8 % 2);
  const int64_t image = tile.image + place.image;
  int64_t row = image * f.output.batch, index[kAxes];
  bool there = image < f.batch, whole = true;
#pragma unroll
  for (int a = 0; a < kAxes; ++a) {
    const Line& x = f.line[a];
    const int64_t base = tile.base[a] + place.base[a] + (a == 2 ? lane % 8 : 0);
    there &= base < x.bases;
    index[a] = base * x.step + x.first;
    whole &= index[a] >= 0 && index[a] + x.step <= x.output_size;
    row += index[a] * f.output.axis[a];
  }
  if (!there) row = kNowhere;
  T* const out = static_cast<T*>(f.output.data);

#pragma unroll
  for (int first = 0; first < columns; first += kAtOnce) {
    __syncwarp();
#pragma unroll
    for (int j = 0; j < kAtOnce / 8; ++j)
#pragma unroll
      for (int k = 0; k < 4; ++k)
        sums[(lane / 4 + k / 2 * 8) * kStorePitch + 8 * j + lane % 4 * 2 + k % 2] =
            sum[4 * (first / 8 + j) + k];
    __syncwarp();
    if (f.store_vectors) {
#pragma unroll 1
      for (int i = lane; i < 16 * kAtOnce / kVector; i += kWarp) {
        const int line = i / (kAtOnce / kVector), c = i % (kAtOnce / kVector) * kVector;
        const int64_t at = __shfl_sync(0xffffffff, row, line);
        const Column& column = block.columns[first + c];
        if (at == kNowhere || column.at == kNowhere) continue;
        Piece<T> piece;
#pragma unroll
        for (int v = 0; v < kVector; ++v)
          write<T, float>(piece.number, v, sums[line * kStorePitch + c + v] + (&column)[v].bias);
        *reinterpret_cast<Piece<T>*>(out + at + column.at) = piece;
      }
      continue;
    }
#pragma unroll 1
    for (int c = lane / 16; c < kAtOnce; c += 2) {
      const Column& column = block.columns[first + c];
      bool is_there = there && column.at != kNowhere;
      if (is_there && !whole)
#pragma unroll
        for (int a = 0; a < kAxes; ++a)
          is_there &= uint64_t(index[a] + column.phase[a]) < uint64_t(f.line[a].output_size);
      if (is_there)
        write<T, float>(out, row + column.at, sums[lane % 16 * kStorePitch + c] + column.bias);
    }
  }
}

template <typename Number, int columns>
__device__ __forceinline__ void multiply_tile(const Form& f, const Block& block, const Tile& tile,
                                              float (&sum)[columns / 2]) {
  using T = Stored<Number>;
  const int shift_bytes = int(tap_bytes(f.pieces, columns));
  const int chunk = f.pieces * (kPieceBytes / int(sizeof(T)));  // channels
  const int thread = int(threadIdx.x), unit = thread / kWarpgroup;
  const int first_position = position_of(f, place_of_group(f, unit, 0));
  const int group_pitch = position_of(f, place_of_group(f, unit, 1)) - first_position;
  const Operand box(distances(f.plane * kPieceBytes, group_pitch * kPieceBytes) +
                    pieces_at(block.box) + uint64_t(first_position));
  const Operand taps(distances(columns * kPieceBytes, kGroup * kPieceBytes) +
                     pieces_at(block.taps));
  const bool copies = BoxLoad<Number, columns>::copies(f);

  const int first_chunk = tile.split * f.split_chunks, last = first_chunk + f.split_chunks;
  const int chunks = (last < f.chunks ? last : f.chunks) - first_chunk;
  const int all = int(f.joined * f.channels);
  const int64_t group_channel = int64_t(tile.group) * all, left = f.all_channels - group_channel;
  const int64_t first_channel = group_channel + first_chunk * chunk;
  Box filled;  // the box that is brought in
  filled.to = block.box;
  filled.from = static_cast<const T*>(f.input.data) + first_channel * f.input.in_channel;
  filled.channels = int(left < all ? left : all) - first_chunk * chunk;
  int fill = 0, fill_slot = 0, part = 0;
  const auto next_box = [&] {
    part = 0, ++fill;
    if (++fill_slot == f.slots) fill_slot = 0;
    filled.to = block.box + fill_slot * block.box_bytes;
    filled.from = static_cast<const T*>(filled.from) + chunk * f.input.in_channel;
    filled.channels -= chunk;
  };
  const unsigned char* packed =
      static_cast<const unsigned char*>(f.taps) +
      ((int64_t(tile.group) * f.column_tiles + tile.column / columns) * f.chunks + first_chunk) *
          f.shifts * shift_bytes;
  int packed_shift = 0;
  const auto start_taps = [&](int slot) {
    const int rest = f.shifts - packed_shift;
    const int bytes = (rest < f.step_shifts ? rest : f.step_shifts) * shift_bytes;
    if (thread == 0) {
      expect_copies(&block.barriers[slot], bytes);
      start_copy(&block.barriers[slot], block.taps + slot * block.tap_bytes, packed, bytes);
    }
    packed += bytes;
    packed_shift = rest <= f.step_shifts ? 0 : packed_shift + f.step_shifts;
  };

  BoxLoad<Number, columns> load;
  int tap_slot = 0, parity = 0;        // of how often the slot has been waited for
  if (thread == 0) wait_for_kernel();  // that packs them
  start_taps(tap_slot);
  for (; part < f.fills; ++part) {
    load.start(f, block, filled, part);
    load.finish(f, block, filled, part);
  }
  if (copies) commit_copies();
  next_box();
  int box_slot = 0, first = 0;  // the chunk's place, and the step's first shift
#pragma unroll 1
  for (int left_steps = chunks * f.steps; left_steps > 0; --left_steps) {
    if (copies && first == 0) {
      wait_copies<0>();
      publish_shared();
    }
    wait_for(&block.barriers[tap_slot], parity);
    __syncthreads();
    const int slot = tap_slot;
    if (++tap_slot == kTapSlots) tap_slot = 0, parity ^= 1;
    if (left_steps > 1) start_taps(tap_slot);
    const bool fills = fill < chunks && part < f.fills;
    if (fills) {
      load.start(f, block, filled, part);
      if (copies) commit_copies();
    }
    const int rest = f.shifts - first;
    begin_products();
    multiply_step<Number, columns>(f, block.shifts + first,
                                   rest < f.step_shifts ? rest : f.step_shifts, box,
                                   box_slot * (block.box_bytes / kPieceBytes), taps,
                                   slot * (block.tap_bytes / kPieceBytes), sum);
    commit_products();
    if (fills) load.finish(f, block, filled, part);
    wait_products<1>();
    first += f.step_shifts;
    if (++part == f.steps) next_box();
    if (first >= f.shifts) {
      first = 0;
      if (++box_slot == f.slots) box_slot = 0;
    }
  }
  wait_products<0>();
}

template <typename Number, int columns>
__device__ __forceinline__ void set_columns(const Form& f, const Block& block, const Tile& tile) {
  if (int(threadIdx.x) >= columns) return;
  const int number = tile.column + int(threadIdx.x);
  Column column = column_of(f, tile.group, number);
  if (f.bias.data && column.at != kNowhere)
    column.bias = read<Stored<Number>, float>(f.bias.data, bias_of(f, tile.group, number));
  block.columns[threadIdx.x] = column;
}

template <typename Number, int columns>
__device__ __forceinline__ Block block_of(const Form& f) {
  unsigned char* const shared = dynamic_shared<unsigned char>();
  const SharedPlaces places = shared_places(f, columns);
  Block block;
  block.box = shared + places.box, block.taps = shared + places.taps;
  block.places = reinterpret_cast<int64_t*>(shared + places.places);
  block.columns = reinterpret_cast<Column*>(shared + places.columns);
  block.barriers = reinterpret_cast<Barrier*>(shared + places.barriers);
  block.shifts = reinterpret_cast<int*>(shared + places.shifts);
  block.box_bytes = f.pieces * f.plane * kPieceBytes;
  block.tap_bytes = f.step_shifts * int(tap_bytes(f.pieces, columns));
  return block;
}

// Where a thread keeps number j of its sums of a split.
__device__ __forceinline__ float* partial_at(const Form& f, uint32_t tile, int split, int columns) {
  const int64_t tiles = f.tiles * f.column_tiles;
  return f.partial + (split * tiles + tile) * (columns / 2) * kThreads + threadIdx.x;
}

template <typename Number, int columns>
__global__ void __launch_bounds__(kThreads, columns > 32 ? 2 : 3) slide(Form f) {
  const Block block = block_of<Number, columns>(f);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kTapSlots; ++i) set_up(&block.barriers[i]);
    publish_barriers();
  }
#pragma unroll 1
  for (int i = int(threadIdx.x); i < f.shifts; i += kThreads) block.shifts[i] = moved_by(f, i);
  const Tile tile = tile_at(f, blockIdx.x, columns);
#pragma unroll 1
  for (int i = int(threadIdx.x); i < f.positions; i += kThreads)
    block.places[i] = place_of(f, tile.image, tile.base, i);
  set_columns<Number, columns>(f, block, tile);
  __syncthreads();
  float sum[columns / 2] = {};
  if (has_taps(f, tile.column, columns)) multiply_tile<Number, columns>(f, block, tile, sum);
  if (f.splits > 1) {
    float* const partial = partial_at(f, blockIdx.x / uint32_t(f.splits), tile.split, columns);
#pragma unroll
    for (int j = 0; j < columns / 2; ++j) partial[j * kThreads] = sum[j];
    return;
  }
  __syncthreads();  // the sums take the place of boxes and taps
  store_tile<Number, columns>(f, block, tile, sum);
}

// The sums of the splits, in their order.
template <typename Number, int columns>
__global__ void __launch_bounds__(kThreads) add_splits(Form f) {
  const Block block = block_of<Number, columns>(f);
  const Tile tile = tile_at(f, blockIdx.x * uint32_t(f.splits), columns);
  set_columns<Number, columns>(f, block, tile);
  __syncthreads();
  float sum[columns / 2] = {};
#pragma unroll 1
  for (int split = 0; split < f.splits; ++split) {
    const float* const partial = partial_at(f, blockIdx.x, split, columns);
#pragma unroll
    for (int j = 0; j < columns / 2; ++j) sum[j] += partial[j * kThreads];
  }
  store_tile<Number, columns>(f, block, tile, sum);
}

// The weight as the products read it:
//     [group][column tile][chunk][shift][piece][column] pieces
template <typename Number>
__global__ void __launch_bounds__(128) pack_taps(Form f, int columns, int64_t pieces, void* to) {
  using T = Stored<Number>;
  allow_next_kernel();
  for (int64_t number = int64_t(blockIdx.x) * 128 + threadIdx.x; number < pieces;
       number += int64_t(gridDim.x) * 128) {
    const int64_t line = number / (f.pieces * columns);  // of both halves
    const int in_line = int(number - line * (f.pieces * columns));
    const int piece = in_line / columns, column = in_line - piece * columns;
    const int chunk = int(line / f.shifts), tile = chunk / f.chunks;
    TapPiece index;
    index.shift = int(line - int64_t(chunk) * f.shifts);
    index.channel = ((chunk - tile * f.chunks) * f.pieces + piece) * f.elements;
    index.group = tile / int(f.column_tiles);
    index.column = (tile - index.group * int(f.column_tiles)) * columns + column;
    Piece<T> numbers = {};
    for_taps(f, index, [&](int j, int64_t at) {
      numbers.number[j & (kPieceBytes / int(sizeof(T)) - 1)] =
          static_cast<const T*>(f.weight.data)[at];
    });
    unsigned char* const packed = static_cast<unsigned char*>(to) +
                                  ((line * f.pieces + piece) * columns + column) * kPieceBytes;
    store_piece(packed, numbers);
  }
}

}  // namespace torchconv::cuda::sliding
