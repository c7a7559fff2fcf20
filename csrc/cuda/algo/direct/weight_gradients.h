// The weight gradient by gradients: a tile's gradient goes from shared memory to registers once, 16
// bases at a time, and is multiplied there with the box under each shift of the warpgroup.
#pragma once

#include "cuda/algo/direct/weight_loaders.h"

namespace torchconv::cuda::sliding {

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
  const int at = y.lines ? (row + lane % 8) * y.to_piece + eight * y.to_position
                         : row / 8 * y.to_piece + (lane % 8 + eight * kGroup) * y.to_position;
  const int of_line = x.to_position / kPieceBytes;
  const int group = across ? position_of(f, place_of_group(f, 0, 1)) : of_line;
  const int unit = across ? position_of(f, place_of_group(f, 1, 0)) : 8 * of_line;
  const int columns = across ? x.to_piece : kGroup * kPieceBytes;  // from eight to eight
  return {y.first + at, (y.lines ? 2 : 2 * kGroup) * y.to_position,
          y.lines,      Operand(distances(group * kPieceBytes, columns) + pieces_at(block.slots)),
          unit,         2 * group};
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

template <int shifts, int columns>
__device__ __forceinline__ void store_sums(const WeightForm& w, const WeightTask& task,
                                           const float (&sum)[shifts][columns / 2]) {
  float* const partial =
      w.partial + w.partial_of(task.split, task.group, task.out_tile, task.channel_tile);
  const int lane = int(threadIdx.x) % kWarp, warp = int(threadIdx.x) / kWarp % 4;
  const int row = task.row + warp * 16 + lane / 4;
#pragma unroll
  for (int s = 0; s < shifts; ++s) {
    if (s >= task.products) break;
    float* const at = partial + (int64_t(task.first + s) * w.out_tile + row) * columns;
#pragma unroll
    for (int j = 0; j < columns / 2; j += 2)
      *reinterpret_cast<Pack<float, 2>*>(at + j % 4 * 4 * columns + j / 4 * 8 + lane % 4 * 2) = {
          sum[s][j], sum[s][j + 1]};
  }
}

// `across`: the box has channels in its pieces, else positions.
template <typename Number, int shifts, int columns, bool across>
__global__ void __launch_bounds__(block_threads(false), 1) slide_weight(WeightForm w) {
  const Form& f = w.f;
  const WeightTask task = weight_task(w);
  const WeightBlock block = weight_block<Number>(w, task);
  set_digits<Number, across>(w, block);
  if (is_loader<Number, false>(w, block, task)) return;
  int shift[shifts];
#pragma unroll
  for (int s = 0; s < shifts; ++s) shift[s] = moved_by(f, s < task.products ? task.first + s : 0);
  const Factors factors = factors_of<across>(w, block, task);
  const int slot_bytes = w.slot_pieces * kPieceBytes;
  float sum[shifts][columns / 2] = {};
  multiply_tiles(w, block, task, [&](int slot, int part) {
    const unsigned char* const rows =
        block.slots + slot * slot_bytes + factors.gradient + part * 2 * factors.gradient_step;
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
      if (shifts > 1 && task.products < shifts)
        start_step<Number, columns, shifts - 1, across>(held, factors.box, at, shift, sum);
      else
        start_step<Number, columns, shifts, across>(held, factors.box, at, shift, sum);
    }
  });
  allow_next_kernel();

  store_sums<shifts, columns>(w, task, sum);
}

}  // namespace torchconv::cuda::sliding
