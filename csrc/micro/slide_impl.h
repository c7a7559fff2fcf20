// Taps that slide over lines, forward and by weight, compiled once per target: see kernels.h.
//
// Both loops live on one thing: a vector of the input, once loaded, serves every (output line, row
// of taps) pair that meets in its line. Loads at odd addresses cost two cycles of a load port where
// a product costs one of an FMA port, so each load should serve two products or more.

// Output lines by vectors of one tile of sums. More lines share more loads; eight sums or more hide
// the FMAs' latency. Taps of one row meet no line twice: there, all sums go to one long line.
template <int vectors>
constexpr int kSlideLines = vectors > 4                    ? 1
                            : TORCHCONV_VECTOR_BYTES == 64 ? vectors > 1 ? 4 : 8
                            : vectors == 4                 ? 2
                            : vectors == 3                 ? 3
                            : vectors == 2                 ? 4
                                                           : 8;

// The products of the taps' row that output line `first` meets in one line of the input, and of the
// rows before it for the lines up to `last`.
template <typename T, int first, int last, int lines, int vectors>
inline __attribute__((always_inline)) void slide_line(const Taps& taps, const T* weight, const T* x,
                                                      Vec<T> (&sum)[lines][vectors]) {
  for (int64_t t = 0; t < taps.columns; ++t) {
    const T* at = x + taps.along[t];
    Vec<T> v[vectors];
#pragma GCC unroll 8
    for (int i = 0; i < vectors; ++i) v[i] = load(at + i * kLanes<T>);
    const T* w = weight + t;
#pragma GCC unroll 8
    for (int r = first; r <= last; ++r, w -= taps.weight_row)
#pragma GCC unroll 8
      for (int i = 0; i < vectors; ++i) sum[r][i] += v[i] * *w;
  }
}

constexpr int kFewRows = 4;  // of taps, whose way past the lines is written out

// `rows` rows of taps past `lines` lines, each at its place: line l of the input meets the rows
// l, l - 1, ..., as far as there are such.
template <typename T, int rows, int l = 0, int lines, int vectors>
inline __attribute__((always_inline)) void slide_few(const Taps& taps, const T* weight, const T* x,
                                                     int64_t x_row, Vec<T> (&sum)[lines][vectors]) {
  constexpr int first = l < rows ? 0 : l - rows + 1, last = l < lines ? l : lines - 1;
  slide_line<T, first, last>(taps, weight + (l - first) * taps.weight_row, x + l * x_row, sum);
  if constexpr (l + 1 < rows + lines - 1) slide_few<T, rows, l + 1>(taps, weight, x, x_row, sum);
}

// More rows of taps than lines: all of the lines meet in the middle.
template <typename T, int l = 0, int lines, int vectors>
inline __attribute__((always_inline)) void slide_many(const Taps& taps, int64_t rows,
                                                      const T* weight, const T* x, int64_t x_row,
                                                      Vec<T> (&sum)[lines][vectors]) {
  if constexpr (l + 1 < lines) {
    slide_line<T, 0, l>(taps, weight + l * taps.weight_row, x + l * x_row, sum);
    slide_many<T, l + 1>(taps, rows, weight, x, x_row, sum);
    slide_line<T, l + 1, lines - 1>(taps, weight + (rows - 1) * taps.weight_row,
                                    x + (rows + l) * x_row, sum);
  } else {
    for (int64_t h = l; h < rows; ++h)
      slide_line<T, 0, l>(taps, weight + h * taps.weight_row, x + h * x_row, sum);
  }
}

// As many as can go together of `left` rows of taps; says how many.
template <typename T, int rows, int lines, int vectors>
inline __attribute__((always_inline)) int64_t slide_some(const Taps& taps, int64_t left,
                                                         const T* weight, const T* x, int64_t x_row,
                                                         Vec<T> (&sum)[lines][vectors]) {
  if constexpr (rows == lines) {
    slide_many<T>(taps, left, weight, x, x_row, sum);
    return left;
  } else {
    if (left == rows || (rows == kFewRows && left < lines)) {
      slide_few<T, rows>(taps, weight, x, x_row, sum);
      return rows;
    }
    return slide_some<T, rows == kFewRows ? lines : rows + 1>(taps, left, weight, x, x_row, sum);
  }
}

template <typename T, int vectors, int lines>
void slide_tile(const Taps& taps, const T* weight, const T* x, int64_t x_row, T start,
                int64_t count, T* y, int64_t y_row) {
  constexpr int lanes = kLanes<T>;
  Vec<T> sum[lines][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < lines; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < vectors; ++i) sum[r][i] = splat<T>(start);
  for (const TapRows* rows = taps.classes; rows < taps.classes + taps.count; ++rows) {
    const T* w = weight + rows->weight;
    const T* line = x + rows->offset;
    for (int64_t left = rows->rows; left > 0;) {
      const int64_t some = slide_some<T, 1>(taps, left, w, line, x_row, sum);
      left -= some;
      w += some * taps.weight_row;
      line += some * x_row;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < lines; ++r, y += y_row) {
#pragma GCC unroll 8
    for (int i = 0; i + 1 < vectors; ++i) store(y + i * lanes, sum[r][i]);
    T* const end = y + (vectors - 1) * lanes;
    if (count >= vectors * lanes)
      store(end, sum[r][vectors - 1]);
    else
      store_part<T, T>(end, sum[r][vectors - 1], count - (vectors - 1) * lanes);
  }
}

template <typename T, int vectors, int lines = kSlideLines<vectors>>
void slide_lines(const Taps& taps, const T* weight, const T* x, int64_t x_row, T start,
                 int64_t rows, int64_t count, T* y, int64_t y_row) {
  for (; rows >= lines; rows -= lines, x += lines * x_row, y += lines * y_row)
    slide_tile<T, vectors, lines>(taps, weight, x, x_row, start, count, y, y_row);
  if constexpr (lines > 1)
    slide_lines<T, vectors, lines / 2>(taps, weight, x, x_row, start, rows, count, y, y_row);
}

template <typename T>
void slide(const Taps& taps, const T* weight, const T* x, int64_t x_row, T start, int64_t rows,
           int64_t count, T* y, int64_t y_row) {
  constexpr int lanes = kLanes<T>;
  bool meets_once = true;
  for (int64_t c = 0; c < taps.count; ++c) meets_once &= taps.classes[c].rows == 1;
  while (count > 0) {
    const int64_t left = (count + lanes - 1) / lanes;
    const int64_t vectors = left >= 8 && meets_once  ? 8
                            : left >= 4 && left != 5 ? 4
                            : left >= 3              ? 3
                                                     : left;
    (vectors == 8   ? slide_lines<T, 8>
     : vectors == 4 ? slide_lines<T, 4>
     : vectors == 3 ? slide_lines<T, 3>
     : vectors == 2 ? slide_lines<T, 2>
                    : slide_lines<T, 1>)(taps, weight, x, x_row, start, rows, count, y, y_row);
    x += vectors * lanes;
    y += vectors * lanes;
    count -= vectors * lanes;
  }
}

// By weight, a block of rows x columns of taps has one vector of sums each. Of the registers, these
// take 24 or 12, the lines of the output that meet one line of the input and that line the rest.
constexpr int kTapColumns = TORCHCONV_VECTOR_BYTES == 64 ? 8 : 5;
constexpr int tap_rows(int columns) {
  const int most = TORCHCONV_VECTOR_BYTES == 64 ? 4 : 3;
  const int fit = (TORCHCONV_VECTOR_BYTES == 64 ? 24 : 11) / columns;
  return fit < most ? fit : most;
}

// One strip of `vectors` vectors, down all lines; in the last one only the first `left` lanes of
// output and input exist. An input beyond them may be a NaN, which a zero would not undo.
template <typename T, bool is_part, int rows, int columns, int vectors, int sums>
inline void meet_strip(int64_t lines, int64_t left, const T* y, int64_t y_row, const T* x,
                       int64_t x_row, const int64_t* along, Vec<T> (&sum)[sums][rows][columns]) {
  constexpr int lanes = kLanes<T>;
  T number[lanes];
  for (int k = 0; k < lanes; ++k) number[k] = T(k);
  const auto exists = load(number) < splat<T>(T(left));
  Vec<T> output[rows][vectors] = {};  // the lines that meet the input's, the latest first
  const auto meet = [&](int64_t l, auto all) {
#pragma GCC unroll 4
    for (int h = rows - 1; h > 0; --h)
#pragma GCC unroll 8
      for (int i = 0; i < vectors; ++i) output[h][i] = output[h - 1][i];
    if (all || l < lines) {
#pragma GCC unroll 8
      for (int i = 0; i < vectors; ++i)
        output[0][i] =
            is_part ? load_part<T, T>(y + l * y_row, left) : load(y + l * y_row + i * lanes);
    }
#pragma GCC unroll 8
    for (int t = 0; t < columns; ++t)
#pragma GCC unroll 8
      for (int i = 0; i < vectors; ++i) {
        Vec<T> input = load_once(x + along[t] + i * lanes);
        if (is_part) input = (Vec<T>)((decltype(exists))input & exists);
#pragma GCC unroll 4
        for (int h = 0; h < rows; ++h)
          if (all || (l - h >= 0 && l - h < lines)) sum[i][h][t] += output[h][i] * input;
      }
  };
  int64_t l = 0;
  for (; l < rows - 1; ++l, x += x_row) meet(l, False{});
  for (; l < lines; ++l, x += x_row) meet(l, True{});
  for (; l < lines + rows - 1; ++l, x += x_row) meet(l, False{});
}

template <typename T, int rows, int columns>
void meet(int64_t lines, int64_t count, const T* y, int64_t y_row, const T* x, int64_t x_row,
          const int64_t* along, T* sums, int64_t sums_row) {
  constexpr int lanes = kLanes<T>;
  constexpr int vectors = rows * columns >= 6 ? 1 : rows * columns >= 3 ? 2 : 4;
  Vec<T> sum[vectors][rows][columns] = {};
  int64_t j = 0;
  for (; j + vectors * lanes <= count; j += vectors * lanes)
    meet_strip<T, false, rows, columns, vectors>(lines, 0, y + j, y_row, x + j, x_row, along, sum);
  for (; j + lanes <= count; j += lanes)
    meet_strip<T, false, rows, columns, 1>(lines, 0, y + j, y_row, x + j, x_row, along, sum);
  if (j < count)
    meet_strip<T, true, rows, columns, 1>(lines, count - j, y + j, y_row, x + j, x_row, along, sum);
#pragma GCC unroll 4
  for (int h = 0; h < rows; ++h)
#pragma GCC unroll 8
    for (int t = 0; t < columns; ++t) {
#pragma GCC unroll 4
      for (int i = 1; i < vectors; ++i) sum[0][h][t] += sum[i][h][t];
      T* const to = sums + (h * sums_row + t) * lanes;
      store(to, load(to) + sum[0][h][t]);
    }
}

template <typename T>
void add_lanes(int64_t count, const T* sums, T* to) {
  constexpr int lanes = kLanes<T>;
  for (int64_t k = 0; k < count; k += lanes) {
    Vec<T> v[lanes];
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) v[i] = load(sums + (k + i) * lanes);
    sum_each<T, lanes>(v, to + k);
  }
}

template <typename T, int columns, int rows = tap_rows(columns)>
void fill_meet(Kernels<T>* table) {
  table->meet[rows - 1][columns - 1] = meet<T, rows, columns>;
  table->tap_rows[columns - 1] = tap_rows(columns);
  if constexpr (rows > 1)
    fill_meet<T, columns, rows - 1>(table);
  else if constexpr (columns > 1)
    fill_meet<T, columns - 1>(table);
}
