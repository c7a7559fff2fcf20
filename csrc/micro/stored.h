// Elements as a tensor stores them: loaded, stored and converted a vector's worth at a time.
//
// Included by simd.h. Whole numbers are computed in an unsigned type no narrower than they are: it
// wraps as they do, and a signed one is extended by its sign.

// One element.
template <typename T, typename Stored>
inline T widen(Stored x) {
  return T(x);
}
template <typename T, typename Stored>
inline void narrow(T x, Stored* to) {
  *to = Stored(x);
}
inline void narrow(float x, BFloat16* to) { *to = BFloat16::from(x); }
inline void narrow(float x, Float16* to) { *to = Float16::from(x); }

// As many stored elements as Vec<T> has lanes, and their conversion.
template <typename Bits, int lanes>
struct BitsOf {
  typedef Bits Type __attribute__((vector_size(sizeof(Bits) * lanes)));
};
template <typename T, typename Stored>
struct Conversion {
  using Bits = typename BitsOf<Stored, kLanes<T>>::Type;
  static Vec<T> widen(Bits bits) { return __builtin_convertvector(bits, Vec<T>); }
  static Bits narrow(Vec<T> v) { return __builtin_convertvector(v, Bits); }
};
template <>
struct Conversion<float, BFloat16> {
  using Bits = BitsOf<uint16_t, kLanes<float>>::Type;
  static Vec<float> widen(Bits bits) {
    return (Vec<float>)(__builtin_convertvector(bits, Vec<uint32_t>) << 16);
  }
#if defined(TORCHCONV_BFLOAT16)
  static Bits narrow(Vec<float> v) { return (Bits)_mm512_cvtneps_pbh((__m512)v); }
#else
  static Bits narrow(Vec<float> v) {  // BFloat16::from, on all lanes
    const Vec<uint32_t> b = (Vec<uint32_t>)v, rounded = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
    const Vec<uint32_t> kept = v == v ? rounded : Vec<uint32_t>{} + 0x7fc0;
    return __builtin_convertvector(kept, Bits);
  }
#endif
};
template <>
struct Conversion<float, Float16> {
  using Bits = BitsOf<uint16_t, kLanes<float>>::Type;
#if TORCHCONV_VECTOR_BYTES == 64
  static Vec<float> widen(Bits bits) { return (Vec<float>)_mm512_cvtph_ps((__m256i)bits); }
  static Bits narrow(Vec<float> v) {
    return (Bits)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT);
  }
#elif TORCHCONV_VECTOR_BYTES == 32
  static Vec<float> widen(Bits bits) { return (Vec<float>)_mm256_cvtph_ps((__m128i)bits); }
  static Bits narrow(Vec<float> v) {
    return (Bits)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
  }
#else
  static Vec<float> widen(Bits bits) {
    Vec<float> v;
    for (int k = 0; k < kLanes<float>; ++k) v[k] = Float16{bits[k]};
    return v;
  }
  static Bits narrow(Vec<float> v) {
    Bits bits;
    for (int k = 0; k < kLanes<float>; ++k) bits[k] = Float16::from(v[k]).bits;
    return bits;
  }
#endif
};

// The first `bytes` of 16, or fewer than none: loads and stores overlap instead of reaching further.
typedef uint64_t Words __attribute__((vector_size(16)));

template <typename Word>
inline uint64_t load_word(const char* from) {
  Word word;
  __builtin_memcpy(&word, from, sizeof word);
  return word;
}
template <typename Word>
inline void store_word(char* to, uint64_t bits) {
  const Word word = Word(bits);
  __builtin_memcpy(to, &word, sizeof word);
}

inline Words load_words(const char* from, int64_t bytes) {
  const int64_t end = 8 * bytes;  // in bits
  uint64_t low = 0, high = 0;
  if (bytes >= 16) {
    low = load_word<uint64_t>(from);
    high = load_word<uint64_t>(from + 8);
  } else if (bytes >= 8) {
    low = load_word<uint64_t>(from);
    if (bytes > 8) high = load_word<uint64_t>(from + bytes - 8) >> (128 - end);
  } else if (bytes >= 4) {
    low = load_word<uint32_t>(from) | load_word<uint32_t>(from + bytes - 4) << (end - 32);
  } else if (bytes > 0) {
    low = load_word<uint8_t>(from) | load_word<uint8_t>(from + bytes / 2) << bytes / 2 * 8 |
          load_word<uint8_t>(from + bytes - 1) << (end - 8);
  }
  return Words{low, high};
}
inline void store_words(char* to, Words words, int64_t bytes) {
  const int64_t end = 8 * bytes;
  const uint64_t low = words[0], high = words[1];
  if (bytes >= 16) {
    store_word<uint64_t>(to, low);
    store_word<uint64_t>(to + 8, high);
  } else if (bytes >= 8) {
    store_word<uint64_t>(to, low);
    if (bytes > 8) store_word<uint64_t>(to + bytes - 8, low >> (end - 64) | high << (128 - end));
  } else if (bytes >= 4) {
    store_word<uint32_t>(to, low);
    store_word<uint32_t>(to + bytes - 4, low >> (end - 32));
  } else if (bytes > 0) {
    store_word<uint8_t>(to, low);
    store_word<uint8_t>(to + bytes / 2, low >> bytes / 2 * 8);
    store_word<uint8_t>(to + bytes - 1, low >> (end - 8));
  }
}

// The first `bytes` of a vector; loaded, the other lanes are zero. AVX-512 masks bytes, AVX2 32-bit
// elements; but AMD's machines make some forty operations of a store that AVX2 masks.
#if TORCHCONV_VECTOR_BYTES == 64
inline __mmask64 first64(int64_t count) {
  return count < 64 ? (uint64_t(1) << count) - 1 : ~uint64_t(0);
}
#elif TORCHCONV_VECTOR_BYTES == 32
inline __m256i first8(int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(count)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline void store_pieces(char* to, __m256i v, int64_t bytes) {
  if (bytes >= 32) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v);
  __m128i left = _mm256_castsi256_si128(v);
  if (bytes & 16) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), left);
    left = _mm256_extracti128_si256(v, 1);
    to += 16;
  }
  if (bytes & 8) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), left);
    left = _mm_unpackhi_epi64(left, left);
    to += 8;
  }
  if (bytes & 4) store_word<uint32_t>(to, uint32_t(_mm_cvtsi128_si32(left)));
}
#endif

template <typename V>
constexpr int kWords = (sizeof(V) + 15) / 16;

template <typename V>
inline V load_first(const void* from, int64_t bytes) {
#if TORCHCONV_VECTOR_BYTES == 64
  if constexpr (sizeof(V) == 64) return (V)_mm512_maskz_loadu_epi8(first64(bytes), from);
  if constexpr (sizeof(V) == 32) return (V)_mm256_maskz_loadu_epi8(__mmask32(first64(bytes)), from);
#elif TORCHCONV_VECTOR_BYTES == 32
  if constexpr (sizeof(V) == 32 && sizeof(V{}[0]) >= 4)
    return (V)_mm256_maskload_epi32(static_cast<const int*>(from), first8(bytes / 4));
#endif
  Words words[kWords<V>];
  for (int w = 0; w < kWords<V>; ++w)
    words[w] = load_words(static_cast<const char*>(from) + 16 * w, bytes - 16 * w);
  V v;
  __builtin_memcpy(&v, words, sizeof v);
  return v;
}
template <typename V>
inline void store_first(void* to, V v, int64_t bytes) {
#if TORCHCONV_VECTOR_BYTES == 64
  if constexpr (sizeof(V) == 64) return _mm512_mask_storeu_epi8(to, first64(bytes), (__m512i)v);
  if constexpr (sizeof(V) == 32)
    return _mm256_mask_storeu_epi8(to, __mmask32(first64(bytes)), (__m256i)v);
#elif TORCHCONV_VECTOR_BYTES == 32
  if constexpr (sizeof(V) == 32 && sizeof(V{}[0]) >= 4)
    return store_pieces(static_cast<char*>(to), (__m256i)v, bytes);
#endif
  Words words[kWords<V>] = {};
  __builtin_memcpy(words, &v, sizeof v);
  for (int w = 0; w < kWords<V>; ++w)
    store_words(static_cast<char*>(to) + 16 * w, words[w], bytes - 16 * w);
}

// A vector, or its first `count` lanes (the others are zero), from and to elements as stored. No
// byte beyond them is touched.
template <typename T, typename Stored>
inline Vec<T> load_full(const Stored* from) {
  using To = Conversion<T, Stored>;
  typename To::Bits bits;
  __builtin_memcpy(&bits, from, sizeof bits);
  return To::widen(bits);
}
template <typename T, typename Stored>
inline void store_full(Stored* to, Vec<T> v) {
  const auto bits = Conversion<T, Stored>::narrow(v);
  __builtin_memcpy(to, &bits, sizeof bits);
}
template <typename T, typename Stored>
inline Vec<T> load_part(const Stored* from, int64_t count) {
  using To = Conversion<T, Stored>;
  return To::widen(load_first<typename To::Bits>(from, count * int64_t(sizeof(Stored))));
}
template <typename T, typename Stored>
inline void store_part(Stored* to, Vec<T> v, int64_t count) {
  store_first(to, Conversion<T, Stored>::narrow(v), count * int64_t(sizeof(Stored)));
}
