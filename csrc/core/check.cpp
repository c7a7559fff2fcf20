#include "core/check.h"

#include <algorithm>
#include <cstring>

namespace torchconv {
namespace {

// Index arithmetic stays below this, so that sums of a few products cannot overflow.
constexpr __int128 kIndexLimit = __int128(1) << 61;

std::string str(int64_t value) { return std::to_string(value); }

std::string str(const Sizes& sizes) {
  std::string text = "(";
  for (int64_t i = 0; i < sizes.count; ++i) text.append(i ? ", " : "").append(str(sizes[i]));
  return text + (sizes.count == 1 ? ",)" : ")");
}

std::string caller(const Call& call) {
  if (call.result == Result::input) return "conv_input: ";
  if (call.result == Result::weight) return "conv_weight: ";
  return "conv" + str(call.stride.count) + "d: ";
}

// "; input (1, 4, 8, 8), weight (8, 3, 3, 3)": the two given tensors, at the end of a sentence.
std::string given(const Call& call) {
  std::string text;
  if (call.result != Result::input) text += ", input " + str(call.input);
  if (call.result != Result::weight) text += ", weight " + str(call.weight);
  if (call.result != Result::output) text += ", output " + str(call.output);
  text[0] = ';';
  return text;
}

std::string check_rank(const char* tensor, const Sizes& sizes, int64_t axes, const char* leading) {
  if (sizes.count != axes + 2)
    return std::string(tensor) + " needs " + str(axes + 2) + " dimensions (" + leading + " and " +
           str(axes) + " spatial), got " + str(sizes.count) + ": " + str(sizes);
  for (int64_t i = 0; i < sizes.count; ++i)
    if (sizes[i] < 0) return std::string(tensor) + " has a negative size: " + str(sizes);
  return "";
}

std::string check_lists(const Call& call) {
  const int64_t axes = call.stride.count;
  if (axes < 1 || axes > kMaxAxes)
    return "stride has " + str(axes) + " entries, expected 1 to " + str(kMaxAxes);
  const struct {
    const char* word;
    const Sizes& list;
    bool present;
    int64_t least;
  } lists[] = {{"stride", call.stride, true, 1},
               {"padding", call.padding, true, -int64_t(kIndexLimit)},
               {"dilation", call.dilation, true, 1},
               {call.result == Result::output  ? "output_size"
                : call.result == Result::input ? "input_size"
                                               : "kernel_size",
                call.result_size, call.has_result_size, call.result == Result::weight ? 1 : 0}};
  for (const auto& [word, list, present, least] : lists) {
    if (!present) continue;
    if (list.count != axes)
      return std::string(word) + " has " + str(list.count) + " entries, expected " + str(axes) +
             ": " + str(list);
    for (int64_t a = 0; a < axes; ++a)
      if (list[a] < least)
        return std::string(word) + " must be " +
               (least == 1 ? "positive" : "at least " + str(least)) + ", got " + str(list);
  }
  return "";
}

std::string check_ranks(const Call& call) {
  const int64_t axes = call.stride.count;
  std::string wrong;
  if (call.result != Result::input)
    wrong = check_rank("input", call.input, axes, "batch, channels");
  if (wrong.empty() && call.result != Result::weight) {
    wrong = check_rank("weight", call.weight, axes, "out_channels, in_channels / groups");
    for (int64_t a = 2; wrong.empty() && a < axes + 2; ++a)
      if (call.weight[a] < 1) wrong = "weight has an empty kernel: " + str(call.weight);
  }
  if (wrong.empty() && call.result != Result::output)
    wrong = check_rank("output", call.output, axes, "batch, channels");
  return wrong;
}

// Batch and channels: every tensor that has them must agree, and groups must divide them.
std::string check_channels(const Call& call, Problem* p) {
  const int64_t groups = p->groups = call.groups;
  if (groups < 1) return "groups must be positive, got " + str(groups);
  p->batch = call.result == Result::input ? call.output[0] : call.input[0];
  p->out_channels = call.result == Result::weight ? call.output[1] : call.weight[0];
  if (p->out_channels % groups != 0 || p->out_channels < groups)
    return "groups " + str(groups) + " does not divide the " + str(p->out_channels) +
           " output channels" + given(call);
  if (call.result == Result::weight) {
    p->in_channels = call.input[1];
    if (p->in_channels % groups != 0)
      return "groups " + str(groups) + " does not divide the " + str(p->in_channels) +
             " input channels" + given(call);
    if (call.input[0] != call.output[0])
      return "input has batch " + str(call.input[0]) + " but output has batch " +
             str(call.output[0]) + given(call);
    return "";
  }
  if (__builtin_mul_overflow(call.weight[1], groups, &p->in_channels))
    return "groups " + str(groups) + " times weight's " + str(call.weight[1]) +
           " channels is too large" + given(call);
  if (call.result == Result::output && call.input[1] != p->in_channels)
    return "input has " + str(call.input[1]) + " channels but weight expects " +
           str(p->in_channels) + " (" + str(call.weight[1]) + " per group, " + str(groups) +
           " groups)" + given(call);
  if (call.result == Result::input && call.output[1] != p->out_channels)
    return "output has " + str(call.output[1]) + " channels but weight makes " +
           str(p->out_channels) + given(call);
  if (call.has_bias && (call.bias.count != 1 || call.bias[0] != p->out_channels))
    return "bias has shape " + str(call.bias) + ", expected (" + str(p->out_channels) +
           ",), one entry for each output channel" + given(call);
  return "";
}

std::string check_axis(const Call& call, Problem* p, int a) {
  Axis& axis = p->axis[a];
  const std::string where = " on axis " + str(a);
  axis.stride = call.stride[a];
  axis.padding = call.padding[a];
  axis.dilation = call.dilation[a];
  axis.input_size = call.result == Result::input ? call.result_size[a] : call.input[a + 2];
  axis.kernel_size = call.result == Result::weight ? call.result_size[a] : call.weight[a + 2];

  const __int128 span = __int128(axis.dilation) * (axis.kernel_size - 1) + 1;
  if (span > kIndexLimit || axis.padding > kIndexLimit)
    return "padding " + str(axis.padding) + " or dilation " + str(axis.dilation) + " with kernel " +
           str(axis.kernel_size) + " is too large" + where + given(call);
  if (call.result != Result::output) {
    axis.output_size = call.output[a + 2];
  } else if (call.has_result_size) {
    axis.output_size = call.result_size[a];
  } else {
    const __int128 padded = axis.input_size + __int128(2) * axis.padding;
    if (padded < span)
      return "kernel " + str(axis.kernel_size) + " with dilation " + str(axis.dilation) +
             " spans " + str(int64_t(span)) + ", more than the padded input of " +
             str(int64_t(padded)) + " (" + str(axis.input_size) + " + 2 * " + str(axis.padding) +
             ")" + where + given(call);
    axis.output_size = int64_t((padded - span) / axis.stride + 1);
  }
  if (__int128(axis.stride) * (axis.output_size - 1) > kIndexLimit)
    return "stride " + str(axis.stride) + " with output size " + str(axis.output_size) +
           " is too large" + where + given(call);
  // So one that large meets a single output, or a single tap, where its value does not matter.
  axis.stride = std::min(axis.stride, int64_t(kIndexLimit));
  axis.dilation = std::min(axis.dilation, int64_t(kIndexLimit));
  return "";
}

// A fold maps an index back inside in one step; it reaches only so far.
std::string check_fold(const Call& call, const Problem& p, int a) {
  if (p.padding_mode == PaddingMode::zeros) return "";
  const Axis& axis = p.axis[a];
  const int64_t last =
      (axis.output_size - 1) * axis.stride + (axis.kernel_size - 1) * axis.dilation;
  const int64_t high = last - axis.padding - (axis.input_size - 1);
  const int64_t reach = axis.padding > high ? axis.padding : high;
  const int64_t limit = p.padding_mode == PaddingMode::reflect    ? axis.input_size - 1
                        : p.padding_mode == PaddingMode::circular ? axis.input_size
                        : axis.input_size > 0                     ? int64_t(kIndexLimit)
                                                                  : 0;
  if (reach <= limit || axis.output_size == 0) return "";
  return std::string("padding_mode '") + name(p.padding_mode) + "' reaches " + str(limit) +
         " elements beyond an input of " + str(axis.input_size) + ", padding needs " + str(reach) +
         " on axis " + str(a) + given(call);
}

bool too_many_elements(const Problem& p, int64_t outer, int64_t inner, int64_t Axis::* size) {
  int64_t bytes = element_bytes(p.dtype);
  bool overflow =
      __builtin_mul_overflow(bytes, outer, &bytes) || __builtin_mul_overflow(bytes, inner, &bytes);
  for (int a = 0; a < p.axes; ++a)
    overflow |= __builtin_mul_overflow(bytes, p.axis[a].*size, &bytes);
  return overflow;
}

std::string check_all(const Call& call, Problem* p) {
  std::string wrong = check_lists(call);
  if (wrong.empty() && call.activation != Activation::none &&
      (is_integer(call.dtype) || is_complex(call.dtype)))
    return std::string("activation ") + name(call.activation) +
           " needs a real floating dtype, got " + name(call.dtype);
  if (wrong.empty()) wrong = check_ranks(call);
  if (wrong.empty()) wrong = check_channels(call, p);
  if (!wrong.empty()) return wrong;
  for (int a = 0; a < p->axes; ++a) {
    wrong = check_axis(call, p, a);
    if (wrong.empty()) wrong = check_fold(call, *p, a);
    if (!wrong.empty()) return wrong;
  }
  if (too_many_elements(*p, p->batch, p->in_channels, &Axis::input_size) ||
      too_many_elements(*p, p->batch, p->out_channels, &Axis::output_size) ||
      too_many_elements(*p, p->out_channels, p->in_channels_per_group(), &Axis::kernel_size))
    return "a tensor of more than 2**63 bytes" + given(call);
  return "";
}

}  // namespace

std::string check(const Call& call, Problem* problem) {
  *problem = Problem{};
  problem->result = call.result;
  problem->dtype = call.dtype;
  problem->padding_mode = call.padding_mode;
  problem->activation = call.activation;
  problem->flip = call.flip;
  problem->bias = call.has_bias;
  problem->axes = int(call.stride.count);
  const std::string wrong = check_all(call, problem);
  return wrong.empty() ? wrong : caller(call) + wrong;
}

namespace {
const char* const kModes[] = {"zeros", "reflect", "replicate", "circular"};
const char* const kActivations[] = {"none", "relu", "silu", "gelu"};
const char* const kResults[] = {"output", "input", "weight"};
const char* const kDevices[] = {"cpu", "cuda"};
const char* const kDTypes[] = {"float32",   "float64",    "bfloat16", "float16",
                               "complex64", "complex128", "uint8",    "int8",
                               "int16",     "int32",      "int64"};
}  // namespace

const char* name(PaddingMode mode) { return kModes[int(mode)]; }
const char* name(Result result) { return kResults[int(result)]; }
const char* name(Device device) { return kDevices[int(device)]; }
const char* name(Activation activation) { return kActivations[int(activation)]; }
const char* name(DType dtype) { return kDTypes[int(dtype)]; }

template <typename Enum>
static bool parse(const char* const (&words)[4], const char* word, int64_t length, Enum* value) {
  for (int i = 0; i < 4; ++i)
    if (int64_t(std::strlen(words[i])) == length && std::memcmp(words[i], word, length) == 0) {
      *value = Enum(i);
      return true;
    }
  return false;
}
bool parse_padding_mode(const char* word, int64_t length, PaddingMode* mode) {
  return parse(kModes, word, length, mode);
}
bool parse_activation(const char* word, int64_t length, Activation* activation) {
  return parse(kActivations, word, length, activation);
}

View input_view(const Problem& p, void* data, const int64_t* strides) {
  View v;
  v.data = data;
  v.batch = strides[0];
  v.in_channel = strides[1];
  v.group = strides[1] * p.in_channels_per_group();
  for (int a = 0; a < p.axes; ++a) v.axis[a] = strides[a + 2];
  return v;
}

View output_view(const Problem& p, void* data, const int64_t* strides) {
  View v;
  v.data = data;
  v.batch = strides[0];
  v.out_channel = strides[1];
  v.group = strides[1] * p.out_channels_per_group();
  for (int a = 0; a < p.axes; ++a) v.axis[a] = strides[a + 2];
  return v;
}

View weight_view(const Problem& p, void* data, const int64_t* strides) {
  View v;
  v.out_channel = strides[0];
  v.in_channel = strides[1];
  v.group = strides[0] * p.out_channels_per_group();
  int64_t last = 0;  // the offset of the last tap: where a flipped kernel begins
  for (int a = 0; a < p.axes; ++a) {
    v.axis[a] = p.flip ? -strides[a + 2] : strides[a + 2];
    last += (p.axis[a].kernel_size - 1) * strides[a + 2];
  }
  v.data = static_cast<char*>(data) + (p.flip ? last * element_bytes(p.dtype) : 0);
  return v;
}

View bias_view(const Problem& p, void* data, int64_t stride) {
  View v;
  v.data = data;
  v.out_channel = stride;
  v.group = stride * p.out_channels_per_group();
  return v;
}

Operands contiguous_operands(const Problem& p, void* input, void* weight, void* output,
                             void* bias) {
  int64_t strides[kMaxAxes + 2];
  const auto contiguous = [&](int64_t channels, int64_t Axis::* size, bool channels_last) {
    int64_t step = channels_last ? channels : 1;
    for (int a = p.axes - 1; a >= 0; --a) {
      strides[a + 2] = step;
      step *= p.axis[a].*size;
    }
    strides[1] = channels_last ? 1 : step;
    strides[0] = channels_last ? step : step * channels;
    return strides;
  };
  Operands o;
  o.input = input_view(p, input, contiguous(p.in_channels, &Axis::input_size, p.channels_last));
  o.weight =
      weight_view(p, weight, contiguous(p.in_channels_per_group(), &Axis::kernel_size, false));
  o.output =
      output_view(p, output, contiguous(p.out_channels, &Axis::output_size, p.channels_last));
  if (p.bias) o.bias = bias_view(p, bias, 1);
  return o;
}

}  // namespace torchconv
