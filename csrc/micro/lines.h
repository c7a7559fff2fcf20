// Lines of the input that taps slide over: how a forward problem or a weight gradient is cut into
// places, and the packing of the lines that one sees, padding included, a strided line as `stride`
// lines of every stride-th element, so that neighbouring outputs meet neighbouring elements, or whole.
// Every tap is then one offset into them, the same for all outputs of a line.
#pragma once

#include <algorithm>
#include <numeric>

#include "core/arithmetic.h"
#include "micro/pack.h"

namespace torchconv {

// A block of the output: some lines of one outer position, some columns of each.
struct Place {
  int64_t outer[kMaxAxes];
  int64_t line, lines, column, columns;
};

// "Outer" are the axes before the last two, "line" the next to last (of size 1 if there is none),
// "column" the last.
struct LineAxes {
  Axis line, column;
  int64_t outer_taps = 1, outer_positions = 1;

  explicit LineAxes(const Problem& p);
  // Elements between the first and the last tap.
  static int64_t reach(const Axis& x) {
    return std::max<int64_t>(x.kernel_size - 1, 0) * x.dilation;
  }
};

// How the outputs of one image and channel are cut into places: bands of lines, blocks of columns.
struct LineCuts : LineAxes {
  using LineAxes::LineAxes;
  int64_t columns, column_blocks, band, bands;

  int64_t places() const { return outer_positions * bands * column_blocks; }
  Place place(const Problem& p, int64_t number) const;
};

// How a problem is cut for packed lines. An image is what one group's channel (or as many as an
// element holds), plane and outer tap contribute.
struct LinesPlan : LineCuts {
  int64_t planes, channels, images;
  int64_t lanes;
  int64_t spacing;      // of the input, between neighbours in a packed line: the stride, or 1
  int64_t slots, slot;  // lines that a strided line is packed as, and the length of each
  int64_t lines;        // of a band
  // Taps tap_step apart meet lines of the input x_step apart, and so do output lines line_step
  // apart: every so many of each slide over one another as if nothing were strided or dilated.
  int64_t tap_step, line_step, x_step;
  int64_t weight_row;  // from a row of taps to the next of its class

  // A place keeps about `lines_bytes` of lines, or a few that it does not share with others.
  LinesPlan(const Problem& p, int64_t lanes_of_one, int64_t channels_of_one, int64_t real_bytes,
            int64_t lines_bytes, bool whole = false);
  void set_band(int64_t most);

  // Whether every residue of the stride is a slot; else every tap is one.
  bool is_dense() const { return slots == spacing; }
  // From an output's element in a packed line to the next one's.
  int64_t column_step() const { return column.stride / spacing; }
  int64_t line_length() const { return slots * slot; }
  int64_t image_elements() const { return lines * line_length(); }
  // A vector that starts with the last of them goes on behind it.
  int64_t lines_elements() const { return images * image_elements() + lanes; }
  double bytes(int64_t real_bytes) const {
    return double(images) * double(lines) * double(slots) * double(slot) * double(real_bytes);
  }
  int64_t tap_classes() const { return std::min(tap_step, line.kernel_size); }

  // Where each column of taps finds the first output of a line among the slots.
  void fill_along(int64_t* along) const;
};

constexpr int64_t kLinesBytes = 32 << 10;  // most of an L1 cache

template <typename T>
LinesPlan plan_of(const Problem& p, int64_t lines_bytes = kLinesBytes, bool whole = false) {
  return LinesPlan(p, kernels<T>().lanes, kChannelsOf<T>, sizeof(T), lines_bytes, whole);
}

// Adds where an outer tap, by its number, meets the input at an outer position; false where it meets
// nothing.
bool add_outer_tap(const Problem& p, const Reals& input, int64_t number, const int64_t* outer,
                   int64_t* offset);

// The lines of the input that a place sees, padding included: [image][line][slot][column].
template <typename T>
struct PaddedLines {
  const Problem& p;
  const LinesPlan& plan;
  Reals input;

  // Whether an outer tap meets the input at a place; if so, adds where.
  bool meets(const Place& place, int64_t outer_tap, int64_t* offset) const {
    return add_outer_tap(p, input, outer_tap, place.outer, offset);
  }
  // Zeros: what lies outside the input stays so from channel to channel.
  void clear(T* lines) const { std::fill_n(lines, plan.lines_elements(), T{}); }
  void pack(const Place& place, int64_t n, int64_t g, T* lines) const;

 private:
  // Of a channel, or of two of them.
  void pack_lines(const Place& place, int64_t offset, bool two, int64_t rows, int64_t apart,
                  T* to) const;
  void pack_image(const Place& place, int64_t offset, bool two, T* to) const;
};

// Whether a tensor's lines can be read and written where they are.
template <typename T>
bool is_plain(const Reals& tensor, int64_t step) {
  return tensor.bytes == sizeof(T) && step == 1;
}

// From a line to the next; there is one where there is one axis.
inline int64_t line_step(const Problem& p, const View& stride) {
  return p.axes > 1 ? stride.axis[p.axes - 2] : 0;
}
inline int64_t line_step(const Problem& p, const Reals& tensor) {
  return line_step(p, tensor.stride);
}

// From a tensor's data to the first element of a place of the output, without batch and channel.
inline int64_t offset_of(const Problem& p, const Reals& output, const Place& place) {
  int64_t offset =
      place.column * output.stride.axis[p.axes - 1] + place.line * line_step(p, output);
  for (int a = 0; a < p.axes - 2; ++a) offset += place.outer[a] * output.stride.axis[a];
  return offset;
}

// The weights of part q of a group's output channel, to[(plane, ci, t) * step]; the grid is the
// weight's, and the "image" of a run its plane.
template <typename T>
void pack_weights(const Reals& weight, const Grid& grid, int64_t g, int64_t co, int64_t q, T* to,
                  int64_t step = 1) {
  const int64_t channel = g * weight.stride.group + co * weight.stride.out_channel;
  for_each_run(grid, 0, weight.planes * grid.per_image, [&](const Run& run) {
    const int64_t offset = channel + (q ^ run.n) + grid.offset(run);
    const Lines lines{weight.at(offset), 1, 0, run.count, grid.stride[grid.axes - 1]};
    const T sign = q == 0 && run.n == 1 ? T(-1) : T(1);
    kernels<T>().interleave(weight.store, lines, sign, to + run.column * step, 0, step);
  });
}

// Those of `rows` output channels as pairs, each to_row from the last.
void pack_weights(const Reals& weight, const Grid& grid, int64_t channels, int64_t g, int64_t co,
                  int64_t rows, BFloat16Pair* to, int64_t to_row, int64_t step);

// What its sums start from: the bias, or zero.
template <typename T>
T start_of(const Problem& p, const Operands& operands, int64_t g, int64_t co, int64_t q) {
  T start = 0;
  if (!operands.bias.data) return start;
  const Reals bias(operands.bias, p.dtype);
  const int64_t offset = g * bias.stride.group + co * bias.stride.out_channel + q;
  kernels<T>().gather(bias.store, Lines{bias.at(offset), 1, 0, 1, 1}, &start, 1);
  return start;
}

}  // namespace torchconv
