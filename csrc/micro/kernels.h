// The hot loops of this machine, as a table of functions over dense panels. T is the type that is
// computed in: float (for float32, bfloat16, float16 as stored), double, or for whole numbers, which
// wrap, the narrowest of uint16_t, uint32_t and uint64_t that holds them. A machine that multiplies
// bfloat16 has tiles of BFloat16 and of BFloat16Pair, too, whose sums are float.
//
// A tile multiplies with every sum in registers, vectors along j:
//
//     outer   C[i][j] (+)= sum over k of A[k][i] * B[k][j]
//
//        A (panel)        B (panel)              C
//     k +--rows--+     k +-- columns --+     i +-- columns --+
//     | |        |     | |             |     | |             |
//     v +--------+     v +-------------+     v +-------------+
//
// The functions around them carry elements between a strided tensor and the panels, and convert.
#pragma once

#include <cstdint>

#include "core/activation.h"
#include "core/half.h"
#include "micro/transforms.h"

namespace torchconv {

// What one real number is in memory.
enum class Store : uint8_t { f32, f64, bf16, f16, u8, i8, i16, i32, i64 };

constexpr int kMaxRows = 8;     // of an outer tile, any target
constexpr int kMaxVectors = 3;  // that its columns are made of
constexpr int kMaxLaneRows = 4;
constexpr int kMaxTapRows = 4;  // of a block of taps by weight
constexpr int kMaxTapColumns = 8;

// How values come to where they are stored: in the place of what is there, or added to it, or
// through an activation, which is of floats and replaces.
struct Finish {
  bool add = false;
  Activation activation = Activation::none;
};

// Elements of a strided tensor, as `rows` lines of `count`: element (r, k) is data[r * row + k *
// step].
struct Lines {
  void* data;
  int64_t rows, row;
  int64_t count, step;
};

// Elements of a strided tensor that are the lanes of vectors elsewhere: lane r of vector (l, k) is
// data[r * lane + l * line + k * step].
struct Sheet {
  void* data;
  int64_t lanes, lane;
  int64_t lines, line;
  int64_t count, step;
};

// Rows of taps such that each next one meets the next line, x_row further: where the first meets
// the first output's line, and where its weights are.
struct TapRows {
  int64_t offset, weight, rows;
};
// Taps as such rows, all of the same columns.
struct Taps {
  const TapRows* classes;
  int64_t count;
  int64_t weight_row;    // from one row's weights to the next's
  const int64_t* along;  // where each column's tap meets the first output of a line
  int64_t columns;
};

// A plane of the output and those of the input that it sums over, where they lie in memory, the
// elements of a line side by side. Row h of the taps meets line l of the output in line l + h of a
// plane, of which there are [x_begin, x_end); tap t meets column j at index x_first + j + t *
// dilation, where that is one of [0, x_columns).
struct SlidePlanes {
  int64_t lines, columns, y_row;
  int64_t x_begin, x_end, x_row;
  int64_t x_first, x_columns, dilation;
  int64_t x_elements;  // from the first to the last of the tensor, whichever plane they are of
  int64_t rows, taps, weight_row, weight_tap;
  struct Plane {
    int64_t offset;  // of what the first tap meets at the first output, be it there or not
    int64_t weight;
  };
  const Plane* plane;
  int64_t planes;
  void* held;  // kHeldElements of a result that is written past the caches, or null
};
constexpr int kHeldColumns = 512;  // of each line of a tile, and up to a vector more
constexpr int kHeldElements = 8 * (kHeldColumns + 16);
constexpr int kMaxSlideRows = 7;    // of taps
constexpr int kMaxSlideLines = 14;  // that a tile meets

// One product of vectors of groups: where the first output finds its x, and which weight it is.
struct LaneTap {
  int64_t x, k;
};
// Outputs of vectors of groups, as lines of columns: how far apart their x and y lie.
struct LaneMap {
  int64_t lines, columns;
  int64_t x_line, x_column;
  int64_t y_image, y_line, y_column;
};

// A line's outputs and a row of taps: output j meets tap t at index first + j * stride + t *
// dilation, and nothing where that is outside [0, size). In memory a step of the index is x_step, one
// of the output y_step. Taps `classes` apart meet neighbouring ones of the vectors `stride` apart.
struct LaneAxis {
  int64_t outputs, taps, size;
  int64_t first, stride, dilation, classes;
  int64_t x_step, y_step;
};
// Depthwise over planes of vectors of groups: of each line, and each plane that it sums over, the
// rows of taps that meet anything.
struct LanePlanes {
  LaneAxis column;
  int64_t lines, planes;
  const TapRows* rows;  // [plane][line]
  int64_t x_row, weight_row;
  int64_t y_line;
};

// The numbers of two channels, which one product takes.
struct BFloat16Pair {
  BFloat16 number[2];
};
template <typename T>
constexpr int kChannelsOf = 1;
template <>
constexpr int kChannelsOf<BFloat16Pair> = 2;

// What products of T are summed in.
template <typename T>
struct SumOf {
  using Type = T;
};
template <>
struct SumOf<BFloat16> {
  using Type = float;
};
template <>
struct SumOf<BFloat16Pair> {
  using Type = float;
};
template <typename T>
using Sum = typename SumOf<T>::Type;

// Of BFloat16 there are outer tiles or matrices, dots, gather, interleave and scatter; of BFloat16Pair
// outer_offsets, outer_places and gather_pairs.
template <typename T>
struct Kernels {
  int lanes;    // of one vector of sums; 0 in a table that this machine lacks
  int steps;    // of the depth that one product takes
  int rows;     // of the largest outer tile
  int vectors;  // of the largest outer tile

  // outer[rows - 1][vectors - 1]. A is packed [depth][rows] and arranged; a row of B starts every
  // b_row elements, a row of C every c_row. Sums start from start[i] (zero where null), or, where
  // `add`, from zero and are added to C. C is not read unless `add`.
  using Outer = void (*)(int64_t depth, const T* a, const T* b, int64_t b_row, Sum<T>* c,
                         int64_t c_row, const Sum<T>* start, bool add);
  Outer outer[kMaxRows][kMaxVectors];
  // The same for A in blocks [depth / lanes][`rows` of the largest tile][lanes].
  Outer outer_blocks[kMaxRows][kMaxVectors];
  // The same for A as rows of vectors, [depth][lanes], of which the first `rows` lanes are meant.
  Outer outer_vectors[kMaxRows][kMaxVectors];
  // The same for A as lines, A[k][i] = a[i * a_row + k], as a gather leaves them; sums from zero.
  using OuterLines = void (*)(int64_t depth, const T* a, int64_t a_row, const T* b, int64_t b_row,
                              Sum<T>* c, int64_t c_row, bool add);
  OuterLines outer_lines[kMaxRows][kMaxVectors];
  // The same for a packed A and a B whose vectors lie anywhere, all of a row as far from where they
  // start: row k of vector j is the one at b[j] + offset[k]. Sums start from start[i].
  using OuterOffsets = void (*)(int64_t depth, const T* a, const T* const* b, const int64_t* offset,
                                Sum<T>* c, int64_t c_row, const Sum<T>* start);
  OuterOffsets outer_offsets[kMaxRows][kMaxVectors];
  // The same for a B packed [depth][vectors] and an A whose rows lie anywhere, all of a column as far
  // from where they start: A[k][i] = a[row[i] + offset[k]]. Rows below place_rows[vectors - 1].
  using OuterPlaces = void (*)(int64_t depth, const T* a, const int64_t* row, const int64_t* offset,
                               const T* b, Sum<T>* c, int64_t c_row, bool add);
  int place_rows[kMaxVectors];
  OuterPlaces outer_places[kMaxRows][kMaxVectors];
  // Puts a packed A into the order in which `outer` reads it, in place.
  void (*arrange)(int64_t depth, int64_t rows, T* a);

  // Whole matrices, where the machine multiplies tiles of them; else null, as its tables of outer
  // tiles are where these are not. The depth is a multiple of `steps`. A as lines that start at
  // multiples of 64 bytes, A[i][k] = a[i * a_row + k]; B in strips of `lanes` columns, as `strips`
  // leaves it; C as for `outer`, and up to whole vectors of columns are written.
  using Matrices = void (*)(int64_t rows, int64_t columns, int64_t depth, const T* a, int64_t a_row,
                            const T* b, Sum<T>* c, int64_t c_row, const Sum<T>* start, bool add);
  Matrices matrices;
  // `depth` rows of `columns`, from_row apart, become strips of whole steps and vectors, what is
  // beyond the rows zero:
  //
  //     to[strip][k / 2][column][k % 2]
  void (*strips)(int64_t depth, int64_t columns, const T* from, int64_t from_row, T* to);
  // Of pairs, one strip of rows that lie anywhere: row k is the vector at from + offset[k].
  void (*copy_strip)(int64_t depth, const T* from, const int64_t* offset, BFloat16* to);

  // Dot products with the lines of a matrix that lies as it is stored, each contiguous:
  //
  //     c[j * c_row + i] += sum over k of a(i, k) * b[j * b_row + k],    j below `columns`
  //
  // Each line's sum has the same order whatever the lines around it.
  void (*dots)(Store store, const Lines& a, const T* b, int64_t b_row, int64_t columns, Sum<T>* c,
               int64_t c_row);

  // Taps that slide over lines laid out so that all outputs move together. Forward:
  //
  //     y[r * y_row + j] = start + sum over (rows, h, t) of
  //         weight[rows.weight + h * weight_row + t] *
  //         x[rows.offset + (r + h) * x_row + along[t] + j]
  //
  // for r below `lines` and j below `count`. Of x, whole vectors are read.
  void (*slide)(const Taps& taps, const T* weight, const T* x, int64_t x_row, T start,
                int64_t lines, int64_t count, T* y, int64_t y_row);

  // The same without a copy, for floating types and kMaxSlideRows rows of taps at most:
  //
  //     y[l * y_row + j] = start + sum over (plane, h, t) of
  //         weight[plane.weight + h * weight_row + t * weight_tap] *
  //         x[plane.offset + (l + h) * x_row + t * dilation + j]       where that exists
  //
  // through an activation. Whole vectors of x are read within its x_elements, and where they do not
  // fit a copy in `window`: [kMaxSlideLines][(taps - 1) * dilation + lanes].
  void (*slide_planes)(Store store, const SlidePlanes& planes, const void* x, const T* weight,
                       T start, Activation activation, T* window, void* y);

  // By weight, meet[rows - 1][columns - 1] for a block of taps, rows below tap_rows[columns - 1]
  // and columns below tap_columns. One vector of sums a tap, its lanes still to be added:
  //
  //     sums[(h * sums_row + t) * lanes + j % lanes] += y[r * y_row + j] *
  //         x[(r + h) * x_row + along[t] + j]          for all r and j
  using Meet = void (*)(int64_t lines, int64_t count, const T* y, int64_t y_row, const T* x,
                        int64_t x_row, const int64_t* along, T* sums, int64_t sums_row);
  Meet meet[kMaxTapRows][kMaxTapColumns];
  int tap_rows[kMaxTapColumns];
  int tap_columns;
  // to[k] = the sum of the lanes of vector k, for `count` vectors, a multiple of lanes.
  void (*add_lanes)(int64_t count, const T* sums, T* to);

  // Groups side by side: a vector holds one element of each of `lanes` groups, and every product is
  // lane by lane. For row i below `rows`, line l and column j, all of them vectors,
  //
  //     y[i * y_image + l * y_line + j * y_column] = start[i] +
  //         sum over taps of weight[tap.k][i] * x[tap.x + l * x_line + j * x_column]
  //
  // and, adding to sums, where x and y are given,
  //
  //     sums[tap.k][i] += sum over l, j of
  //         y[i * y_image + l * y_line + j * y_column] * x[tap.x + l * x_line + j * x_column]
  using LanesSlide = void (*)(int64_t depth, const LaneTap* taps, const LaneMap& map,
                              const T* weight, const T* start, const T* x, T* y);
  using LanesDot = void (*)(int64_t depth, const LaneTap* taps, const LaneMap& map, const T* x,
                            const T* y, T* sums);
  // y[l * y_line + j * column.y_step] = start + sum over the rows h of (l, plane), and t, of
  //         weight[rows.weight + h * weight_row + t * lanes] *
  //         x[rows.offset + h * x_row + index of (j, t) * column.x_step]
  void (*lanes_planes)(const LanePlanes& planes, const T* weight, const T* start, const T* x, T* y);
  int lane_rows;                         // the most there are
  LanesSlide lanes_slide[kMaxLaneRows];  // [rows - 1]
  LanesDot lanes_dot[kMaxLaneRows];
  // The vector (l, k) at to + l * to_line + k * to_step = the lanes from(., l, k), converted. Lanes
  // beyond from.lanes are zero.
  void (*to_lanes)(Store store, const Sheet& from, T* to, int64_t to_line, int64_t to_step);
  // to(., l, k) = the vector at from + l * from_line + k * from_step, finished and converted.
  void (*from_lanes)(Store store, const T* from, int64_t from_line, int64_t from_step,
                     Finish finish, const Sheet& to);

  // to[r * to_row + k] = from(r, k), converted.
  void (*gather)(Store store, const Lines& from, T* to, int64_t to_row);
  // The same of pairs, whose second numbers lie at `second` as the first do, or are zero where it is
  // null.
  void (*gather_pairs)(const Lines& from, const void* second, T* to, int64_t to_row);
  // to[k * to_step + r * to_row] = sign * from(r, k), converted: lines become columns.
  void (*interleave)(Store store, const Lines& from, Sum<T> sign, T* to, int64_t to_row,
                     int64_t to_step);
  // to(r, k) = from[r * from_row + k], finished and converted. Both may be the same memory.
  void (*scatter)(Store store, const Sum<T>* from, int64_t from_row, Finish finish,
                  const Lines& to);

  // Up to `lanes` lines become columns: to[k * to_step + r] = from(r, k), converted, and zero from
  // line from.rows on.
  void (*turn)(Store store, const Lines& from, T* to, int64_t to_step);
  // to(r, k) = from[k * from_step + r] + start[r], finished and converted; up to `lanes` lines, and
  // as many elements of `start`.
  void (*turn_back)(Store store, const T* from, int64_t from_step, const T* start, Finish finish,
                    const Lines& to);
  TileKernels<T> tiles[kTiles];
  FftKernels<T> fft;

  // Flushes denormal numbers to zero on this thread from now on; returns what restore() needs.
  unsigned (*flush_denormals)();
  void (*restore_denormals)(unsigned state);
};

// All of them, of one target.
struct Tables {
  Kernels<float> f32;
  Kernels<double> f64;
  Kernels<uint16_t> u16;
  Kernels<uint32_t> u32;
  Kernels<uint64_t> u64;
  Kernels<BFloat16> bf16;
  Kernels<BFloat16Pair> bf16_pair;
};

template <typename T>
const Kernels<T>& kernels();

}  // namespace torchconv
