#include "algo/indirect/parts.h"

namespace torchconv::indirect_detail {

Strip::Strip(int64_t lines_of_class, int64_t columns_of_line, int64_t row_step, int64_t lanes)
    : lines(lines_of_class), columns(columns_of_line), row(row_step) {
  per_line = ceil_div(columns, lanes);
  vectors = lines * per_line;
  const int64_t joined = ceil_div((lines - 1) * row + columns, lanes);
  if (joined < vectors) per_line = 0, vectors = joined;
}
int64_t Strip::start(int64_t v, int64_t lanes) const {
  return per_line == 0 ? v * lanes : v / per_line * row + v % per_line * lanes;
}
int64_t Strip::sums_row(int64_t lanes) const { return per_line == 0 ? row : per_line * lanes; }

ImageOfGroup pair_of(const Problem& p, int64_t pair, int64_t first) {
  const int64_t n = pair % p.batch;
  return {n, pair / p.batch, pair == first || n == 0};
}

}  // namespace torchconv::indirect_detail
