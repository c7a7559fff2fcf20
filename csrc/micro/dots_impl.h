// Dot products with lines as a tensor stores them: kernels.h says what they promise. Included by
// kernels_impl.h.
//
// A tile of 4 lines by 3 columns keeps 12 vectors of sums and loads 7 vectors for 12 products, one of 8
// lines, where there are registers for it, 11 for 24; with one column, as many lines as there are keep
// the products apart by their latency, and what is read of memory sets the pace.

constexpr int kDotRows = kRegisters == 32 ? 8 : 4;
constexpr int kDotColumns = 3;

// What a tile loads, elements that are computed in T, and how it multiplies.
template <typename T, typename Stored>
struct Dot {
  using Operand = Vec<T>;
  static Operand whole(const Stored* from) { return load_full<T>(from); }
  static Operand part(const Stored* from, int64_t count) {
    return load_part<T, Stored>(from, count);
  }
  static Vec<T> add(Vec<T> sum, Operand a, Operand b) { return sum + a * b; }
};

template <typename T, typename Stored, int rows, int columns>
void dots_tile(const Stored* a, int64_t a_row, int64_t depth, const T* b, int64_t b_row, Sum<T>* c,
               int64_t c_row) {
  using Line = Dot<T, Stored>;
  using Column = Dot<T, T>;
  constexpr int lanes = kLanes<T>;
  Vec<Sum<T>> sum[columns][rows] = {};
  const auto step = [&](auto whole) {
    typename Column::Operand column[columns];
#pragma GCC unroll 4
    for (int j = 0; j < columns; ++j) {
      const T* const at = b + j * b_row;
      column[j] = whole ? Column::whole(at) : Column::part(at, depth);
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) {
      const Stored* const at = a + i * a_row;
      const auto line = whole ? Line::whole(at) : Line::part(at, depth);
#pragma GCC unroll 4
      for (int j = 0; j < columns; ++j) sum[j][i] = Line::add(sum[j][i], line, column[j]);
    }
  };
  for (; depth >= lanes; depth -= lanes, a += lanes, b += lanes) step(True{});
  if (depth > 0) step(False{});
#pragma GCC unroll 4
  for (int j = 0; j < columns; ++j) {
    Sum<T> total[rows + kLanes<Sum<T>>];
    sum_each<Sum<T>, rows>(sum[j], total);
    for (int i = 0; i < rows; ++i) c[j * c_row + i] += total[i];
  }
}

// The columns of a few lines, in passes of about as many.
template <typename T, typename Stored, int rows>
void dots_lines(const Stored* a, int64_t a_row, int64_t depth, const T* b, int64_t b_row,
                int64_t columns, Sum<T>* c, int64_t c_row) {
  for (int64_t passes = (columns + kDotColumns - 1) / kDotColumns; passes > 0; --passes) {
    const int64_t width = (columns + passes - 1) / passes;
    const auto tile = width == 3   ? dots_tile<T, Stored, rows, 3>
                      : width == 2 ? dots_tile<T, Stored, rows, 2>
                                   : dots_tile<T, Stored, rows, 1>;
    tile(a, a_row, depth, b, b_row, c, c_row);
    columns -= width, b += width * b_row, c += width * c_row;
  }
}

template <typename T, typename Stored>
void dots_of(const Lines& a, const T* b, int64_t b_row, int64_t columns, Sum<T>* c, int64_t c_row) {
  const Stored* line = static_cast<const Stored*>(a.data);
  int64_t r = 0;
  for (; r + kDotRows <= a.rows; r += kDotRows)
    dots_lines<T, Stored, kDotRows>(line + r * a.row, a.row, a.count, b, b_row, columns, c + r,
                                    c_row);
  for (; r < a.rows; ++r)
    dots_lines<T, Stored, 1>(line + r * a.row, a.row, a.count, b, b_row, columns, c + r, c_row);
}
template <typename T>
void dots(Store stored, const Lines& a, const T* b, int64_t b_row, int64_t columns, T* c,
          int64_t c_row) {
  with_stored(stored, T(), [&]<typename Stored>(Stored*) {
    dots_of<T, Stored>(a, b, b_row, columns, c, c_row);
  });
}
