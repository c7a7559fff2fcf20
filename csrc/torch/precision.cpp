#include "torch/precision.h"

#include <atomic>

#include <ATen/Context.h>

namespace torchconv {
namespace {

std::atomic<bool> highest{false};

}  // namespace

void set_highest_precision(bool value) { highest = value; }
bool highest_precision() { return highest; }
bool wants_precise() { return highest || at::globalContext().deterministicAlgorithms(); }

}  // namespace torchconv
