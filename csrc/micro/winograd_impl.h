// Winograd's transforms in one dimension, and the turns between lines and vectors of channels.
//
// F(m,r) makes m outputs of an r-tap filter from n = m + r - 1 products instead of r m:
//
//     y = At [(G w) * (Bt x)],     Bt: n x n,  G: n x r,  At: m x n
//
// The same form, by its weight, makes the r taps' gradients from m outputs, by the transposes:
//
//     w = Gt [(A y) * (Bt x)]
//
// A polynomial of degree n - 2 is known by its values at n - 1 points and its leading coefficient
// (the point at infinity). A y are these of the polynomial whose coefficients are y; G w those of w,
// each over the product of the distances to all other points, but at infinity; Bt holds the
// coefficients of the products over all other points q of (x - q). (A sign may change sides.) So the
// points make Bt, and may be shared out between outputs and taps as one likes. After Winograd,
// Arithmetic Complexity of Computations (1980), and Lavin and Gray, Fast Algorithms for
// Convolutional Neural Networks (2016). The finite ones of four points are 0, 1, -1; those of six
// are 0, 1, -1, 1/2, -2, whose products grow less than those of 0, 1, -1, 2, -2.
//
// Every lane is a channel, so a transform in more dimensions is this one along each axis in turn.

template <typename T>
struct Plain {  // an axis of one tap: n = m = 1
  static constexpr int points = 1, outputs = 1, taps = 1;
  static void input(const Vec<T>* x, Vec<T>* v) { v[0] = x[0]; }
  static void weight(const Vec<T>* w, Vec<T>* u) { u[0] = w[0]; }
  static void output(const Vec<T>* m, Vec<T>* y) { y[0] = m[0]; }
  static void output_back(const Vec<T>* y, Vec<T>* u) { u[0] = y[0]; }
  static void weight_back(const Vec<T>* m, Vec<T>* w) { w[0] = m[0]; }
};

template <typename T>
struct FourPoints {
  static constexpr int points = 4;
  static void input(const Vec<T>* x, Vec<T>* v) {
    v[0] = x[0] - x[2];
    v[1] = x[2] + x[1];
    v[2] = x[2] - x[1];
    v[3] = x[3] - x[1];
  }
  // The values of the polynomial with `count` coefficients c.
  template <int count>
  static void values(const Vec<T>* c, Vec<T>* u) {
    Vec<T> even = c[0], odd = c[1];
    if constexpr (count > 2) even += c[2];
    if constexpr (count > 3) odd += c[3];
    if constexpr (count > 4) even += c[4];
    static_assert(count >= 2 && count <= 5);
    u[0] = c[0];
    u[1] = even + odd;
    u[2] = even - odd;
    u[3] = c[count - 1];
  }
  // The transpose: `count` sums over the points of their powers times m.
  template <int count>
  static void sums(const Vec<T>* m, Vec<T>* y) {
    const Vec<T> even = m[1] + m[2], odd = m[1] - m[2];
#pragma GCC unroll 8
    for (int k = 0; k < count; ++k) {
      y[k] = k % 2 ? odd : even;
      if (k == 0) y[k] += m[0];
      if (k == count - 1) y[k] += m[3];
    }
  }
  static void divide(Vec<T>* u) {
    u[1] *= T(0.5);
    u[2] *= T(0.5);
  }
};

template <typename T>
struct SixPoints {
  static constexpr int points = 6;
  static void input(const Vec<T>* x, Vec<T>* v) {
    // Of the factors x^2 - 1 (a, b) and x^2 + 3/2 x - 1 (e, f).
    const Vec<T> a = x[4] - x[2], b = x[3] - x[1], c = x[5] - x[3];
    const Vec<T> e = x[3] * T(1.5) + a, f = x[2] * T(1.5) + b;
    v[0] = b * T(1.5) + (a + (x[0] - x[2]));
    v[1] = e + f;
    v[2] = e - f;
    v[3] = b * T(2) + a;
    v[4] = b * T(-0.5) + a;
    v[5] = a * T(1.5) + (c - b);
  }
  template <int count>
  static void values(const Vec<T>* c, Vec<T>* u) {
    Vec<T> half = c[count - 1], minus_two = c[count - 1];
#pragma GCC unroll 8
    for (int k = count - 2; k >= 0; --k) {
      half = half * T(0.5) + c[k];
      minus_two = minus_two * T(-2) + c[k];
    }
    FourPoints<T>::template values<count>(c, u);
    u[3] = half;
    u[4] = minus_two;
    u[5] = c[count - 1];
  }
  template <int count>
  static void sums(const Vec<T>* m, Vec<T>* y) {
    const Vec<T> even = m[1] + m[2], odd = m[1] - m[2];
    T half = 1, minus_two = 1;
#pragma GCC unroll 8
    for (int k = 0; k < count; ++k, half *= T(0.5), minus_two *= T(-2)) {
      Vec<T> sum = k % 2 ? odd : even;
      if (k == 0) sum += m[0];
      if (k == count - 1) sum += m[5];
      y[k] = m[3] * half + (m[4] * minus_two + sum);
    }
  }
  static void divide(Vec<T>* u) {
    u[1] *= T(1.0 / 3);
    u[2] *= T(-1.0 / 3);
    u[3] *= T(-16.0 / 15);
    u[4] *= T(1.0 / 15);
  }
};

// F(m, points + 1 - m).
template <typename T, template <typename> typename Points, int m>
struct Filter : Points<T> {
  using Base = Points<T>;
  static constexpr int outputs = m, taps = Base::points + 1 - m;
  static void weight(const Vec<T>* w, Vec<T>* u) {
    Base::template values<taps>(w, u);
    Base::divide(u);
  }
  static void output(const Vec<T>* u, Vec<T>* y) { Base::template sums<outputs>(u, y); }
  static void output_back(const Vec<T>* y, Vec<T>* u) { Base::template values<outputs>(y, u); }
  static void weight_back(const Vec<T>* u, Vec<T>* w) {
    Vec<T> divided[Base::points];
#pragma GCC unroll 8
    for (int i = 0; i < Base::points; ++i) divided[i] = u[i];
    Base::divide(divided);
    Base::template sums<taps>(divided, w);
  }
};

template <typename T, int from_size, int to_size, void (*transform)(const Vec<T>*, Vec<T>*)>
void transform_lines(const T* from, int64_t from_step, int64_t from_line, T* to, int64_t to_step,
                     int64_t to_line, int64_t lines) {
  for (int64_t l = 0; l < lines; ++l, from += from_line, to += to_line) {
    Vec<T> x[from_size], y[to_size];
#pragma GCC unroll 8
    for (int i = 0; i < from_size; ++i) x[i] = load(from + i * from_step);
    transform(x, y);
#pragma GCC unroll 8
    for (int i = 0; i < to_size; ++i) store(to + i * to_step, y[i]);
  }
}

template <typename T, typename Tile>
TileKernels<T> tile_kernels() {
  return {Tile::points,
          Tile::outputs,
          Tile::taps,
          transform_lines<T, Tile::points, Tile::points, Tile::input>,
          transform_lines<T, Tile::taps, Tile::points, Tile::weight>,
          transform_lines<T, Tile::points, Tile::outputs, Tile::output>,
          transform_lines<T, Tile::outputs, Tile::points, Tile::output_back>,
          transform_lines<T, Tile::points, Tile::taps, Tile::weight_back>};
}

// A vector's worth of contiguous lines at a time becomes as many columns: `lanes` vectors each way.
template <typename T, typename Stored>
void turn_lines(const Lines& from, T* to, int64_t to_step) {
  constexpr int lanes = kLanes<T>;
  const Stored* line = static_cast<const Stored*>(from.data);
  if (from.step == 1) {
    for (int64_t k = 0; k < from.count; k += lanes) {
      const int64_t left = from.count - k;
      Vec<T> v[lanes];
      if (from.rows == lanes && left >= lanes) {
        load_turned<T>(line + k, from.row, v);
#pragma GCC unroll 16
        for (int j = 0; j < lanes; ++j) store(to + (k + j) * to_step, v[j]);
        continue;
      }
      if (left <= lanes / 4) {  // a tap that is left over: sooner by itself than in a square
        for (; k < from.count; ++k)
          for (int r = 0; r < lanes; ++r)
            to[k * to_step + r] = r < from.rows ? widen<T>(line[r * from.row + k]) : T(0);
        return;
      }
#pragma GCC unroll 16
      for (int r = 0; r < lanes; ++r) {
        const Stored* at = line + r * from.row + k;
        v[r] = r >= from.rows ? Vec<T>{}
               : left < lanes ? load_part<T, Stored>(at, left)
                              : load_full<T>(at);
      }
      zip_all<T, lanes>(v);
#pragma GCC unroll 16
      for (int j = 0; j < lanes; ++j)
        if (j < left) store(to + (k + j) * to_step, v[j]);
    }
  } else if (from.row == 1) {
    for (int64_t k = 0; k < from.count; ++k, line += from.step)
      store(to + k * to_step,
            from.rows == lanes ? load_full<T>(line) : load_part<T, Stored>(line, from.rows));
  } else {
    int64_t k = 0;
    if (from.step == 2 && from.rows == lanes)
      for (; k + lanes <= from.count; k += lanes) {
        Vec<T> v[lanes];
#pragma GCC unroll 16
        for (int r = 0; r < lanes; ++r) v[r] = load_even<T>(line + r * from.row + 2 * k);
        zip_all<T, lanes>(v);
#pragma GCC unroll 16
        for (int j = 0; j < lanes; ++j) store(to + (k + j) * to_step, v[j]);
      }
    for (; k < from.count; ++k)
      for (int r = 0; r < lanes; ++r)
        to[k * to_step + r] = r < from.rows ? widen<T>(line[r * from.row + k * from.step]) : T(0);
  }
}

template <typename T, typename Stored>
void turn_back_lines(const T* from, int64_t from_step, const T* start, Finish finish,
                     const Lines& to) {
  constexpr int lanes = kLanes<T>;
  Stored* const line = static_cast<Stored*>(to.data);
  const Vec<T> first = load(start);
  const auto put_each = [&](int64_t begin) {
    for (int64_t r = 0; r < to.rows; ++r)  // rows a power of two apart share the sets of a cache
      for (int64_t k = begin; k < to.count; ++k)
        put_one(line + r * to.row + k * to.step, from[k * from_step + r] + start[r], finish);
  };
  if (to.step == 1 || (to.step == 2 && to.row != 1 && !finish.add)) {
    for (int64_t k = 0; k < to.count; k += lanes) {
      const int64_t left = to.count - k;
      if (left <= lanes / 4) return put_each(k);
      Vec<T> v[lanes];
#pragma GCC unroll 16
      for (int j = 0; j < lanes; ++j)
        v[j] = j < left ? load(from + (k + j) * from_step) + first : Vec<T>{};
      zip_all<T, lanes>(v);
      const int64_t count = left < lanes ? left : lanes;
#pragma GCC unroll 16
      for (int r = 0; r < lanes; ++r) {
        if (r >= to.rows) continue;
        Stored* const at = line + r * to.row + k * to.step;
        if (to.step == 1)
          put<T>(at, v[r], finish, count);
        else
          store_even<T>(at, activated<T>(v[r], finish.activation), count);
      }
    }
  } else if (to.row == 1) {
    for (int64_t k = 0; k < to.count; ++k)
      put<T>(line + k * to.step, load(from + k * from_step) + first, finish, to.rows);
  } else {
    put_each(0);
  }
}
