// A forward problem as one matrix product for each group, and the arithmetic of its indices:
//
//     output[row, column] = sum over depth  input[row, depth] * weight[column, depth]
//
//     row = (n, o)     column = co     depth = (ci, t)
//     and the input is read at  fold(o * stride - padding + t * dilation)
//
// Depth is counted in chunks of 16 bytes, each of neighbours along one index, the inner one: a
// channel, or a tap of the last axis. The last chunk of an inner line may be cut short; in a chunk
// nothing but the inner index changes, so that it takes one look at the padding.
//
// The gradient by weight is a forward problem too (core/relabel.h), one of few rows and columns and
// great depth: the depth is split, and the parts are added up in their order.
#pragma once

#include "core/fold.h"
#include "core/problem.h"
#include "cuda/micro/tile.h"

namespace torchconv::cuda {

constexpr int kMostDigits = kMaxAxes + 1;

// A chunk's number in mixed radix, one digit an index. The last is the inner index, in chunks.
struct Digit {
  int64_t size = 1;
  int64_t input = 0, weight = 0;  // elements from one value to the next; a tap moves by its axis
  int64_t shift = 0;              // a tap's dilation
  int axis = -1;                  // a tap's
};

struct Cursor {
  int64_t value[kMostDigits];
};

// What a chunk adds to the place of a row or column.
struct Chunk {
  int64_t input, weight;
  int64_t shift[kMaxAxes];
  int count;  // of its elements that exist
};

// Elements at, at + step, ...: those whose bit is set.
struct Elements {
  int64_t at = 0;
  unsigned there = 0;
};

struct Form {
  View input, weight, output, bias;
  Axis axis[kMaxAxes];
  int axes = 0;
  PaddingMode padding_mode = PaddingMode::zeros;
  bool accumulate = false;
  bool batch_fastest = false;  // rows are counted (o, n), not (n, o)

  int64_t groups = 1, batch = 1, rows = 0, columns = 0;
  int digits = 0;
  Digit digit[kMostDigits];
  int elements = 1;         // of a chunk
  int64_t inner_size = 1;   // elements
  int64_t input_step = 1;   // from element to element of a chunk
  int64_t weight_step = 1;  //
  int64_t chunks = 0;

  // How threads share work: neighbours take neighbouring rows (columns), or neighbouring chunks.
  bool input_by_rows = true, weight_by_columns = true, output_by_rows = true;
  bool input_whole = false, weight_whole = false;  // chunks are copied as they are, 16 bytes

  int64_t row_tiles = 0, column_tiles = 0;
  int64_t splits = 1;
  int64_t tiles_per_split = 0;  // of depth, kChunks chunks each
  void* partial = nullptr;      // the sums of each split, where there are several
};

struct Row {
  int64_t input, output;    // elements
  int64_t first[kMaxAxes];  // the padded input index of tap 0
};

TORCHCONV_HOST_DEVICE inline Row row_at(const Form& f, int64_t group, int64_t row) {
  Row r{};
  int64_t n = 0;
  if (f.batch_fastest) n = row % f.batch, row /= f.batch;
#pragma unroll  // of constant indices, so that all of it is in registers
  for (int a = kMaxAxes - 1; a >= 0; --a) {
    if (a >= f.axes) continue;
    const Axis& x = f.axis[a];
    const int64_t o = row % x.output_size;
    row /= x.output_size;
    r.first[a] = o * x.stride - x.padding;
    r.output += o * f.output.axis[a];
  }
  if (!f.batch_fastest) n = row;
  r.input = group * f.input.group + n * f.input.batch;
  r.output += group * f.output.group + n * f.output.batch;
  return r;
}

// These three write where they are told: in shared memory, whose indices need not be constants.
TORCHCONV_HOST_DEVICE inline void set_cursor(const Form& f, int64_t chunk, Cursor* c) {
  for (int d = f.digits - 1; d > 0; --d) {
    c->value[d] = chunk % f.digit[d].size;
    chunk /= f.digit[d].size;
  }
  c->value[0] = chunk;  // beyond its size, beyond the end
}

TORCHCONV_HOST_DEVICE inline void advance_cursor(const Form& f, int64_t chunks, Cursor* c) {
  c->value[f.digits - 1] += chunks;
  for (int d = f.digits - 1; d > 0; --d)
    while (c->value[d] >= f.digit[d].size) c->value[d] -= f.digit[d].size, ++c->value[d - 1];
}

TORCHCONV_HOST_DEVICE inline void set_chunk(const Form& f, const Cursor& c, Chunk* chunk) {
  const int last = f.digits - 1;
  chunk->count = 0;
  if (c.value[0] >= f.digit[0].size) return;
  int64_t input = 0, weight = 0;
  for (int d = 0; d <= last; ++d) {
    const Digit& digit = f.digit[d];
    const int64_t value = d == last ? c.value[d] * f.elements : c.value[d];
    input += value * digit.input;
    weight += value * digit.weight;
    if (digit.axis >= 0) chunk->shift[digit.axis] = value * digit.shift;
  }
  const int64_t left = f.inner_size - c.value[last] * f.elements;
  chunk->count = int(left < f.elements ? left : f.elements);
  chunk->input = input;
  chunk->weight = weight;
}

TORCHCONV_HOST_DEVICE constexpr unsigned first_bits(int count) { return (1u << count) - 1; }

// A chunk of one row of the input; `input` and `first` as row_at has them, `first[a * pitch]` for
// axis a.
TORCHCONV_HOST_DEVICE inline Elements input_elements(const Form& f, int64_t input,
                                                     const int64_t* first, int pitch,
                                                     const Chunk& chunk) {
  Elements e{input + chunk.input, first_bits(chunk.count)};
  const int inner_axis = f.digit[f.digits - 1].axis;
  for (int a = 0; a < f.axes; ++a) {
    const Axis& x = f.axis[a];
    int64_t i = first[a * pitch] + chunk.shift[a];
    if (a == inner_axis) {  // only where the padding is zeros
      unsigned there = 0;
      for (int j = 0; j < chunk.count; ++j)
        there |= unsigned(uint64_t(i + j * x.dilation) < uint64_t(x.input_size)) << j;
      e.there = there;
    } else {
      i = fold(f.padding_mode, i, x.input_size);
      if (i < 0) e.there = 0;
    }
    if (e.there == 0) return {};
    // The first element of a chunk may lie far outside: it is not there then, and may wrap around.
    e.at = int64_t(uint64_t(e.at) + uint64_t(i) * uint64_t(f.input.axis[a]));
  }
  return e;
}

// Tiles are counted column tile by column tile, then row tile, group and split: blocks that run
// together read the same rows.
struct Tile {
  int64_t row, column, group, split;  // row and column are the first ones
};

TORCHCONV_HOST_DEVICE inline Tile tile_at(const Form& f, int64_t number, int size) {
  Tile t;
  t.column = number % f.column_tiles * size, number /= f.column_tiles;
  t.row = number % f.row_tiles * size, number /= f.row_tiles;
  t.group = number % f.groups;
  t.split = number / f.groups;
  return t;
}

TORCHCONV_HOST_DEVICE inline int64_t count_tiles(const Form& f) {
  return f.column_tiles * f.row_tiles * f.groups * f.splits;
}

// Where the sum of a split lies in `partial`: as the result does, so that both are swept together.
TORCHCONV_HOST_DEVICE inline int64_t partial_at(const Form& f, int64_t split, int64_t group,
                                                int64_t row, int64_t column) {
  const int64_t line = split * f.groups + group;
  return f.output_by_rows ? (line * f.columns + column) * f.rows + row
                          : (line * f.rows + row) * f.columns + column;
}

}  // namespace torchconv::cuda
