#include "core/text.h"

#include <cstdlib>
#include <sstream>
#include <vector>

#include "core/check.h"

namespace torchconv {
namespace {

std::string sizes(const Problem& p, int64_t Axis::* field) {
  std::string text;
  for (int a = 0; a < p.axes; ++a)
    text.append(a ? "x" : "").append(std::to_string(p.axis[a].*field));
  return text;
}

// "56x-1x3" -> {56, -1, 3}; empty where it is anything else.
std::vector<int64_t> parse_sizes(const std::string& text, char separator = 'x') {
  std::vector<int64_t> values;
  const char* at = text.c_str();
  for (;;) {
    char* end = nullptr;
    values.push_back(std::strtoll(at, &end, 10));
    if (end == at) return {};
    if (*end == 0) return values;
    if (*end != separator) return {};
    at = end + 1;
  }
}

Sizes span(const std::vector<int64_t>& v) { return {v.data(), int64_t(v.size())}; }

template <typename Enum>
bool parse_word(const std::string& word, int count, Enum* value) {
  for (int i = 0; i < count; ++i)
    if (word == name(Enum(i))) return *value = Enum(i), true;
  return false;
}

// The fields of a line before they are one problem.
struct Line {
  Result result = Result::output;
  DType dtype = DType::float32;
  PaddingMode padding_mode = PaddingMode::zeros;
  Activation activation = Activation::none;
  Device device = Device::cpu;
  int64_t batch = 1, groups = 1, flip = 0, bias = 0, channels_last = 0, tf32 = 0, capability = 0;
  std::vector<int64_t> channels, input, kernel, output, stride, padding, dilation;
};

std::string parse_field(const std::string& key, const std::string& value, Line* line) {
  const struct {
    const char* key;
    std::vector<int64_t>* list;
  } lists[] = {{"input", &line->input},     {"kernel", &line->kernel},
               {"output", &line->output},   {"stride", &line->stride},
               {"padding", &line->padding}, {"dilation", &line->dilation}};
  const struct {
    const char* key;
    int64_t* number;
  } numbers[] = {{"batch", &line->batch},
                 {"groups", &line->groups},
                 {"flip", &line->flip},
                 {"bias", &line->bias},
                 {"channels_last", &line->channels_last},
                 {"tf32", &line->tf32},
                 {"capability", &line->capability}};
  const std::string bad = "problem line: " + key + " cannot be '" + value + "'";
  for (const auto& field : lists)
    if (key == field.key) return (*field.list = parse_sizes(value)).empty() ? bad : "";
  for (const auto& field : numbers)
    if (key == field.key) {
      const std::vector<int64_t> number = parse_sizes(value);
      if (number.size() != 1) return bad;
      *field.number = number[0];
      return "";
    }
  if (key == "channels") return (line->channels = parse_sizes(value, '>')).size() == 2 ? "" : bad;
  if (key == "device") return parse_word(value, 2, &line->device) ? "" : bad;
  if (key == "padding_mode") return parse_word(value, 4, &line->padding_mode) ? "" : bad;
  if (key == "activation") return parse_word(value, 4, &line->activation) ? "" : bad;
  return "problem line: unknown field '" + key + "'";
}

std::string parse_line(const std::string& text, Line* line) {
  std::istringstream words(text);
  std::string word;
  if (!(words >> word) || !parse_word(word, 3, &line->result))
    return "problem line: the first word is output, input or weight, not '" + word + "'";
  if (!(words >> word) || !parse_word(word, 11, &line->dtype))
    return "problem line: the second word is a dtype, not '" + word + "'";
  while (words >> word) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) return "problem line: '" + word + "' is not field=value";
    const std::string wrong = parse_field(word.substr(0, equals), word.substr(equals + 1), line);
    if (!wrong.empty()) return wrong;
  }
  if (line->channels.empty() || line->input.empty() || line->kernel.empty())
    return "problem line: channels, input and kernel are needed";
  return "";
}

}  // namespace

std::string to_text(const Problem& p) {
  std::string text = std::string(name(p.result)) + " " + name(p.dtype);
  text += " batch=" + std::to_string(p.batch);
  text += " channels=" + std::to_string(p.in_channels) + ">" + std::to_string(p.out_channels);
  text += " groups=" + std::to_string(p.groups);
  text += " input=" + sizes(p, &Axis::input_size) + " kernel=" + sizes(p, &Axis::kernel_size);
  text += " output=" + sizes(p, &Axis::output_size) + " stride=" + sizes(p, &Axis::stride);
  text += " padding=" + sizes(p, &Axis::padding) + " dilation=" + sizes(p, &Axis::dilation);
  text += std::string(" padding_mode=") + name(p.padding_mode);
  text += std::string(" flip=") + (p.flip ? "1" : "0") + " bias=" + (p.bias ? "1" : "0");
  if (p.activation != Activation::none) text += std::string(" activation=") + name(p.activation);
  if (p.channels_last) text += " channels_last=1";
  if (p.device != Device::cpu) text += std::string(" device=") + name(p.device);
  if (p.capability) text += " capability=" + std::to_string(p.capability);
  if (p.tf32) text += " tf32=1";
  return text;
}

std::string from_text(const std::string& text, Problem* problem) {
  Line line;
  const std::string wrong = parse_line(text, &line);
  if (!wrong.empty()) return wrong;
  const size_t axes = line.input.size();
  const auto fill = [axes](std::vector<int64_t>& list, int64_t value) {
    if (list.empty()) list.assign(axes, value);
  };
  fill(line.stride, 1);
  fill(line.padding, 0);
  fill(line.dilation, 1);
  if (line.kernel.size() != axes || (!line.output.empty() && line.output.size() != axes) ||
      line.stride.size() != axes || line.padding.size() != axes || line.dilation.size() != axes)
    return "problem line: fields differ in their number of axes: " + text;
  if (line.capability < 0 || line.capability > 255)
    return "problem line: capability cannot be " + std::to_string(line.capability);
  if (line.groups < 1) return "problem line: groups cannot be " + std::to_string(line.groups);

  // Checked as the forward call that relates the same three tensors.
  std::vector<int64_t> input{line.batch, line.channels[0]};
  std::vector<int64_t> weight{line.channels[1], line.channels[0] / line.groups};
  input.insert(input.end(), line.input.begin(), line.input.end());
  weight.insert(weight.end(), line.kernel.begin(), line.kernel.end());
  Call call;
  call.dtype = line.dtype;
  call.padding_mode = line.padding_mode;
  if (line.result == Result::output) call.activation = line.activation;
  call.flip = line.flip != 0;
  call.input = span(input);
  call.weight = span(weight);
  call.result_size = span(line.output);
  call.has_result_size = !line.output.empty();
  call.stride = span(line.stride);
  call.padding = span(line.padding);
  call.dilation = span(line.dilation);
  call.groups = line.groups;
  const std::string refusal = check(call, problem);
  problem->result = line.result;
  problem->bias = line.bias != 0 && line.result == Result::output;
  problem->channels_last = line.channels_last != 0;
  problem->device = line.device;
  problem->tf32 = line.tf32 != 0;
  problem->capability = uint8_t(line.capability);
  return refusal;
}

}  // namespace torchconv
