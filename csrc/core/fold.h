// What an index outside the input means, in one place.
#pragma once

#include "core/host_device.h"
#include "core/problem.h"

namespace torchconv {

// The index of [0, size) that i stands for, or -1 where it stands for none. check() has made sure
// that one step reaches.
template <typename Index>
TORCHCONV_HOST_DEVICE inline Index fold(PaddingMode mode, Index i, Index size) {
  if (i >= 0 && i < size) return i;
  switch (mode) {
    case PaddingMode::zeros: return -1;
    case PaddingMode::reflect: return i < 0 ? -i : 2 * (size - 1) - i;
    case PaddingMode::replicate: return i < 0 ? 0 : size - 1;
    case PaddingMode::circular: return i < 0 ? i + size : i - size;
  }
  return -1;
}

}  // namespace torchconv
