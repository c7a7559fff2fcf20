// The short way into conv and conv_transpose for a plain call from Python: tensors and ints are
// unpacked here and go to the dispatcher, without torch.ops' own Python in between (which costs
// more than a tiny convolution does).
//
// It steps aside, by returning NotImplemented, for whatever it does not know: the long way then
// makes the result or the error. Modes below Python (functorch, autocast, fake tensors, dispatch
// modes, jit.trace) need nothing here: they live in the dispatcher.
#include "torch/fast_call.h"

#include <string_view>

#include <ATen/PythonTorchFunctionTLS.h>
#include <ATen/TensorOperators.h>
#include <ATen/TracerMode.h>
#include <pybind11/pybind11.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>

#include "core/check.h"
#include "torch/ops.h"

namespace torchconv {
namespace {

// The places of the arguments.
enum Common { kAxes, kInput, kWeight, kBias };
namespace forward {
enum { kStride = kBias + 1, kPadding, kDilation, kGroups, kMode, kPaddingMode, kCount };
}
namespace transposed {
enum { kStride = kBias + 1, kPadding, kOutputPadding, kGroups, kDilation, kMode, kCount };
}

// bool is no int here, as in torch's own argument parser.
bool read_int(PyObject* object, int64_t* value) {
  if (!PyLong_CheckExact(object)) return false;
  int overflow = 0;
  *value = PyLong_AsLongLongAndOverflow(object, &overflow);
  return overflow == 0;
}

// A word of a str, valid as long as the str is; empty for anything else.
std::string_view read_word(PyObject* object) {
  if (!PyUnicode_CheckExact(object)) return {};
  Py_ssize_t length = 0;
  const char* word = PyUnicode_AsUTF8AndSize(object, &length);
  if (!word) PyErr_Clear();
  return word ? std::string_view(word, size_t(length)) : std::string_view();
}

// One entry for each axis, from an int or from a tuple or list of `axes` ints.
struct PerAxis {
  int64_t values[kMaxAxes];

  bool read(PyObject* object, int64_t axes) {
    if (PyLong_CheckExact(object)) {
      if (!read_int(object, values)) return false;
      std::fill(values + 1, values + axes, values[0]);
      return true;
    }
    if (!PyTuple_CheckExact(object) && !PyList_CheckExact(object)) return false;
    if (PySequence_Fast_GET_SIZE(object) != axes) return false;
    for (int64_t a = 0; a < axes; ++a)
      if (!read_int(PySequence_Fast_GET_ITEM(object, a), values + a)) return false;
    return true;
  }
};

struct PlainCall {
  int64_t axes = 0;
  int64_t groups = 1;
  bool flip = false;
  bool batched = true;
  PerAxis stride, padding, dilation, output_padding;
  std::string_view padding_mode = "zeros";
  const Tensor* input = nullptr;
  const Tensor* weight = nullptr;
  OptionalTensor bias;

  bool read(PyObject* const* arguments) {
    using namespace forward;
    return read_tensors(arguments) && stride.read(arguments[kStride], axes) &&
           padding.read(arguments[kPadding], axes) && dilation.read(arguments[kDilation], axes) &&
           read_int(arguments[kGroups], &groups) && read_mode(arguments[kMode]) &&
           read_padding_mode(arguments[kPaddingMode]);
  }

  bool read_transposed(PyObject* const* arguments) {
    using namespace transposed;
    return read_tensors(arguments) && stride.read(arguments[kStride], axes) &&
           padding.read(arguments[kPadding], axes) && dilation.read(arguments[kDilation], axes) &&
           output_padding.read(arguments[kOutputPadding], axes) &&
           read_int(arguments[kGroups], &groups) && read_mode(arguments[kMode]) &&
           is_common_transposed();
  }

  int64_t spatial_size(int64_t a) const { return input->size(a + (batched ? 2 : 1)); }

  // The size a transposed convolution makes.
  int64_t transposed_size(int64_t a) const {
    const int64_t taps = weight->size(a + 2);
    return (spatial_size(a) - 1) * stride.values[a] - 2 * padding.values[a] +
           dilation.values[a] * (taps - 1) + output_padding.values[a] + 1;
  }

 private:
  // The first four arguments, which both calls share.
  bool read_tensors(PyObject* const* arguments) {
    if (!read_int(arguments[kAxes], &axes) || axes < 1 || axes > kMaxAxes) return false;
    PyObject* const given_bias = arguments[kBias];
    const bool has_bias = given_bias != Py_None;
    // Tensor itself or Parameter: subclasses may mean something else by conv.
    if (!THPVariable_CheckExact(arguments[kInput]) || !THPVariable_CheckExact(arguments[kWeight]) ||
        (has_bias && !THPVariable_CheckExact(given_bias)))
      return false;
    input = &THPVariable_Unpack(arguments[kInput]);
    weight = &THPVariable_Unpack(arguments[kWeight]);
    if (has_bias) bias = THPVariable_Unpack(given_bias);
    batched = input->dim() == axes + 2;
    return weight->dim() == axes + 2 && (batched || input->dim() == axes + 1);
  }

  bool read_mode(PyObject* object) {
    const std::string_view mode = read_word(object);
    flip = mode == "convolution";
    return flip || mode == "cross_correlation";
  }

  bool read_padding_mode(PyObject* object) {
    padding_mode = read_word(object);
    PaddingMode known;
    return parse_padding_mode(padding_mode.data(), int64_t(padding_mode.size()), &known);
  }

  // What the long way would have checked, for sizes as they occur; the rest is left to it.
  bool is_common_transposed() const {
    constexpr int64_t kCommon = 1 << 20, kCommonElements = int64_t(1) << 40;
    const auto common = [](int64_t value, int64_t least) {
      return value >= least && value < kCommon;
    };
    const auto alike = [this](const Tensor& tensor) {
      return tensor.dtype() == input->dtype() && tensor.device() == input->device() &&
             tensor.numel() <= kCommonElements;
    };
    const int64_t channels = weight->size(0);
    if (at::tracer::impl::is_dispatch_enabled()) return false;  // jit.trace would keep the sizes
    if (input->scalar_type() == at::kComplexHalf)
      return false;  // has no sum for the bias's gradient
    if (!alike(*input) || !alike(*weight) || !common(groups, 1) || channels % groups != 0 ||
        channels != input->size(batched ? 1 : 0))
      return false;
    if (bias && (!alike(*bias) || bias->dim() != 1 || bias->size(0) != weight->size(1) * groups))
      return false;
    for (int64_t a = 0; a < axes; ++a) {
      const int64_t s = stride.values[a], d = dilation.values[a], extra = output_padding.values[a];
      if (!common(s, 1) || !common(d, 1) || !common(padding.values[a], 0) || !common(extra, 0) ||
          extra >= std::max(s, d) || spatial_size(a) < 1 || weight->size(a + 2) < 1 ||
          transposed_size(a) < 1)
        return false;
    }
    return true;
  }
};

using List = c10::SmallVector<SymInt, kMaxAxes>;

Tensor run(const PlainCall& plain, bool is_transposed) {
  const auto list = [&plain](const PerAxis& entries) {
    return List(entries.values, entries.values + plain.axes);
  };
  const List stride = list(plain.stride), padding = list(plain.padding),
             dilation = list(plain.dilation);
  const Geometry geometry{stride, padding, dilation, plain.groups, plain.flip, plain.padding_mode};
  List size;
  if (is_transposed)
    for (int64_t a = 0; a < plain.axes; ++a) size.emplace_back(plain.transposed_size(a));

  const auto conv = [&](const Tensor& input) {
    if (!is_transposed)
      return call({Result::output, input, *plain.weight, plain.bias, std::nullopt, geometry});
    const at::OptionalSymIntArrayRef output_size(size);
    const Tensor output =
        call({Result::input, input, *plain.weight, std::nullopt, output_size, geometry});
    if (!plain.bias) return output;
    at::DimVector along_channels(size_t(plain.axes + 1), 1);
    along_channels[0] = -1;
    return output + plain.bias->to(output.scalar_type()).view(along_channels);
  };
  return plain.batched ? conv(*plain.input) : conv(plain.input->unsqueeze(0)).squeeze(0);
}

template <bool is_transposed>
PyObject* fast_call(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  HANDLE_TH_ERRORS
  PlainCall plain;
  const bool is_plain = count == (is_transposed ? int(transposed::kCount) : int(forward::kCount)) &&
                        !at::impl::torch_function_mode_enabled() &&
                        (is_transposed ? plain.read_transposed(arguments) : plain.read(arguments));
  if (!is_plain) Py_RETURN_NOTIMPLEMENTED;
  Tensor result;
  {
    const pybind11::gil_scoped_release without_gil;
    result = run(plain, is_transposed);
  }
  return THPVariable_Wrap(std::move(result));
  END_HANDLE_TH_ERRORS
}

template <bool is_transposed>
PyMethodDef method(const char* name, const char* doc) {
  return {name,
          reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&fast_call<is_transposed>)),
          METH_FASTCALL, doc};
}

}  // namespace

PyObject* new_fast_conv() {
  static PyMethodDef conv = method<false>(
      "conv",
      "conv(axes, input, weight, bias, stride, padding, dilation, groups, mode, padding_mode)\n\n"
      "The convolution of plain tensors, or NotImplemented where an argument is not plain.");
  return PyCFunction_New(&conv, nullptr);
}

PyObject* new_fast_conv_transpose() {
  static PyMethodDef conv_transpose =
      method<true>("conv_transpose",
                   "conv_transpose(axes, input, weight, bias, stride, padding, output_padding, "
                   "groups, dilation, "
                   "mode)\n\nThe transposed convolution likewise.");
  return PyCFunction_New(&conv_transpose, nullptr);
}

}  // namespace torchconv
