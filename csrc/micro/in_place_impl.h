// Taps that slide over planes where they lie in memory: see kernels.h.
//
// A tile is some lines of outputs, one vector of each. All its sums, and the weights of one column
// of taps, stay in registers: a vector of the input, once loaded, serves every row of taps that
// meets its line, so that 63 products of seven lines and 3x3 taps take 27 loads. Lanes beyond the
// edges of the input are masked, lines beyond them passed over. A tile that does not fit is moved
// back over outputs that are made already: to store a part of a vector costs more.
//
// Lines of a result too large for the caches are held until they can be written past them, whole;
// meanwhile what the tile below needs is fetched: no machine foresees it, vector by vector.
//
// Included once per target by kernels_impl.h, inside its namespace.

// Lines of a tile: the maps of networks measure powers of two, or seven times one.
constexpr int kTallTile = 8, kSevenTile = 7, kLowTile = 4;
constexpr int kLongTile = 8;  // vectors of a single line, away from the edges

inline int64_t within(int64_t x, int64_t most) { return x < 0 ? 0 : x < most ? x : most; }

// Lanes [begin, end) of ones, all others of zeros: pieces of three vectors' worth of them.
template <typename T>
using Mask = decltype(Vec<T>{} < Vec<T>{});
template <typename T>
struct MaskLanes {
  decltype(Mask<T>{}[0] + 0) lane[3 * kLanes<T>] = {};
  constexpr MaskLanes() {
    for (int k = kLanes<T>; k < 2 * kLanes<T>; ++k) lane[k] = -1;
  }
};
template <typename T>
inline Mask<T> lanes_between(int64_t begin, int64_t end) {
  static constexpr MaskLanes<T> lanes;
  Mask<T> from, until;
  __builtin_memcpy(&from, lanes.lane + kLanes<T> - begin, sizeof from);
  __builtin_memcpy(&until, lanes.lane + 2 * kLanes<T> - end, sizeof until);
  return from & until;
}

// The products of one column of taps. Row h of them meets line l of the tile at x + (l + h) * x_row,
// which exists where bit l + h of `seen` is set, and of which lanes outside `exists` are beyond the
// input. Lines that meet the same sums come one round apart, so that no product waits for the last.
template <typename T, bool masked, typename Stored, int rows, int lines, int vectors>
inline __attribute__((always_inline)) void add_column(const Stored* x, int64_t x_row, unsigned seen,
                                                      Mask<T> exists, const Vec<T> (&w)[rows],
                                                      Vec<T> (&sum)[lines][vectors]) {
  const int64_t round_step = rows * x_row;
#pragma GCC unroll 8
  for (int round = 0; round < rows; ++round, x += x_row) {
    const Stored* line = x;
#pragma GCC unroll 16
    for (int k = round; k < rows + lines - 1; k += rows) {
      renew(&seen);
      if (__builtin_expect(seen >> k & 1, 1)) {
#pragma GCC unroll 8
        for (int i = 0; i < vectors; ++i) {
          Vec<T> v = load_full<T>(line + i * kLanes<T>);
          v = masked ? (Vec<T>)((Mask<T>)v & exists) : in_register<T>(v);
#pragma GCC unroll 8
          for (int h = 0; h < rows; ++h)
            if (k - h >= 0 && k - h < lines) sum[k - h][i] += v * w[h];
        }
      }
      line += round_step;
      renew(&line);
    }
  }
}

// The sums of a tile over one plane; x is at index `column` of its line.
template <typename T, typename Stored, int rows, int lines, int vectors>
inline __attribute__((always_inline)) void add_plane(const SlidePlanes& m, const Stored* x,
                                                     int64_t x_row, int64_t column, unsigned seen,
                                                     const T* weight,
                                                     Vec<T> (&sum)[lines][vectors]) {
  constexpr int64_t lanes = kLanes<T>;
  for (int64_t t = m.taps; t > 0; --t) {
    Vec<T> w[rows];
    const T* row = weight;
#pragma GCC unroll 8
    for (int h = 0; h < rows; ++h) {
      w[h] = splat<T>(*row);
      row += m.weight_row;
      renew(&row);
    }
    const int64_t end = m.x_columns - column;
    if (vectors > 1 || (column >= 0 && end >= lanes))
      add_column<T, false>(x, x_row, seen, Mask<T>{}, w, sum);
    else
      add_column<T, true>(x, x_row, seen,
                          lanes_between<T>(within(-column, lanes), within(end, lanes)), w, sum);
    x += m.dilation;
    weight += m.weight_tap;
    column += m.dilation;
  }
}

// Of the lines that a tile sees of a plane, `count` elements from index `column` on, zero where the
// input has none.
template <typename T, typename Stored>
__attribute__((noinline)) void copy_lines(const Stored* x, int64_t x_row, unsigned seen,
                                          int64_t column, int64_t columns, int64_t count, T* to) {
  for (; seen != 0; seen >>= 1, x += x_row, to += count)
    for (int64_t i = 0; seen & 1 && i < count; ++i)
      to[i] = column + i >= 0 && column + i < columns ? widen<T>(x[i]) : T(0);
}

// In memory, so that the sums of those who have no activation stay in registers.
template <typename T>
__attribute__((noinline)) void activate(Activation activation, int count, T* sums) {
  for (int i = 0; i < count; ++i, sums += kLanes<T>)
    store(sums, activated<T>(load(sums), activation));
}

// What the tiles of a band of lines have in common.
template <typename T, typename Stored>
struct SlideBand {
  const Stored* x;      // to which a plane's offset is added
  int64_t first, last;  // from that offset in the tensor to the first line seen, and to the last
  unsigned seen;        // bit k: line k exists
  const T* weight;
  T start;
  Activation activation;
  T* window;
  Stored* y;
};

// The lines that the tile below meets and this one does not.
template <typename Stored, int rows, int lines>
inline void fetch_next(const Stored* x, int64_t x_row) {
  x += (rows + lines - 1) * x_row;
#pragma GCC unroll 8
  for (int r = 0; r < lines; ++r, x += x_row) __builtin_prefetch(x);
}

template <typename T, typename Stored, int rows, int lines, int vectors>
inline __attribute__((always_inline)) void slide_tile_at(const SlidePlanes& m,
                                                         const SlideBand<T, Stored>& band,
                                                         int64_t j) {
  constexpr int lanes = kLanes<T>;
  const int64_t reach = (m.taps - 1) * m.dilation + lanes, column = m.x_first + j;
  Vec<T> sum[lines][vectors];
#pragma GCC unroll 8
  for (int r = 0; r < lines; ++r)
#pragma GCC unroll 8
    for (int i = 0; i < vectors; ++i) sum[r][i] = splat<T>(band.start);
  for (int64_t i = 0; i < m.planes && band.seen != 0; ++i) {
    const int64_t offset = m.plane[i].offset + j;
    const Stored* const x = band.x + offset;
    const T* const weight = band.weight + m.plane[i].weight;
    if (lines > 1 && m.held) fetch_next<Stored, rows, lines>(x, m.x_row);
    if (vectors == 1 && (offset + band.first < 0 || offset + band.last + reach > m.x_elements)) {
      copy_lines<T>(x, m.x_row, band.seen, column, m.x_columns, reach, band.window);
      add_plane<T, T, rows>(m, band.window, reach, column, band.seen, weight, sum);
    } else {
      add_plane<T, Stored, rows>(m, x, m.x_row, column, band.seen, weight, sum);
    }
  }
  if (__builtin_expect(band.activation != Activation::none, 0)) {
    T copy[lines * vectors * lanes];
#pragma GCC unroll 8
    for (int r = 0; r < lines; ++r)
#pragma GCC unroll 8
      for (int i = 0; i < vectors; ++i) store(copy + (r * vectors + i) * lanes, sum[r][i]);
    activate<T>(band.activation, lines * vectors, copy);
#pragma GCC unroll 8
    for (int r = 0; r < lines; ++r)
#pragma GCC unroll 8
      for (int i = 0; i < vectors; ++i) sum[r][i] = load(copy + (r * vectors + i) * lanes);
  }
  Stored* y = band.y + j;
  if (vectors > 1 || m.columns >= lanes) {
#pragma GCC unroll 8
    for (int r = 0; r < lines; ++r, y += m.y_row)
#pragma GCC unroll 8
      for (int i = 0; i < vectors; ++i) store_full<T>(y + i * lanes, sum[r][i]);
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < lines; ++r, y += m.y_row) store_part<T>(y, sum[r][0], m.columns);
  }
}

// Lines from l on. Copied one by one, into registers: what a store could reach is read again, and a
// vector's worth of what was just written number by number waits for it.
template <typename T, typename Stored, int rows, int lines>
void slide_band(const SlidePlanes& all, int64_t l, const SlideBand<T, Stored>& given) {
  SlidePlanes m = all;
  SlideBand<T, Stored> band = given;
  constexpr int met = rows + lines - 1;
  constexpr int64_t lanes = kLanes<T>, whole = kLongTile * lanes;
  const int64_t first = within(m.x_begin - l, met), end = within(m.x_end - l, met);
  band.seen = first < end ? (1u << end) - (1u << first) : 0;
  band.first = (l + first) * m.x_row;
  band.last = (l + end - 1) * m.x_row;
  const int64_t reach = (m.taps - 1) * m.dilation, last = m.columns - lanes;
  Stored *const y = band.y, *const held = static_cast<Stored*>(m.held);
  const int64_t y_row = m.y_row;
  for (int64_t begin = 0, end; begin < m.columns; begin = end) {
    // Of what is held, so much that no tile is moved back over what is written.
    const bool holds_rest = !held || m.columns - begin <= kHeldColumns + lanes;
    end = holds_rest ? m.columns : begin + kHeldColumns;
    if (held) band.y = held - begin, m.y_row = end - begin;
    for (int64_t j = begin; j < end;) {
      const bool is_inside = m.x_first + j >= 0 && m.x_first + j + whole + reach <= m.x_columns;
      if (lines == 1 && is_inside && j + whole <= end) {
        slide_tile_at<T, Stored, rows, 1, kLongTile>(m, band, j);
        j += whole;
      } else {
        slide_tile_at<T, Stored, rows, lines, 1>(m, band, last >= 0 && j > last ? last : j);
        j += lanes;
      }
    }
    if (held) stream_lines(held, lines, end - begin, y + begin, y_row);
  }
}

template <typename T, typename Stored, int rows>
void slide_planes_as(const SlidePlanes& m, const void* from, const T* weight, T start,
                     Activation activation, T* window, void* to) {
  const bool is_tall = (m.lines + 7) / 8 * 8 < (m.lines + 6) / 7 * 7;
  const int64_t height = m.lines >= kTallTile && is_tall ? kTallTile
                         : m.lines >= kSevenTile         ? kSevenTile
                         : m.lines >= kLowTile           ? kLowTile
                                                         : 1;
  const auto slide = height == kTallTile    ? slide_band<T, Stored, rows, kTallTile>
                     : height == kSevenTile ? slide_band<T, Stored, rows, kSevenTile>
                     : height == kLowTile   ? slide_band<T, Stored, rows, kLowTile>
                                            : slide_band<T, Stored, rows, 1>;
  for (int64_t i = 0; i < m.lines; i += height) {
    const int64_t l = i > m.lines - height ? m.lines - height : i;
    slide(m, l,
          {static_cast<const Stored*>(from) + l * m.x_row, 0, 0, 0, weight, start, activation,
           window, static_cast<Stored*>(to) + l * m.y_row});
  }
}

template <typename T, typename Stored, int rows = kMaxSlideRows>
void slide_planes_of(const SlidePlanes& m, const void* x, const T* weight, T start,
                     Activation activation, T* window, void* y) {
  if (m.rows == rows)
    slide_planes_as<T, Stored, rows>(m, x, weight, start, activation, window, y);
  else if constexpr (rows > 1)
    slide_planes_of<T, Stored, rows - 1>(m, x, weight, start, activation, window, y);
}
