// One tile of sums by one block: chunks of both operands go to shared memory, three tiles of depth
// ahead of the one that is multiplied.
//
// A chunk that lies in memory as it is needed is one asynchronous copy of 16 bytes. Others are put
// together: from 4- and 8-byte numbers by asynchronous copies of one each, from 16-bit ones, for
// which there is no such copy, by loads that wait in registers while the tile before is multiplied.
#pragma once

#include "cuda/algo/gemm/form.h"
#include "cuda/micro/number.h"

namespace torchconv::cuda {

constexpr int kStages = 4;

template <int size>
struct alignas(128) Block {
  unsigned char tile[kStages][2][size * kLineBytes];  // of input, of weight; the sums at the end
  int64_t input[size], output[size], weight[size];    // elements, of each row or column
  int64_t first[kMaxAxes][size];
  Chunk chunk[2][kChunks];  // of two tiles of depth
  Cursor cursor[kChunks];
};

// What a thread has on its way: a chunk of each operand, twice.
template <typename Number, int size, bool whole>
struct Load {
  using T = Stored<Number>;
  static constexpr int kElements = kChunkBytes / int(sizeof(T));
  static constexpr int kEach = size * kChunks / threads_of_tile(size);
  struct alignas(kChunkBytes) Numbers {
    T number[kElements];
  };
  static constexpr bool kWaits = sizeof(T) == 2 && !whole;
  T waiting[2][kEach][kElements];

  struct Place {
    int line, chunk;
  };
  static __device__ Place place(bool by_lines, int each) {
    const int thread = int(threadIdx.x);
    if (by_lines) return {thread % size, thread / size + each * (kChunks / kEach)};
    return {thread / kChunks + each * (size / kEach), thread % kChunks};
  }

  __device__ void start(const Form& f, Block<size>* block, const Tile& tile, int stage, int slot) {
#pragma unroll
    for (int each = 0; each < kEach; ++each) {
      const Place at = place(f.input_by_rows, each);
      const Chunk& chunk = block->chunk[slot][at.chunk];
      Elements elements;
      if (tile.row + at.line < f.rows && chunk.count > 0)
        elements = input_elements(f, block->input[at.line], &block->first[0][at.line], size, chunk);
      start_chunk(f.input_whole, f.input.data, elements, f.input_step,
                  block->tile[stage][0] + chunk_place(at.line, at.chunk), waiting[0][each]);
    }
#pragma unroll
    for (int each = 0; each < kEach; ++each) {
      const Place at = place(f.weight_by_columns, each);
      const Chunk& chunk = block->chunk[slot][at.chunk];
      Elements elements;
      if (tile.column + at.line < f.columns && chunk.count > 0)
        elements = {block->weight[at.line] + chunk.weight, first_bits(chunk.count)};
      start_chunk(f.weight_whole, f.weight.data, elements, f.weight_step,
                  block->tile[stage][1] + chunk_place(at.line, at.chunk), waiting[1][each]);
    }
  }

  __device__ void finish(const Form& f, Block<size>* block, int stage) {
    if constexpr (kWaits) {
      if (!f.input_whole) store(f.input_by_rows, block->tile[stage][0], waiting[0]);
      if (!f.weight_whole) store(f.weight_by_columns, block->tile[stage][1], waiting[1]);
    }
  }

 private:
  static __device__ void store(bool by_lines, unsigned char* tile,
                               const T (&numbers)[kEach][kElements]) {
#pragma unroll
    for (int each = 0; each < kEach; ++each) {
      const Place at = place(by_lines, each);
      Numbers together;
#pragma unroll
      for (int j = 0; j < kElements; ++j) together.number[j] = numbers[each][j];
      *reinterpret_cast<Numbers*>(tile + chunk_place(at.line, at.chunk)) = together;
    }
  }

  static __device__ void start_chunk(bool is_whole, const void* data, const Elements& elements,
                                     int64_t step, unsigned char* to, T (&numbers)[kElements]) {
    const T* from = static_cast<const T*>(data);
    if (whole || is_whole) {
      copy_async<kChunkBytes>(to, elements.there ? from + elements.at : from,
                              elements.there ? kChunkBytes : 0);
    } else if constexpr (!whole) {
#pragma unroll
      for (int j = 0; j < kElements; ++j) {
        const bool there = elements.there >> j & 1;
        const T* number = there ? from + elements.at + j * step : from;
        if constexpr (kWaits)
          numbers[j] = there ? *number : T{};
        else
          copy_async<int(sizeof(T))>(to + j * sizeof(T), number, there ? int(sizeof(T)) : 0);
      }
    }
  }
};

// Result = sum + bias, and what it held before: rounded once.
template <typename T, typename Sum>
__device__ void put(const Form& f, int64_t group, int64_t output, int64_t column, Sum sum) {
  if (f.bias.data)
    sum += read<T, Sum>(f.bias.data, group * f.bias.group + column * f.bias.out_channel);
  const int64_t at = output + column * f.output.out_channel;
  if (f.accumulate) sum += read<T, Sum>(f.output.data, at);
  write<T, Sum>(f.output.data, at, sum);
}

// The first chunks of the split, and where each row and column begins.
template <int size>
__device__ void begin(const Form& f, Block<size>* block, const Tile& tile, int64_t depth) {
  const int thread = int(threadIdx.x);
  if (thread < size && tile.row + thread < f.rows) {
    const Row row = row_at(f, tile.group, tile.row + thread);
    block->input[thread] = row.input;
    block->output[thread] = row.output;
#pragma unroll
    for (int a = 0; a < kMaxAxes; ++a)
      if (a < f.axes) block->first[a][thread] = row.first[a];
  }
  if (thread >= size)  // as many threads are left
    block->weight[thread - size] =
        tile.group * f.weight.group + (tile.column + thread - size) * f.weight.out_channel;
  if (thread < kChunks && f.chunks > 0) {
    set_cursor(f, depth * kChunks + thread, &block->cursor[thread]);
    set_chunk(f, block->cursor[thread], &block->chunk[0][thread]);
  }
}

template <int size>
__device__ void next_chunks(const Form& f, Block<size>* block, int slot) {
  const int thread = int(threadIdx.x);
  if (thread >= kChunks) return;
  advance_cursor(f, kChunks, &block->cursor[thread]);
  set_chunk(f, block->cursor[thread], &block->chunk[slot][thread]);
}

// The sums, through shared memory so that neighbours write neighbours.
template <typename Number, int size>
__device__ void end(const Form& f, Block<size>* block, const Tile& tile,
                    const Product<Number, size>& product) {
  using Sum = SumOf<Number>;
  static_assert(sizeof(block->tile) >= size * size * sizeof(Sum), "sums take the place of tiles");
  Sum* sums = reinterpret_cast<Sum*>(&block->tile);
  product.for_each([&](int row, int column, Sum sum) { sums[sum_place(row, column, size)] = sum; });
  __syncthreads();
  for (int i = int(threadIdx.x); i < size * size; i += threads_of_tile(size)) {
    const int row = f.output_by_rows ? i % size : i / size;
    const int column = f.output_by_rows ? i / size : i % size;
    if (tile.row + row >= f.rows || tile.column + column >= f.columns) continue;
    const Sum sum = sums[sum_place(row, column, size)];
    if (f.splits > 1)
      write<Sum, Sum>(f.partial,
                      partial_at(f, tile.split, tile.group, tile.row + row, tile.column + column),
                      sum);
    else
      put<Stored<Number>, Sum>(f, tile.group, block->output[row], tile.column + column, sum);
  }
}

template <typename Number, int size, bool whole>
__device__ void multiply_tile(const Form& f, Block<size>* block, const Tile& tile) {
  const int64_t depth_tiles = ceil_div(f.chunks, kChunks);
  const int64_t first = tile.split * f.tiles_per_split;
  const int64_t left = depth_tiles - first;
  const int64_t count = left < f.tiles_per_split ? left : f.tiles_per_split;  // 0 or less: nothing
  begin(f, block, tile, first);

  Product<Number, size> product;
  Load<Number, size, whole> load;
  constexpr int kAhead = kStages - 1;
#pragma unroll 1
  for (int64_t k = -kAhead; k < count; ++k) {
    // One group of copies a step, though it may be empty: that of tile k is done.
    wait_copies<kAhead - 1>();
    __syncthreads();  // others' too, and nobody reads tile k - 1 any more
    const int64_t ahead = k + kAhead;
    const int stage = int(ahead % kStages);
    if (ahead < count) {
      load.start(f, block, tile, stage, int(ahead % 2));
      next_chunks(f, block, int((ahead + 1) % 2));
    }
    if (k >= 0) product.add(block->tile[k % kStages][0], block->tile[k % kStages][1]);
    if (ahead < count) load.finish(f, block, stage);
    commit_copies();
  }
  wait_copies<0>();
  __syncthreads();
  end<Number, size>(f, block, tile, product);
  __syncthreads();
}

template <typename Number, int size, bool whole>
__global__ void __launch_bounds__(threads_of_tile(size)) multiply(Form f) {
  Block<size>* block = dynamic_shared<Block<size>>();
  const int64_t tiles = count_tiles(f);
  for (int64_t number = blockIdx.x; number < tiles; number += gridDim.x)
    multiply_tile<Number, size, whole>(f, block, tile_at(f, number, size));
}

// The sums of the splits, in their order, by one thread for each element.
template <typename T, typename Sum>
__global__ void __launch_bounds__(128) add_splits(Form f) {
  const int64_t elements = f.groups * f.rows * f.columns;
  for (int64_t e = int64_t(blockIdx.x) * 128 + threadIdx.x; e < elements;
       e += int64_t(gridDim.x) * 128) {
    Sum sum{};
    for (int64_t split = 0; split < f.splits; ++split)
      sum += read<Sum, Sum>(f.partial, split * elements + e);
    const int64_t low = f.output_by_rows ? f.rows : f.columns, line = e / low;
    const int64_t high = f.output_by_rows ? f.columns : f.rows;
    const int64_t row = f.output_by_rows ? e % low : line % high;
    const int64_t column = f.output_by_rows ? line % high : e % low;
    const int64_t group = line / high;
    put<T, Sum>(f, group, row_at(f, group, row).output, column, sum);
  }
}

}  // namespace torchconv::cuda
