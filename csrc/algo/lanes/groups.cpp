#include "algo/lanes/groups.h"

namespace torchconv::lanes_detail {
namespace {

// Calls f(line, count, step) for lines of `columns` elements, `down` apart, or once for all of them
// where they lie end to end.
template <typename F>
void for_each_joined(int64_t lines, int64_t down, int64_t columns, int64_t step, const F& f) {
  if (columns == 1) return f(0, lines, down);
  if (lines == 1 || down == columns * step) return f(0, lines * columns, step);
  for (int64_t l = 0; l < lines; ++l) f(l, columns, step);
}

}  // namespace

// Adds where an outer tap meets the input; false where it meets nothing.
template <typename T>
bool Groups<T>::outer_offset(const Piece& piece, int64_t number, int64_t* offset) const {
  int64_t tap[kMaxAxes];
  index_of(p, p.axes - 2, &Axis::kernel_size, number, tap);
  for (int a = 0; a < p.axes - 2; ++a) {
    const Axis& x = p.axis[a];
    const int64_t v = piece.outer[a] * x.stride - x.padding + tap[a] * x.dilation;
    const int64_t i = fold(p.padding_mode, v, x.input_size);
    if (i < 0) return false;
    *offset += i * input.stride.axis[a];
  }
  return true;
}

template <typename T>
void Groups<T>::pack_image(const Piece& piece, int64_t block, int64_t offset, T* to) const {
  const int64_t along = input.stride.axis[p.axes - 1], down = line_step(input);
  const int64_t lanes = cut.lanes, line_elements = cut.line_length() * lanes;
  const Axis &x = cut.column, &y = cut.line;
  const auto zero = [&](T* at, int64_t lines, int64_t vectors) {
    for (int64_t l = 0; l < lines; ++l) std::fill_n(at + l * line_elements, vectors * lanes, T(0));
  };
  const auto read_lines = [&](int64_t line, int64_t index, int64_t lines) {
    const int64_t from = offset + index * down;
    for (int64_t s = 0; s < cut.slots; ++s) {
      T* const at = to + line * line_elements + s * cut.slot * lanes;
      const int64_t first = piece.column * x.stride - x.padding + s * x.dilation % x.stride;
      for_each_stretch(
          p.padding_mode, x.input_size, first, x.stride, cut.slot,
          [&](int64_t column, int64_t i, int64_t columns) {
            T* const panel = at + column * lanes;
            const int64_t step = columns > 1 ? along * x.stride : 1;
            for_each_joined(lines, down, columns, step, [&](int64_t l, int64_t n, int64_t apart) {
              const Lines lines_in{input.at(from + i * along + l * down), groups_of(block),
                                   input.stride.group, n, apart};
              kernels<T>().to_lanes(input.store, lines_in, columns, panel + l * line_elements,
                                    lanes, line_elements);
            });
          },
          [&](int64_t column, int64_t columns) { zero(at + column * lanes, lines, columns); });
    }
  };
  const int64_t count = (piece.lines - 1) * y.stride + (cut.lines - (cut.band - 1) * y.stride);
  for_each_stretch(p.padding_mode, y.input_size, piece.line * y.stride - y.padding, 1, count,
                   read_lines, [&](int64_t line, int64_t lines) {
                     zero(to + line * line_elements, lines, cut.line_length());
                   });
}

template <typename T>
void Groups<T>::pack_input(const Piece& piece, int64_t block, T* to) const {
  const int64_t image = cut.lines * cut.line_length() * cut.lanes;
  for (int64_t r = 0; r < cut.rows_in; ++r) {
    const int64_t plane = r / p.in_channels_per_group(), ci = r % p.in_channels_per_group();
    const int64_t origin = plane + piece.n * input.stride.batch +
                           cut.first_group(block) * input.stride.group +
                           ci * input.stride.in_channel;
    for (int64_t t = 0; t < cut.outer_taps; ++t, to += image) {
      int64_t offset = origin;
      if (outer_offset(piece, t, &offset))
        pack_image(piece, block, offset, to);
      else
        std::fill_n(to, image, T(0));
    }
  }
}

// Calls f(k, lines) for stretches of the products, from the k-th on, of row r = (co, part): for
// plane 1, those of the other part.
template <typename T>
template <typename F>
void Groups<T>::for_each_weight_run(int64_t block, int64_t r, const F& f) const {
  const Grid grid = weight_grid(p, weight.stride);
  const int64_t origin =
      cut.first_group(block) * weight.stride.group + r / cut.planes * weight.stride.out_channel;
  for_each_run(grid, 0, cut.depth, [&](const Run& run) {  // the "image" of a run is its plane
    const int64_t part = r % cut.planes ^ run.n;
    const Lines lines{weight.at(origin + part + grid.offset(run)), groups_of(block),
                      weight.stride.group, run.count, grid.stride[grid.axes - 1]};
    f(run.column, lines);
  });
}

template <typename T>
void Groups<T>::pack_weights(int64_t block, int64_t r, int64_t rows, T* to) const {
  const int64_t step = rows * cut.lanes;
  for (int64_t i = 0; i < rows; ++i, to += cut.lanes) {
    for_each_weight_run(block, r + i, [&](int64_t k, const Lines& lines) {
      kernels<T>().to_lanes(weight.store, lines, lines.count, to + k * step, step, 0);
    });
    if (cut.planes == 2 && (r + i) % 2 == 0)
      for (int64_t k = cut.depth / 2; k < cut.depth; ++k)
        for (int64_t lane = 0; lane < cut.lanes; ++lane) to[k * step + lane] *= -1;
  }
}

template <typename T>
void Groups<T>::store_weights(int64_t block, int64_t r, int64_t rows, const T* from) const {
  const int64_t step = rows * cut.lanes;
  for (int64_t i = 0; i < rows; ++i, from += cut.lanes)
    for_each_weight_run(block, r + i, [&](int64_t k, const Lines& lines) {
      if (k < cut.depth / cut.planes)
        kernels<T>().from_lanes(weight.store, from + k * step, step, false, lines);
    });
}

template <typename T>
void Groups<T>::pack_bias(int64_t block, T* to) const {
  if (!operands.bias.data) return void(std::fill_n(to, cut.rows_out * cut.lanes, T(0)));
  const Reals bias(operands.bias, p.dtype);
  for (int64_t q = 0; q < cut.planes; ++q) {
    const int64_t offset = q + cut.first_group(block) * bias.stride.group;
    const Lines lines{bias.at(offset), groups_of(block), bias.stride.group,
                      p.out_channels_per_group(), bias.stride.out_channel};
    kernels<T>().to_lanes(bias.store, lines, lines.count, to + q * cut.lanes,
                          cut.planes * cut.lanes, 0);
  }
}

// Calls f(position, lines) for stretches of a piece of the output, from that position on.
template <typename T>
template <typename F>
void Groups<T>::for_each_output_run(const Piece& piece, int64_t block, int64_t r,
                                    const F& f) const {
  const int64_t along = output.stride.axis[p.axes - 1], down = line_step(output);
  int64_t origin = r % cut.planes + piece.n * output.stride.batch +
                   cut.first_group(block) * output.stride.group +
                   r / cut.planes * output.stride.out_channel + piece.line * down +
                   piece.column * along;
  for (int a = 0; a < p.axes - 2; ++a) origin += piece.outer[a] * output.stride.axis[a];
  for_each_joined(piece.lines, down, piece.columns, along,
                  [&](int64_t line, int64_t count, int64_t step) {
                    f(line * piece.columns, Lines{output.at(origin + line * down), groups_of(block),
                                                  output.stride.group, count, step});
                  });
}

template <typename T>
void Groups<T>::pack_output(const Piece& piece, int64_t block, int64_t r, T* to) const {
  for_each_output_run(piece, block, r, [&](int64_t position, const Lines& lines) {
    kernels<T>().to_lanes(output.store, lines, lines.count, to + position * cut.lanes, cut.lanes,
                          0);
  });
}

template <typename T>
void Groups<T>::store_output(const Piece& piece, int64_t block, int64_t r, const T* from) const {
  for_each_output_run(piece, block, r, [&](int64_t position, const Lines& lines) {
    kernels<T>().from_lanes(output.store, from + position * cut.lanes, cut.lanes,
                            operands.accumulate, lines);
  });
}

template struct Groups<float>;
template struct Groups<double>;

}  // namespace torchconv::lanes_detail
