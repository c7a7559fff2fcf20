#include "micro/target.h"

#include <cstdlib>
#include <cstring>

// Tiles of matrices: of Linux, which hands them out, and of compilers that know them.
#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) || __GNUC__ >= 11)
#include <sys/syscall.h>
#include <unistd.h>
#define TORCHCONV_AMX 1
#endif

#include "micro/kernels.h"

namespace torchconv {

namespace baseline {
Tables tables();
}
namespace avx2 {
Tables tables();
}
namespace avx512 {
Tables tables();
}
namespace avx512_bf16 {
Tables tables();
}
namespace avx512_amx {
Tables tables();
}

namespace {

struct Target {
  const char* name;
  bool (*runs_here)();
  Tables (*tables)();
};

#if defined(__x86_64__)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#if defined(TORCHCONV_AMX)
// A process asks its system for the tiles' registers, once for all its threads.
bool has_avx512_amx() {
  constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return has_avx512_bf16() && __builtin_cpu_supports("amx-tile") &&
         __builtin_cpu_supports("amx-bf16") && syscall(SYS_arch_prctl, request, tile_data) == 0;
}
#endif
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
bool always() { return true; }

// The best first.
const Target kTargets[] = {
#if defined(__x86_64__)
#if defined(TORCHCONV_AMX)
    {"avx512_amx", has_avx512_amx, avx512_amx::tables},
#endif
    {"avx512_bf16", has_avx512_bf16, avx512_bf16::tables},
    {"avx512", has_avx512, avx512::tables},
    {"avx2", has_avx2, avx2::tables},
    {"baseline", always, baseline::tables},
#else
    {"neon", always, baseline::tables},
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

const Tables& tables() {
  static const Tables all = target().tables();
  return all;
}

}  // namespace

const char* target_name() { return target().name; }

template <>
const Kernels<float>& kernels() {
  return tables().f32;
}
template <>
const Kernels<double>& kernels() {
  return tables().f64;
}
template <>
const Kernels<uint16_t>& kernels() {
  return tables().u16;
}
template <>
const Kernels<uint32_t>& kernels() {
  return tables().u32;
}
template <>
const Kernels<uint64_t>& kernels() {
  return tables().u64;
}
template <>
const Kernels<BFloat16>& kernels() {
  return tables().bf16;
}
template <>
const Kernels<BFloat16Pair>& kernels() {
  return tables().bf16_pair;
}

}  // namespace torchconv
