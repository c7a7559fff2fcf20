// Vectors whose lanes are groups: no product crosses lanes, so nothing is ever summed across them.
// See kernels.h for what each function promises.
//
// Included once per target by kernels_impl.h, inside its namespace.

// Rows of outputs, and columns (slide) or taps (dot) of one tile: enough sums to hide the FMAs'
// latency (two ports of four cycles), few enough for the registers; and of a dot tile, a pointer a
// tap.
constexpr bool kManyRegisters = TORCHCONV_VECTOR_BYTES == 64;
constexpr int kLaneRows = kManyRegisters ? 4 : 2;
constexpr int slide_columns(int rows) {
  return kManyRegisters ? (rows == 1 ? 14 : rows <= 3 ? 8 : 6) : (rows == 1 ? 8 : 6);
}
constexpr int dot_taps(int rows) { return rows == 1 ? 9 : kManyRegisters && rows <= 3 ? 8 : 6; }

template <typename T, int rows, int columns>
void lanes_slide_tile(int64_t depth, const T* weight, const int64_t* offset, const T* x,
                      const T* start, T* y, int64_t y_image) {
  constexpr int lanes = kLanes<T>;
  Vec<T> sum[rows][columns];
#pragma GCC unroll 4
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 16
    for (int j = 0; j < columns; ++j) sum[i][j] = load(start + i * lanes);
  for (int64_t k = 0; k < depth; ++k, weight += rows * lanes) {
    const T* at = x + offset[k];
    Vec<T> w[rows];
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) w[i] = load(weight + i * lanes);
#pragma GCC unroll 16
    for (int j = 0; j < columns; ++j) {
      const Vec<T> v = load(at + j * lanes);
#pragma GCC unroll 4
      for (int i = 0; i < rows; ++i) sum[i][j] += v * w[i];
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 16
    for (int j = 0; j < columns; ++j) store(y + i * y_image + j * lanes, sum[i][j]);
}

template <typename T, int rows, int... k>
void lanes_slide_rows(int64_t depth, const T* weight, const int64_t* offset, const T* x,
                      int64_t x_row, const T* start, int64_t lines, int64_t columns, T* y,
                      int64_t y_image, Lanes<k...>) {
  using Tile = void (*)(int64_t, const T*, const int64_t*, const T*, const T*, T*, int64_t);
  constexpr Tile tile[] = {lanes_slide_tile<T, rows, k + 1>...};
  constexpr int widest = sizeof...(k);
  const int64_t tiles = (columns + widest - 1) / widest;
  for (int64_t l = 0; l < lines; ++l, x += x_row, y += columns * kLanes<T>)
    for (int64_t b = 0, j = 0; b < tiles; ++b) {
      const int64_t next = columns * (b + 1) / tiles;  // tiles of nearly the same width
      tile[next - j - 1](depth, weight, offset, x + j * kLanes<T>, start, y + j * kLanes<T>,
                         y_image);
      j = next;
    }
}
template <typename T, int rows>
void lanes_slide(int64_t depth, const T* weight, const int64_t* offset, const T* x, int64_t x_row,
                 const T* start, int64_t lines, int64_t columns, T* y, int64_t y_image) {
  lanes_slide_rows<T, rows>(depth, weight, offset, x, x_row, start, lines, columns, y, y_image,
                            typename CountLanes<slide_columns(rows)>::Type{});
}

// Where a tile has few sums, `ways` columns go at once, into sums of their own.
template <typename T, int rows, int taps>
void lanes_dot_tile(const int64_t* offset, const T* x, int64_t x_row, const T* y, int64_t y_image,
                    int64_t lines, int64_t columns, T* sums) {
  constexpr int lanes = kLanes<T>;
  constexpr int ways = rows * taps > 4 ? 1 : rows * taps > 2 ? 2 : 4;
  Vec<T> sum[ways][rows][taps] = {};
  const auto add = [&](Vec<T>(&to)[rows][taps], int64_t at) {
    Vec<T> out[rows];
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) out[i] = load(y + i * y_image + at);
#pragma GCC unroll 16
    for (int t = 0; t < taps; ++t) {
      const Vec<T> v = load(x + offset[t] + at);
#pragma GCC unroll 4
      for (int i = 0; i < rows; ++i) to[i][t] += v * out[i];
    }
  };
  for (int64_t l = 0; l < lines; ++l, x += x_row, y += columns * lanes) {
    int64_t j = 0;
    for (; j + ways <= columns; j += ways)
#pragma GCC unroll 4
      for (int way = 0; way < ways; ++way) add(sum[way], (j + way) * lanes);
    for (; j < columns; ++j) add(sum[0], j * lanes);
  }
#pragma GCC unroll 16
  for (int t = 0; t < taps; ++t)
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
      for (int way = 1; way < ways; ++way) sum[0][i][t] += sum[way][i][t];
      T* const at = sums + (t * rows + i) * lanes;
      store(at, load(at) + sum[0][i][t]);
    }
}

template <typename T, int rows, int... k>
void lanes_dot_rows(int64_t depth, const int64_t* offset, const T* x, int64_t x_row, const T* y,
                    int64_t y_image, int64_t lines, int64_t columns, T* sums, Lanes<k...>) {
  using Tile = void (*)(const int64_t*, const T*, int64_t, const T*, int64_t, int64_t, int64_t, T*);
  constexpr Tile tile[] = {lanes_dot_tile<T, rows, k + 1>...};
  constexpr int widest = sizeof...(k);
  const int64_t tiles = (depth + widest - 1) / widest;
  for (int64_t b = 0, first = 0; b < tiles; ++b) {
    const int64_t next = depth * (b + 1) / tiles;
    tile[next - first - 1](offset + first, x, x_row, y, y_image, lines, columns,
                           sums + first * rows * kLanes<T>);
    first = next;
  }
}
template <typename T, int rows>
void lanes_dot(int64_t depth, const int64_t* offset, const T* x, int64_t x_row, const T* y,
               int64_t y_image, int64_t lines, int64_t columns, T* sums) {
  lanes_dot_rows<T, rows>(depth, offset, x, x_row, y, y_image, lines, columns, sums,
                          typename CountLanes<dot_taps(rows)>::Type{});
}

// Lines of which a vector is turned at once are at least this long; shorter ones go by elements.
template <typename T>
constexpr int64_t kShortest = (kLanes<T> + 3) / 4;

// `count` (up to a vector) elements of each of `rows` lines, as vectors of one element of each.
template <typename T, typename Stored>
void turn_to_lanes(const Stored* line, const Lines& from, int64_t count, Vec<T>* v) {
  constexpr int lanes = kLanes<T>;
#pragma GCC unroll 16
  for (int r = 0; r < lanes; ++r) {
    if (r >= from.rows)
      v[r] = Vec<T>{};
    else if (count < lanes)
      v[r] = load_part<T, Stored>(line + r * from.row, count);
    else
      v[r] = from.step == 1 ? load_full(line + r * from.row) : load_even<T>(line + r * from.row);
  }
  zip_all<T, lanes>(v);
}

template <typename T, typename Stored>
void to_lanes_as(const Lines& from, int64_t columns, T* to, int64_t to_step, int64_t to_row) {
  constexpr int lanes = kLanes<T>;
  const Stored* line = static_cast<const Stored*>(from.data);
  int64_t column = 0;
  const auto put = [&](Vec<T> v) {
    store(to + column * to_step, v);
    if (++column == columns) column = 0, to += to_row;
  };
  int64_t k = 0;
  if (from.row == 1) {  // the lanes lie side by side
    for (; k < from.count; ++k, line += from.step)
      put(from.rows == lanes ? load_full(line) : load_part<T, Stored>(line, from.rows));
    return;
  }
  if (from.step == 1 || from.step == 2)
    for (int64_t left; (left = from.count - k) >= kShortest<T>; k += lanes) {
      if (left < lanes && from.step == 2) break;
      Vec<T> v[lanes];
      turn_to_lanes<T, Stored>(line + k * from.step, from, left, v);
      for (int j = 0; j < lanes && j < left; ++j) put(v[j]);
    }
  for (; k < from.count; ++k) {
    T lane[lanes] = {};
    for (int64_t r = 0; r < from.rows; ++r) lane[r] = widen(line[r * from.row + k * from.step]);
    put(load(lane));
  }
}

template <typename T, typename Stored>
void from_lanes_as(const T* from, int64_t from_step, bool add, const Lines& to) {
  constexpr int lanes = kLanes<T>;
  Stored* line = static_cast<Stored*>(to.data);
  int64_t k = 0;
  if (to.row == 1) {
    for (; k < to.count; ++k, from += from_step, line += to.step) {
      Vec<T> v = load(from);
      if (add) v += load_part<T, Stored>(line, to.rows);
      if (to.rows == lanes)
        store_full(line, v);
      else
        store_part<T, Stored>(line, v, to.rows);
    }
    return;
  }
  if (to.step == 1)
    for (int64_t left; (left = to.count - k) >= kShortest<T>;
         k += lanes, from += lanes * from_step) {
      Vec<T> v[lanes];
#pragma GCC unroll 16
      for (int j = 0; j < lanes; ++j) v[j] = j < left ? load(from + j * from_step) : Vec<T>{};
      zip_all<T, lanes>(v);
#pragma GCC unroll 16
      for (int r = 0; r < lanes; ++r) {
        if (r >= to.rows) break;
        Stored* const at = line + r * to.row + k;
        const Stored* const old = at;
        if (add) v[r] += left < lanes ? load_part<T, Stored>(old, left) : load_full(old);
        if (left < lanes)
          store_part<T, Stored>(at, v[r], left);
        else
          store_full(at, v[r]);
      }
    }
  for (; k < to.count; ++k, from += from_step)
    for (int64_t r = 0; r < to.rows; ++r) {
      Stored* const at = line + r * to.row + k * to.step;
      narrow(add ? widen(*at) + from[r] : from[r], at);
    }
}
