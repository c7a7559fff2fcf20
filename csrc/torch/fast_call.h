// The short way into conv and conv_transpose for a plain call from Python.
#pragma once

#include <torch/csrc/python_headers.h>

namespace torchconv {

// conv(axes, input, weight, bias, stride, padding, dilation, groups, mode, padding_mode), a new
// reference; NotImplemented for anything but plain arguments.
PyObject* new_fast_conv();

// conv_transpose(axes, input, weight, bias, stride, padding, output_padding, groups, dilation,
// mode), likewise.
PyObject* new_fast_conv_transpose();

}  // namespace torchconv
