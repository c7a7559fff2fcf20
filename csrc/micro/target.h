// The instruction sets the hot loops are compiled for, and the one this machine runs.
#pragma once

namespace torchconv {

// "baseline", "avx2", "avx512" or "avx512_bf16" ("neon" on Arm): chosen once, at the first call, as
// the best this machine has. TORCHCONV_TARGET in the environment may name a lesser one.
const char* target_name();

}  // namespace torchconv
