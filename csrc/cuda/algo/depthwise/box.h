// A box of a tensor on its way to shared memory: of some planes, depths and rows, and a stretch of
// the line, through the fold.
#pragma once

#include "cuda/algo/depthwise/kernels.h"

namespace torchconv::cuda::channelwise {

constexpr int kMostPlanes = 16;  // of a tile

struct Box {
  int depth, height, width;  // of each plane
  int pitch;                 // of a line in shared memory
  int columns;               // threads along a line, a power of two
  int load;                  // elements of one load
};

// How many threads go along a line of so many elements.
template <typename T>
void set_loads(bool wide, int width, Box* box) {
  box->width = width;
  box->load = wide ? kPack<T> : 1;
  const int loads = width / box->load + 2;
  for (box->columns = 1; box->columns < kWarp && box->columns < loads;) box->columns *= 2;
}

// Copies what lies at first[axis] and on, of `planes` planes at their offsets, to `to`; zeros where
// there is nothing. Whole loads of `load` elements go some ahead of their stores; those across an
// edge, element by element.
template <typename T, int load>
__device__ void fill_box(const Box& box, PaddingMode mode, const Problem& p, int64_t Axis::* size,
                         const View& view, const int64_t* offsets, int planes,
                         const int64_t (&first)[3], T* to) {
  constexpr int kAhead = 4;
  const int across = int(threadIdx.x) & (box.columns - 1);
  const int lines = int(blockDim.x) / box.columns, rows = planes * box.depth * box.height;
  // The first load begins at a multiple of its size, at or before the first element.
  const int before = int(first[2] & (load - 1));
  const int loads = (before + box.width + load - 1) / load;
  const int64_t width = p.axis[2].*size;
  // The row's line in memory; null where it lies in the padding.
  const auto line_of = [&](int row) -> const T* {
    const int slice = row / box.height, plane = slice / box.depth;
    const int64_t d = fold_inside(mode, first[0] + slice - plane * box.depth, p.axis[0].*size);
    const int64_t h = fold_inside(mode, first[1] + row - slice * box.height, p.axis[1].*size);
    if (d < 0 || h < 0) return nullptr;
    return static_cast<const T*>(view.data) + offsets[plane] + d * view.axis[0] + h * view.axis[1];
  };
  for (int number = across; number < loads; number += box.columns) {
    const int column = number * load - before;
    const int64_t i = first[2] + column;
    const int from = int(threadIdx.x) / box.columns;
    if (column < 0 || column + load > box.width || i < 0 || i + load > width) {
#pragma unroll 1
      for (int row = from; row < rows; row += lines) {
        const T* const line = line_of(row);
#pragma unroll 1
        for (int j = column < 0 ? -column : 0; j < load && column + j < box.width; ++j) {
          const int64_t folded = line ? fold_inside(mode, i + j, width) : -1;
          to[row * box.pitch + column + j] = folded < 0 ? T{} : line[folded];
        }
      }
      continue;
    }
#pragma unroll 1
    for (int row = from; row < rows; row += kAhead * lines) {
      Pack<T, load> packs[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        packs[k] = {};
        if (row + k * lines >= rows) continue;
        if (const T* const line = line_of(row + k * lines))
          packs[k] = *reinterpret_cast<const Pack<T, load>*>(line + i);
      }
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (row + k * lines >= rows) continue;
        T* const at = to + (row + k * lines) * box.pitch + column;
#pragma unroll
        for (int j = 0; j < load; ++j) at[j] = packs[k].value[j];
      }
    }
  }
}

template <typename T>
__device__ void fill(const Box& box, PaddingMode mode, const Problem& p, int64_t Axis::* size,
                     const View& view, const int64_t* offsets, int planes,
                     const int64_t (&first)[3], T* to) {
  if (box.load == kPack<T>)
    fill_box<T, kPack<T>>(box, mode, p, size, view, offsets, planes, first, to);
  else
    fill_box<T, 1>(box, mode, p, size, view, offsets, planes, first, to);
}

// Whether the loads of a line's packs are aligned, in every line of every plane.
template <typename T>
bool aligned_lines(const View& v, int64_t size) {
  const int64_t strides[] = {v.batch, v.group, v.in_channel, v.out_channel, v.axis[0], v.axis[1]};
  return v.axis[2] == 1 && size > 1 && aligned<T>(v, kPack<T>, strides, 6);
}

// As many parts of equal size as `most` a part asks for: the size of a part.
inline int64_t even(int64_t all, int64_t most) {
  return ceil_div(all, ceil_div(all, most < 1 ? 1 : most));
}

}  // namespace torchconv::cuda::channelwise
