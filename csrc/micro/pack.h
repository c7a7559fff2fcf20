// The gather: where geometry, dtype and layout end. From a View into dense rows of T, through
// stride, dilation, padding, padding mode and memory format; everything above sees panels only.
//
// A complex tensor is read as two planes of reals: the same View with every stride doubled, and the
// imaginary plane one element further.
#pragma once

#include <type_traits>

#include "core/fold.h"
#include "core/problem.h"
#include "micro/kernels.h"

namespace torchconv {

// Consecutive positions along the last axis of one image.
struct Run {
  int64_t column;  // the first one's, counted from the first position asked for
  int64_t count;
  int64_t n;
  int64_t o[kMaxAxes];
};

// The positions of a tensor, batch first, in row-major order; axes that lie behind each other in
// memory joined.
struct Grid {
  int axes = 0;
  int64_t size[kMaxAxes];
  int64_t stride[kMaxAxes];  // of the tensor it is made for
  int64_t per_image = 1;

  // From the run's image to its first element.
  int64_t offset(const Run& run) const {
    int64_t sum = 0;
    for (int a = 0; a < axes; ++a) sum += run.o[a] * stride[a];
    return sum;
  }
};

Grid output_grid(const Problem& problem);                      // never joined
Grid joined_grid(const Problem& problem, const View& output);  // for walking the output itself
Grid weight_grid(const Problem& problem,
                 const View& weight);  // of one group and output channel, joined

// Calls f(run) for the runs that make up positions [first, first + count).
template <typename F>
void for_each_run(const Grid& grid, int64_t first, int64_t count, const F& f) {
  if (count <= 0) return;
  Run run;
  run.n = first / grid.per_image;
  int64_t rest = first % grid.per_image;
  const int last = grid.axes - 1;
  for (int a = last; a >= 0; --a) {
    run.o[a] = rest % grid.size[a];
    rest /= grid.size[a];
  }
  for (run.column = 0; run.column < count; run.column += run.count) {
    run.count = grid.size[last] - run.o[last];
    if (run.count > count - run.column) run.count = count - run.column;
    f(run);
    run.o[last] += run.count;
    for (int a = last; run.o[a] == grid.size[a]; --a) {
      run.o[a] = 0;
      if (a == 0) {
        ++run.n;
        break;
      }
      ++run.o[a - 1];
    }
  }
}

// The index of `number` in row-major order over axes [0, count).
void index_of(const Problem& problem, int count, int64_t Axis::* size, int64_t number,
              int64_t* index);

// Memory of the kernels' own type.
template <typename T>
constexpr Store kOwnStore = std::is_same_v<T, float>    ? Store::f32
                            : std::is_same_v<T, double> ? Store::f64
                            : sizeof(T) == 2            ? Store::i16
                            : sizeof(T) == 4            ? Store::i32
                                                        : Store::i64;

// One tensor, seen as reals of one stored type.
struct Reals {
  char* data;
  View stride;  // in reals
  Store store;
  int64_t bytes;  // of a real
  int planes;     // 2 for complex

  Reals(const View& view, DType dtype);
  char* at(int64_t offset) const { return data + offset * bytes; }
};

// Adds where output `o` meets the input by a tap on axes [0, axes); false where it meets nothing.
bool add_outer(const Problem& problem, int axes, const Reals& input, const int64_t* tap,
               const int64_t* o, int64_t* offset);

// The positions k of [0, count) whose index first + k * stride lies inside an axis: those of
// [begin, end).
struct Inside {
  int64_t begin, end;
};
Inside inside(int64_t size, int64_t first, int64_t stride, int64_t count);

// Walks the positions k below `count` of an axis, of index first + k * stride: calls read(k, index,
// n) for n positions from k on inside the input, and for each one that is folded back to `index`;
// blank(k, n) for those that stand for nothing, or that no fold reaches (a caller that rounds
// `count` up asks for some).
template <typename Read, typename Blank>
void for_each_stretch(PaddingMode mode, int64_t size, int64_t first, int64_t stride, int64_t count,
                      const Read& read, const Blank& blank) {
  const Inside in = inside(size, first, stride, count);
  const auto outside = [&](int64_t from, int64_t until) {
    if (mode == PaddingMode::zeros && from < until) return blank(from, until - from);
    for (int64_t k = from; k < until; ++k) {
      const int64_t index = fold(mode, first + k * stride, size);
      if (index >= 0 && index < size)
        read(k, index, 1);
      else
        blank(k, 1);
    }
  };
  outside(0, in.begin);
  if (in.begin < in.end) read(in.begin, first + in.begin * stride, in.end - in.begin);
  outside(in.end, count);
}

// Every stride-th element of a line of an axis under a padding mode, for `rows` lines that lie
// in_channel apart: to[r * to_row + k] = line r at index first + k * stride.
template <typename T>
void pack_line(const Reals& input, PaddingMode mode, int64_t offset, int64_t size, int64_t step,
               int64_t first, int64_t stride, int64_t count, int64_t rows, T* to, int64_t to_row);

// Rows [m0, m1) of the patch matrix of group g, at positions [first, first + count):
//
//     to[(m - m0) * to_row + position - first] =
//         input[n, g, ci, o * stride - padding + t * dilation],
//     m = (ci, t), position = (n, o)
template <typename T>
void pack_patches(const Problem& problem, const Reals& input, int64_t g, int plane, int64_t m0,
                  int64_t m1, int64_t first, int64_t count, T* to, int64_t to_row);

// Whether the patches of a simplified problem are the elements of the input, a channel each.
inline bool is_pointwise(const Problem& p) {
  const Axis& x = p.axis[0];
  return p.axes == 1 && x.kernel_size == 1 && x.stride == 1 && x.padding == 0 &&
         x.input_size == x.output_size;
}

// Whether pack_positions turns gathered patches, rather than what lies in the input.
bool turns_patches(const Problem& problem, const Reals& input);

// The same patches with positions as rows, to[(position - first) * to_row + m - m0]. They may go by
// way of `patches`, [m1 - m0][patches_row].
template <typename T>
void pack_positions(const Problem& problem, const Reals& input, int64_t g, int plane, int64_t m0,
                    int64_t m1, int64_t first, int64_t count, T* patches, int64_t patches_row,
                    T* to, int64_t to_row);

}  // namespace torchconv
