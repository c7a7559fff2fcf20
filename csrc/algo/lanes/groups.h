// Groups side by side: in place where they lie so in the tensors, else from the tensors to panels
// whose lanes are groups, and back.
#pragma once

#include <utility>

#include "algo/lanes/cut.h"
#include "micro/pack.h"
#include "micro/tasks.h"

namespace torchconv::lanes_detail {

template <typename T>
Cut cut_of(const Problem& p) {
  return Cut(p, kernels<T>().lanes, sizeof(T));
}

// The outputs of an axis, of `count` from `first` on, that see all taps inside the input.
Inside full(const Axis& x, int64_t first, int64_t count);

// Calls f(output, n) for those at once, and for each of the others.
template <typename F>
void for_each_span(const Axis& x, int64_t first, int64_t count, const F& f) {
  const Inside in = full(x, first, count);
  for (int64_t k = 0; k < in.begin; ++k) f(first + k, int64_t(1));
  if (in.begin < in.end) f(first + in.begin, in.end - in.begin);
  for (int64_t k = in.end; k < count; ++k) f(first + k, int64_t(1));
}

// Lines and columns of the input.
struct Window {
  int64_t line, lines, column, columns;
};

template <typename T>
struct Groups {
  const Problem& p;
  const Operands& operands;
  const Cut& cut;
  Reals input, weight, output;

  Groups(const Problem& problem, const Operands& o, const Cut& c)
      : p(problem),
        operands(o),
        cut(c),
        input(o.input, p.dtype),
        weight(o.weight, p.dtype),
        output(o.output, p.dtype) {}

  // The lines of the input that a piece sees, padding included:
  // to[plane, ci][outer tap][line][slot][column][lane].
  void pack_input(const Piece& piece, int64_t block, T* to) const;

  // What a piece of a bare cut sees of an outer tap's plane that lies at `offset`: lines and columns
  // of vectors, end to end.
  void pack_window(const Window& window, int64_t block, int64_t offset, T* to) const;
  // From the input of image n to the plane that an outer tap meets; false where there is none.
  bool outer_offset(const Piece& piece, int64_t number, int64_t* offset) const {
    return add_outer_tap(p, input, number, piece.outer, offset);
  }

  // The weights of rows [r, r + rows) of the output, to[plane, ci, t][row][lane]; the signs are
  // those of yr = wr xr - wi xi, yi = wi xr + wr xi.
  void pack_weights(int64_t block, int64_t r, int64_t rows, T* to) const;
  // The other way: a panel as pack_weights leaves it goes to where it came from.
  void store_weights(int64_t block, int64_t r, int64_t rows, const T* from) const;

  // to[row][lane]; zeros where there is no bias.
  void pack_bias(int64_t block, T* to) const;

  // A piece of the output, [row][line][column][lane].
  void pack_output(const Piece& piece, int64_t block, T* to) const;
  void store_output(const Piece& piece, int64_t block, const T* from) const;

  int64_t line_step(const Reals& of) const { return p.axes > 1 ? of.stride.axis[p.axes - 2] : 0; }

  // Whole blocks whose vectors are read and written where they lie, without panels: the groups are
  // side by side as T, and most outputs of a line see all taps.
  int64_t blocks_in_place() const;

  // The outputs of a piece, of one block, in place: as maps whose taps move along together, inside
  // and one by one at the borders. Calls f(depth, map, y): `depth` taps are filled in, without
  // those that meet nothing, and the first output is at y, both counted from the first group's.
  template <typename F>
  void for_each_map(const Piece& piece, LaneTap* taps, const F& f) const {
    for_each_span(cut.line, piece.line, piece.lines, [&](int64_t line, int64_t lines) {
      for_each_span(cut.column, piece.column, piece.columns, [&](int64_t column, int64_t columns) {
        LaneMap map{lines, columns, 0, 0, 0, line_step(output), output.stride.axis[p.axes - 1]};
        if (lines > 1) map.x_line = cut.line.stride * line_step(input);
        if (columns > 1) map.x_column = cut.column.stride * input.stride.axis[p.axes - 1];
        int64_t y = piece.n * output.stride.batch + line * map.y_line + column * map.y_column;
        for (int a = 0; a < p.axes - 2; ++a) y += piece.outer[a] * output.stride.axis[a];
        if (columns == 1) {  // down the border
          std::swap(map.lines, map.columns);
          std::swap(map.x_line, map.x_column);
          std::swap(map.y_line, map.y_column);
        }
        f(meet(piece, line, column, taps), map, y);
      });
    });
  }

 private:
  int64_t meet(const Piece& piece, int64_t line, int64_t column, LaneTap* taps) const;

  int64_t groups_of(int64_t block) const {
    return std::min(cut.lanes, p.groups - cut.first_group(block));
  }
  void pack_images(const Piece& piece, int64_t block, int64_t offset, int64_t images, T* to) const;
  template <typename F>
  void for_each_weight_run(int64_t block, int64_t r, const F& f) const;
  template <typename F>
  void for_each_output_sheet(const Piece& piece, int64_t block, const F& f) const;
};

}  // namespace torchconv::lanes_detail
