// From a call as its caller wrote it to a Problem, or to the one sentence that says what is wrong.
#pragma once

#include <string>

#include "core/problem.h"

namespace torchconv {

struct Sizes {
  const int64_t* data = nullptr;
  int64_t count = 0;
  int64_t operator[](int64_t i) const { return data[i]; }
};

// One call of conv, conv_input or conv_weight, unchecked. The two given tensors carry their full
// sizes (batch and channels first); the third, the result, is left empty and `result_size` holds
// its spatial size (empty, for conv only: the natural size, floor((i + 2p - d(k-1) - 1) / s) + 1).
struct Call {
  Result result = Result::output;
  DType dtype = DType::float32;
  PaddingMode padding_mode = PaddingMode::zeros;
  Activation activation = Activation::none;  // conv only
  bool flip = false;
  Sizes input, weight, output;
  Sizes bias;             // count 0: no bias
  bool has_bias = false;  // a bias of rank 0 is told from no bias
  Sizes result_size, stride, padding, dilation;
  bool has_result_size = false;
  int64_t groups = 1;
};

// Empty, and *problem filled in; or one sentence with every number in it. Never throws, never
// overflows, whatever the call holds.
std::string check(const Call& call, Problem* problem);

// "zeros" -> PaddingMode::zeros, and so on; false where the word is none of the four.
bool parse_padding_mode(const char* word, int64_t length, PaddingMode* mode);
// "relu" -> Activation::relu, and so on.
bool parse_activation(const char* word, int64_t length, Activation* activation);
const char* name(PaddingMode mode);
const char* name(DType dtype);
const char* name(Device device);
const char* name(Result result);
const char* name(Activation activation);

// The View of a tensor laid out [batch, channel, spatial...] (or [out, in / groups, taps...] for
// the weight, whose taps are reversed here, once, where the problem says flip).
View input_view(const Problem& problem, void* data, const int64_t* strides);
View output_view(const Problem& problem, void* data, const int64_t* strides);
View weight_view(const Problem& problem, void* data, const int64_t* strides);
View bias_view(const Problem& problem, void* data, int64_t stride);

// All of them, of tensors that lie contiguous, or, where the problem says so, channels last.
Operands contiguous_operands(const Problem& problem, void* input, void* weight, void* output,
                             void* bias);

}  // namespace torchconv
