// The hot loops of transforms: Winograd's along an axis, and Fourier's.
#pragma once

#include <cstdint>

namespace torchconv {

// How an axis is cut into Winograd tiles F(outputs, taps): F(1,1), those of four points, and those
// of six.
enum class Tile : uint8_t { plain, f3_2, f2_3, f5_2, f4_3, f3_4, f2_5 };
constexpr int kTiles = 7;

// Winograd's transforms along one axis (winograd_impl.h), where every element is a vector of
// channels: element i of line l is the one at l * line + i * step.
template <typename T>
struct TileKernels {
  int points, outputs, taps;
  using Transform = void (*)(const T* from, int64_t from_step, int64_t from_line, T* to,
                             int64_t to_step, int64_t to_line, int64_t lines);
  Transform input, weight, output;     // points -> points, taps -> points, points -> outputs
  Transform output_back, weight_back;  // the transposes: outputs -> points, points -> taps
};

constexpr int kMaxRadix = 4;
constexpr int kMaxPointRows = 4;  // of a tile of products of Fourier transforms
constexpr int kMaxPointColumns = 2;

// One stage of a Fourier transform along an axis (fft_impl.h): each block is `parts` parts of
// `lines` lines of `count` vectors, between which the butterflies go.
template <typename T>
struct FftStage {
  T* data;
  int64_t imaginary;            // from a vector's real parts to its imaginary ones
  int64_t blocks, block, part;  // from a block, and from a part, to the next
  int64_t lines, line, count;
  const T* roots;  // [block][parts - 1][real, imaginary]
};

// Its last stages, along the lanes: from the vectors of a tile, lines of `columns` of them, to
// points and back. Point (vector) number k lies at points + k * plane, its imaginary parts behind
// its real ones. Groups are of `lanes` vectors.
template <typename T>
struct FftLanes {
  T* tile;
  int64_t imaginary, row, columns, groups;
  const T* roots;  // [group % period][lanes / 2][real, imaginary][lanes]
  int64_t period;
  T* points;
  int64_t plane;
  T real_scale, imaginary_scale;  // of the points made
};

template <typename T>
struct FftKernels {
  int rows, columns;  // of the largest tile of products
  // [parts - 2]: from a polynomial's coefficients to its remainders, and `parts` times back.
  using Stage = void (*)(const FftStage<T>& stage);
  Stage split[kMaxRadix - 1], join[kMaxRadix - 1];
  void (*split_lanes)(const FftLanes<T>& lanes);
  void (*join_lanes)(const FftLanes<T>& lanes);
  // c[column * c_column][row] (+)= sum over k of a[k * a_step][row] * b[k * b_step][column], of
  // complex vectors that lie side by side; [rows - 1][columns - 1]. C is not read unless `add`.
  using Products = void (*)(int64_t depth, const T* a, int64_t a_step, const T* b, int64_t b_step,
                            T* c, int64_t c_column, bool add);
  Products products[kMaxPointRows][kMaxPointColumns];
};

}  // namespace torchconv
