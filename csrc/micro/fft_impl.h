// Fourier transforms of tiles of complex vectors, in place and in whatever order the points come
// out: products are point by point, and the way back undoes the order.
//
// A polynomial modulo u^n - c is known by its remainders modulo the r factors of it,
//
//     u^n - c = product over q of (u^(n/r) - z w^q),    z^r = c,    w = e^(2 pi i / r)
//
// which are one butterfly: part p of the n coefficients times z^p, then r sums. A block of one stage
// has one c, so its roots stay in registers while coefficients go by; after Bernstein, Multidigit
// multiplication for mathematicians (2001). From c = i, 2n reals x are n complex numbers
// x[j] + i x[j + n] (u^n = i), so that real data needs no symmetry: the product of two is the real
// one modulo u^2n + 1, which wraps around with a minus. Whoever keeps away from what wraps around
// sees none of it.
//
// Included once per target by kernels_impl.h, inside its namespace.

template <typename T>
struct Complex {
  Vec<T> re, im;
};

template <typename T>
inline Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <typename T>
inline Complex<T> operator-(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}
template <typename T>
inline Complex<T> operator*(Complex<T> a, Complex<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <typename T>
inline Complex<T> times_conjugate(Complex<T> a, Complex<T> b) {
  return {a.re * b.re + a.im * b.im, a.im * b.re - a.re * b.im};
}
template <typename T>
inline Complex<T> times_i(Complex<T> a) {
  return {-a.im, a.re};
}

template <typename T>
inline Complex<T> load_complex(const T* from, int64_t imaginary) {
  return {load(from), load(from + imaginary)};
}
template <typename T>
inline void store_complex(T* to, int64_t imaginary, Complex<T> x) {
  store(to, x.re);
  store(to + imaginary, x.im);
}

// The butterflies: x are the parts of a block and then its remainders, z its roots z, z^2, ...
template <typename T>
struct Radix2 {
  static constexpr int parts = 2;
  static void split(Complex<T>* x, const Complex<T>* z) {
    const Complex<T> a = x[0], b = x[1] * z[0];
    x[0] = a + b;
    x[1] = a - b;
  }
  static void join(Complex<T>* x, const Complex<T>* z) {
    const Complex<T> a = x[0], b = x[1];
    x[0] = a + b;
    x[1] = times_conjugate(a - b, z[0]);
  }
};

template <typename T>
struct Radix3 {
  static constexpr int parts = 3;
  static constexpr T sine = T(0.86602540378443864676);  // of 60 degrees
  static void split(Complex<T>* x, const Complex<T>* z) {
    const Complex<T> b = x[1] * z[0], c = x[2] * z[1];
    rotate(x, b, c);
  }
  static void join(Complex<T>* x, const Complex<T>* z) {
    rotate(x, x[2], x[1]);
    x[1] = times_conjugate(x[1], z[0]);
    x[2] = times_conjugate(x[2], z[1]);
  }

 private:
  static void rotate(Complex<T>* x, Complex<T> b, Complex<T> c) {
    const Complex<T> sum = b + c, difference = times_i(b - c), a = x[0];
    const Complex<T> middle{a.re - sum.re * T(0.5), a.im - sum.im * T(0.5)};
    x[0] = a + sum;
    x[1] = {middle.re + difference.re * sine, middle.im + difference.im * sine};
    x[2] = {middle.re - difference.re * sine, middle.im - difference.im * sine};
  }
};

template <typename T>
struct Radix4 {
  static constexpr int parts = 4;
  static void split(Complex<T>* x, const Complex<T>* z) {
    const Complex<T> a = x[0], b = x[1] * z[0], c = x[2] * z[1], d = x[3] * z[2];
    const Complex<T> even = a + c, odd = b + d, e = a - c, f = times_i(b - d);
    x[0] = even + odd;
    x[1] = e + f;
    x[2] = even - odd;
    x[3] = e - f;
  }
  static void join(Complex<T>* x, const Complex<T>* z) {
    const Complex<T> even = x[0] + x[2], odd = x[1] + x[3];
    const Complex<T> e = x[0] - x[2], f = times_i(x[1] - x[3]);
    x[0] = even + odd;
    x[1] = times_conjugate(e - f, z[0]);
    x[2] = times_conjugate(even - odd, z[1]);
    x[3] = times_conjugate(e + f, z[2]);
  }
};

template <typename T, typename Radix, bool splits>
void fft_stage(const FftStage<T>& s) {
  constexpr int parts = Radix::parts;
  const T* root = s.roots;
  for (int64_t b = 0; b < s.blocks; ++b, root += 2 * (parts - 1)) {
    Complex<T> z[parts - 1];
#pragma GCC unroll 4
    for (int p = 0; p < parts - 1; ++p) z[p] = {splat(root[2 * p]), splat(root[2 * p + 1])};
    T* line = s.data + b * s.block;
    for (int64_t l = 0; l < s.lines; ++l, line += s.line)
      for (int64_t j = 0; j < s.count; ++j) {
        T* const at = line + j * kLanes<T>;
        Complex<T> x[parts];
#pragma GCC unroll 4
        for (int p = 0; p < parts; ++p) x[p] = load_complex(at + p * s.part, s.imaginary);
        if constexpr (splits)
          Radix::split(x, z);
        else
          Radix::join(x, z);
#pragma GCC unroll 4
        for (int p = 0; p < parts; ++p) store_complex(at + p * s.part, s.imaginary, x[p]);
      }
  }
}

// The last stages run inside vectors: as many vectors as there are lanes are turned, so that a lane
// is a block of `lanes` coefficients and has a root of its own. Halving throughout: the blocks of a
// level go in pairs of roots z and i z, and only z is kept.
template <typename T, int level, bool splits>
inline void halve_lanes(Complex<T>* x, const T* roots) {
  constexpr int lanes = kLanes<T>, blocks = 1 << (level - 1), half = lanes / blocks / 2;
#pragma GCC unroll 8
  for (int b = 0; b < blocks; ++b) {
    const Complex<T> z = load_complex(roots + b / 2 * 2 * lanes, lanes);
#pragma GCC unroll 8
    for (int j = 0; j < half; ++j) {
      Complex<T>&low = x[2 * b * half + j], &high = x[(2 * b + 1) * half + j];
      if constexpr (splits) {
        const Complex<T> product = high * z, turned = b % 2 ? times_i(product) : product;
        high = low - turned;
        low = low + turned;
      } else {
        const Complex<T> product = times_conjugate(low - high, z);
        low = low + high;
        high = b % 2 ? Complex<T>{product.im, -product.re} : product;
      }
    }
  }
}
template <typename T, int level, bool splits>
inline void halve_all(Complex<T>* x, const T* roots) {
  constexpr int lanes = kLanes<T>, pairs = level == 1 ? 1 : 1 << (level - 2);
  if constexpr ((1 << level) <= lanes) {
    if constexpr (splits) halve_lanes<T, level, splits>(x, roots);
    halve_all<T, level + 1, splits>(x, roots + pairs * 2 * lanes);
    if constexpr (!splits) halve_lanes<T, level, splits>(x, roots);
  }
}

template <typename T>
inline void turn_complex(Complex<T>* x) {
  constexpr int lanes = kLanes<T>;
  Vec<T> re[lanes], im[lanes];
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) re[i] = x[i].re, im[i] = x[i].im;
  zip_all<T, lanes>(re);
  zip_all<T, lanes>(im);
#pragma GCC unroll 16
  for (int i = 0; i < lanes; ++i) x[i] = {re[i], im[i]};
}

// Walks the vectors of a tile, line by line.
template <typename T>
struct TileWalk {
  T* line;
  int64_t row, columns, column = 0;
  T* next() {
    T* const here = line + column * kLanes<T>;
    if (++column == columns) column = 0, line += row;
    return here;
  }
};

template <typename T>
void fft_split_lanes(const FftLanes<T>& s) {
  constexpr int lanes = kLanes<T>;
  const Vec<T> re = splat(s.real_scale), im = splat(s.imaginary_scale);
  TileWalk<T> walk{s.tile, s.row, s.columns};
  T* to = s.points;
  for (int64_t g = 0; g < s.groups; ++g) {
    Complex<T> x[lanes];
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) x[i] = load_complex<T>(walk.next(), s.imaginary);
    turn_complex(x);
    halve_all<T, 1, true>(x, s.roots + g % s.period * lanes * lanes);
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i, to += s.plane)
      store_complex(to, lanes, Complex<T>{x[i].re * re, x[i].im * im});
  }
}

template <typename T>
void fft_join_lanes(const FftLanes<T>& s) {
  constexpr int lanes = kLanes<T>;
  TileWalk<T> walk{s.tile, s.row, s.columns};
  const T* from = s.points;
  for (int64_t g = 0; g < s.groups; ++g) {
    Complex<T> x[lanes];
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i, from += s.plane) x[i] = load_complex(from, lanes);
    halve_all<T, 1, false>(x, s.roots + g % s.period * lanes * lanes);
    turn_complex(x);
#pragma GCC unroll 16
    for (int i = 0; i < lanes; ++i) store_complex(walk.next(), s.imaginary, x[i]);
  }
}

// Two by two complex sums are half of sixteen registers, and their products hide the loads.
constexpr int kPointRows = TORCHCONV_VECTOR_BYTES == 64 ? 4 : 2;
constexpr int kPointColumns = 2;

template <typename T, int rows, int columns>
void fft_products(int64_t depth, const T* a, int64_t a_step, const T* b, int64_t b_step, T* c,
                  int64_t c_column, bool add) {
  constexpr int lanes = kLanes<T>, size = 2 * lanes;
  Complex<T> sum[columns][rows] = {};
  if (add)
    for (int j = 0; j < columns; ++j)
      for (int i = 0; i < rows; ++i)
        sum[j][i] = load_complex<T>(c + j * c_column + i * size, lanes);
  for (; depth > 0; --depth, a += a_step, b += b_step) {
    Complex<T> x[rows];
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) x[i] = load_complex(a + i * size, lanes);
#pragma GCC unroll 4
    for (int j = 0; j < columns; ++j) {
      const Complex<T> y = load_complex(b + j * size, lanes);
#pragma GCC unroll 4
      for (int i = 0; i < rows; ++i) {
        sum[j][i].re += x[i].re * y.re;
        sum[j][i].im += x[i].re * y.im;
        sum[j][i].re -= x[i].im * y.im;
        sum[j][i].im += x[i].im * y.re;
      }
    }
  }
#pragma GCC unroll 4
  for (int j = 0; j < columns; ++j)
#pragma GCC unroll 4
    for (int i = 0; i < rows; ++i) store_complex(c + j * c_column + i * size, lanes, sum[j][i]);
}

template <typename T, int rows>
void fill_products(FftKernels<T>* table) {
  table->products[rows - 1][0] = fft_products<T, rows, 1>;
  table->products[rows - 1][1] = fft_products<T, rows, 2>;
  if constexpr (rows > 1) fill_products<T, rows - 1>(table);
}

template <typename T>
FftKernels<T> fft_kernels() {
  FftKernels<T> table{};
  table.split[0] = fft_stage<T, Radix2<T>, true>;
  table.split[1] = fft_stage<T, Radix3<T>, true>;
  table.split[2] = fft_stage<T, Radix4<T>, true>;
  table.join[0] = fft_stage<T, Radix2<T>, false>;
  table.join[1] = fft_stage<T, Radix3<T>, false>;
  table.join[2] = fft_stage<T, Radix4<T>, false>;
  table.split_lanes = fft_split_lanes<T>;
  table.join_lanes = fft_join_lanes<T>;
  table.rows = kPointRows;
  table.columns = kPointColumns;
  fill_products<T, kPointRows>(&table);
  return table;
}
