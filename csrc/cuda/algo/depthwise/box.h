// A box of a tensor between memory and shared memory: of some planes, depths and rows, and a stretch
// of the line.
//
// Where each row of the box begins and which element each of its columns is, is looked up in tables
// that the block makes first. A load then depends on nothing but its own address, and many are under
// way at once.
#pragma once

#include "cuda/algo/depthwise/kernels.h"

namespace torchconv::cuda::channelwise {

constexpr int kMostPlanes = 64;  // of a tile
constexpr int64_t kNowhere = INT64_MIN;

// Divides numbers whose product with the size is below 2^32, by one multiplication.
struct Divisor {
  unsigned size = 1, by = 0;  // 2^32 / size, rounded up
  Divisor() = default;
  TORCHCONV_HOST_DEVICE explicit Divisor(int divisor)
      : size(unsigned(divisor)), by(0xffffffffu / unsigned(divisor) + 1) {}
  // Returns number / size and leaves number % size.
  TORCHCONV_HOST_DEVICE int split(int* number) const {
    const unsigned all = unsigned(*number);
    const unsigned quotient = size == 1 ? all : unsigned(uint64_t(all) * by >> 32);
    *number = int(all - quotient * size);
    return int(quotient);
  }
};

struct Box {
  int depth = 1, height = 1, width = 1;  // of each plane
  int pitch = 1;                         // of a line in shared memory
  int load = 1;                          // elements of the widest loads

  TORCHCONV_HOST_DEVICE int rows(int planes) const { return planes * depth * height; }
  TORCHCONV_HOST_DEVICE int64_t bytes(int planes, int64_t element) const {
    return round_up(int64_t(rows(planes)) * pitch * element, kVectorBytes);
  }
};

struct Tables {
  int64_t* rows;  // the element of the tensor at column 0 of the line; kNowhere in the padding
  int* columns;   // the element of the line; -1 in the padding

  TORCHCONV_HOST_DEVICE static int64_t bytes(const Box& box, int planes) {
    return round_up(int64_t(box.rows(planes)) * 8 + int64_t(box.width) * 4, kVectorBytes);
  }
  __device__ Tables(unsigned char* shared, const Box& box, int planes)
      : rows(reinterpret_cast<int64_t*>(shared)),
        columns(reinterpret_cast<int*>(rows + box.rows(planes))) {}
};

// The tables of what lies at first[axis] and on, of `planes` planes at their offsets.
__device__ inline void set_tables(const Box& box, PaddingMode mode, const Problem& p,
                                  int64_t Axis::* size, const View& view, const int64_t* offsets,
                                  int planes, const int64_t (&first)[3], const Tables& tables) {
  const int rows = box.rows(planes);
  for (int row = int(threadIdx.x); row < rows; row += int(blockDim.x)) {
    const int slice = row / box.height, plane = slice / box.depth;
    const int64_t d = fold_inside(mode, first[0] + slice - plane * box.depth, p.axis[0].*size);
    const int64_t h = fold_inside(mode, first[1] + row - slice * box.height, p.axis[1].*size);
    const bool there = d >= 0 && h >= 0;
    tables.rows[row] = there ? offsets[plane] + d * view.axis[0] + h * view.axis[1] : kNowhere;
  }
  for (int column = int(threadIdx.x); column < box.width; column += int(blockDim.x))
    tables.columns[column] = int(fold_inside(mode, first[2] + column, p.axis[2].*size));
}

// Columns [begin, end) by whole loads, which lie inside the line.
template <typename T, int load>
__device__ void fill_loads(const Box& box, const T* data, int64_t first, int begin, int end,
                           int rows, const Tables& tables, T* to) {
  constexpr int kAhead = 4;
  const int each = (end - begin) / load, all = rows * each;
  const Divisor by(each);
#pragma unroll 1
  for (int number = int(threadIdx.x); number < all; number += kAhead * int(blockDim.x)) {
    Pack<T, load> packs[kAhead];
    int at[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      int column = number + k * int(blockDim.x);
      at[k] = -1;
      packs[k] = {};
      if (column >= all) continue;
      const int row = by.split(&column);
      column = begin + column * load;
      at[k] = row * box.pitch + column;
      if (const int64_t line = tables.rows[row]; line != kNowhere)
        packs[k] = *reinterpret_cast<const Pack<T, load>*>(data + line + first + column);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k)
#pragma unroll
      for (int j = 0; j < load; ++j)
        if (at[k] >= 0) to[at[k] + j] = packs[k].value[j];
  }
}

// The columns outside [begin, end), one by one.
template <typename T>
__device__ void fill_singles(const Box& box, const T* data, int begin, int end, int rows,
                             const Tables& tables, T* to) {
  constexpr int kAhead = 8;
  const int each = box.width - (end - begin), all = rows * each;
  if (each == 0) return;
  const Divisor by(each);
#pragma unroll 1
  for (int number = int(threadIdx.x); number < all; number += kAhead * int(blockDim.x)) {
    T values[kAhead];
    int at[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      int column = number + k * int(blockDim.x);
      at[k] = -1;
      values[k] = T{};
      if (column >= all) continue;
      const int row = by.split(&column);
      if (column >= begin) column += end - begin;
      at[k] = row * box.pitch + column;
      const int64_t line = tables.rows[row];
      const int i = tables.columns[column];
      if (line != kNowhere && i >= 0) values[k] = data[line + i];
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k)
      if (at[k] >= 0) to[at[k]] = values[k];
  }
}

// Copies the box to `to`, zeros where there is nothing; `first` and `size` are the line's.
template <typename T>
__device__ void fill(const Box& box, const View& view, int planes, int64_t first, int64_t size,
                     const Tables& tables, T* to) {
  const T* const data = static_cast<const T*>(view.data);
  const int rows = box.rows(planes);
  int begin = 0, end = 0;
  if (box.load > 1) {
    const int64_t from = first < 0 ? 0 : (first + box.load - 1) / box.load * box.load;
    const int64_t last = first + box.width < size ? first + box.width : size;
    const int64_t to_last = last / box.load * box.load;
    if (from < to_last) begin = int(from - first), end = int(to_last - first);
  }
  if (begin < end) {
    if (box.load == kPack<T>) {
      fill_loads<T, kPack<T>>(box, data, first, begin, end, rows, tables, to);
    } else if constexpr (kPack<T> > 2) {
      fill_loads<T, kPack<T> / 2>(box, data, first, begin, end, rows, tables, to);
    }
  }
  fill_singles(box, data, begin, end, rows, tables, to);
}

// A box that a tile has made, to memory: `width` columns from the line's first-th on.
template <typename T>
__device__ void store(const Box& box, const View& view, int planes, int64_t first, int width,
                      const Tables& tables, const T* from) {
  const int64_t step = view.axis[2];
  T* const data = static_cast<T*>(view.data) + first * step;
  const int all = box.rows(planes) * width;
  const Divisor by(width);
#pragma unroll 4
  for (int number = int(threadIdx.x); number < all; number += int(blockDim.x)) {
    int column = number;
    const int row = by.split(&column);
    if (const int64_t line = tables.rows[row]; line != kNowhere)
      data[line + column * step] = from[row * box.pitch + column];
  }
}

// The widest loads that are aligned in every line of every plane: 16 bytes, half of it, or one element.
template <typename T>
int widest_load(const View& v, int64_t size) {
  const int64_t strides[] = {v.batch, v.group, v.in_channel, v.out_channel, v.axis[0], v.axis[1]};
  if (v.axis[2] != 1 || size == 1) return 1;
  for (int load = kPack<T>; load > 1 && 2 * load >= kPack<T>; load /= 2)
    if (aligned<T>(v, load, strides, 6)) return load;
  return 1;
}

// As many parts of equal size as `most` a part asks for: the size of a part.
inline int64_t even(int64_t all, int64_t most) {
  return ceil_div(all, ceil_div(all, most < 1 ? 1 : most));
}

}  // namespace torchconv::cuda::channelwise
