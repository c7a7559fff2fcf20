// The outer tile: kernels.h says what it promises. Included by kernels_impl.h.
//
// A tile keeps rows x vectors sums in registers. Per step of the depth it loads `vectors` vectors
// of B and broadcasts `rows` numbers of A; with two FMA ports of four cycles' latency at least
// eight independent sums are needed, and 8 x 3 of 32 (AVX-512) or 4 x 3 of 16 registers (AVX2)
// leave room for the operands while the loads stay below the FMAs.

constexpr int kRows = TORCHCONV_VECTOR_BYTES == 64 ? 8 : 4;
constexpr int kVectors = 3;
#if defined(__aarch64__)
constexpr int kRegisters = 32;
#else
constexpr int kRegisters = TORCHCONV_VECTOR_BYTES == 64 ? 32 : 16;
#endif

// What a tile loads and multiplies: `steps` steps of the depth at a time, of which `count` are left.
template <typename T>
struct Product {
  static constexpr int steps = 1;
  template <int count>
  static Vec<T> columns(const T* b, int64_t) {
    return load(b);
  }
  template <int count>
  static T row(const T* a) {
    return *a;
  }
  static Vec<T> add(Vec<T> sum, T a, Vec<T> b) { return sum + b * a; }
};

// Rows of A lie a_row products apart, or, where that is zero, `line` elements.
template <int count, int a_row, typename T, int rows, int vectors>
inline void add_product(const T* a, int64_t line, const T* b, int64_t b_row,
                        Vec<Sum<T>> (&sum)[rows][vectors]) {
  using P = Product<T>;
  decltype(P::template columns<count>(b, b_row)) column[vectors];
#pragma GCC unroll 4
  for (int j = 0; j < vectors; ++j)
    column[j] = P::template columns<count>(b + j * kLanes<Sum<T>>, b_row);
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
    const T* const at = a + (a_row > 0 ? i * a_row * count : i * line);
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j)
      sum[i][j] = P::add(sum[i][j], P::template row<count>(at), column[j]);
  }
}

// The sums of a tile over `depth`; A[k][i] is a[k * a_step + i * a_row], before it is arranged.
template <int a_step, int a_row, typename T, int rows, int vectors>
inline void add_products(int64_t depth, const T* a, int64_t line, const T* b, int64_t b_row,
                         Vec<Sum<T>> (&sum)[rows][vectors]) {
  constexpr int steps = Product<T>::steps;
  for (; depth >= steps; depth -= steps, a += steps * a_step, b += steps * b_row)
    add_product<steps, a_row>(a, line, b, b_row, sum);
  if constexpr (steps > 1)
    if (depth > 0) add_product<1, a_row>(a, line, b, b_row, sum);
}

template <typename T, int rows, int vectors>
inline void store_sums(const Vec<Sum<T>> (&sum)[rows][vectors], Sum<T>* c, int64_t c_row,
                       bool add) {
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) {
      Sum<T>* const at = c + i * c_row + j * kLanes<Sum<T>>;
      store(at, add ? load(at) + sum[i][j] : sum[i][j]);
    }
}

// How A lies: see Kernels::outer, outer_blocks and outer_vectors.
enum class Panel { packed, blocks, vectors };

template <typename T, int rows, int vectors, Panel panel>
void outer_tile(int64_t depth, const T* a, const T* b, int64_t b_row, Sum<T>* c, int64_t c_row,
                const Sum<T>* start, bool add) {
  constexpr int lanes = kLanes<Sum<T>>;
  Vec<Sum<T>> sum[rows][vectors];
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j)
      sum[i][j] = splat<Sum<T>>(start && !add ? start[i] : Sum<T>(0));
  if constexpr (panel == Panel::blocks) {
    for (; depth > 0; depth -= lanes, a += kRows * lanes, b += lanes * b_row)
      add_products<1, lanes>(depth < lanes ? depth : lanes, a, 0, b, b_row, sum);
  } else {
    add_products<panel == Panel::vectors ? lanes : rows, 1>(depth, a, 0, b, b_row, sum);
  }
  store_sums<T>(sum, c, c_row, add);
}

// See Kernels::outer_lines.
template <typename T, int rows, int vectors>
void lines_tile(int64_t depth, const T* a, int64_t a_row, const T* b, int64_t b_row, Sum<T>* c,
                int64_t c_row, bool add) {
  Vec<Sum<T>> sum[rows][vectors];
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) sum[i][j] = Vec<Sum<T>>{};
  add_products<1, 0>(depth, a, a_row, b, b_row, sum);
  store_sums<T>(sum, c, c_row, add);
}

// See Kernels::outer_offsets.
template <typename T, int rows, int vectors>
void offsets_tile(int64_t depth, const T* a, const T* const* b, const int64_t* offset, Sum<T>* c,
                  int64_t c_row, const Sum<T>* start) {
  Vec<Sum<T>> sum[rows][vectors];
  const T* from[vectors];
#pragma GCC unroll 4
  for (int j = 0; j < vectors; ++j) {
    from[j] = b[j];
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i) sum[i][j] = splat<Sum<T>>(start[i]);
  }
  using P = Product<T>;
  for (; depth > 0; --depth, a += rows, ++offset) {
    decltype(P::template columns<1>(*b, 0)) column[vectors];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) column[j] = P::template columns<1>(from[j] + *offset, 0);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j)
        sum[i][j] = P::add(sum[i][j], P::template row<1>(a + i), column[j]);
  }
  store_sums<T>(sum, c, c_row, false);
}

// See Kernels::outer_places.
template <typename T, int rows, int vectors>
void places_tile(int64_t depth, const T* a, const int64_t* row, const int64_t* offset, const T* b,
                 Sum<T>* c, int64_t c_row, bool add) {
  Vec<Sum<T>> sum[rows][vectors];
  const T* from[rows];
#pragma GCC unroll 8
  for (int i = 0; i < rows; ++i) {
    from[i] = a + row[i];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) sum[i][j] = Vec<Sum<T>>{};
  }
  using P = Product<T>;
  for (; depth > 0; --depth, b += vectors * kLanes<T>, ++offset) {
    decltype(P::template columns<1>(b, 0)) column[vectors];
#pragma GCC unroll 4
    for (int j = 0; j < vectors; ++j) column[j] = P::template columns<1>(b + j * kLanes<T>, 0);
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
#pragma GCC unroll 4
      for (int j = 0; j < vectors; ++j)
        sum[i][j] = P::add(sum[i][j], P::template row<1>(from[i] + *offset), column[j]);
  }
  store_sums<T>(sum, c, c_row, add);
}

template <typename T, int rows>
void fill_offsets(typename Kernels<T>::OuterOffsets (*tiles)[kMaxVectors]) {
  tiles[rows - 1][0] = offsets_tile<T, rows, 1>;
  tiles[rows - 1][1] = offsets_tile<T, rows, 2>;
  tiles[rows - 1][2] = offsets_tile<T, rows, 3>;
  if constexpr (rows > 1) fill_offsets<T, rows - 1>(tiles);
}

// So many sums, and a step's operands, fit into the registers; and so many rows' addresses.
constexpr int place_rows(int vectors) {
  const int rows = (kRegisters - 1 - vectors) / vectors;
  return rows < kMaxRows ? rows : kMaxRows;
}
template <typename T, int vectors, int rows = place_rows(vectors)>
void fill_places(Kernels<T>* table) {
  table->outer_places[rows - 1][vectors - 1] = places_tile<T, rows, vectors>;
  if constexpr (rows == place_rows(vectors)) table->place_rows[vectors - 1] = rows;
  if constexpr (rows > 1) fill_places<T, vectors, rows - 1>(table);
}

template <typename T, int rows>
void fill_lines(typename Kernels<T>::OuterLines (*tiles)[kMaxVectors]) {
  tiles[rows - 1][0] = lines_tile<T, rows, 1>;
  tiles[rows - 1][1] = lines_tile<T, rows, 2>;
  tiles[rows - 1][2] = lines_tile<T, rows, 3>;
  if constexpr (rows > 1) fill_lines<T, rows - 1>(tiles);
}

template <typename T, int rows, Panel panel>
void fill_outer(typename Kernels<T>::Outer (*tiles)[kMaxVectors]) {
  tiles[rows - 1][0] = outer_tile<T, rows, 1, panel>;
  tiles[rows - 1][1] = outer_tile<T, rows, 2, panel>;
  tiles[rows - 1][2] = outer_tile<T, rows, 3, panel>;
  if constexpr (rows > 1) fill_outer<T, rows - 1, panel>(tiles);
}
