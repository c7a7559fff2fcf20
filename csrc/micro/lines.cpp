// The cut into places, and the packing of the lines that one sees.
#include "micro/lines.h"

#include "core/fold.h"

namespace torchconv {
namespace {

constexpr int64_t kMostColumns = 1024;
constexpr int64_t kBandsPerReach = 4;  // a band spans so many times the lines it shares with others

}  // namespace

LineAxes::LineAxes(const Problem& p) {
  column = p.axis[p.axes - 1];
  if (p.axes > 1) line = p.axis[p.axes - 2];
  for (int a = 0; a < p.axes - 2; ++a) {
    outer_taps *= p.axis[a].kernel_size;
    outer_positions *= p.axis[a].output_size;
  }
}

LinesPlan::LinesPlan(const Problem& p, int64_t lanes_of_one, int64_t channels_of_one,
                     int64_t real_bytes, int64_t lines_bytes, bool whole)
    : LineCuts(p), lanes(lanes_of_one) {
  planes = planes_of(p.dtype);
  channels = ceil_div(p.in_channels_per_group(), channels_of_one);
  images = planes * channels * outer_taps;
  column_blocks = ceil_div(column.output_size, kMostColumns);
  columns = column.output_size;
  if (column_blocks > 1) {
    columns = round_up(ceil_div(columns, column_blocks), lanes);
    column_blocks = ceil_div(column.output_size, columns);
  }
  spacing = whole ? 1 : column.stride;
  slots = std::min(spacing, column.kernel_size);
  slot = (columns - 1) * column_step() + 1 + (is_dense() ? reach(column) / spacing : 0);

  const double line_bytes = double(images) * double(slots) * double(slot) * double(real_bytes);
  const double room = double(lines_bytes) / std::max(line_bytes, 1.0) - double(reach(line));
  const double shared = kBandsPerReach * double(reach(line));
  set_band(int64_t(std::max(room, shared) / double(line.stride)));

  const int64_t common = std::gcd(line.stride, line.dilation);
  tap_step = line.stride / common;
  line_step = line.dilation / common;
  // Where no class has two rows or lines there is no step, and no product that might overflow.
  const bool has_rows = tap_step < line.kernel_size, has_lines = line_step < band;
  x_step = has_rows || has_lines ? line.stride * line_step : 0;
  weight_row = has_rows ? tap_step * column.kernel_size : 0;
}

void LinesPlan::set_band(int64_t most) {
  band = std::clamp<int64_t>(most, 1, line.output_size);
  bands = ceil_div(line.output_size, band);
  lines = (band - 1) * line.stride + reach(line) + 1;
}

Place LineCuts::place(const Problem& p, int64_t number) const {
  Place place;
  place.column = number % column_blocks * columns;
  place.columns = std::min(columns, column.output_size - place.column);
  number /= column_blocks;
  place.line = number % bands * band;
  place.lines = std::min(band, line.output_size - place.line);
  index_of(p, p.axes - 2, &Axis::output_size, number / bands, place.outer);
  return place;
}

void LinesPlan::fill_along(int64_t* along) const {
  for (int64_t t = 0; t < column.kernel_size; ++t) {
    const int64_t at = t * column.dilation;
    along[t] = is_dense() ? at % spacing * slot + at / spacing : t * slot;
  }
}

bool add_outer_tap(const Problem& p, const Reals& input, int64_t number, const int64_t* outer,
                   int64_t* offset) {
  int64_t tap[kMaxAxes];
  index_of(p, p.axes - 2, &Axis::kernel_size, number, tap);
  return add_outer(p, p.axes - 2, input, tap, outer, offset);
}

// `rows` lines of the input, `apart` from each other, from `offset` on, slot by slot; but for the
// zeros, which are there already.
template <typename T>
void PaddedLines<T>::pack_lines(const Place& place, int64_t offset, bool two, int64_t rows,
                                int64_t apart, T* to) const {
  const Axis& x = plan.column;
  const int64_t step = input.stride.axis[p.axes - 1];
  for (int64_t s = 0; s < plan.slots; ++s, to += plan.slot) {
    const int64_t first =
        place.column * x.stride - x.padding + (plan.is_dense() ? s : s * x.dilation);
    for_each_stretch(
        p.padding_mode, x.input_size, first, plan.spacing, plan.slot,
        [&](int64_t column, int64_t index, int64_t length) {
          const Lines lines{input.at(offset + index * step), rows, apart, length,
                            length > 1 ? step * plan.spacing : 1};
          if constexpr (kChannelsOf<T> > 1)
            kernels<T>().gather_pairs(
                lines, two ? input.at(offset + index * step + input.stride.in_channel) : nullptr,
                to + column, plan.line_length());
          else
            kernels<T>().gather(input.store, lines, to + column, plan.line_length());
        },
        [](int64_t, int64_t) {});
  }
}

// The lines that a place sees of one image of a channel.
template <typename T>
void PaddedLines<T>::pack_image(const Place& place, int64_t offset, bool two, T* to) const {
  const int64_t first = place.line * plan.line.stride - plan.line.padding;
  const int64_t count = (place.lines - 1) * plan.line.stride + plan.reach(plan.line) + 1;
  const int64_t apart = line_step(p, input);
  for (int64_t l = 0; l < count;) {
    const int64_t i = fold(p.padding_mode, first + l, plan.line.input_size);
    // Lines inside the image go together; a folded one goes alone, one of zeros is there already.
    const bool is_inside = i >= 0 && i == first + l;
    const int64_t some = is_inside ? std::min(plan.line.input_size - i, count - l) : 1;
    if (i >= 0)
      pack_lines(place, offset + i * apart, two, some, apart, to + l * plan.line_length());
    l += some;
  }
}

template <typename T>
void PaddedLines<T>::pack(const Place& place, int64_t n, int64_t g, T* lines) const {
  const int64_t last = p.in_channels_per_group() - 1;
  for (int64_t plane = 0; plane < plan.planes; ++plane)
    for (int64_t ci = 0; ci <= last; ci += kChannelsOf<T>)
      for (int64_t t = 0; t < plan.outer_taps; ++t, lines += plan.image_elements()) {
        int64_t offset =
            plane + n * input.stride.batch + g * input.stride.group + ci * input.stride.in_channel;
        if (meets(place, t, &offset))
          pack_image(place, offset, kChannelsOf<T> > 1 && ci < last, lines);
      }
}

void pack_weights(const Reals& weight, const Grid& grid, int64_t channels, int64_t g, int64_t co,
                  int64_t rows, BFloat16Pair* to, int64_t to_row, int64_t step) {
  const int64_t taps = grid.per_image / std::max<int64_t>(channels, 1);
  const int64_t first = g * weight.stride.group + co * weight.stride.out_channel;
  for (int64_t ci = 0; ci < channels; ++ci)
    for_each_run(grid, ci * taps, taps, [&](const Run& run) {
      const Lines lines{weight.at(first + grid.offset(run)), rows, weight.stride.out_channel,
                        run.count, grid.stride[grid.axes - 1]};
      BFloat16* const at = to[(ci / 2 * taps + run.column) * step].number + ci % 2;
      kernels<BFloat16>().interleave(weight.store, lines, 1, at, 2 * to_row, 2 * step);
    });
}

template struct PaddedLines<float>;
template struct PaddedLines<double>;
template struct PaddedLines<uint16_t>;
template struct PaddedLines<uint32_t>;
template struct PaddedLines<uint64_t>;
template struct PaddedLines<BFloat16Pair>;

}  // namespace torchconv
