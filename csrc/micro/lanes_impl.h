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

// A tile of `columns` outputs: the second half of them lies x_half and y_half further on, which may
// be on the next line.
template <typename T, int rows, int columns>
void lanes_slide_tile(int64_t depth, const LaneTap* tap, const LaneMap& map, int64_t x_half,
                      int64_t y_half, const T* weight, const T* start, const T* x, T* y) {
  constexpr int lanes = kLanes<T>, middle = (columns + 1) / 2;
  const int64_t step = map.x_column;
  Vec<T> sum[rows][columns];
#pragma GCC unroll 4
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 16
    for (int j = 0; j < columns; ++j) sum[i][j] = load(start + i * lanes);
  for (int64_t k = 0; k < depth; ++k) {
    const T* at = x + tap[k].x;
    const T* further = at + x_half;
    Vec<T> w[rows];
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) w[i] = load(weight + (tap[k].k * rows + i) * lanes);
#pragma GCC unroll 16
    for (int j = 0; j < columns; ++j) {
      const Vec<T> v = load(j < middle ? at + j * step : further + (j - middle) * step);
#pragma GCC unroll 4
      for (int i = 0; i < rows; ++i) sum[i][j] += v * w[i];
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 16
    for (int j = 0; j < columns; ++j) {
      T* const line = j < middle ? y : y + y_half;
      store(line + i * map.y_image + (j < middle ? j : j - middle) * map.y_column, sum[i][j]);
    }
}

// Two lines at once where a tile has room for them, else a line in tiles of nearly the same width.
template <typename T, int rows, int... k>
void lanes_slide_rows(int64_t depth, const LaneTap* taps, const LaneMap& map, const T* weight,
                      const T* start, const T* x, T* y, Lanes<k...>) {
  using Tile = void (*)(int64_t, const LaneTap*, const LaneMap&, int64_t, int64_t, const T*,
                        const T*, const T*, T*);
  constexpr Tile tile[] = {lanes_slide_tile<T, rows, k + 1>...};
  constexpr int widest = sizeof...(k);
  int64_t lines = map.lines;
  if (2 * map.columns <= widest)
    for (; lines >= 2; lines -= 2, x += 2 * map.x_line, y += 2 * map.y_line)
      tile[2 * map.columns - 1](depth, taps, map, map.x_line, map.y_line, weight, start, x, y);
  const int64_t tiles = (map.columns + widest - 1) / widest;
  for (; lines > 0; --lines, x += map.x_line, y += map.y_line)
    for (int64_t b = 0, j = 0, next; b < tiles; ++b, j = next) {
      next = map.columns * (b + 1) / tiles;
      const int64_t half = (next - j + 1) / 2;
      tile[next - j - 1](depth, taps, map, half * map.x_column, half * map.y_column, weight, start,
                         x + j * map.x_column, y + j * map.y_column);
    }
}
template <typename T, int rows>
void lanes_slide(int64_t depth, const LaneTap* taps, const LaneMap& map, const T* weight,
                 const T* start, const T* x, T* y) {
  lanes_slide_rows<T, rows>(depth, taps, map, weight, start, x, y,
                            typename CountLanes<slide_columns(rows)>::Type{});
}

// Where a tile has few sums, `ways` columns go at once, into sums of their own.
template <typename T, int rows, int taps>
void lanes_dot_tile(const LaneTap* tap, const LaneMap& map, const T* x, const T* y, T* sums) {
  constexpr int lanes = kLanes<T>;
  constexpr int ways = rows * taps > 4 ? 1 : rows * taps > 2 ? 2 : 4;
  Vec<T> sum[ways][rows][taps] = {};
  const auto add = [&](Vec<T>(&to)[rows][taps], int64_t column) {
    Vec<T> out[rows];
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) out[i] = load(y + i * map.y_image + column * map.y_column);
#pragma GCC unroll 16
    for (int t = 0; t < taps; ++t) {
      const Vec<T> v = load(x + tap[t].x + column * map.x_column);
#pragma GCC unroll 4
      for (int i = 0; i < rows; ++i) to[i][t] += v * out[i];
    }
  };
  for (int64_t l = 0; l < map.lines; ++l, x += map.x_line, y += map.y_line) {
    int64_t j = 0;
    for (; j + ways <= map.columns; j += ways)
#pragma GCC unroll 4
      for (int way = 0; way < ways; ++way) add(sum[way], j + way);
    for (; j < map.columns; ++j) add(sum[0], j);
  }
#pragma GCC unroll 16
  for (int t = 0; t < taps; ++t)
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 4
      for (int way = 1; way < ways; ++way) sum[0][i][t] += sum[way][i][t];
      T* const at = sums + (tap[t].k * rows + i) * lanes;
      store(at, load(at) + sum[0][i][t]);
    }
}

template <typename T, int rows, int... k>
void lanes_dot_rows(int64_t depth, const LaneTap* taps, const LaneMap& map, const T* x, const T* y,
                    T* sums, Lanes<k...>) {
  using Tile = void (*)(const LaneTap*, const LaneMap&, const T*, const T*, T*);
  constexpr Tile tile[] = {lanes_dot_tile<T, rows, k + 1>...};
  constexpr int widest = sizeof...(k);
  const int64_t tiles = (depth + widest - 1) / widest;
  for (int64_t b = 0, first = 0; b < tiles; ++b) {
    const int64_t next = depth * (b + 1) / tiles;
    tile[next - first - 1](taps + first, map, x, y, sums);
    first = next;
  }
}
template <typename T, int rows>
void lanes_dot(int64_t depth, const LaneTap* taps, const LaneMap& map, const T* x, const T* y,
               T* sums) {
  lanes_dot_rows<T, rows>(depth, taps, map, x, y, sums,
                          typename CountLanes<dot_taps(rows)>::Type{});
}

// Of shorter lines no vector is turned; they go element by element.
template <typename T>
constexpr int64_t kShortest = (kLanes<T> + 3) / 4;

// Whether the lines of a sheet lie end to end.
inline bool is_joined(const Sheet& s) { return s.line == s.count * s.step; }
// A sheet of single vectors as one line of them; *panel_step, between its vectors, follows.
inline Sheet as_line(Sheet s, int64_t panel_line, int64_t* panel_step) {
  if (s.count > 1) return s;
  *panel_step = panel_line;
  return {s.data, s.lanes, s.lane, 1, 0, s.lines, s.line};
}

// The places of a panel's vectors, line by line.
template <typename T>
struct Places {
  T* at;
  int64_t columns, line, step, column = 0;
  T* next() {
    T* const here = at + column * step;
    if (++column == columns) column = 0, at += line;
    return here;
  }
};

// `count` (up to a vector) elements of a line in each lane, as vectors.
template <typename T, typename Stored>
inline __attribute__((always_inline)) void turn_to_lanes(const Stored* at, const Sheet& from,
                                                         int64_t count, Vec<T>* v) {
  constexpr int lanes = kLanes<T>;
  if (from.lanes == lanes && count >= lanes && from.step == 1)
    return load_turned<T>(at, from.lane, v);
#pragma GCC unroll 16
  for (int r = 0; r < lanes; ++r) {
    if (r >= from.lanes)
      v[r] = Vec<T>{};
    else if (count < lanes)
      v[r] = load_part<T, Stored>(at + r * from.lane, count);
    else
      v[r] = from.step == 1 ? load_full<T>(at + r * from.lane) : load_even<T>(at + r * from.lane);
  }
  zip_all<T, lanes>(v);
}

template <typename T, typename Stored>
void line_to_lanes(const Stored* at, const Sheet& from, Places<T> to) {
  constexpr int lanes = kLanes<T>;
  int64_t k = 0;
  if (from.step == 1 || from.step == 2)
    for (int64_t left; (left = from.count - k) >= kShortest<T>; k += lanes) {
      if (left < lanes && from.step == 2) break;
      Vec<T> v[lanes];
      turn_to_lanes<T, Stored>(at + k * from.step, from, left, v);
      for (int j = 0; j < lanes && j < left; ++j) store(to.next(), v[j]);
    }
  for (; k < from.count; ++k) {
    T lane[lanes] = {};
    for (int64_t r = 0; r < from.lanes; ++r) lane[r] = widen<T>(at[r * from.lane + k * from.step]);
    store(to.next(), load(lane));
  }
}

// Lines and lanes that lie in memory as (l, lane, k): the channels of groups in channels_last.
template <typename T, typename Stored, int count>
void unzip_to_lanes(const Sheet& from, T* to, int64_t to_line, int64_t to_step) {
  const Stored* at = static_cast<const Stored*>(from.data);
  for (int64_t l = 0; l < from.lines; ++l, at += from.line, to += to_line) {
    Vec<T> v[count];
#pragma GCC unroll 16
    for (int k = 0; k < count; ++k) v[k] = load_full<T>(at + k * kLanes<T>);
    unzip_all<T, count>(v);
#pragma GCC unroll 16
    for (int k = 0; k < count; ++k) store(to + k * to_step, v[k]);
  }
}
template <typename T, typename Stored, int count>
void zip_from_lanes(const T* from, int64_t from_line, int64_t from_step, const Sheet& to) {
  Stored* at = static_cast<Stored*>(to.data);
  for (int64_t l = 0; l < to.lines; ++l, at += to.line, from += from_line) {
    Vec<T> v[count];
#pragma GCC unroll 16
    for (int k = 0; k < count; ++k) v[k] = load(from + k * from_step);
    zip_all<T, count>(v);
#pragma GCC unroll 16
    for (int k = 0; k < count; ++k) store_full<T>(at + k * kLanes<T>, v[k]);
  }
}
template <typename T>
inline bool is_zipped(const Sheet& s) {
  return s.lanes == kLanes<T> && s.step == 1 && s.lane == s.count && s.count <= 16 &&
         (s.count & (s.count - 1)) == 0;
}

// Full squares of lines that lie side by side, vectors behind each other: the last ends with the
// lines, and turns again what the one before it has turned.
template <typename T, typename Stored>
void squares_to_lanes(const Stored* at, const Sheet& from, T* to) {
  constexpr int lanes = kLanes<T>;
  for (int64_t k = 0; k < from.count; k += lanes) {
    if (k > from.count - lanes) k = from.count - lanes;
    Vec<T> v[lanes];
    load_turned<T>(at + k, from.lane, v);
#pragma GCC unroll 16
    for (int j = 0; j < lanes; ++j) store(to + (k + j) * lanes, v[j]);
  }
}
template <typename T, typename Stored>
void squares_from_lanes(const T* from, const Sheet& to, Activation activation, Stored* at) {
  constexpr int lanes = kLanes<T>;
  for (int64_t k = 0; k < to.count; k += lanes) {
    if (k > to.count - lanes) k = to.count - lanes;
    Vec<T> v[lanes];
    load_turned<T>(from + k * lanes, lanes, v);
    if (activation != Activation::none)
      for (int r = 0; r < lanes; ++r) v[r] = activated<T>(v[r], activation);
#pragma GCC unroll 16
    for (int r = 0; r < lanes; ++r) store_full<T>(at + r * to.lane + k, v[r]);
  }
}
// Whether a sheet's lines, vectors line_step apart, are such; `finish` replaces.
template <typename T>
inline bool is_square(const Sheet& s, int64_t line_step) {
  return s.step == 1 && s.lanes == kLanes<T> && s.count >= kLanes<T> && line_step == kLanes<T>;
}

template <typename T, typename Stored>
void to_lanes_as(const Sheet& from, T* to, int64_t to_line, int64_t to_step) {
  constexpr int lanes = kLanes<T>;
  const Stored* at = static_cast<const Stored*>(from.data);
  if (from.lane == 1) {  // the lanes lie side by side
    for (int64_t l = 0; l < from.lines; ++l, at += from.line, to += to_line)
      for (int64_t k = 0; k < from.count; ++k) {
        const Stored* const first = at + k * from.step;
        store(to + k * to_step,
              from.lanes == lanes ? load_full<T>(first) : load_part<T, Stored>(first, from.lanes));
      }
    return;
  }
  if (is_zipped<T>(from))
    return (from.count == 16  ? unzip_to_lanes<T, Stored, 16>
            : from.count == 8 ? unzip_to_lanes<T, Stored, 8>
            : from.count == 4 ? unzip_to_lanes<T, Stored, 4>
                              : unzip_to_lanes<T, Stored, 2>)(from, to, to_line, to_step);
  Sheet lines = as_line(from, to_line, &to_step);
  const int64_t columns = lines.count;
  const bool is_dense = lines.lines == 1 || to_line == columns * to_step;
  if (is_joined(lines)) lines.count *= lines.lines, lines.lines = 1;
  if (is_dense && is_square<T>(lines, to_step)) {
    for (int64_t l = 0; l < lines.lines; ++l, at += lines.line, to += to_line)
      squares_to_lanes<T, Stored>(at, lines, to);
    return;
  }
  for (int64_t l = 0; l < lines.lines; ++l, at += lines.line, to += to_line)
    line_to_lanes<T, Stored>(at, lines, Places<T>{to, columns, to_line, to_step});
}

template <typename T, typename Stored>
void line_from_lanes(const T* from, int64_t from_step, Finish finish, const Sheet& to, Stored* at) {
  constexpr int lanes = kLanes<T>;
  int64_t k = 0;
  const bool plain = !finish.add && finish.activation == Activation::none;
  if (to.step == 1 || (to.step == 2 && plain))
    for (int64_t left; (left = to.count - k) >= kShortest<T>;
         k += lanes, from += lanes * from_step) {
      Vec<T> v[lanes];
      if (left >= lanes) {
        load_turned<T>(from, from_step, v);
      } else {
#pragma GCC unroll 16
        for (int j = 0; j < lanes; ++j) v[j] = j < left ? load(from + j * from_step) : Vec<T>{};
        zip_all<T, lanes>(v);
      }
#pragma GCC unroll 16
      for (int r = 0; r < lanes; ++r) {
        if (r >= to.lanes) break;
        Stored* const here = at + r * to.lane + k * to.step;
        const int64_t count = left < lanes ? left : lanes;
        if (to.step == 2)
          store_even<T>(here, v[r], count);
        else
          put<T>(here, v[r], finish, count);
      }
    }
  for (; k < to.count; ++k, from += from_step)
    for (int64_t r = 0; r < to.lanes; ++r) put_one(at + r * to.lane + k * to.step, from[r], finish);
}

template <typename T, typename Stored>
void from_lanes_as(const T* from, int64_t from_line, int64_t from_step, Finish finish,
                   const Sheet& to) {
  Stored* at = static_cast<Stored*>(to.data);
  if (to.lane == 1) {
    for (int64_t l = 0; l < to.lines; ++l, at += to.line, from += from_line)
      for (int64_t k = 0; k < to.count; ++k)
        put<T>(at + k * to.step, load(from + k * from_step), finish, to.lanes);
    return;
  }
  if (is_zipped<T>(to) && !finish.add && finish.activation == Activation::none)
    return (to.count == 16  ? zip_from_lanes<T, Stored, 16>
            : to.count == 8 ? zip_from_lanes<T, Stored, 8>
            : to.count == 4 ? zip_from_lanes<T, Stored, 4>
                            : zip_from_lanes<T, Stored, 2>)(from, from_line, from_step, to);
  Sheet lines = as_line(to, from_line, &from_step);
  if (is_joined(lines) && from_line == lines.count * from_step)
    lines.count *= lines.lines, lines.lines = 1;
  if (!finish.add && is_square<T>(lines, from_step)) {
    for (int64_t l = 0; l < lines.lines; ++l, at += lines.line, from += from_line)
      squares_from_lanes<T, Stored>(from, lines, finish.activation, at);
    return;
  }
  for (int64_t l = 0; l < lines.lines; ++l, at += lines.line, from += from_line)
    line_from_lanes<T, Stored>(from, from_step, finish, lines, at);
}
