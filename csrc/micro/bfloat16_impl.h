// Products of bfloat16, for machines that have them. One instruction multiplies two steps of the
// depth and adds both products to a float,
//
//     sum[j] += a[0] * b[0][j] + a[1] * b[1][j]
//
// so its operands are pairs. A is arranged into pairs once, in memory; two rows of B become pairs in
// registers, so that a row of B is laid out as for every other type, and may be the input itself. The
// shuffles hide behind the products: on Zen 5 the tile runs at twice the rate of float's.
//
// Where the numbers of two channels lie as pairs (BFloat16Pair), an element of a tile is one.

#include "micro/kernels_impl.h"

namespace torchconv::TORCHCONV_TARGET {

using Halves = Vec<uint16_t>;
using HalfRow = BitsOf<uint16_t, kLanes<float>>::Type;

inline HalfRow load_row(const BFloat16* from) {
  HalfRow row;
  __builtin_memcpy(&row, from, sizeof row);
  return row;
}
template <int... k>
inline Halves pair_rows(HalfRow x, HalfRow y, Lanes<k...>) {
  return __builtin_shufflevector(x, y, (k / 2 + k % 2 * 16)...);
}
// Four steps of a panel of eight rows.
template <int... k>
inline Halves pair_steps(Halves v, Lanes<k...>) {
  return __builtin_shufflevector(v, v, (k / 16 * 16 + k % 16 / 2 + k % 2 * 8)...);
}

template <>
struct Product<BFloat16> {
  static constexpr int steps = 2;
  template <int count>
  static Halves columns(const BFloat16* b, int64_t b_row) {
    return pair_rows(load_row(b), count == 2 ? load_row(b + b_row) : HalfRow{},
                     AllLanes<uint16_t>{});
  }
  template <int count>
  static Halves row(const BFloat16* a) {
    uint32_t pair = 0;
    __builtin_memcpy(&pair, a, count * sizeof *a);
    return (Halves)splat<uint32_t>(pair);
  }
  static Vec<float> add(Vec<float> sum, Halves a, Halves b) {
    return (Vec<float>)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
  }
};

// Steps k and k + 1 of a row, for even k, become a pair; a last step by itself stays.
void arrange_pairs(int64_t depth, int64_t rows, BFloat16* a) {
  const int64_t whole = rows == kRows ? depth / 4 * 4 : 0;
  for (int64_t k = 0; k < whole; k += 4, a += 4 * kRows) {
    Halves v;
    __builtin_memcpy(&v, a, sizeof v);
    v = pair_steps(v, AllLanes<uint16_t>{});
    __builtin_memcpy(a, &v, sizeof v);
  }
  for (int64_t k = whole; k + 1 < depth; k += 2, a += 2 * rows) {
    BFloat16 pairs[2 * kRows];
    for (int64_t i = 0; i < 2 * rows; ++i) pairs[i] = a[i % 2 * rows + i / 2];
    __builtin_memcpy(a, pairs, size_t(2 * rows) * sizeof *a);
  }
}

void dots_bits(Store, const Lines& a, const BFloat16* b, int64_t b_row, int64_t columns, float* c,
               int64_t c_row) {
  dots_of<BFloat16, BFloat16>(a, b, b_row, columns, c, c_row);
}

// Only carried: as the whole numbers that their bits are.
void gather_bits(Store, const Lines& from, BFloat16* to, int64_t to_row) {
  gather_lines<uint16_t, uint16_t>(from, reinterpret_cast<uint16_t*>(to), to_row);
}
void interleave_bits(Store, const Lines& from, float, BFloat16* to, int64_t to_row,
                     int64_t to_step) {
  interleave_lines<uint16_t, uint16_t>(from, 1, reinterpret_cast<uint16_t*>(to), to_row, to_step);
}

template <>
struct Dot<BFloat16, BFloat16> {
  using Operand = Halves;
  static Halves whole(const BFloat16* from) {
    return load(reinterpret_cast<const uint16_t*>(from));
  }
  static Halves part(const BFloat16* from, int64_t count) {
    return load_first<Halves>(from, count * int64_t(sizeof *from));
  }
  static Vec<float> add(Vec<float> sum, Halves a, Halves b) {
    return Product<BFloat16>::add(sum, a, b);
  }
};

template <>
struct Product<BFloat16Pair> {
  static constexpr int steps = 1;
  template <int count>
  static Halves columns(const BFloat16Pair* b, int64_t) {
    return load(reinterpret_cast<const uint16_t*>(b));
  }
  template <int count>
  static Halves row(const BFloat16Pair* a) {
    uint32_t pair;
    __builtin_memcpy(&pair, a, sizeof pair);
    return (Halves)splat<uint32_t>(pair);
  }
  static Vec<float> add(Vec<float> sum, Halves a, Halves b) {
    return Product<BFloat16>::add(sum, a, b);
  }
};

// The first `count` lanes from the last to the first.
inline Vec<uint32_t> turned_about(Vec<uint32_t> v, int64_t count) {
  Vec<uint32_t> index{};
  for (int k = 0; k < kLanes<uint32_t>; ++k) index[k] = uint32_t(count - 1 - k) % 16;
  return (Vec<uint32_t>)_mm512_maskz_permutexvar_epi32(__mmask16((1u << count) - 1), (__m512i)index,
                                                       (__m512i)v);
}

// Numbers a step apart, the first `count` of a vector's lanes, as whole numbers of 32 bits.
inline Vec<uint32_t> load_numbers(const uint16_t* from, int64_t step, int64_t count) {
  if (step == 1) return load_part<uint32_t>(from, count);
  if (step == -1 && count > 0)
    return turned_about(load_part<uint32_t>(from - count + 1, count), count);
  if (step == 2) return load_first<Vec<uint32_t>>(from, 4 * count - 2) & 0xffff;
  Vec<uint32_t> v{};
  for (int64_t k = 0; k < count; ++k) v[k] = from[k * step];
  return v;
}
// The lower 16 bits of a pair are its first number.
void gather_pairs(const Lines& from, const void* second, BFloat16Pair* to, int64_t to_row) {
  constexpr int64_t lanes = kLanes<float>;
  const auto* line = static_cast<const uint16_t*>(from.data);
  const auto* other = static_cast<const uint16_t*>(second);
  for (int64_t k = 0; k < from.count; k += lanes) {
    const int64_t count = from.count - k < lanes ? from.count - k : lanes;
    for (int64_t r = 0; r < from.rows; ++r) {
      const int64_t at = r * from.row + k * from.step;
      Vec<uint32_t> v = load_numbers(line + at, from.step, count);
      if (other) v |= load_numbers(other + at, from.step, count) << 16;
      store_part<uint32_t>(reinterpret_cast<uint32_t*>(to + r * to_row + k), v, count);
    }
  }
}

Kernels<BFloat16Pair> pair_kernels() {
  Kernels<BFloat16Pair> table = make_common<BFloat16Pair>();
  fill_indirect(&table);
  table.gather_pairs = gather_pairs;
  return table;
}

Kernels<BFloat16> bfloat16_kernels() {
  Kernels<BFloat16> table = make_tiles<BFloat16>();
  table.arrange = arrange_pairs;
  table.dots = dots_bits;
  table.gather = gather_bits;
  table.interleave = interleave_bits;
  return table;
}

}  // namespace torchconv::TORCHCONV_TARGET
