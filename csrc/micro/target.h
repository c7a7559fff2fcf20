// The instruction sets the hot loops are compiled for, and the one this machine runs.
#pragma once

namespace torchconv {

// "baseline", "avx2", "avx512", "avx512_bf16" or "avx512_amx" ("neon" on Arm): chosen once, at the
// first call, as the best this machine has. TORCHCONV_TARGET in the environment may name a lesser one.
const char* target_name();

}  // namespace torchconv
