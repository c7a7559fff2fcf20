// Stored numbers on a GPU: what each is summed in, and how it is read and written.
#pragma once

#include <cstdint>
#include <type_traits>

#include "core/half.h"
#include "core/problem.h"

namespace torchconv::cuda {

// As std::complex lies in memory; without its rescue of infinities, as everywhere in torchconv.
template <typename Real>
struct alignas(2 * sizeof(Real)) Complex {
  Real real = 0, imag = 0;

  Complex() = default;
  TORCHCONV_HOST_DEVICE Complex(Real r, Real i) : real(r), imag(i) {}
  template <typename Other>
  TORCHCONV_HOST_DEVICE explicit Complex(const Complex<Other>& other)
      : real(Real(other.real)), imag(Real(other.imag)) {}

  TORCHCONV_HOST_DEVICE Complex& operator+=(const Complex& other) {
    real += other.real;
    imag += other.imag;
    return *this;
  }
  TORCHCONV_HOST_DEVICE friend Complex operator*(const Complex& a, const Complex& b) {
    return {a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real};
  }
};

// Numbers that are read or written at once.
template <typename T, int count>
struct alignas(count * sizeof(T)) Pack {
  T value[count];
};

// The exact sum: float in double, 16-bit floats in float, integers modulo 2^64.
template <typename T>
struct ExactSum {
  using Type = std::conditional_t<std::is_integral_v<T>, uint64_t, double>;
};
template <>
struct ExactSum<BFloat16> {
  using Type = float;
};
template <>
struct ExactSum<Float16> {
  using Type = float;
};
template <typename Real>
struct ExactSum<Complex<Real>> {
  using Type = Complex<double>;
};

template <typename T, typename Sum>
TORCHCONV_HOST_DEVICE Sum read(const void* data, int64_t offset) {
  return Sum(static_cast<const T*>(data)[offset]);
}

template <typename T, typename Sum>
TORCHCONV_HOST_DEVICE void write(void* data, int64_t offset, Sum sum) {
  T* const at = static_cast<T*>(data) + offset;
  if constexpr (std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>)
    *at = T::from(float(sum));
  else
    *at = T(sum);
}

// Calls body(T()) with the type in which a dtype is stored. Signed and unsigned integers of a size
// are one: their sums and products are, modulo 2^bits.
template <typename Body>
void for_dtype(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::float32: return body(float());
    case DType::float64: return body(double());
    case DType::bfloat16: return body(BFloat16());
    case DType::float16: return body(Float16());
    case DType::complex64: return body(Complex<float>());
    case DType::complex128: return body(Complex<double>());
    case DType::uint8:
    case DType::int8: return body(uint8_t());
    case DType::int16: return body(uint16_t());
    case DType::int32: return body(uint32_t());
    case DType::int64: return body(uint64_t());
  }
}

}  // namespace torchconv::cuda
