// Groups side by side: from the tensors to panels whose lanes are groups, and back.
#pragma once

#include "algo/lanes/cut.h"
#include "micro/pack.h"
#include "micro/tasks.h"

namespace torchconv::lanes_detail {

template <typename T>
Cut cut_of(const Problem& p) {
  return Cut(p, kernels<T>().lanes, sizeof(T));
}

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

 private:
  int64_t groups_of(int64_t block) const {
    return std::min(cut.lanes, p.groups - cut.first_group(block));
  }
  int64_t line_step(const Reals& of) const { return p.axes > 1 ? of.stride.axis[p.axes - 2] : 0; }
  bool outer_offset(const Piece& piece, int64_t number, int64_t* offset) const;
  void pack_images(const Piece& piece, int64_t block, int64_t offset, int64_t images, T* to) const;
  template <typename F>
  void for_each_weight_run(int64_t block, int64_t r, const F& f) const;
  template <typename F>
  void for_each_output_sheet(const Piece& piece, int64_t block, const F& f) const;
};

}  // namespace torchconv::lanes_detail
