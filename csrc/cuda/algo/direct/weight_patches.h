// The weight gradient by patches: a warpgroup gathers 64 rows of patches from the box to registers, a
// depth of 32 bytes at a time, and multiplies them there with the gradient of as many bases. Any
// number of the box may be a row's, so that few channels fill the rows by their shifts.
#pragma once

#include "cuda/algo/direct/weight_loaders.h"

namespace torchconv::cuda::sliding {

// A row of patches: a channel of the block's, under a shift.
struct PatchRow {
  int shift, channel;
};
// Row `number` of a warpgroup's product; its thread has two, eight apart.
__device__ __forceinline__ int patch_row(const WeightTask& task, int product, int half) {
  const int thread = int(threadIdx.x) % kWarpgroup;
  return (task.first + product) * kRows + thread / kWarp * 16 + thread % kWarp / 4 + 8 * half;
}
__device__ __forceinline__ PatchRow patch_row(const WeightForm& w, int row) {
  const int shift = row / w.channel_tile;
  return {shift, row - shift * w.channel_tile};
}

// What a register holds of a row: a float, or two neighbours along the bases.
template <typename Number>
__device__ __forceinline__ uint32_t of_patch(const unsigned char* at) {
  if constexpr (sizeof(Stored<Number>) == 4)
    return to_tf32(*reinterpret_cast<const float*>(at));
  else
    return uint32_t(*reinterpret_cast<const uint16_t*>(at)) |
           uint32_t(*reinterpret_cast<const uint16_t*>(at + kPieceBytes)) << 16;
}

// A group of the first `wanted` products of a step; at least half of them.
template <typename Number, int columns, int count, int products>
__device__ __forceinline__ void start_patches(int wanted, const unsigned char* near,
                                              const unsigned char* far,
                                              const int (&row)[products][2], uint64_t gradient,
                                              uint32_t (&held)[products][4],
                                              float (&sum)[products][columns / 2]) {
  if constexpr (count > (products + 1) / 2)
    if (wanted < count)
      return start_patches<Number, columns, count - 1>(wanted, near, far, row, gradient, held, sum);
#pragma unroll
  for (int i = 0; i < count; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) held[i][j] = of_patch<Number>((j < 2 ? near : far) + row[i][j % 2]);
  begin_products();
#pragma unroll
  for (int i = 0; i < count; ++i) multiply_held<Number, columns, false>(sum[i], held[i], gradient);
  commit_products();
}

template <int products, int columns>
__device__ __forceinline__ void store_patches(const WeightForm& w, const WeightTask& task,
                                              const float (&sum)[products][columns / 2]) {
  float* const partial =
      w.partial + w.partial_of(task.split, task.group, task.out_tile, task.channel_tile);
#pragma unroll
  for (int i = 0; i < products; ++i)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int number = patch_row(task, i, h);
      if (i >= task.products || number >= w.f.shifts * w.channel_tile) continue;
      const PatchRow row = patch_row(w, number);
      float* const at = partial + int64_t(row.shift) * w.out_tile * w.channel_tile + row.channel +
                        threadIdx.x % 4 * 2 * w.channel_tile;
#pragma unroll
      for (int j = 0; j < columns / 8; ++j)
#pragma unroll
        for (int k = 0; k < 2; ++k) at[(8 * j + k) * w.channel_tile] = sum[i][4 * j + 2 * h + k];
    }
}

template <typename Number, int products, int columns>
__global__ void __launch_bounds__(block_threads(true), 1) sum_patches(WeightForm w) {
  using T = Stored<Number>;
  constexpr int kElements = kPieceBytes / int(sizeof(T));
  constexpr int kSteps = 32 / (2 * kElements);     // of a part
  constexpr int kGroups = 2 * kElements / kGroup;  // of a step
  const Form& f = w.f;
  const Source &x = w.source[0], &y = w.source[1];
  const WeightTask task = weight_task(w);
  const WeightBlock block = weight_block<T>(w, task);
  set_digits<T, true>(w, block);
  if (is_loader<T, true>(w, block, task)) return;
  // Where a thread's rows are: a channel under a shift, at the first base that is the thread's.
  int row[products][2];
#pragma unroll
  for (int i = 0; i < products; ++i)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int number = patch_row(task, i, h);
      const PatchRow at = patch_row(w, number < f.shifts * w.channel_tile ? number : 0);
      const int base = int(threadIdx.x) % 4 * kGroups;
      row[i][h] = x.first + at.channel / kElements * x.to_piece +
                  at.channel % kElements * int(sizeof(T)) +
                  (moved_by(f, at.shift) + base) * kPieceBytes;
    }
  const int group = position_of(f, place_of_group(f, 0, 1)) * kPieceBytes;
  const int unit = position_of(f, place_of_group(f, 1, 0)) * kPieceBytes;
  const int far = kGroups == 1 ? 4 * kPieceBytes : group;
  const int slot_bytes = w.slot_pieces * kPieceBytes;
  const int depth = y.to_position / kPieceBytes;
  const Operand gradient(distances(y.to_position, kGroup * kPieceBytes) + pieces_at(block.slots) +
                         uint64_t(y.first / kPieceBytes));

  float sum[products][columns / 2] = {};
  multiply_tiles(w, block, task, [&](int slot, int part) {
    if (task.products == 0) return;
    const unsigned char* const box =
        block.slots + slot * slot_bytes + part / 2 * unit + part % 2 * 4 * group;
    const int lines = slot * w.slot_pieces + part * 2 * kSteps * depth;
#pragma unroll 2  // the registers of two steps
    for (int k = 0; k < kSteps; ++k) {
      uint32_t held[products][4];
      wait_products<1>();  // the group before the last had such registers
      const unsigned char* const near = box + k * kGroups * group;
      start_patches<Number, columns, products>(task.products, near, near + far, row,
                                               gradient + (lines + k * 2 * depth), held, sum);
    }
  });
  allow_next_kernel();

  store_patches<products, columns>(w, task, sum);
}

}  // namespace torchconv::cuda::sliding
