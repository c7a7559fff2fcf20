// The product of two tiles in shared memory, by one block: tensor cores, or plain multiply-adds.
//
//     sum[row][column] += sum over k of  rows[row][k] * columns[column][k]
//
// Both tiles hold `size` lines of 64 bytes, k contiguous: 32 numbers of 16 bits, 16 floats or 8
// doubles. A line is four chunks of 16 bytes, whose places are exchanged from line to line so that
// eight neighbouring lines cover all 32 banks with the same chunk:
//
//     line      0, 1      2, 3      4, 5      6, 7      ...
//     chunks    0 1 2 3   2 3 0 1   1 0 3 2   3 2 1 0
//
// (ldmatrix, a cp.async and a vector store take eight chunks at a time. That the exchange moves
// line 2 by two chunks, not by one, is for doubles: four lines of two chunks at a time.)
//
// A block is two warps by size / 32, each with size / 2 rows and 32 columns.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/half.h"
#include "core/host_device.h"
#include "cuda/micro/warp.h"

namespace torchconv::cuda {

constexpr int kLineBytes = 64;
constexpr int kChunkBytes = 16;
constexpr int kChunks = kLineBytes / kChunkBytes;  // of a line
constexpr int kWarpColumns = 32;

TORCHCONV_HOST_DEVICE constexpr int threads_of_tile(int size) {
  return 2 * (size / kWarpColumns) * kWarp;
}

// Floats that are multiplied with 10 bits of fraction.
struct Tf32 {};

template <typename Number>
using Stored = std::conditional_t<std::is_same_v<Number, Tf32>, float, Number>;
template <typename Number>
using SumOf = std::conditional_t<std::is_same_v<Number, double>, double, float>;

// Bytes from the tile's begin to a chunk of a line.
TORCHCONV_HOST_DEVICE constexpr int chunk_place(int line, int chunk) {
  const int exchange = (line >> 1 & 1) << 1 | (line >> 2 & 1);
  return line * kLineBytes + (chunk ^ exchange) * kChunkBytes;
}

// Where a tile of sums keeps an element: its columns exchanged within 32 so that neither a row, nor
// a column, nor what a warp's fragments store at once, meets a bank twice.
TORCHCONV_HOST_DEVICE constexpr int sum_place(int row, int column, int size) {
  return row * size + (column ^ ((row & 3) << 3 | (row >> 2 & 7)));
}

// A warp's part of the tile.
template <int size>
struct Part {
  int row, column, lane;
  __device__ Part() {
    const int warp = int(threadIdx.x) / kWarp;
    row = warp % 2 * (size / 2);
    column = warp / 2 * kWarpColumns;
    lane = int(threadIdx.x) % kWarp;
  }
};

// 16-bit floats and TF32: the matrices of ldmatrix are the registers of mma, where a float is two
// 16-bit numbers wide.
template <typename Number, int size>
struct Product {
  static constexpr int kHigh = size / 2 / 16, kWide = kWarpColumns / 8;
  float sum[kHigh][kWide][4] = {};

  __device__ void add(const unsigned char* rows, const unsigned char* columns) {
    const Part<size> part;
    const int lane = part.lane;
#pragma unroll
    for (int step = 0; step < kChunks; step += 2) {
      uint32_t a[kHigh][4], b[kWide / 2][4];
#pragma unroll
      for (int j = 0; j < kWide / 2; ++j) {
        const int line = part.column + j * 16 + lane % 8 + lane / 16 * 8;
        load_matrices<4>(b[j], columns + chunk_place(line, step + lane / 8 % 2));
        round(b[j]);
      }
#pragma unroll
      for (int i = 0; i < kHigh; ++i) {
        const int line = part.row + i * 16 + lane % 16;
        load_matrices<4>(a[i], rows + chunk_place(line, step + lane / 16));
        round(a[i]);
      }
#pragma unroll
      for (int i = 0; i < kHigh; ++i)
#pragma unroll
        for (int j = 0; j < kWide; ++j) {
          const uint32_t pair[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
          if constexpr (std::is_same_v<Number, Tf32>)
            mma_16x8x8_tf32(sum[i][j], a[i], pair);
          else
            mma_16x8x16<Number>(sum[i][j], a[i], pair);
        }
    }
  }

  template <typename Body>
  __device__ void for_each(const Body& body) const {
    const Part<size> part;
#pragma unroll
    for (int i = 0; i < kHigh; ++i)
#pragma unroll
      for (int j = 0; j < kWide; ++j)
#pragma unroll
        for (int k = 0; k < 4; ++k)
          body(part.row + i * 16 + part.lane / 4 + k / 2 * 8,
               part.column + j * 8 + part.lane % 4 * 2 + k % 2, sum[i][j][k]);
  }

 private:
  // A tensor core would cut off the bits that TF32 has no room for.
  static __device__ void round(uint32_t (&bits)[4]) {
    if constexpr (std::is_same_v<Number, Tf32>)
#pragma unroll
      for (uint32_t& b : bits) b = to_tf32(float_of(b));
  }
};

template <int size>
struct Product<double, size> {
  static constexpr int kHigh = size / 2 / 8, kWide = kWarpColumns / 8;
  double sum[kHigh][kWide][2] = {};

  __device__ void add(const unsigned char* rows, const unsigned char* columns) {
    const Part<size> part;
    const int group = part.lane / 4, pair = part.lane % 4;
    const auto number = [pair](const unsigned char* tile, int line, int step) {
      const auto* chunk =
          reinterpret_cast<const double*>(tile + chunk_place(line, step + pair / 2));
      return chunk[pair % 2];
    };
#pragma unroll
    for (int step = 0; step < kChunks; step += 2) {
      double b[kWide];
#pragma unroll
      for (int j = 0; j < kWide; ++j) b[j] = number(columns, part.column + j * 8 + group, step);
#pragma unroll
      for (int i = 0; i < kHigh; ++i) {
        const double a = number(rows, part.row + i * 8 + group, step);
#pragma unroll
        for (int j = 0; j < kWide; ++j) mma_8x8x4_double(sum[i][j], a, b[j]);
      }
    }
  }

  template <typename Body>
  __device__ void for_each(const Body& body) const {
    const Part<size> part;
#pragma unroll
    for (int i = 0; i < kHigh; ++i)
#pragma unroll
      for (int j = 0; j < kWide; ++j)
#pragma unroll
        for (int k = 0; k < 2; ++k)
          body(part.row + i * 8 + part.lane / 4, part.column + j * 8 + part.lane % 4 * 2 + k,
               sum[i][j][k]);
  }
};

// Float by float. A lane has every fourth row and every eighth column of its warp's part: eight
// lanes read neighbouring columns while all of them read one row.
template <int size>
struct Product<float, size> {
  static constexpr int kHigh = size / 2 / 4, kWide = kWarpColumns / 8;
  float sum[kHigh][kWide] = {};

  __device__ void add(const unsigned char* rows, const unsigned char* columns) {
    const Part<size> part;
    const int row = part.row + part.lane / 8, column = part.column + part.lane % 8;
    const auto chunk = [](const unsigned char* tile, int line, int number) {
      return *reinterpret_cast<const Four*>(tile + chunk_place(line, number));
    };
#pragma unroll 1  // all at once asks for more registers than there are
    for (int step = 0; step < kChunks; ++step) {
      Four b[kWide];
#pragma unroll
      for (int j = 0; j < kWide; ++j) b[j] = chunk(columns, column + j * 8, step);
#pragma unroll
      for (int i = 0; i < kHigh; ++i) {
        const Four a = chunk(rows, row + i * 4, step);
#pragma unroll
        for (int j = 0; j < kWide; ++j)
#pragma unroll
          for (int k = 0; k < 4; ++k) sum[i][j] += a.number[k] * b[j].number[k];
      }
    }
  }

  template <typename Body>
  __device__ void for_each(const Body& body) const {
    const Part<size> part;
#pragma unroll
    for (int i = 0; i < kHigh; ++i)
#pragma unroll
      for (int j = 0; j < kWide; ++j)
        body(part.row + i * 4 + part.lane / 8, part.column + j * 8 + part.lane % 8, sum[i][j]);
  }

 private:
  struct alignas(16) Four {
    float number[4];
  };
};

}  // namespace torchconv::cuda
