// Depthwise products over whole planes of vectors, borders included: see kernels.h.
//
// A tile is some outputs of a line, whose sums stay in registers while rows of taps go by. Taps that
// reach the same residue of the index modulo the stride slide over the same vectors, and what one of
// them has loaded serves the next: 21 products of seven outputs and three taps take 12 loads. More
// than seven such taps go in passes.
//
// Included once per target by kernels_impl.h, inside its namespace.

constexpr int kPlaneColumns = 8;  // sums that hide the FMAs' latency (two ports of four cycles)
constexpr int kWholeLeast = 4, kWholeMost = 7;  // lines of which input and sums fit in 16 registers
constexpr int kMostShift = 3;                   // of a row's first tap

// Some outputs of every line, and some taps of every row of taps: tap t meets output j at vector
// j + t of those it slides over, the first of which is at x. At stride 2 there may be a second class
// of taps, which slides over the vectors between.
template <typename T>
struct PlanesPass {
  const T *x, *weight, *start;
  T* y;
  int64_t step, weight_step;
  int64_t second;  // from x to the second class's first vector; its weights are the next
  unsigned seen, second_seen;  // bit i: whether vector i exists
  bool is_first;  // sums start from `start`; else from what the passes before have left
};

// One row of them. Not `all` vectors exist: bit i of `seen` is vector i.
template <typename T, int taps, bool all, int columns>
inline __attribute__((always_inline)) void add_row(const T* x, int64_t step, const T* weight,
                                                   int64_t weight_step, unsigned seen,
                                                   Vec<T> (&sum)[columns]) {
  Vec<T> v[columns + taps - 1];
  const auto get = [&](int i) {
    if (!all) renew(&seen);
    if (all || __builtin_expect(seen >> i & 1, 1))
      v[i] = load_once(x + i % 4 * step);
    else
      v[i] = Vec<T>{};
    if (i % 4 == 3) {
      x += 4 * step;
      renew(&x);
    }
  };
#pragma GCC unroll 8
  for (int i = 0; i < columns - 1; ++i) get(i);
#pragma GCC unroll 8
  for (int t = 0; t < taps; ++t, weight += weight_step) {
    get(columns - 1 + t);
    const Vec<T> w = load_once(weight);
#pragma GCC unroll 8
    for (int j = 0; j < columns; ++j) sum[j] += v[t + j] * w;
  }
}

template <typename T, int columns, int taps, int second_taps, bool all>
void planes_tile(const LanePlanes& m, const PlanesPass<T>& p) {
  const int64_t step = p.step, weight_step = p.weight_step;
  const int64_t x_row = m.x_row, weight_row = m.weight_row;
  const int64_t y_step = m.column.y_step, y_line = m.y_line;
  const bool is_first = p.is_first;
  T* y = p.y;
  for (int64_t l = 0; l < m.lines; ++l, y += y_line) {
    Vec<T> sum[columns];
#pragma GCC unroll 8
    for (int j = 0; j < columns; ++j) sum[j] = load(is_first ? p.start : y + j * y_step);
    const TapRows* rows = m.rows + l;
    for (int64_t i = 0; i < m.planes; ++i, rows += m.lines) {
      const T* x = p.x + rows->offset;
      const T* w = p.weight + rows->weight;
      for (int64_t h = rows->rows; h > 0; --h, x += x_row, w += weight_row) {
        add_row<T, taps, all>(x, step, w, weight_step, p.seen, sum);
        if constexpr (second_taps > 0)
          add_row<T, second_taps, all>(x + p.second, step, w + kLanes<T>, weight_step,
                                       p.second_seen, sum);
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < columns; ++j) store(y + j * y_step, sum[j]);
  }
}

template <typename T>
using PlanesTile = void (*)(const LanePlanes&, const PlanesPass<T>&);
template <typename T, int taps, int second_taps, bool all, int... k>
PlanesTile<T> planes_tile_of(int64_t columns, Lanes<k...>) {
  constexpr PlanesTile<T> tiles[] = {planes_tile<T, k + 1, taps, second_taps, all>...};
  return tiles[columns - 1];
}

// Which of `count` vectors exist, the first of which has this index.
inline unsigned vectors_seen(const LaneAxis& axis, int64_t index, int64_t count) {
  unsigned seen = 0;
  for (int64_t i = 0; i < count; ++i, index += axis.stride)
    seen |= unsigned(index >= 0 && index < axis.size) << i;
  return seen;
}

// `index` is the first vector's. Does nothing where none exists.
template <typename T, int taps, int second_taps = 0>
void run_pass(const LanePlanes& m, PlanesPass<T>* p, int64_t index, int64_t columns) {
  const typename CountLanes<kPlaneColumns>::Type any;
  const int64_t count = columns + taps - 1, others = columns + second_taps - 1;
  p->seen = vectors_seen(m.column, index, count);
  p->second_seen = second_taps > 0 ? vectors_seen(m.column, index + m.column.dilation, others) : 0;
  if ((p->seen | p->second_seen) == 0) return;
  const unsigned every = (1u << count) - 1, every_other = (1u << others) - 1;
  const bool all = p->seen == every && (second_taps == 0 || p->second_seen == every_other);
  (all ? planes_tile_of<T, taps, second_taps, true>(columns, any)
       : planes_tile_of<T, taps, second_taps, false>(columns, any))(m, *p);
  p->is_first = false;
}

// Whole numbers, whose speed few ask for, go by three taps at most: every pass is code in all widths.
template <typename T>
constexpr bool kIsWhole = !(T(0.5) > 0);

template <typename T>
using RunPass = void (*)(const LanePlanes&, PlanesPass<T>*, int64_t, int64_t);
template <typename T>
RunPass<T> pass_of(int64_t taps, bool pairs) {
  if constexpr (!kIsWhole<T>) {
    if (pairs) return taps == 2 ? run_pass<T, 2, 1> : run_pass<T, 3, 2>;
    if (taps == 7) return run_pass<T, 7>;
    if (taps == 5) return run_pass<T, 5>;
    if (taps == 4) return run_pass<T, 4>;
  }
  return taps == 3 ? run_pass<T, 3> : taps == 2 ? run_pass<T, 2> : run_pass<T, 1>;
}
// How many of the taps that are left go next.
template <typename T>
int64_t taps_of_pass(int64_t left) {
  if (kIsWhole<T>) return left == 4 ? 2 : left > 3 ? 3 : left;
  return left == 6 ? 3 : left > 7 ? 4 : left;
}

// Outputs [j, j + columns) of every line, of all taps.
template <typename T>
void planes_columns(const LanePlanes& m, int64_t j, int64_t columns, const T* weight,
                    const T* start, const T* x, T* y) {
  constexpr int lanes = kLanes<T>;
  const LaneAxis& axis = m.column;
  PlanesPass<T> p{x,
                  weight,
                  start,
                  y,
                  axis.stride * axis.x_step,
                  axis.classes * lanes,
                  axis.dilation * axis.x_step,
                  0,
                  0,
                  true};
  // Taps of a class that meet vectors further apart go one by one.
  const bool slides = axis.classes * axis.dilation == axis.stride;
  const bool pairs =
      !kIsWhole<T> && slides && axis.classes == 2 && (axis.taps == 3 || axis.taps == 5);
  for (int64_t c = 0; c < (pairs ? 1 : axis.classes); ++c)
    for (int64_t t = c, next; t < axis.taps; t = next) {
      const int64_t left = slides ? (axis.taps - t + axis.classes - 1) / axis.classes : 1;
      const int64_t taps = taps_of_pass<T>(left);
      const int64_t index = axis.first + j * axis.stride + t * axis.dilation;
      next = t + taps * axis.classes;
      p.x = x + index * axis.x_step;
      p.weight = weight + t * lanes;
      pass_of<T>(taps, pairs)(m, &p, index, columns);
    }
  if (!p.is_first) return;
  LanePlanes none = m;
  none.planes = 0;
  planes_tile_of<T, 1, 0, true>(columns, typename CountLanes<kPlaneColumns>::Type{})(none, p);
}

// Lines of few columns, as many as their input has: that stays in registers too, and of the products
// only those that meet it are made. Tap t is shifted against the sums by first + t.
template <typename T, int shift, int columns>
inline __attribute__((always_inline)) void add_shifted(int64_t taps, const T* weight,
                                                       const Vec<T> (&v)[columns],
                                                       Vec<T> (&sum)[columns]) {
  if constexpr (shift < columns) {
    const Vec<T> w = load_once(weight);
#pragma GCC unroll 8
    for (int j = 0; j < columns; ++j)
      if (j + shift >= 0 && j + shift < columns) sum[j] += v[j + shift] * w;
    if (taps > 1) add_shifted<T, shift + 1>(taps - 1, weight + kLanes<T>, v, sum);
  }
}

template <typename T, int columns, int first>
void planes_whole(const LanePlanes& m, const T* weight, const T* start, const T* x, T* y) {
  const int64_t taps = m.column.taps, step = m.column.x_step, y_step = m.column.y_step;
  const int64_t x_row = m.x_row, weight_row = m.weight_row;
  for (int64_t l = 0; l < m.lines; ++l, y += m.y_line) {
    Vec<T> sum[columns];
#pragma GCC unroll 8
    for (int j = 0; j < columns; ++j) sum[j] = load(start);
    const TapRows* rows = m.rows + l;
    for (int64_t i = 0; i < m.planes; ++i, rows += m.lines) {
      const T* at = x + rows->offset;
      const T* w = weight + rows->weight;
      for (int64_t h = rows->rows; h > 0; --h, at += x_row, w += weight_row) {
        Vec<T> v[columns];
#pragma GCC unroll 8
        for (int j = 0; j < columns; ++j) v[j] = load_once(at + j * step);
        add_shifted<T, first>(taps, w, v, sum);
      }
    }
#pragma GCC unroll 8
    for (int j = 0; j < columns; ++j) store(y + j * y_step, sum[j]);
  }
}

template <typename T>
using PlanesWhole = void (*)(const LanePlanes&, const T*, const T*, const T*, T*);
template <typename T, int first, int... k>
PlanesWhole<T> planes_whole_of(int64_t columns, Lanes<k...>) {
  constexpr PlanesWhole<T> whole[] = {planes_whole<T, kWholeLeast + k, first>...};
  return whole[columns - kWholeLeast];
}
// Null where there is none.
template <typename T>
PlanesWhole<T> planes_whole_of(const LaneAxis& axis) {
  const typename CountLanes<kWholeMost - kWholeLeast + 1>::Type any;
  const int64_t columns = axis.outputs, shift = -axis.first;
  if (columns != axis.size || columns < kWholeLeast || columns > kWholeMost) return nullptr;
  if (axis.stride != 1 || axis.dilation != 1 || shift < 0 || shift > kMostShift) return nullptr;
  return shift == 0   ? planes_whole_of<T, 0>(columns, any)
         : shift == 1 ? planes_whole_of<T, -1>(columns, any)
         : shift == 2 ? planes_whole_of<T, -2>(columns, any)
                      : planes_whole_of<T, -3>(columns, any);
}

template <typename T>
void lanes_planes(const LanePlanes& m, const T* weight, const T* start, const T* x, T* y) {
  if (const PlanesWhole<T> whole = planes_whole_of<T>(m.column))
    return whole(m, weight, start, x, y);
  const int64_t outputs = m.column.outputs;
  const int64_t tiles = (outputs + kPlaneColumns - 1) / kPlaneColumns;
  for (int64_t b = 0, j = 0, next; b < tiles; ++b, j = next) {
    next = outputs * (b + 1) / tiles;
    planes_columns(m, j, next - j, weight, start, x, y + j * m.column.y_step);
  }
}
