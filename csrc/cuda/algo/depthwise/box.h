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
// there is nothing. `load` elements at once, and some loads of a thread before its first store.
template <typename T, int load>
__device__ void fill_box(const Box& box, PaddingMode mode, const Problem& p, int64_t Axis::* size,
                         const View& view, const int64_t* offsets, int planes,
                         const int64_t (&first)[3], T* to) {
  constexpr int kAhead = load == 1 ? 8 : 4;
  const int across = int(threadIdx.x) & (box.columns - 1);
  const int lines = int(blockDim.x) / box.columns, rows = planes * box.depth * box.height;
  // The first load begins at a multiple of its size, at or before the first element.
  const int before = int(first[2] & (load - 1));
  const int loads = (before + box.width + load - 1) / load;
  const int64_t width = p.axis[2].*size;
  for (int number = across; number < loads; number += box.columns) {
    const int64_t i = first[2] - before + int64_t(number) * load;
    const bool whole = i >= 0 && i + load <= width;
    for (int from = int(threadIdx.x) / box.columns; from < rows; from += kAhead * lines) {
      Pack<T, load> packs[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        const int row = from + k * lines;
        packs[k] = {};
        if (row >= rows) continue;
        const int slice = row / box.height, plane = slice / box.depth;
        const int64_t d = fold_inside(mode, first[0] + slice - plane * box.depth, p.axis[0].*size);
        const int64_t h = fold_inside(mode, first[1] + row - slice * box.height, p.axis[1].*size);
        if (d < 0 || h < 0) continue;
        const T* const line =
            static_cast<const T*>(view.data) + offsets[plane] + d * view.axis[0] + h * view.axis[1];
        if (whole) {
          packs[k] = *reinterpret_cast<const Pack<T, load>*>(line + i);
        } else {
#pragma unroll
          for (int j = 0; j < load; ++j) {
            const int64_t folded = fold_inside(mode, i + j, width);
            if (folded >= 0) packs[k].value[j] = line[folded];
          }
        }
      }
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        const int row = from + k * lines;
        if (row >= rows) continue;
#pragma unroll
        for (int j = 0; j < load; ++j) {
          const int column = number * load - before + j;
          if (column >= 0 && column < box.width) to[row * box.pitch + column] = packs[k].value[j];
        }
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
