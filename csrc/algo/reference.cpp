// reference: the defining sum, for every dtype and every problem.
//
//     y[n, g, co, o] = bias[g, co] + sum over ci, t of  x[n, g, ci, i] * w[g, co, ci, t],
//     i = fold(o * stride - padding + t * dilation) on every axis
//
// Floats are summed in double and rounded once, integers modulo 2^64. The other two results come
// from relabelling (core/relabel.h). It is the truth for all tests and the last resort.
#include <algorithm>
#include <cmath>
#include <complex>
#include <type_traits>

#include "core/algorithm.h"
#include "core/fold.h"
#include "core/half.h"
#include "core/relabel.h"

namespace torchconv {
namespace {

// What a stored type is summed in, and how a sum becomes stored.
template <typename T>
struct Sum {
  using Type = std::conditional_t<std::is_integral_v<T>, uint64_t, double>;
};
template <typename Real>
struct Sum<std::complex<Real>> {
  using Type = std::complex<double>;
};

template <typename T>
typename Sum<T>::Type read(const void* data, int64_t offset) {
  return typename Sum<T>::Type(static_cast<const T*>(data)[offset]);
}
template <typename T>
void write(void* data, int64_t offset, typename Sum<T>::Type sum) {
  static_cast<T*>(data)[offset] = T(sum);
}
template <>
void write<BFloat16>(void* data, int64_t offset, double sum) {
  static_cast<BFloat16*>(data)[offset] = BFloat16::from(float(sum));
}
template <>
void write<Float16>(void* data, int64_t offset, double sum) {
  static_cast<Float16*>(data)[offset] = Float16::from(float(sum));
}

// Complex numbers and integers have none.
template <typename Any>
Any activated(Any sum, Activation) {
  return sum;
}
double activated(double sum, Activation activation) {
  switch (activation) {
    case Activation::relu: return sum < 0 ? 0 : sum;
    case Activation::silu: return sum / (1 + std::exp(-sum));
    case Activation::gelu: return sum * 0.5 * std::erfc(sum * -0.70710678118654752);
    case Activation::none: break;
  }
  return sum;
}

// The next index in row-major order over axes [first, axes); false after the last.
bool next(int64_t* index, const Problem& p, int first, int64_t Axis::* size) {
  for (int a = p.axes - 1; a >= first; --a) {
    if (++index[a] < p.axis[a].*size) return true;
    index[a] = 0;
  }
  return false;
}

// Offset of the input element that output o and tap t meet; false where there is none.
bool meet(const Problem& p, const View& input, const int64_t* o, const int64_t* t,
          int64_t* offset) {
  *offset = 0;
  for (int a = 0; a < p.axes; ++a) {
    const Axis& x = p.axis[a];
    const int64_t i =
        fold(p.padding_mode, o[a] * x.stride - x.padding + t[a] * x.dilation, x.input_size);
    if (i < 0) return false;
    *offset += i * input.axis[a];
  }
  return true;
}

// Under about 20 us of work, starting threads costs more than they save.
int workers(const Problem& p, int threads) { return p.multiply_adds() < 1e4 ? 1 : threads; }

template <typename T>
void forward(const Problem& p, const Operands& operands, const Context& context) {
  const View &input = operands.input, &weight = operands.weight, &output = operands.output;
  const int64_t rows = p.axis[0].output_size, channels = p.out_channels_per_group();
  if (p.batch * p.out_channels * p.output_positions() == 0) return;
  const int64_t tasks = p.batch * p.out_channels * rows;
  context.for_each(tasks, workers(p, context.threads), [&](int64_t task, int) {
    const int64_t n = task / rows / p.out_channels, c = task / rows % p.out_channels;
    const int64_t g = c / channels, co = c % channels;
    const int64_t x0 = n * input.batch + g * input.group;
    const int64_t w0 = g * weight.group + co * weight.out_channel;
    const int64_t y0 = n * output.batch + g * output.group + co * output.out_channel;
    int64_t o[kMaxAxes] = {task % rows};
    do {
      typename Sum<T>::Type sum{};
      int64_t t[kMaxAxes] = {}, x, w, y = y0;
      if (operands.bias.data)
        sum = read<T>(operands.bias.data, g * operands.bias.group + co * operands.bias.out_channel);
      if (p.taps() > 0) do {
          if (!meet(p, input, o, t, &x)) continue;
          w = w0;
          for (int a = 0; a < p.axes; ++a) w += t[a] * weight.axis[a];
          for (int64_t ci = 0; ci < p.in_channels_per_group(); ++ci)
            sum += read<T>(input.data, x0 + x + ci * input.in_channel) *
                   read<T>(weight.data, w + ci * weight.in_channel);
        } while (next(t, p, 0, &Axis::kernel_size));
      for (int a = 0; a < p.axes; ++a) y += o[a] * output.axis[a];
      if (operands.accumulate) sum += read<T>(output.data, y);
      write<T>(output.data, y, activated(sum, p.activation));
    } while (next(o, p, 1, &Axis::output_size));
  });
}

void forward_any(const Problem& p, const Operands& operands, const Context& context) {
  switch (p.dtype) {
    case DType::float32: return forward<float>(p, operands, context);
    case DType::float64: return forward<double>(p, operands, context);
    case DType::bfloat16: return forward<BFloat16>(p, operands, context);
    case DType::float16: return forward<Float16>(p, operands, context);
    case DType::complex64: return forward<std::complex<float>>(p, operands, context);
    case DType::complex128: return forward<std::complex<double>>(p, operands, context);
    case DType::uint8: return forward<uint8_t>(p, operands, context);
    case DType::int8: return forward<int8_t>(p, operands, context);
    case DType::int16: return forward<int16_t>(p, operands, context);
    case DType::int32: return forward<int32_t>(p, operands, context);
    case DType::int64: return forward<int64_t>(p, operands, context);
  }
}

std::string refuses(const Problem&) { return ""; }

// About 2 ns a multiply-add and 10 ns for each tap of each output, measured on 3x3 convolutions.
double cost(const Problem& p) {
  const double channels = double(std::max<int64_t>(p.in_channels_per_group(), 1));
  return (2e-9 + 10e-9 / channels) * p.multiply_adds();
}

int64_t scratch_bytes(const Problem&, int) { return 0; }

void run(const Problem& problem, const Operands& operands, const Context& context) {
  for_each_forward(problem, operands,
                   [&](const Problem& p, const Operands& o) { forward_any(p, o, context); });
}

}  // namespace

extern const Algorithm reference;
const Algorithm reference = {"reference", refuses, cost, scratch_bytes, run};

}  // namespace torchconv
