// How fft cuts a forward problem, or a weight gradient, and the memory that takes.
//
// Axes of more than one tap are cut into overlapping tiles and transformed; the last of them is the
// line, along which vectors lie. Other axes are walked, position by position.
//
//     tile     lines of complex numbers, the real parts of one and then its imaginary ones; a real
//              line of 2n elements is n complex numbers x[j] + i x[j + n]
//     points   its transform: one plane for each vector of points, which holds that vector of all
//              the tiles and channels of a block, as the products want them
#pragma once

#include "micro/pack.h"
#include "micro/tasks.h"

namespace torchconv::fft_detail {

constexpr int64_t kWeightsBytes = 8 << 20;  // of transformed weights, shared by all workers
constexpr int64_t kBlockBytes = 1 << 20;    // of points and their products, of a task
constexpr int64_t kTileBytes = 128 << 10;   // of one tile of one channel
constexpr int64_t kMostTiles = 16;          // of a block
constexpr int64_t kChunk = 8;               // of input channels, where not all fit
constexpr int64_t kMostPoints = 16 << 10;   // along one axis: what the roots have angles for

// One axis. A dilated one is `dilation` interleaved undilated ones, as in Winograd's tiles.
struct TileAxis {
  int64_t points = 1;       // complex numbers of the transform; 1 where there is none
  int64_t size = 1;         // elements of the tensor that they hold
  int64_t outputs = 1;      // of a tile
  int64_t tiles_apart = 1;  // tiles of one of the interleaved problems
  int64_t dilation = 1, stride = 1;

  // The first output of tile t.
  int64_t origin(int64_t t) const { return t / tiles_apart + t % tiles_apart * outputs * dilation; }
};

// The tiles.
struct Cut {
  int axes = 0;
  TileAxis axis[kMaxAxes];  // the line last
  int64_t lanes, real_bytes, planes_of_dtype;
  int64_t points = 1, lines = 1;  // of a tile; complex numbers
  int64_t imaginary, line;        // elements from real to imaginary parts, and to the next line
  int64_t tile_count = 1, per_image = 1;
  int64_t positions = 1;  // of all tiles' outputs

  TileAxis& last() { return axis[axes - 1]; }
  const TileAxis& last() const { return axis[axes - 1]; }
  int64_t vectors() const { return points / lanes; }
  int64_t point_bytes() const { return points * 2 * real_bytes; }  // of a tile of one channel
  int64_t tile_elements() const { return lines * line; }
};

// Whether an axis is transformed.
inline bool is_tiled(const Axis& x) { return x.kernel_size > 1; }

// Puts the line last: the last axis of more than one tap.
void order_axes(Problem* problem, Operands* operands);

// Why no tile holds the taps of a problem in order; empty where one does.
std::string refuses_tiles(const Problem& problem);

// A block: `rows` by `columns` channels or tiles, summed over `depth`, all of a plane together.
//     forward     rows: output channels, columns: tiles, depth: input channels
//     by weight   rows: output channels, columns: input channels, depth: tiles
struct Block {
  int64_t rows, columns, depth;  // of the largest
};
struct Plan : Cut, Block {
  int workers = 1;
  int64_t row_step, column_step;  // of the products' kernels
  int64_t in, out;                // channels of a group
  int64_t row_blocks, column_blocks;
  int64_t row_plane, column_plane, product_plane;  // elements of one point vector's block
  // Forward: tasks of some blocks of rows, and as many of them at once as the weights allow.
  int64_t blocks_per_task = 1, tasks_per_group = 1, tasks_per_pass = 1;

  // For problems with a result, in order.
  Plan(const Problem& problem, int threads);

  int64_t vector() const { return 2 * lanes; }  // elements of a complex one
  // Places in planes of a depth of `deep`.
  int64_t row_place(int64_t row, int64_t k, int64_t deep) const {
    return place(row, k, deep, row_step);
  }
  int64_t column_place(int64_t column, int64_t k, int64_t deep) const {
    return place(column, k, deep, column_step);
  }
  int64_t weights_elements() const { return vectors() * row_plane; }  // of a block of rows
  double seconds() const;                                             // on one thread

 private:
  int64_t place(int64_t i, int64_t k, int64_t deep, int64_t step) const {
    return ((i / step * deep + k) * step + i % step) * vector();
  }
  struct Steps {
    int64_t rows, columns;
  };
  Steps most_steps() const;
  double seconds_of(double transforms, double others) const;
  double least_seconds() const;
  void block_forward(const Problem& problem, int threads);
  void cut_forward(const Problem& problem, int threads);
  void block_weight(int threads);
  bool by_weight_;
  int64_t groups_;
};

template <typename T>
void run_forward(Problem problem, Operands operands, const Context& context);
template <typename T>
int64_t forward_scratch(const Problem& problem, int threads);

// Problems by weight with at least one weight.
template <typename T>
void run_weight(Problem problem, Operands operands, const Context& context);
template <typename T>
int64_t weight_scratch(const Problem& problem, int threads);

}  // namespace torchconv::fft_detail
