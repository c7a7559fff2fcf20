#include "algo/lanes/groups.h"

namespace torchconv::lanes_detail {

Inside full(const Axis& x, int64_t first, int64_t count) {
  const int64_t low = first * x.stride - x.padding;
  const Inside first_tap = inside(x.input_size, low, x.stride, count);
  const Inside last_tap = inside(x.input_size, low + LineAxes::reach(x), x.stride, count);
  const Inside both{first_tap.begin, last_tap.end};
  return both.begin < both.end ? both : Inside{0, 0};
}

// The lines that a piece sees of one channel's image, or of all channels of a group where these lie
// side by side.
template <typename T>
void Groups<T>::pack_images(const Piece& piece, int64_t block, int64_t offset, int64_t images,
                            T* to) const {
  const int64_t along = input.stride.axis[p.axes - 1], down = line_step(input);
  const int64_t lanes = cut.lanes, line_elements = cut.line_length() * lanes;
  const int64_t apart = cut.image() * cut.outer_taps;
  const Axis &x = cut.column, &y = cut.line;
  const auto zero = [&](T* at, int64_t lines, int64_t vectors) {
    for (int64_t i = 0; i < images; ++i)
      for (int64_t l = 0; l < lines; ++l)
        std::fill_n(at + i * apart + l * line_elements, vectors * lanes, T(0));
  };
  const auto read = [&](int64_t lines, int64_t from, int64_t columns, int64_t step, T* panel) {
    if (images == 1) {
      const Sheet sheet{
          input.at(from), groups_of(block), input.stride.group, lines, down, columns, step};
      return kernels<T>().to_lanes(input.store, sheet, panel, line_elements, lanes);
    }
    for (int64_t l = 0; l < lines; ++l) {
      const Sheet sheet{
          input.at(from + l * down), groups_of(block), input.stride.group, columns, step, images,
          input.stride.in_channel};
      kernels<T>().to_lanes(input.store, sheet, panel + l * line_elements, lanes, apart);
    }
  };
  const auto read_lines = [&](int64_t line, int64_t index, int64_t lines) {
    const int64_t from = offset + index * down;
    for (int64_t s = 0; s < cut.slots; ++s) {
      T* const at = to + line * line_elements + s * cut.slot * lanes;
      const int64_t first = piece.column * x.stride - x.padding + s * x.dilation % x.stride;
      for_each_stretch(
          p.padding_mode, x.input_size, first, x.stride, cut.slot,
          [&](int64_t column, int64_t i, int64_t columns) {
            read(lines, from + i * along, columns, columns > 1 ? along * x.stride : 1,
                 at + column * lanes);
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
  const int64_t channels = p.in_channels_per_group();
  const int64_t images = input.stride.in_channel == 1 ? std::max<int64_t>(channels, 1) : 1;
  for (int64_t r = 0; r < cut.rows_in; r += images) {
    const int64_t origin = r / channels + piece.n * input.stride.batch +
                           cut.first_group(block) * input.stride.group +
                           r % channels * input.stride.in_channel;
    for (int64_t t = 0; t < cut.outer_taps; ++t) {
      T* const image = to + (r * cut.outer_taps + t) * cut.image();
      int64_t offset = origin;
      if (outer_offset(piece, t, &offset)) {
        pack_images(piece, block, offset, images, image);
      } else {
        for (int64_t i = 0; i < images; ++i)
          std::fill_n(image + i * cut.outer_taps * cut.image(), cut.image(), T(0));
      }
    }
  }
}

template <typename T>
void Groups<T>::pack_window(const Window& window, int64_t block, int64_t offset, T* to) const {
  const int64_t along = input.stride.axis[p.axes - 1], down = line_step(input);
  offset +=
      cut.first_group(block) * input.stride.group + window.line * down + window.column * along;
  const Sheet sheet{input.at(offset),
                    groups_of(block),
                    input.stride.group,
                    window.lines,
                    down,
                    window.columns,
                    along};
  kernels<T>().to_lanes(input.store, sheet, to, window.columns * cut.lanes, cut.lanes);
}

// Calls f(k, sheet) for stretches of the products, from the k-th on, of row r = (co, part): for
// plane 1, those of the other part.
template <typename T>
template <typename F>
void Groups<T>::for_each_weight_run(int64_t block, int64_t r, const F& f) const {
  const Grid grid = weight_grid(p, weight.stride);
  const int64_t origin =
      cut.first_group(block) * weight.stride.group + r / cut.planes * weight.stride.out_channel;
  for_each_run(grid, 0, cut.depth, [&](const Run& run) {  // the "image" of a run is its plane
    const int64_t part = r % cut.planes ^ run.n;
    f(run.column, Sheet{weight.at(origin + part + grid.offset(run)), groups_of(block),
                        weight.stride.group, 1, 0, run.count, grid.stride[grid.axes - 1]});
  });
}

template <typename T>
void Groups<T>::pack_weights(int64_t block, int64_t r, int64_t rows, T* to) const {
  const int64_t step = rows * cut.lanes;
  for (int64_t i = 0; i < rows; ++i, to += cut.lanes) {
    for_each_weight_run(block, r + i, [&](int64_t k, const Sheet& sheet) {
      kernels<T>().to_lanes(weight.store, sheet, to + k * step, 0, step);
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
    for_each_weight_run(block, r + i, [&](int64_t k, const Sheet& sheet) {
      if (k < cut.depth / cut.planes)
        kernels<T>().from_lanes(weight.store, from + k * step, 0, step, Finish{}, sheet);
    });
}

template <typename T>
void Groups<T>::pack_bias(int64_t block, T* to) const {
  if (!operands.bias.data) return void(std::fill_n(to, cut.rows_out * cut.lanes, T(0)));
  const Reals bias(operands.bias, p.dtype);
  for (int64_t q = 0; q < cut.planes; ++q) {
    const int64_t offset = q + cut.first_group(block) * bias.stride.group;
    const Sheet sheet{bias.at(offset),
                      groups_of(block),
                      bias.stride.group,
                      1,
                      0,
                      p.out_channels_per_group(),
                      bias.stride.out_channel};
    kernels<T>().to_lanes(bias.store, sheet, to + q * cut.lanes, 0, cut.planes * cut.lanes);
  }
}

// Calls f(sheet, first, line, step) for all of a piece of the output, with the place of its vectors
// in [row][line][column][lane].
template <typename T>
template <typename F>
void Groups<T>::for_each_output_sheet(const Piece& piece, int64_t block, const F& f) const {
  const int64_t along = output.stride.axis[p.axes - 1], down = line_step(output);
  const int64_t line = piece.columns * cut.lanes, image = piece.lines * line;
  int64_t origin = piece.n * output.stride.batch + cut.first_group(block) * output.stride.group +
                   piece.line * down + piece.column * along;
  for (int a = 0; a < p.axes - 2; ++a) origin += piece.outer[a] * output.stride.axis[a];
  if (output.stride.out_channel == 1) {  // the channels of a group lie side by side
    for (int64_t l = 0; l < piece.lines; ++l)
      f(Sheet{output.at(origin + l * down), groups_of(block), output.stride.group, piece.columns,
              along, cut.rows_out, 1},
        l * line, cut.lanes, image);
    return;
  }
  for (int64_t r = 0; r < cut.rows_out; ++r) {
    const int64_t offset = origin + r % cut.planes + r / cut.planes * output.stride.out_channel;
    f(Sheet{output.at(offset), groups_of(block), output.stride.group, piece.lines, down,
            piece.columns, along},
      r * image, line, cut.lanes);
  }
}

template <typename T>
void Groups<T>::pack_output(const Piece& piece, int64_t block, T* to) const {
  for_each_output_sheet(piece, block,
                        [&](const Sheet& sheet, int64_t first, int64_t line, int64_t step) {
                          kernels<T>().to_lanes(output.store, sheet, to + first, line, step);
                        });
}

template <typename T>
void Groups<T>::store_output(const Piece& piece, int64_t block, const T* from) const {
  for_each_output_sheet(piece, block,
                        [&](const Sheet& sheet, int64_t first, int64_t line, int64_t step) {
                          kernels<T>().from_lanes(output.store, from + first, line, step,
                                                  Finish{operands.accumulate, p.activation}, sheet);
                        });
}

template <typename T>
int64_t Groups<T>::blocks_in_place() const {
  constexpr Store own = sizeof(T) == sizeof(double) ? Store::f64 : Store::f32;
  const Inside in = full(cut.column, 0, cut.column.output_size);
  const bool lies = input.store == own && input.stride.group == 1 && output.stride.group == 1 &&
                    cut.rows_out == 1 && !operands.accumulate;
  const bool few_at_border = cut.bare || 2 * (in.end - in.begin) >= cut.column.output_size;
  return lies && few_at_border ? p.groups / cut.lanes : 0;
}

template <typename T>
int64_t Groups<T>::meet(const Piece& piece, int64_t line, int64_t column, LaneTap* taps) const {
  const Axis &x = cut.column, &y = cut.line;
  const int64_t along = input.stride.axis[p.axes - 1], down = line_step(input);
  int64_t k = 0, met = 0;
  for (int64_t ci = 0; ci < cut.rows_in; ++ci)
    for (int64_t t = 0; t < cut.outer_taps; ++t) {
      int64_t origin = piece.n * input.stride.batch + ci * input.stride.in_channel;
      const bool seen = outer_offset(piece, t, &origin);
      for (int64_t h = 0; h < y.kernel_size; ++h) {
        const int64_t i =
            fold(p.padding_mode, line * y.stride - y.padding + h * y.dilation, y.input_size);
        for (int64_t w = 0; w < x.kernel_size; ++w, ++k) {
          const int64_t j =
              fold(p.padding_mode, column * x.stride - x.padding + w * x.dilation, x.input_size);
          if (seen && i >= 0 && j >= 0) taps[met++] = {origin + i * down + j * along, k};
        }
      }
    }
  return met;
}

template struct Groups<float>;
template struct Groups<double>;
template struct Groups<uint16_t>;
template struct Groups<uint32_t>;
template struct Groups<uint64_t>;

}  // namespace torchconv::lanes_detail
