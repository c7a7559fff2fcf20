// Activations of a vector, for the stores. Those of float cost some twenty instructions a vector;
// those of double go through the C library, an element at a time.
//
//     exp(x) = 2^n exp(r),  n = round(x / log 2),  |r| <= log(2) / 2:  a Taylor polynomial of r
//     erfc(z) = t (a1 + t (a2 + ...)) exp(-z^2),  t = 1 / (1 + p z),  z >= 0
//
// The first leaves 2 eps (relative). The second is 7.1.26 of Abramowitz and Stegun, Handbook of
// Mathematical Functions (1964), absolute error 1.5e-7; gelu takes it on the side where it is small,
// so that the error is at most 1e-7 |x| there, too.

// For x <= 0, where all callers are: no overflow to care for.
inline Vec<float> exp_below_zero(Vec<float> x) {
  constexpr float shift = 12582912;  // 1.5 * 2^23: the sum's low bits are the rounded integer
  x = x < -87 ? splat<float>(-87) : x;
  const Vec<float> n = (x * 1.44269504f + shift) - shift;
  const Vec<float> r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // log 2 in two pieces
  Vec<float> sum = splat<float>(1.0f / 5040);
  constexpr float c[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  for (int i = 0; i < 7; ++i) sum = sum * r + c[i];
  const Vec<int32_t> power = (__builtin_convertvector(n, Vec<int32_t>) + 127) << 23;
  return sum * (Vec<float>)power;
}

inline Vec<float> absolute(Vec<float> x) { return x < 0 ? -x : x; }

inline Vec<float> silu(Vec<float> x) {
  const Vec<float> e = exp_below_zero(-absolute(x));  // of the smaller side
  return x * (x < 0 ? e : splat<float>(1)) / (1 + e);
}

inline Vec<float> gelu(Vec<float> x) {
  const Vec<float> z = absolute(x) * 0.70710678f;
  const Vec<float> t = 1 / (1 + z * 0.3275911f);
  Vec<float> sum = splat<float>(1.061405429f);
  constexpr float a[] = {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f};
  for (int i = 0; i < 4; ++i) sum = sum * t + a[i];
  const Vec<float> tail = sum * t * exp_below_zero(-z * z) * 0.5f;  // erfc(z) / 2
  return x * (x < 0 ? tail : 1 - tail);
}

inline Vec<double> silu(Vec<double> x) {
  for (int k = 0; k < kLanes<double>; ++k) x[k] = x[k] / (1 + __builtin_exp(-x[k]));
  return x;
}
inline Vec<double> gelu(Vec<double> x) {
  for (int k = 0; k < kLanes<double>; ++k)
    x[k] *= 0.5 * __builtin_erfc(x[k] * -0.70710678118654752);
  return x;
}

template <typename T>
inline Vec<T> activated(Vec<T> x, Activation activation) {
  if constexpr (T(0.5) > 0) {
    if (activation == Activation::relu) return x < 0 ? Vec<T>{} : x;  // NaN stays
    if (activation == Activation::silu) return silu(x);
    if (activation == Activation::gelu) return gelu(x);
  }
  return x;
}
