#include "algo/lanes/cut.h"

#include <algorithm>
#include <numeric>

#include "core/arithmetic.h"
#include "micro/pack.h"

namespace torchconv::lanes_detail {

bool is_bare(const Problem& p) {
  for (int a = 0; a < p.axes; ++a)
    if (std::max(p.axis[a].stride, p.axis[a].dilation) > kMostStep) return false;
  return p.result == Result::output && p.padding_mode == PaddingMode::zeros &&
         !is_complex(p.dtype) && is_depthwise(p) && p.taps() * p.input_positions() > 0;
}

Cut::Cut(const Problem& p, int64_t vector_lanes, int64_t real_bytes) : LineCuts(p) {
  bare = is_bare(p);
  lanes = vector_lanes;
  blocks = ceil_div(p.groups, lanes);
  planes = planes_of(p.dtype);
  rows_in = planes * p.in_channels_per_group();
  rows_out = planes * p.out_channels_per_group();
  depth = rows_in * p.taps();
  classes = column.stride / std::gcd(column.stride, column.dilation);
  slots = bare ? 1 : std::min(classes, column.kernel_size);
  choose_piece(double(lanes * real_bytes));
  column_blocks = ceil_div(column.output_size, columns);
  bands = ceil_div(line.output_size, band);
  lines = (band - 1) * line.stride + reach(line) + 1;
  if (bare) lines = std::min(lines, line.input_size);
  images = p.batch * outer_positions;
  pieces = p.batch * places();
}

double Cut::vectors_of_line() const {
  return double(rows_in * outer_taps) * double(slots) * double(slot);
}

// Halves the columns until a band of a few lines fits, so that not every line of the input is
// packed again for each line of the output; but not below what makes a full tile.
void Cut::choose_piece(double vector_bytes) {
  const int64_t enough = std::min(line.output_size, reach(line) + 1);
  for (columns = std::max<int64_t>(column.output_size, 1);; columns = ceil_div(columns, 2)) {
    slot = bare ? std::min((columns - 1) * column.stride + reach(column) + 1, column.input_size)
                : columns + reach(column) / column.stride;
    const double line_bytes = vectors_of_line() * vector_bytes;
    const double output_bytes = double(rows_out * columns) * vector_bytes;
    const double room = kPieceBytes - line_bytes * double(reach(line) + 1 - line.stride);
    const double fitting = room / (line_bytes * double(line.stride) + output_bytes);
    band = int64_t(std::clamp(fitting, 1.0, double(std::max<int64_t>(line.output_size, 1))));
    if ((fitting >= 1 && band >= enough) || columns <= kFewestColumns) return;
  }
}

double Cut::piece_bytes(int64_t real_bytes) const {
  const double input = vectors_of_line() * double(lines);
  const double output = double(rows_out * columns) * double(band);
  return (input + output) * double(lanes * real_bytes);
}

Piece Cut::piece(const Problem& p, int64_t number) const {
  return {place(p, number % places()), number / places()};
}

void Cut::fill_taps(LaneTap* taps) const {
  int64_t k = 0;
  for (int64_t image = 0; image < rows_in * outer_taps; ++image)
    for (int64_t h = 0; h < line.kernel_size; ++h)
      for (int64_t t = 0; t < column.kernel_size; ++t) {
        const int64_t at = t % classes * slot + t * column.dilation / column.stride;
        taps[k] = {((image * lines + h * line.dilation) * line_length() + at) * lanes, k};
        ++k;
      }
}

LaneMap Cut::map(const Piece& piece) const {
  LaneMap map;
  map.lines = piece.lines;
  map.columns = piece.columns;
  // A huge stride has one line, and no product.
  map.x_line = piece.lines > 1 ? line.stride * line_length() * lanes : int64_t(0);
  map.x_column = map.y_column = lanes;
  map.y_line = piece.columns * lanes;
  map.y_image = piece.lines * map.y_line;
  return map;
}

int64_t Cut::at_once(int64_t real_bytes) const {
  const int64_t bytes = std::max<int64_t>(weight_elements() * real_bytes, 1);
  return std::clamp<int64_t>(kAtOnceBytes / bytes, 1, blocks);
}

Cut Cut::in_place(int64_t real_bytes) const {
  Cut cut = *this;
  cut.columns = column.output_size;
  cut.column_blocks = 1;
  const double vectors = double(rows_in * outer_taps) * double(column.input_size) +
                         double(rows_out) * double(column.output_size);
  const double bytes = vectors * double(at_once(real_bytes) * lanes * real_bytes);
  const double most = double(std::max<int64_t>(line.output_size, 1));
  cut.band = int64_t(std::clamp(kBandBytes / std::max(bytes, 1.0), 1.0, most));
  cut.bands = ceil_div(line.output_size, cut.band);
  cut.pieces = images * cut.bands;
  return cut;
}

}  // namespace torchconv::lanes_detail
