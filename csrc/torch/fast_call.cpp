// The short way into conv for a plain call from Python: tensors and ints are unpacked here and go to
// the dispatcher, without torch.ops' own Python in between (which costs more than a tiny
// convolution does).
//
// It steps aside, by returning NotImplemented, for whatever it does not know: the long way then makes
// the result or the error. Modes below Python (functorch, autocast, fake tensors, dispatch modes,
// jit.trace) need nothing here: they live in the dispatcher.
#include "torch/fast_call.h"

#include <string_view>

#include <ATen/PythonTorchFunctionTLS.h>
#include <ATen/TensorOperators.h>
#include <pybind11/pybind11.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>

#include "core/check.h"
#include "torch/ops.h"

namespace torchconv {
namespace {

enum Position {
  kAxes, kInput, kWeight, kBias, kStride, kPadding, kDilation, kGroups, kMode, kPaddingMode, kCount
};

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
  PerAxis stride, padding, dilation;
  std::string_view padding_mode;
  const Tensor* input = nullptr;
  const Tensor* weight = nullptr;
  OptionalTensor bias;

  bool read(PyObject* const* arguments) {
    return read_int(arguments[kAxes], &axes) && axes >= 1 && axes <= kMaxAxes &&
           read_tensors(arguments) && stride.read(arguments[kStride], axes) &&
           padding.read(arguments[kPadding], axes) && dilation.read(arguments[kDilation], axes) &&
           read_int(arguments[kGroups], &groups) && read_words(arguments);
  }

 private:
  bool read_tensors(PyObject* const* arguments) {
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

  bool read_words(PyObject* const* arguments) {
    const std::string_view mode = read_word(arguments[kMode]);
    flip = mode == "convolution";
    padding_mode = read_word(arguments[kPaddingMode]);
    PaddingMode known;
    return (flip || mode == "cross_correlation") &&
           parse_padding_mode(padding_mode.data(), int64_t(padding_mode.size()), &known);
  }
};

Tensor run(const PlainCall& plain) {
  const auto list = [&plain](const PerAxis& entries) {
    return c10::SmallVector<SymInt, kMaxAxes>(entries.values, entries.values + plain.axes);
  };
  const auto stride = list(plain.stride), padding = list(plain.padding),
             dilation = list(plain.dilation);
  const Geometry geometry{stride, padding, dilation, plain.groups, plain.flip,
                                  plain.padding_mode};
  const auto conv = [&](const Tensor& input) {
    return call({Result::output, input, *plain.weight, plain.bias, std::nullopt, geometry});
  };
  return plain.batched ? conv(*plain.input) : conv(plain.input->unsqueeze(0)).squeeze(0);
}

PyObject* fast_conv(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  HANDLE_TH_ERRORS
  PlainCall plain;
  if (count != kCount || at::impl::torch_function_mode_enabled() || !plain.read(arguments))
    Py_RETURN_NOTIMPLEMENTED;
  Tensor result;
  {
    const pybind11::gil_scoped_release without_gil;
    result = run(plain);
  }
  return THPVariable_Wrap(std::move(result));
  END_HANDLE_TH_ERRORS
}

}  // namespace

PyObject* new_fast_conv() {
  static PyMethodDef method = {
      "conv", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&fast_conv)),
      METH_FASTCALL,
      "conv(axes, input, weight, bias, stride, padding, dilation, groups, mode, padding_mode)\n\n"
      "The convolution of plain tensors, or NotImplemented where an argument is not plain."};
  return PyCFunction_New(&method, nullptr);
}

}  // namespace torchconv
