#include "micro/target.h"

#include <cstdlib>
#include <cstring>

#include "micro/kernels.h"

namespace torchconv {

#define TORCHCONV_DECLARE_TARGET(target) \
  namespace target {                     \
  Kernels<float> kernels_f32();          \
  Kernels<double> kernels_f64();         \
  }
TORCHCONV_DECLARE_TARGET(baseline)
TORCHCONV_DECLARE_TARGET(avx2)
TORCHCONV_DECLARE_TARGET(avx512)
#undef TORCHCONV_DECLARE_TARGET

namespace {

struct Target {
  const char* name;
  bool (*runs_here)();
  Kernels<float> (*f32)();
  Kernels<double> (*f64)();
};

#if defined(__x86_64__)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
bool always() { return true; }

// The best first.
const Target kTargets[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, avx512::kernels_f32, avx512::kernels_f64},
    {"avx2", has_avx2, avx2::kernels_f32, avx2::kernels_f64},
    {"baseline", always, baseline::kernels_f32, baseline::kernels_f64},
#else
    {"neon", always, baseline::kernels_f32, baseline::kernels_f64},
#endif
};

// A lesser target may be asked for by name; one that this machine has not is passed over.
const Target& target() {
  static const Target& chosen = [&]() -> const Target& {
    const char* wanted = std::getenv("TORCHCONV_TARGET");
    const Target* best = nullptr;
    for (const Target& t : kTargets) {
      if (!t.runs_here()) continue;
      if (!best) best = &t;
      if (wanted && std::strcmp(wanted, t.name) == 0) return t;
    }
    return *best;
  }();
  return chosen;
}

}  // namespace

const char* target_name() { return target().name; }

template <>
const Kernels<float>& kernels<float>() {
  static const Kernels<float> table = target().f32();
  return table;
}
template <>
const Kernels<double>& kernels<double>() {
  static const Kernels<double> table = target().f64();
  return table;
}

}  // namespace torchconv
