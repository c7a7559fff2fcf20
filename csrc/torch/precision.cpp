#include "torch/precision.h"

#include <atomic>
#include <optional>
#include <string>
#include <type_traits>

#include <ATen/Context.h>

namespace torchconv {
namespace {

std::atomic<bool> highest{false};

// Which of an operator's kinds torch is asked about is a word in older versions, an enum in newer.
template <typename Parameter>
bool allowed_for_conv(const at::Context& context, bool (at::Context::*allowed)(Parameter) const) {
  using Kind = typename std::decay_t<Parameter>::value_type;
  if constexpr (std::is_same_v<Kind, std::string>)
    return (context.*allowed)(Kind("conv"));
  else
    return (context.*allowed)(Kind::CONV);
}

}  // namespace

void set_highest_precision(bool value) { highest = value; }
bool highest_precision() { return highest; }
bool allows_tf32() {
  return !highest && allowed_for_conv(at::globalContext(), &at::Context::allowTF32CuDNN);
}
bool wants_precise() { return highest || at::globalContext().deterministicAlgorithms(); }

}  // namespace torchconv
