// How a forward problem, or a weight gradient, is cut for vectors whose lanes are groups.
//
// A block is as many groups as a vector has lanes. A piece is what one packing of the input serves:
// of one image and one outer position, a band of output lines and a part of their columns. "Outer"
// are the axes before the last two, "line" the next to last (micro/lines.h).
//
// A line of the input is packed as slots, one for each residue modulo the stride that a tap meets,
// so that neighbouring outputs read neighbouring vectors whatever the stride.
#pragma once

#include "micro/kernels.h"
#include "micro/lines.h"

namespace torchconv::lanes_detail {

constexpr int64_t kPieceBytes = 256 << 10;      // that a piece aims to keep: a part of an L2 cache
constexpr int64_t kMostPieceBytes = 640 << 10;  // that the smallest piece may need
constexpr int64_t kMostWeightsBytes = 512 << 10;  // of one block
constexpr int64_t kFewestColumns = 16;
constexpr int64_t kMostStep = 1 << 30;     // whose multiples by whatever fits in memory are numbers
constexpr int64_t kBandBytes = 384 << 10;  // of the lines of a piece in place, all groups
constexpr int64_t kAtOnceBytes = 128 << 10;  // of the weights of blocks taken at once in place

struct Piece : Place {
  int64_t n;  // the image
};

// A channel of the input makes one of the output, and no other.
inline bool is_depthwise(const Problem& p) {
  return p.in_channels == p.groups && p.out_channels == p.groups;
}

// Whether the panels of a problem hold the input alone: depthwise forward, where a tap that would
// meet the padding is passed over.
bool is_bare(const Problem& p);

struct Cut : LineCuts {
  bool bare;  // there a line is one slot
  int64_t lanes, blocks;
  int64_t planes, rows_in, rows_out;  // channels of a group, the planes of a complex one counted
  int64_t depth;                      // products of an output
  int64_t classes, slots, slot;       // slot: vectors of one
  int64_t lines;                      // of a band
  int64_t images, pieces;             // images: of each outer position one

  Cut(const Problem& p, int64_t lanes, int64_t real_bytes);

  Piece piece(const Problem& p, int64_t number) const;
  int64_t first_group(int64_t block) const { return block * lanes; }
  int64_t line_length() const { return slots * slot; }             // in vectors
  int64_t image() const { return lines * line_length() * lanes; }  // of one channel and outer tap
  int64_t input_elements() const { return rows_in * outer_taps * image(); }
  int64_t output_elements() const { return rows_out * band * columns * lanes; }
  int64_t rows_of_taps() const { return bare ? band * outer_taps : 0; }  // of a piece
  int64_t weight_elements() const { return depth * rows_out * lanes; }
  // Of the largest piece; a double, for a huge problem that is then refused.
  double piece_bytes(int64_t real_bytes) const;

  // Where each product of an output, in the order (plane, ci, t), finds the first output's vector.
  void fill_taps(LaneTap* taps) const;

  // The same in pieces of whole lines of blocks taken at once.
  Cut in_place(int64_t real_bytes) const;
  // The most such blocks.
  int64_t at_once(int64_t real_bytes) const;
  // The map of a piece in panels.
  LaneMap map(const Piece& piece) const;

 private:
  double vectors_of_line() const;
  void choose_piece(double vector_bytes);
};

}  // namespace torchconv::lanes_detail
