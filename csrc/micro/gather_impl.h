// From lines of a strided tensor, as stored, into dense rows or columns: kernels.h says what gather and
// interleave promise. Included by kernels_impl.h.

// The next elements of line r, of which `left` are wanted. Where later lines lie behind them in
// memory a whole vector is read: a masked load that misses the cache holds up those after it (a
// cold weight, packed by input, took six times as long).
template <typename T, typename Stored>
inline Vec<T> load_within(const Lines& from, int64_t r, const Stored* at, int64_t left) {
  const int64_t behind = from.row > 0 ? (from.rows - 1 - r) * from.row : 0;
  return left + behind < kLanes<T> ? load_part<T, Stored>(at, left) : load_full<T>(at);
}

// The same of every second element.
template <typename T, typename Stored>
inline Vec<T> load_even_within(const Stored* at, int64_t left) {
  if (left >= kLanes<T>) return load_even<T>(at);
  Vec<T> v{};
  for (int64_t k = 0; k < left; ++k) v[k] = widen<T>(at[2 * k]);
  return v;
}

// Up to a vector's lanes of contiguous lines become columns that lie side by side. Meanwhile the
// lines that come `ahead` of them are fetched: each is short, and no machine guesses the next one.
template <typename T, typename Stored>
void turn_square(const Lines& from, T* to, int64_t to_step, int64_t ahead = 0) {
  constexpr int lanes = kLanes<T>;
  const Stored* line = static_cast<const Stored*>(from.data);
  for (int64_t k = 0; k < from.count; k += lanes, to += lanes * to_step) {
    for (int64_t r = 0; ahead != 0 && r < lanes; ++r)
      __builtin_prefetch(line + ahead + r * from.row + k);
    const int64_t left = from.count - k < lanes ? from.count - k : lanes;
    Vec<T> v[lanes] = {};
    if (from.rows == lanes && left == lanes) {
      load_turned<T>(line + k, from.row, v);
    } else {
      for (int64_t r = 0; r < from.rows; ++r)
        v[r] = load_within<T>(from, r, line + r * from.row + k, left);
      zip_all<T, lanes>(v);
    }
    if (from.rows == lanes && left == lanes) {
#pragma GCC unroll 16
      for (int i = 0; i < lanes; ++i) store(to + i * to_step, v[i]);
    } else {
      for (int64_t i = 0; i < left; ++i) store_part<T, T>(to + i * to_step, v[i], from.rows);
    }
  }
}

// Lines that are contiguous become columns.
template <typename T, typename Stored>
void turn_all(const Lines& from, T* to, int64_t to_step) {
  constexpr int lanes = kLanes<T>;
  Stored* const line = static_cast<Stored*>(from.data);
  for (int64_t r = 0; r < from.rows; r += lanes) {
    const int64_t rows = from.rows - r < lanes ? from.rows - r : lanes;
    turn_square<T, Stored>(Lines{line + r * from.row, rows, from.row, from.count, 1}, to + r,
                           to_step, from.rows - r > lanes ? lanes * from.row : 0);
  }
}

// A contiguous line of a whole vector at least. What is left behind whole vectors goes in one that
// overlaps them.
template <typename T, typename Stored>
inline void copy_line(int64_t count, const Stored* line, T* to) {
  constexpr int lanes = kLanes<T>;
  for (int64_t k = 0; k + lanes <= count; k += lanes) store<T>(to + k, load_full<T>(line + k));
  if (count % lanes) store<T>(to + count - lanes, load_full<T>(line + count - lanes));
}

// The same for every second element, of at least two, with as wide vectors as that fills.
template <typename T, typename Stored, int lanes = kLanes<T>>
inline void copy_even(int64_t count, const Stored* line, T* to) {
  if constexpr (lanes > 2)
    if (count < lanes) return copy_even<T, Stored, lanes / 2>(count, line, to);
  const auto copy = [&](int64_t k) {
    if constexpr (lanes == kLanes<T>) {
      store<T>(to + k, load_even<T>(line + 2 * k));
    } else if constexpr (SameType<T, Stored>::value) {
      typedef T Part __attribute__((vector_size(lanes * sizeof(T))));
      Part low, high;
      __builtin_memcpy(&low, line + 2 * k, sizeof low);
      __builtin_memcpy(&high, line + 2 * k + lanes - 1, sizeof high);
      low = pick_even(low, high, typename CountLanes<lanes>::Type{});
      __builtin_memcpy(to + k, &low, sizeof low);
    } else {
      for (int i = 0; i < lanes; ++i) to[k + i] = widen<T>(line[2 * (k + i)]);
    }
  };
  for (int64_t k = 0; k + lanes <= count; k += lanes) copy(k);
  if (count % lanes) copy(count - lanes);
}

template <typename T, typename Stored>
void gather_lines(const Lines& from, T* to, int64_t to_row) {
  constexpr int lanes = kLanes<T>;
  if (from.row == 1 && from.step > 1 && 2 * from.rows >= lanes)  // channels innermost
    return turn_all<T, Stored>(Lines{from.data, from.count, from.step, from.rows, 1}, to, to_row);
  const Stored* line = static_cast<const Stored*>(from.data);
  const int64_t rows = from.rows, row = from.row, count = from.count, step = from.step;
  if (step > 2 || step < 1 || (step == 2 && count < 2)) {
    for (int64_t r = 0; r < rows; ++r, line += row, to += to_row)
      for (int64_t k = 0; k < count; ++k) to[k] = widen<T>(line[k * step]);
    return;
  }
  for (int64_t r = 0; r < rows; ++r, line += row, to += to_row) {
    if (step == 1 && count < lanes)
      store_part<T, T>(to, load_within<T>(Lines{nullptr, rows, row, 0, 1}, r, line, count), count);
    else if (step == 1)
      copy_line<T, Stored>(count, line, to);
    else
      copy_even<T, Stored>(count, line, to);
  }
}

// `rows` lines, contiguous or of every second element, become the columns of a panel of just as many.
template <typename T, typename Stored, int rows, int step>
void turn_into_panel(const Lines& from, T sign, T* to) {
  constexpr int lanes = kLanes<T>;
  const Stored* line = static_cast<const Stored*>(from.data);
  for (int64_t k = 0; k < from.count; k += lanes, to += rows * lanes) {
    const int64_t left = from.count - k;
    Vec<T> v[rows];
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      const Stored* at = line + r * from.row + k * step;
      __builtin_prefetch(at + rows * from.row);  // of the next panel
      v[r] = (step == 1 ? load_within<T>(from, r, at, left) : load_even_within<T>(at, left)) * sign;
    }
    zip_all<T, rows>(v);
    const int64_t elements = left < lanes ? left * rows : lanes * rows;
#pragma GCC unroll 8
    for (int r = 0; r < rows; ++r) {
      if ((r + 1) * lanes <= elements)
        store(to + r * lanes, v[r]);
      else if (r * lanes < elements)
        store_part<T, T>(to + r * lanes, v[r], elements - r * lanes);
    }
  }
}

template <typename T, typename Stored>
void interleave_lines(const Lines& from, T sign, T* to, int64_t to_row, int64_t to_step) {
  const Stored* line = static_cast<const Stored*>(from.data);
  const bool is_panel = to_row == 1 && from.rows == kRows && to_step == kRows;
  if (is_panel && from.step == 1) return turn_into_panel<T, Stored, kRows, 1>(from, sign, to);
  if (is_panel && from.step == 2) return turn_into_panel<T, Stored, kRows, 2>(from, sign, to);
  if (is_panel && from.row == 1 && sign == 1)  // the lines lie side by side: a panel already
    return gather_lines<T, Stored>(Lines{from.data, from.count, from.step, kRows, 1}, to, kRows);
  if (is_panel) {
    for (int64_t k = 0; k < from.count; ++k, line += from.step, to += kRows)
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) to[r] = sign * widen<T>(line[r * from.row]);
    return;
  }
  if (to_row == 1 && from.step == 1 && sign == 1 && from.rows > 1 && from.count > 1)
    return turn_all<T, Stored>(from, to, to_step);
  for (int64_t r = 0; r < from.rows; ++r, line += from.row, to += to_row)
    for (int64_t k = 0; k < from.count; ++k) to[k * to_step] = sign * widen<T>(line[k * from.step]);
}
