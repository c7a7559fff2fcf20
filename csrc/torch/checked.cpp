#include "torch/checked.h"

#include <c10/core/ScalarType.h>

namespace torchconv {
namespace {

// "conv2d", "conv_input" or "conv_weight", as check() opens its sentences.
std::string caller(Result result, const Geometry& geometry) {
  if (result != Result::output) return std::string("conv_") + name(result);
  return "conv" + std::to_string(geometry.stride.size()) + "d";
}

std::string dtype_name(at::ScalarType dtype) {
  return std::string(c10::getDtypeNames(dtype).first);
}

at::DimVector numbers(c10::SymIntArrayRef list) {
  at::DimVector values;
  for (const SymInt& entry : list) values.push_back(entry.guard_int(__FILE__, __LINE__));
  return values;
}

}  // namespace

DType core_dtype(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return DType::float32;
    case at::kDouble: return DType::float64;
    case at::kBFloat16: return DType::bfloat16;
    case at::kHalf: return DType::float16;
    case at::kComplexHalf:
    case at::kComplexFloat: return DType::complex64;
    case at::kComplexDouble: return DType::complex128;
    case at::kByte: return DType::uint8;
    case at::kChar: return DType::int8;
    case at::kShort: return DType::int16;
    case at::kInt: return DType::int32;
    case at::kLong: return DType::int64;
    default:
      TORCH_CHECK_NOT_IMPLEMENTED(false, "convolution is not implemented for ", dtype_name(dtype));
  }
}

void require_alike(const Arguments& arguments) {
  const Tensor& first = arguments.first;
  const auto require = [&](const char* word, const Tensor& tensor) {
    const auto text = [&] {
      return caller(arguments.result, arguments.geometry) + ": " +
             name(first_of(arguments.result)) + " is ";
    };
    TORCH_CHECK(tensor.scalar_type() == first.scalar_type(), text(),
                dtype_name(first.scalar_type()), " but ", word, " is ",
                dtype_name(tensor.scalar_type()));
    TORCH_CHECK(tensor.device() == first.device(), text(), "on ", first.device(), " but ", word,
                " is on ", tensor.device());
  };
  require(name(second_of(arguments.result)), arguments.second);
  if (arguments.bias) require("bias", *arguments.bias);
  core_dtype(first.scalar_type());
}

Problem checked_problem(Call call, at::OptionalSymIntArrayRef result_size,
                        const Geometry& geometry) {
  const std::string_view mode = geometry.padding_mode;
  TORCH_CHECK(parse_padding_mode(mode.data(), int64_t(mode.size()), &call.padding_mode),
              caller(call.result, geometry), ": padding_mode must be 'zeros', 'reflect', ",
              "'replicate' or 'circular', got '", mode, "'");
  call.flip = geometry.flip;
  const at::DimVector size = numbers(result_size.value_or(c10::SymIntArrayRef()));
  const at::DimVector stride = numbers(geometry.stride), padding = numbers(geometry.padding),
                      dilation = numbers(geometry.dilation);
  call.has_result_size = result_size.has_value();
  call.result_size = sizes(size);
  call.stride = sizes(stride);
  call.padding = sizes(padding);
  call.dilation = sizes(dilation);
  call.groups = geometry.groups.guard_int(__FILE__, __LINE__);

  Problem problem;
  const std::string wrong = check(call, &problem);
  TORCH_CHECK(wrong.empty(), wrong);
  return problem;
}

Problem checked_problem(const Arguments& arguments, Activation activation) {
  Call call;
  call.result = arguments.result;
  call.dtype = core_dtype(arguments.first.scalar_type());
  call.activation = activation;
  Sizes* const tensors[3] = {&call.output, &call.input, &call.weight};
  *tensors[int(first_of(call.result))] = sizes(arguments.first.sizes());
  *tensors[int(second_of(call.result))] = sizes(arguments.second.sizes());
  call.has_bias = arguments.bias.has_value();
  if (call.has_bias) call.bias = sizes(arguments.bias->sizes());
  Problem problem = checked_problem(call, arguments.result_size, arguments.geometry);
  if (arguments.first.is_cuda()) problem.device = Device::cuda;
  problem.channels_last = arguments.first.stride(1) == 1 && arguments.first.stride(-1) != 1;
  return problem;
}

at::DimVector result_size(const Problem& problem) {
  at::DimVector size;
  int64_t Axis::* spatial = &Axis::output_size;
  switch (problem.result) {
    case Result::output: size = {problem.batch, problem.out_channels}; break;
    case Result::input:
      size = {problem.batch, problem.in_channels};
      spatial = &Axis::input_size;
      break;
    case Result::weight:
      size = {problem.out_channels, problem.in_channels_per_group()};
      spatial = &Axis::kernel_size;
      break;
  }
  for (int a = 0; a < problem.axes; ++a) size.push_back(problem.axis[a].*spatial);
  return size;
}

c10::MemoryFormat result_format(const Tensor& first, const Tensor& second) {
  const c10::MemoryFormat suggested = first.suggest_memory_format();
  return suggested == c10::MemoryFormat::Contiguous ? second.suggest_memory_format() : suggested;
}

}  // namespace torchconv
