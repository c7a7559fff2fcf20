// The two 16-bit floats, as stored: conversion to and from float, bit by bit.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/host_device.h"

namespace torchconv {

TORCHCONV_HOST_DEVICE inline uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

TORCHCONV_HOST_DEVICE inline float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// The upper half of a float; rounds to nearest even, and keeps a NaN a NaN.
struct BFloat16 {
  uint16_t bits;
  TORCHCONV_HOST_DEVICE operator float() const { return float_of(uint32_t(bits) << 16); }
  TORCHCONV_HOST_DEVICE static BFloat16 from(float value) {
    const uint32_t b = bits_of(value);
    if (value != value) return {0x7fc0};
    return {uint16_t((b + 0x7fff + ((b >> 16) & 1)) >> 16)};
  }
};

// IEEE binary16: 5 bits of exponent (bias 15), 10 of fraction.
struct Float16 {
  uint16_t bits;
  TORCHCONV_HOST_DEVICE operator float() const {
    const uint32_t sign = uint32_t(bits & 0x8000) << 16, magnitude = bits & 0x7fff;
    if (magnitude >= 0x7c00) return float_of(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    // Shifting puts the fields in place; the product moves the exponent from bias 15 to 127 and
    // makes subnormals normal.
    return float_of(sign | bits_of(float_of(magnitude << 13) * 0x1p112f));
  }
  TORCHCONV_HOST_DEVICE static Float16 from(float value) {
    const uint32_t b = bits_of(value), magnitude = b & 0x7fffffff;
    const uint16_t sign = uint16_t(b >> 16) & 0x8000;
    if (magnitude > 0x7f800000) return {uint16_t(sign | 0x7e00)};
    if (magnitude >= 0x477ff000) return {uint16_t(sign | 0x7c00)};  // rounds to 2^16 or more
    if (magnitude < 0x38800000)  // subnormal: adding 1/2 rounds at 2^-24, the last bit there is
      return {uint16_t(sign | (bits_of(float_of(magnitude) + 0.5f) - bits_of(0.5f)))};
    return {uint16_t(sign | (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13)};
  }
};

}  // namespace torchconv
