// The geometry of one convolution, and nothing else.
//
// For an output index o, a tap t and an input index i, on every axis,
//
//     i = o * stride - padding + t * dilation
//
// and a pair whose i falls outside the input contributes nothing (or is folded back inside, see
// PaddingMode). Every operator is a partial derivative of one trilinear form over that relation:
//
//     T(x, w, y) = sum over n, g, ci, co, o, t of
//                      x[n, g, ci, i] * w[g, co, ci, t] * y[n, g, co, o]
#pragma once

#include <cstdint>

#include "core/activation.h"
#include "core/host_device.h"

namespace torchconv {

constexpr int kMaxAxes =
    4;  // spatial axes a problem may have; three are reachable from Python today

enum class DType : uint8_t {
  float32,
  float64,
  bfloat16,
  float16,
  complex64,
  complex128,
  uint8,
  int8,
  int16,
  int32,
  int64
};

// Which of the three tensors of the form is computed; the other two are given.
enum class Result : uint8_t { output, input, weight };

// What an index outside the input means: nothing, or the element it is folded back to.
enum class PaddingMode : uint8_t { zeros, reflect, replicate, circular };

// Where the tensors lie, and so which list of algorithms the planner looks at.
enum class Device : uint8_t { cpu, cuda };

struct Axis {
  int64_t input_size = 1;
  int64_t kernel_size = 1;
  int64_t output_size = 1;
  int64_t stride = 1;
  int64_t padding = 0;  // on the low side; the high side follows from the sizes; may be negative
  int64_t dilation = 1;
};

struct Problem {
  Result result = Result::output;
  DType dtype = DType::float32;
  PaddingMode padding_mode = PaddingMode::zeros;
  bool flip = false;  // true convolution; already applied to the weight's View, kernels ignore it
  bool bias = false;
  bool channels_last = false;  // how the given activations lie: costs may ask, results do not
  Activation activation = Activation::none;  // with result output alone
  bool precise = false;  // by no algorithm that rounds more than the definition's own sum does
  Device device = Device::cpu;
  bool tf32 = false;       // cuda: float32 may be multiplied with 10 bits of fraction
  uint8_t capability = 0;  // cuda: the device's compute capability, 80 for 8.0
  int axes = 0;
  int64_t batch = 1;
  int64_t in_channels = 1;
  int64_t out_channels = 1;
  int64_t groups = 1;
  Axis axis[kMaxAxes];

  TORCHCONV_HOST_DEVICE int64_t in_channels_per_group() const { return in_channels / groups; }
  TORCHCONV_HOST_DEVICE int64_t out_channels_per_group() const { return out_channels / groups; }
  TORCHCONV_HOST_DEVICE int64_t input_positions() const { return product(&Axis::input_size); }
  TORCHCONV_HOST_DEVICE int64_t output_positions() const { return product(&Axis::output_size); }
  TORCHCONV_HOST_DEVICE int64_t taps() const { return product(&Axis::kernel_size); }
  // Multiply-adds of the defining sum, padding counted.
  double multiply_adds() const {
    return double(batch) * double(out_channels) * double(in_channels_per_group()) * double(taps()) *
           double(output_positions());
  }

 private:
  TORCHCONV_HOST_DEVICE int64_t product(int64_t Axis::* size) const {
    int64_t p = 1;
    for (int a = 0; a < axes; ++a) p *= axis[a].*size;
    return p;
  }
};

// Problems that are equal have one plan.
inline bool operator==(const Axis& a, const Axis& b) {
  return a.input_size == b.input_size && a.kernel_size == b.kernel_size &&
         a.output_size == b.output_size && a.stride == b.stride && a.padding == b.padding &&
         a.dilation == b.dilation;
}
inline bool operator==(const Problem& a, const Problem& b) {
  static_assert(sizeof(Problem) == 16 + 4 * sizeof(int64_t) + kMaxAxes * sizeof(Axis),
                "a new field is to be compared");
  bool equal = a.result == b.result && a.dtype == b.dtype && a.padding_mode == b.padding_mode &&
               a.flip == b.flip && a.bias == b.bias && a.channels_last == b.channels_last &&
               a.precise == b.precise && a.activation == b.activation && a.device == b.device &&
               a.tf32 == b.tf32 && a.capability == b.capability && a.axes == b.axes &&
               a.batch == b.batch && a.in_channels == b.in_channels &&
               a.out_channels == b.out_channels && a.groups == b.groups;
  for (int i = 0; equal && i < a.axes; ++i) equal = a.axis[i] == b.axis[i];
  return equal;
}

// Elements of one tensor of the form. Strides count elements and may be negative or zero; a tensor
// leaves the strides of the indices it does not have at zero (the input has no out_channel, the
// weight no batch, the output no in_channel). `group` steps from one group's channels to the next.
struct View {
  void* data = nullptr;
  int64_t batch = 0;
  int64_t group = 0;
  int64_t in_channel = 0;
  int64_t out_channel = 0;
  int64_t axis[kMaxAxes] = {};
};

// The three tensors of the form. The one named by Problem::result is written, the others are read.
struct Operands {
  View input;
  View weight;
  View output;
  View bias;                // group and out_channel; data is null where there is none
  bool accumulate = false;  // add to what the result holds instead of replacing it
};

// Bytes of one element, as stored.
constexpr int64_t element_bytes(DType dtype) {
  switch (dtype) {
    case DType::complex128: return 16;
    case DType::float64:
    case DType::complex64:
    case DType::int64: return 8;
    case DType::float32:
    case DType::int32: return 4;
    case DType::bfloat16:
    case DType::float16:
    case DType::int16: return 2;
    case DType::uint8:
    case DType::int8: return 1;
  }
  return 0;
}

constexpr bool is_complex(DType dtype) {
  return dtype == DType::complex64 || dtype == DType::complex128;
}
// A complex number is two reals, kept side by side.
constexpr int planes_of(DType dtype) { return is_complex(dtype) ? 2 : 1; }
constexpr bool is_integer(DType dtype) { return dtype >= DType::uint8; }

}  // namespace torchconv
