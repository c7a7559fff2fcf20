// A box of a tensor between memory and shared memory: of some planes, depths and rows, and a stretch
// of the line.
//
// Where each row of the box lies is looked up in a table that the block makes first, and a row goes
// in packs of 16 bytes that are aligned in memory, however the row lies: element by element where a
// pack crosses an edge. A load depends on nothing but its address, so that many are under way.
#pragma once

#include "cuda/algo/depthwise/kernels.h"

namespace torchconv::cuda::channelwise {

constexpr int kMostPlanes = 64;  // of a box

struct Box {
  int planes = 1, depth = 1, height = 1, width = 1;  // depth, height and width of each plane
  int pitch = 1;                                     // of a line in shared memory
  Divisor by_depth, by_height;

  void set(int64_t of_planes, int64_t of_depth, int64_t of_height, int64_t of_width) {
    planes = int(of_planes), depth = int(of_depth), height = int(of_height), width = int(of_width);
    by_depth = Divisor(depth), by_height = Divisor(height);
  }
  TORCHCONV_HOST_DEVICE int rows() const { return planes * depth * height; }
  TORCHCONV_HOST_DEVICE int64_t bytes(int64_t element) const {
    return round_up(int64_t(rows()) * pitch * element, kVectorBytes);
  }
  TORCHCONV_HOST_DEVICE int64_t table_bytes() const {
    return round_up(int64_t(rows()) * 8 + int64_t(width) * 4, kVectorBytes);
  }
};

// A box's place in memory, by tables in shared memory.
template <typename T>
struct Tables {
  T** rows;       // the line's element 0; null in the padding
  int* columns;   // the element of the line; -1 in the padding
  int64_t first;  // column 0, before the fold
  int size;       // of the line

  __device__ Tables(unsigned char* shared, const Box& box)
      : rows(reinterpret_cast<T**>(shared)), columns(reinterpret_cast<int*>(rows + box.rows())) {}

  // For what lies at begin[axis] and on, of the first `planes` planes at their offsets.
  __device__ void set(const Box& box, PaddingMode mode, const Problem& p, int64_t Axis::* axis_size,
                      const View& view, const int64_t* offsets, int planes,
                      const int64_t (&begin)[3]) {
    first = begin[2], size = int(p.axis[2].*axis_size);
    const int rows_there = planes * box.depth * box.height;
    for (int row = int(threadIdx.x); row < box.rows(); row += int(blockDim.x)) {
      int h = row;
      int d = box.by_height.split(&h);
      const int plane = box.by_depth.split(&d);
      const int64_t i = fold_inside(mode, begin[0] + d, p.axis[0].*axis_size);
      const int64_t j = fold_inside(mode, begin[1] + h, p.axis[1].*axis_size);
      rows[row] =
          row < rows_there && i >= 0 && j >= 0
              ? static_cast<T*>(view.data) + offsets[plane] + i * view.axis[0] + j * view.axis[1]
              : nullptr;
    }
    for (int column = int(threadIdx.x); column < box.width; column += int(blockDim.x))
      columns[column] = int(fold_inside<int64_t>(mode, first + column, size));
  }
};

// Goes over the packs of a box, a thread's share: those of a row side by side across threads.
struct Walk {
  int row, number, first_row, across, lines;
  __device__ explicit Walk(int packs) {
    const int threads = int(blockDim.x), thread = int(threadIdx.x);
    across = packs < threads ? packs : threads;
    lines = threads / across;
    row = first_row = int(unsigned(thread) / unsigned(across));
    number = thread - row * across;
    if (row >= lines) number = packs;  // has none
  }
  __device__ __forceinline__ void next(int rows) {
    row += lines;
    if (row >= rows) row = first_row, number += across;
  }
};

// How many packs reach a row of so many elements, whichever way it lies.
template <typename T>
__device__ __forceinline__ int most_packs(int width) {
  return (width + 2 * kPack<T> - 2) / kPack<T>;
}
// Elements by which the address lies behind one that is aligned.
template <typename T>
__device__ __forceinline__ int behind_aligned(const T* at) {
  return int(uintptr_t(at) / sizeof(T)) & (kPack<T> - 1);
}

// Copies the box to `to`, zeros where there is nothing.
template <typename T>
__device__ void fill(const Box& box, const Tables<T>& tables, T* to) {
  constexpr int pack = kPack<T>, kAhead = 4;
  const int rows = box.rows(), packs = most_packs<T>(box.width);
  Walk walk(packs);
  while (walk.row < rows && walk.number < packs) {
    Pack<T, pack> values[kAhead];
    int at[kAhead], columns[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      columns[k] = box.width;
      values[k] = {};
      if (walk.number >= packs) continue;
      const T* const line = tables.rows[walk.row];
      const int column = walk.number * pack - (line ? behind_aligned(line + tables.first) : 0);
      columns[k] = column;
      at[k] = walk.row * box.pitch + column;
      walk.next(rows);
      if (!line) continue;
      const int64_t i = tables.first + column;
      if (column >= 0 && column + pack <= box.width && i >= 0 && i + pack <= tables.size) {
        values[k] = *reinterpret_cast<const Pack<T, pack>*>(line + i);
        continue;
      }
#pragma unroll
      for (int j = 0; j < pack; ++j) {
        const int c = column + j;
        const int folded = c >= 0 && c < box.width ? tables.columns[c] : -1;
        if (folded >= 0) values[k].value[j] = line[folded];
      }
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k)
#pragma unroll
      for (int j = 0; j < pack; ++j)
        if (unsigned(columns[k] + j) < unsigned(box.width)) to[at[k] + j] = values[k].value[j];
  }
}

// Where a row of a box that goes to memory begins in shared memory: as far behind an aligned element
// as it is there.
template <typename T>
__device__ __forceinline__ int row_in_shared(const Box& box, int row, const T* line) {
  return row * box.pitch + behind_aligned(line);
}

// A box that a tile has made, to memory: its first `width` columns. Elements of a line are `step`
// apart there; rows begin at row_in_shared() of where they go.
template <typename T>
__device__ void store(const Box& box, int width, int64_t step, const Tables<T>& tables,
                      const T* from) {
  constexpr int pack = kPack<T>;
  const int rows = box.rows(), packs = most_packs<T>(width);
  for (Walk walk(packs); walk.row < rows && walk.number < packs; walk.next(rows)) {
    T* line = tables.rows[walk.row];
    if (!line) continue;
    line += tables.first * step;
    const int column = walk.number * pack - behind_aligned(line);
    const T* const values = from + row_in_shared(box, walk.row, line) + column;
    if (step == 1 && column >= 0 && column + pack <= width) {
      *reinterpret_cast<Pack<T, pack>*>(line + column) =
          *reinterpret_cast<const Pack<T, pack>*>(values);
      continue;
    }
#pragma unroll
    for (int j = 0; j < pack; ++j)
      if (unsigned(column + j) < unsigned(width)) line[(column + j) * step] = values[j];
  }
}

// Whether lines are stored by aligned packs wherever they begin at a multiple of one.
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
