#include "algo/lanes/planes.h"

namespace torchconv::lanes_detail {
namespace {

// The indices [begin, end) of an axis that outputs [first, first + count) see.
Inside seen_by(const Axis& x, int64_t first, int64_t count) {
  const int64_t low = first * x.stride - x.padding;
  const int64_t high = low + (count - 1) * x.stride + (x.kernel_size - 1) * x.dilation;
  const int64_t begin = std::clamp<int64_t>(low, 0, x.input_size);
  return {begin, std::clamp<int64_t>(high + 1, begin, x.input_size)};
}

}  // namespace

Window all_of(const Cut& cut) { return {0, cut.line.input_size, 0, cut.column.input_size}; }

Window window_of(const Cut& cut, const Piece& piece) {
  const Inside lines = seen_by(cut.line, piece.line, piece.lines);
  const Inside columns = seen_by(cut.column, piece.column, piece.columns);
  return {lines.begin, lines.end - lines.begin, columns.begin, columns.end - columns.begin};
}

// Without a division where all do, as most lines.
Inside rows_inside(const Axis& x, int64_t first) {
  const int64_t last = first + (x.kernel_size - 1) * x.dilation;
  if (first >= 0 && last < x.input_size) return {0, x.kernel_size};
  return inside(x.input_size, first, x.dilation, x.kernel_size);
}

}  // namespace torchconv::lanes_detail
