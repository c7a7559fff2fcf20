// Products of matrices of bfloat16 by tile registers (AMX): kernels.h says what Kernels::matrices
// promises. One instruction multiplies 16 lines of 32 steps of the depth with 32 steps of 16 columns,
// whose rows lie as pairs of steps, and adds to 16 x 16 floats.
//
// Of the eight registers four hold sums, two rows of A and two columns of B, so that each is loaded
// once for two products: as often as they can be while a product is made.

namespace torchconv::avx512_amx {

constexpr int kLines = 16;  // of a register
constexpr int kColumns = 16;
constexpr int kSteps = 32;

// Which shapes the registers have: of A's and C's, the lines; all else is full.
struct alignas(64) Shapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {};
  Shapes(int64_t upper, int64_t lower) {
    rows[0] = rows[1] = rows[4] = uint8_t(upper);
    rows[2] = rows[3] = rows[5] = uint8_t(lower);
    rows[6] = rows[7] = kSteps / 2;
  }
};

// C (+)= A * B for two times two registers, or fewer. Registers 0 to 3 are C's, by rows; 4 and 5 A's;
// 6 and 7 B's, whose strips lie `strip` apart.
template <int rows, int columns>
inline void multiply_tiles(int64_t depth, const BFloat16* a, int64_t a_row, const BFloat16* b,
                           int64_t strip, float* c, int64_t c_row, bool add) {
  const auto bytes = [](int64_t floats) { return floats * int64_t(sizeof(float)); };
  const int64_t a_bytes = a_row * int64_t(sizeof *a);
  float* const lower = c + kLines * c_row;
  if (add) {
    _tile_loadd(0, c, bytes(c_row));
    if constexpr (columns > 1) _tile_loadd(1, c + kColumns, bytes(c_row));
    if constexpr (rows > 1) _tile_loadd(2, lower, bytes(c_row));
    if constexpr (rows > 1 && columns > 1) _tile_loadd(3, lower + kColumns, bytes(c_row));
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (; depth > 0; depth -= kSteps, a += kSteps, b += kSteps * kColumns) {
    _tile_loadd(4, a, a_bytes);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (columns > 1) {
      _tile_loadd(7, b + strip, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (rows > 1) {
      _tile_loadd(5, a + kLines * a_row, a_bytes);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (columns > 1) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, bytes(c_row));
  if constexpr (columns > 1) _tile_stored(1, c + kColumns, bytes(c_row));
  if constexpr (rows > 1) _tile_stored(2, lower, bytes(c_row));
  if constexpr (rows > 1 && columns > 1) _tile_stored(3, lower + kColumns, bytes(c_row));
}

// What sums start from is where they are added to.
inline void fill_sums(int64_t rows, int64_t columns, const float* start, float* c, int64_t c_row) {
  for (int64_t i = 0; i < rows; ++i, c += c_row)
    for (int64_t j = 0; j < columns; j += kColumns)
      _mm512_storeu_ps(c + j, _mm512_set1_ps(start[i]));
}

// Rows [first, end), so many registers of them at a time. Two strips stay in an L1 cache while the lines
// stream past them.
template <int height>
inline void multiply_strips(int64_t first, int64_t end, int64_t columns, int64_t depth,
                            const BFloat16* a, int64_t a_row, const BFloat16* b, float* c,
                            int64_t c_row, bool add) {
  const int64_t strip = depth * kColumns;
  for (int64_t j = 0; j < columns; j += 2 * kColumns)
    for (int64_t r = first; r < end; r += height * kLines) {
      const BFloat16* const lines = a + r * a_row;
      float* const sums = c + r * c_row + j;
      if (columns - j > kColumns)
        multiply_tiles<height, 2>(depth, lines, a_row, b + j * depth, strip, sums, c_row, add);
      else
        multiply_tiles<height, 1>(depth, lines, a_row, b + j * depth, strip, sums, c_row, add);
    }
}

void matrices(int64_t rows, int64_t columns, int64_t depth, const BFloat16* a, int64_t a_row,
              const BFloat16* b, float* c, int64_t c_row, const float* start, bool add) {
  if (start && !add) {
    fill_sums(rows, columns, start, c, c_row);
    add = true;
  }
  asm volatile("" ::: "memory");  // GCC 12 does not know that a tile is loaded from memory
  const auto shape = [](int64_t upper, int64_t lower) {
    const Shapes shapes(upper, lower);
    _tile_loadconfig(&shapes);
  };
  const int64_t whole = rows / (2 * kLines) * (2 * kLines), rest = rows - whole;
  if (whole > 0) {
    shape(kLines, kLines);
    multiply_strips<2>(0, whole, columns, depth, a, a_row, b, c, c_row, add);
  }
  if (rest > kLines) {
    shape(kLines, rest - kLines);
    multiply_strips<2>(whole, rows, columns, depth, a, a_row, b, c, c_row, add);
  } else if (rest > 0) {
    shape(rest, rest);
    multiply_strips<1>(whole, rows, columns, depth, a, a_row, b, c, c_row, add);
  }
  _tile_release();
}

inline __mmask32 first_lanes(int64_t count) {
  return count >= 32 ? ~__mmask32(0) : (__mmask32(1) << (count > 0 ? count : 0)) - 1;
}

// Two rows at a time, from both of which 32 columns become two pieces of strips.
void strips(int64_t depth, int64_t columns, const BFloat16* from, int64_t from_row, BFloat16* to) {
  const int64_t rows = (depth + kSteps - 1) / kSteps * kSteps, strip = rows * kColumns;
  alignas(64) uint16_t index[2][32];
  for (int k = 0; k < 32; ++k) {
    index[0][k] = uint16_t(k / 2 + k % 2 * 32);
    index[1][k] = uint16_t(index[0][k] + 16);
  }
  const __m512i low = _mm512_load_si512(index[0]), high = _mm512_load_si512(index[1]);
  for (int64_t k = 0; k < rows; k += 2, to += 2 * kColumns) {
    const int64_t first = k < depth ? columns : 0, second = k + 1 < depth ? columns : 0;
    const BFloat16* const row = from + (k < depth ? k * from_row : 0);
    BFloat16* at = to;
    for (int64_t j = 0; j < columns; j += 2 * kColumns, at += 2 * strip) {
      const __m512i x = _mm512_maskz_loadu_epi16(first_lanes(first - j), row + j);
      const __m512i y = _mm512_maskz_loadu_epi16(first_lanes(second - j), row + from_row + j);
      _mm512_storeu_si512(at, _mm512_permutex2var_epi16(x, low, y));
      if (columns - j > kColumns)
        _mm512_storeu_si512(at + strip, _mm512_permutex2var_epi16(x, high, y));
    }
  }
}

void copy_strip(int64_t depth, const BFloat16Pair* from, const int64_t* offset, BFloat16* to) {
  for (int64_t k = 0; k < depth; ++k, to += 2 * kColumns)
    _mm512_storeu_si512(to, _mm512_loadu_si512(from + offset[k]));
  for (int64_t k = depth; k % (kSteps / 2) != 0; ++k, to += 2 * kColumns)
    _mm512_storeu_si512(to, _mm512_setzero_si512());
}

// Those of vectors, but for the products.
Kernels<BFloat16> matrix_kernels(Kernels<BFloat16> table) {
  table.steps = kSteps;
  table.rows = 2 * kLines;
  table.vectors = 2;
  for (int i = 0; i < kMaxRows; ++i)
    for (int j = 0; j < kMaxVectors; ++j)
      table.outer[i][j] = nullptr, table.outer_lines[i][j] = nullptr;
  table.arrange = nullptr;
  table.matrices = matrices;
  table.strips = strips;
  return table;
}

}  // namespace torchconv::avx512_amx
