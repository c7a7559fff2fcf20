// The weight gradient as products over the bases of a box, and how they are cut.
//
//     sum[out, shift, channel] += gradient[base, out] * box[base + shift, channel]
//
// The bases, positions of the output, are the depth. The box is form.h's, and the gradient of a tile
// lies beside it, in the order of its bases, with zeros for those that do not exist. One of the two
// goes from shared memory to registers, whose numbers are the rows of a product; the other is read
// where it lies, and has the columns:
//
//     by gradients   rows are outputs, 64 of a block or of each of its warpgroups, and a product is
//                    made under each shift; the box lies in pieces of channels, for 16 bits alone
//     by patches     rows are pairs of a shift and a channel, 64 a product, which a thread finds
//                    wherever they are; the gradient lies in lines, pieces along its bases
//
// A block makes some of the products, over one of the splits of all tiles: its sums stay in registers
// from the first tile to the last. A second kernel adds the splits in their order. How all that is
// cut depends on the problem alone.
#pragma once

#include "cuda/algo/direct/form.h"

namespace torchconv::cuda::sliding {

// Threads that bring tiles in, beside those that multiply.
TORCHCONV_HOST_DEVICE constexpr int loaders(bool by_patches) {
  return (by_patches ? 2 : 1) * kWarpgroup;
}
constexpr int kTileBases = kUnits * kUnit;
constexpr int kRows = 64;  // of a product
constexpr int kParts = 4;  // of a tile's products, of 32 bases each

// Products of a warpgroup and step, and their columns: up to 192 sums a thread, of 232 registers, or 128
// of 184. They are written out for all of the products and for one less, by patches for down to half
// of them; a warpgroup with fewer makes some for nobody.
struct WeightShape {
  int products, columns;
  bool by_patches;
};
constexpr WeightShape kWeightShapes[] = {
    {1, 128, false}, {1, 64, false},  {3, 128, false}, {3, 64, false},  {5, 64, false},
    {5, 32, false},  {10, 32, false}, {5, 16, false},  {13, 16, false}, {1, 128, true},
    {2, 128, true},  {1, 64, true},   {3, 64, true},   {3, 32, true},   {5, 32, true}};

// What pieces are brought in from: the input or the output's gradient. A piece of 16 bytes has
// neighbouring channels of a position. Where it is one of a line, it has neighbouring positions of
// a channel instead.
struct Source {
  int64_t batch = 0, channel = 0, axis[kAxes] = {};  // strides, in elements
  // Index of an axis = (base + within) * stride + phase - padding, where it is of [0, size).
  int64_t stride[kAxes] = {}, padding[kAxes] = {}, size[kAxes] = {};
  PaddingMode padding_mode = PaddingMode::zeros;
  bool lines = false;
  int64_t step = 1;    // elements from a number of a piece to the next, in memory
  int copy_bytes = 0;  // of each asynchronous copy that a piece is made of; 0: it is put together
  bool pieces_first = false;  // loaders that are neighbours have pieces that are, else positions
  int low_threads = 1;        // loaders that do, a power of two
  // Pieces of a position, and positions; or channels of a piece of a line, and such pieces of one.
  int pieces = 0, positions = 0;
  // In a slot, in bytes: the first, and from one to the next.
  int first = 0, to_piece = 0, to_position = 0;
  int first_place = 0;  // of the table of places
};

struct WeightForm {
  Form f;
  Source source[2];
  int row_units = 1;                   // 2: each warpgroup has outputs of its own, and all shifts
  int products = 1;                    // of a step and tile: shifts, or 64 rows of patches
  int sets = 1;                        // of products
  int out_tile = 0, channel_tile = 0;  // of a block
  int64_t out_tiles = 1, channel_tiles = 1;
  int splits = 1;
  int64_t split_tiles = 0;
  int slots = 2, slot_pieces = 0;
  bool accumulate = false;
  float* partial = nullptr;  // [split][group][out tile][channel tile][shift][out][channel]

  TORCHCONV_HOST_DEVICE int64_t blocks() const {
    return f.groups * out_tiles * channel_tiles * sets * splits;
  }
  TORCHCONV_HOST_DEVICE int64_t partial_of(int split, int64_t group, int64_t out,
                                           int64_t channel) const {  // of tiles
    return (((split * f.groups + group) * out_tiles + out) * channel_tiles + channel) * f.shifts *
           out_tile * channel_tile;
  }
};

// A position within its tile.
struct Digits {
  uint16_t image, within[kAxes], phase[kAxes], none;
};

struct WeightPlaces {
  int64_t digits, places, barriers, bytes;  // where each begins, after the slots
};
TORCHCONV_HOST_DEVICE inline WeightPlaces weight_places(const WeightForm& w) {
  const int64_t positions = w.source[0].positions + w.source[1].positions;
  WeightPlaces s;
  s.digits = int64_t(w.slots) * w.slot_pieces * kPieceBytes;
  s.places = s.digits + positions * int64_t(sizeof(Digits));
  s.barriers = s.places + 2 * positions * int64_t(sizeof(int64_t));  // of two tiles
  s.bytes = s.barriers + (2 * w.slots + 1) * int64_t(sizeof(Barrier));
  return s;
}

}  // namespace torchconv::cuda::sliding
