// Depthwise forward problems as planes of vectors: what of the input a piece sees, without padding,
// and which rows of taps meet it.
#pragma once

#include "algo/lanes/groups.h"

namespace torchconv::lanes_detail {

Window all_of(const Cut& cut);
Window window_of(const Cut& cut, const Piece& piece);

// How far apart vectors lie.
struct LaneSteps {
  int64_t x_line, x_column, y_line, y_column;
};

// Of a line that meets the first tap at index `first`, the rows of taps that meet anything.
Inside rows_inside(const Axis& axis, int64_t first);

// The outputs of a piece; x will be the first vector of the window. Calls plane(t, &offset) for every
// outer tap: whether it meets the input, and if so adds where its plane is. Fills in as many `rows`
// as the cut has.
template <typename F>
LanePlanes planes_of(const Cut& cut, const Piece& piece, const Window& window,
                     const LaneSteps& steps, TapRows* rows, const F& plane) {
  const Axis &x = cut.column, &y = cut.line;
  LanePlanes m;
  m.column = {piece.columns,  x.kernel_size,
              window.columns, piece.column * x.stride - x.padding - window.column,
              x.stride,       x.dilation,
              cut.classes,    steps.x_column,
              steps.y_column};
  m.lines = piece.lines;
  m.planes = 0;
  m.rows = rows;
  m.x_row = y.dilation * steps.x_line;
  m.weight_row = x.kernel_size * cut.lanes;
  m.y_line = steps.y_line;
  for (int64_t t = 0; t < cut.outer_taps; ++t) {
    int64_t offset = 0;
    if (!plane(t, &offset)) continue;
    for (int64_t l = 0; l < m.lines; ++l, ++rows) {
      const int64_t first = (piece.line + l) * y.stride - y.padding;
      const Inside seen = rows_inside(y, first);
      const int64_t line = first + seen.begin * y.dilation - window.line;
      *rows = {offset + line * steps.x_line, (t * y.kernel_size + seen.begin) * m.weight_row,
               seen.end - seen.begin};
    }
    ++m.planes;
  }
  return m;
}

}  // namespace torchconv::lanes_detail
