// Vectors of one target: GCC and Clang vector extensions, and the few things these lack.
//
// Included once per target (see target_*.cpp) inside namespace torchconv::TORCHCONV_TARGET. Nothing
// here may call an inline function of the standard library: the linker keeps one copy of those, and
// it could be the one compiled for AVX-512.

template <typename T>
struct VectorOf {
  typedef T Type __attribute__((vector_size(TORCHCONV_VECTOR_BYTES)));
};
template <typename T>
using Vec = typename VectorOf<T>::Type;
template <typename T>
constexpr int kLanes = TORCHCONV_VECTOR_BYTES / int(sizeof(T));

// Lane numbers 0, 1, ... as a type, for shuffles.
template <int... k>
struct Lanes {};
template <int count, int... k>
struct CountLanes : CountLanes<count - 1, count - 1, k...> {};
template <int... k>
struct CountLanes<0, k...> {
  using Type = Lanes<k...>;
};
template <typename T>
using AllLanes = typename CountLanes<kLanes<T>>::Type;

// Whether two types are one.
template <typename A, typename B>
struct SameType {
  static constexpr bool value = false;
};
template <typename A>
struct SameType<A, A> {
  static constexpr bool value = true;
};

// A bool as a type, for what a loop's body knows when it is compiled.
struct True {
  constexpr operator bool() const { return true; }
};
struct False {
  constexpr operator bool() const { return false; }
};

template <typename T>
inline Vec<T> load(const T* from) {
  Vec<T> v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}
template <typename T>
inline Vec<T> splat(T x) {
  return x - Vec<T>{};  // x, of either sign of zero: nothing is left to subtract
}
template <typename T>
inline void store(T* to, Vec<T> v) {
  __builtin_memcpy(to, &v, sizeof v);
}

// Copies past the caches: whole vectors, in lines of 64 bytes, without what was there being read.
inline void stream_bytes(char* to, const char* from, int64_t bytes) {
#if defined(__SSE2__)
#if TORCHCONV_VECTOR_BYTES == 64
  constexpr auto put = [](char* at, Vec<char> v) { _mm512_stream_si512((__m512i*)at, (__m512i)v); };
#elif TORCHCONV_VECTOR_BYTES == 32
  constexpr auto put = [](char* at, Vec<char> v) { _mm256_stream_si256((__m256i*)at, (__m256i)v); };
#else
  constexpr auto put = [](char* at, Vec<char> v) { _mm_stream_si128((__m128i*)at, (__m128i)v); };
#endif
  constexpr int64_t line = 64;
  const int64_t head = -reinterpret_cast<uintptr_t>(to) & (line - 1);
  if (bytes >= head + line) {
    __builtin_memcpy(to, from, head);
    for (to += head, from += head, bytes -= head; bytes >= line; bytes -= line)
#pragma GCC unroll 4
      for (int i = 0; i < line; i += kLanes<char>, to += kLanes<char>, from += kLanes<char>)
        put(to, load(from));
  }
#endif
  __builtin_memcpy(to, from, bytes);
}
// Lines that lie side by side, to lines y_row apart.
template <typename Stored>
inline void stream_lines(const Stored* x, int64_t lines, int64_t count, Stored* y, int64_t y_row) {
  if (count == y_row) count *= lines, lines = 1;
  for (; lines > 0; --lines, x += count, y += y_row)
    stream_bytes(reinterpret_cast<char*>(y), reinterpret_cast<const char*>(x),
                 count * int64_t(sizeof(Stored)));
}

// A loaded vector that stays in its register: GCC loads anew for every use where it can fold the
// load into the instruction, and loads are what the loops with much reuse run short of.
template <typename T>
inline Vec<T> in_register(Vec<T> v) {
#if defined(__AVX512F__)
  __asm__("" : "+v"(v));
#elif defined(__x86_64__)
  __asm__("" : "+x"(v));
#elif defined(__aarch64__)
  __asm__("" : "+w"(v));
#endif
  return v;
}
template <typename T>
inline Vec<T> load_once(const T* from) {
  return in_register<T>(load(from));
}

// A value that the compiler must take as new: it would keep every address that it can foresee in a
// register of its own, until they spill.
template <typename X>
inline void renew(X* x) {
  __asm__ volatile("" : "+r"(*x));
}

#include "micro/stored.h"

// x0, y0, x1, y1, ... : the first and the second half of it.
template <typename T, int... k>
inline void zip(Vec<T> x, Vec<T> y, Vec<T>* low, Vec<T>* high, Lanes<k...>) {
  constexpr int lanes = kLanes<T>;
  *low = __builtin_shufflevector(x, y, (k % 2 * lanes + k / 2)...);
  *high = __builtin_shufflevector(x, y, (k % 2 * lanes + (lanes + k) / 2)...);
}

// The same within each 16 bytes: no more than the units of AVX2 do at once. What crosses them costs
// AMD's first Zen eight operations.
template <typename T>
constexpr int kQuarter = 16 / int(sizeof(T));
template <typename T, int... k>
inline void zip_quarters(Vec<T> x, Vec<T> y, Vec<T>* low, Vec<T>* high, Lanes<k...>) {
  constexpr int lanes = kLanes<T>, quarter = kQuarter<T>;
  *low =
      __builtin_shufflevector(x, y, (k % 2 * lanes + k / quarter * quarter + k % quarter / 2)...);
  *high = __builtin_shufflevector(
      x, y, (k % 2 * lanes + k / quarter * quarter + (quarter + k % quarter) / 2)...);
}

// Two halves of a vector, or the low or the high halves of two, side by side.
template <typename T, typename Half, int... k>
inline Vec<T> join(Half low, Half high, Lanes<k...>) {
  return __builtin_shufflevector(low, high, k...);
}
template <typename T, int... k>
inline Vec<T> join_low(Vec<T> x, Vec<T> y, Lanes<k...>) {
  constexpr int lanes = kLanes<T>;
  return __builtin_shufflevector(x, y, (k < lanes / 2 ? k : lanes / 2 + k)...);
}
template <typename T, int... k>
inline Vec<T> join_high(Vec<T> x, Vec<T> y, Lanes<k...>) {
  constexpr int lanes = kLanes<T>;
  return __builtin_shufflevector(x, y, (k < lanes / 2 ? lanes / 2 + k : lanes + k)...);
}

// v[0][0], v[1][0], ..., v[0][1], v[1][1], ... : the lanes of `count` vectors in turn. Vectors of
// even and of odd number are zipped by themselves first, then with each other. In line, always: else
// they would go through memory.
template <typename T, int count, bool quarters = false>
inline __attribute__((always_inline)) void zip_by_halves(Vec<T>* v) {
  if constexpr (count > 1) {
    Vec<T> even[count / 2], odd[count / 2];
#pragma GCC unroll 8
    for (int i = 0; i < count / 2; ++i) even[i] = v[2 * i], odd[i] = v[2 * i + 1];
    zip_by_halves<T, count / 2, quarters>(even);
    zip_by_halves<T, count / 2, quarters>(odd);
#pragma GCC unroll 8
    for (int i = 0; i < count / 2; ++i) {
      if constexpr (quarters)
        zip_quarters<T>(even[i], odd[i], &v[2 * i], &v[2 * i + 1], AllLanes<T>{});
      else
        zip<T>(even[i], odd[i], &v[2 * i], &v[2 * i + 1], AllLanes<T>{});
    }
  }
}

// Of two halves, each is zipped within itself, before or after the halves are sorted.
template <typename T, int count>
inline __attribute__((always_inline)) void zip_all(Vec<T>* v) {
  constexpr int quarter = kQuarter<T>;
  if constexpr (TORCHCONV_VECTOR_BYTES != 32 || count == 1 || count > 2 * quarter) {
    zip_by_halves<T, count>(v);
  } else if constexpr (count == 2 * quarter) {
    Vec<T> low[quarter], high[quarter];
#pragma GCC unroll 8
    for (int i = 0; i < quarter; ++i) {
      low[i] = join_low<T>(v[i], v[quarter + i], AllLanes<T>{});
      high[i] = join_high<T>(v[i], v[quarter + i], AllLanes<T>{});
    }
    zip_by_halves<T, quarter, true>(low);
    zip_by_halves<T, quarter, true>(high);
#pragma GCC unroll 8
    for (int i = 0; i < quarter; ++i) v[i] = low[i], v[quarter + i] = high[i];
  } else {
    zip_by_halves<T, count, true>(v);
    Vec<T> zipped[count];
#pragma GCC unroll 8
    for (int i = 0; i < count; ++i) zipped[i] = v[i];
#pragma GCC unroll 8
    for (int i = 0; i < count / 2; ++i) {
      v[i] = join_low<T>(zipped[2 * i], zipped[2 * i + 1], AllLanes<T>{});
      v[count / 2 + i] = join_high<T>(zipped[2 * i], zipped[2 * i + 1], AllLanes<T>{});
    }
  }
}

// A square of elements, turned: v[k][r] = from[r * row + k]. Halves of vectors are loaded to where
// they belong, so that nothing need cross them.
template <typename T, typename Stored>
inline __attribute__((always_inline)) void load_turned(const Stored* from, int64_t row, Vec<T>* v) {
  constexpr int lanes = kLanes<T>;
#if TORCHCONV_VECTOR_BYTES == 32
  if constexpr (SameType<T, Stored>::value) {
    typedef T Half __attribute__((vector_size(16)));
    constexpr int quarter = kQuarter<T>;
    const auto load_halves = [&](const T* at) {
      Half low, high;
      __builtin_memcpy(&low, at, sizeof low);
      __builtin_memcpy(&high, at + quarter * row, sizeof high);
      return join<T>(low, high, AllLanes<T>{});
    };
#pragma GCC unroll 8
    for (int i = 0; i < quarter; ++i) {
      v[i] = load_halves(from + i * row);
      v[quarter + i] = load_halves(from + i * row + quarter);
    }
    zip_by_halves<T, quarter, true>(v);
    zip_by_halves<T, quarter, true>(v + quarter);
    return;
  }
#endif
#pragma GCC unroll 16
  for (int r = 0; r < lanes; ++r) v[r] = load_full<T>(from + r * row);
  zip_all<T, lanes>(v);
}

// The other way: every count-th lane of the vectors, taken as one sequence.
template <typename T, int... k>
inline void unzip(Vec<T> x, Vec<T> y, Vec<T>* even, Vec<T>* odd, Lanes<k...>) {
  *even = __builtin_shufflevector(x, y, (2 * k)...);
  *odd = __builtin_shufflevector(x, y, (2 * k + 1)...);
}
template <typename T, int count>
inline __attribute__((always_inline)) void unzip_all(Vec<T>* v) {
  if constexpr (count > 1) {
    Vec<T> even[count / 2], odd[count / 2];
#pragma GCC unroll 8
    for (int i = 0; i < count / 2; ++i)
      unzip<T>(v[2 * i], v[2 * i + 1], &even[i], &odd[i], AllLanes<T>{});
    unzip_all<T, count / 2>(even);
    unzip_all<T, count / 2>(odd);
#pragma GCC unroll 8
    for (int i = 0; i < count / 2; ++i) v[2 * i] = even[i], v[2 * i + 1] = odd[i];
  }
}

// Every second of 2 * lanes - 1 elements: the second load ends with the last element wanted.
template <typename V, int... k>
inline V pick_even(V x, V y, Lanes<k...>) {
  constexpr int lanes = sizeof...(k);
  return __builtin_shufflevector(x, y, (k < lanes / 2 ? 2 * k : 2 * k + 1)...);
}
template <typename T, typename Stored>
inline Vec<T> load_even(const Stored* from) {
  return pick_even(load_full<T>(from), load_full<T>(from + kLanes<T> - 1), AllLanes<T>{});
}

// The first `count` lanes to every second element; those between are not touched.
template <typename T, typename Stored>
inline void store_even(Stored* to, Vec<T> v, int64_t count) {
#if TORCHCONV_VECTOR_BYTES == 64
  if constexpr (SameType<T, float>::value) {
    const uint32_t even = 0x55555555u & uint32_t((uint64_t(1) << 2 * count) - 1);
    if constexpr (sizeof(Stored) == 2) {
      const auto bits = Conversion<T, Stored>::narrow(v);
      return _mm512_mask_storeu_epi16(to, even, _mm512_cvtepu16_epi32((__m256i)bits));
    }
    Vec<T> low, high;
    zip<T>(v, v, &low, &high, AllLanes<T>{});
    _mm512_mask_storeu_ps(to, __mmask16(even), (__m512)low);
    return _mm512_mask_storeu_ps(to + 16, __mmask16(even >> 16), (__m512)high);
  }
#endif
  for (int64_t k = 0; k < count; ++k) narrow(v[k], to + 2 * k);
}

// Neighbouring lanes added: x0+x1, x2+x3, ..., y0+y1, y2+y3, ...
template <typename T, int... k>
inline Vec<T> add_pairs(Vec<T> x, Vec<T> y, Lanes<k...>) {
  return __builtin_shufflevector(x, y, (2 * k)...) + __builtin_shufflevector(x, y, (2 * k + 1)...);
}

// total[v] = the sum of the lanes of vector v, for all of them at once: each round halves both the
// number of vectors and the lanes that are left of each. Writes whole vectors.
template <typename T, int count, int lanes = kLanes<T>>
inline void sum_each(const Vec<T>* v, T* total) {
  if constexpr (lanes == 1) {
    for (int i = 0; i < count; ++i) store(total + i * kLanes<T>, v[i]);
  } else {
    constexpr int pairs = (count + 1) / 2;
    Vec<T> sum[pairs];
#pragma GCC unroll 16
    for (int i = 0; i < pairs; ++i)
      sum[i] = add_pairs<T>(v[2 * i], 2 * i + 1 < count ? v[2 * i + 1] : Vec<T>{}, AllLanes<T>{});
    sum_each<T, pairs, lanes / 2>(sum, total);
  }
}

inline unsigned flush_denormals() {
#if defined(__SSE2__)
  const unsigned state = _mm_getcsr();
  _mm_setcsr(state | 0x8040);  // flush to zero, denormals are zero
  return state;
#elif defined(__aarch64__)
  uint64_t state;
  __asm__ volatile("mrs %0, fpcr" : "=r"(state));
  __asm__ volatile("msr fpcr, %0" : : "r"(state | (1u << 24)));
  return unsigned(state);
#else
  return 0;
#endif
}
inline void restore_denormals([[maybe_unused]] unsigned state) {
#if defined(__SSE2__)
  _mm_setcsr(state);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"(uint64_t(state)));
#endif
}
