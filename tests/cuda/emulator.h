// Kernels on the CPU: what csrc/cuda/micro/launch.h and CUDA's own words mean without a GPU.
//
//     g++ -x c++ -include tests/cuda/emulator.h -Icsrc -c csrc/cuda/algo/reference.cu
//
// One block runs at a time, its threads as fibers on one thread of the CPU. A fiber runs until it
// ends or waits for others; which goes first alternates from block to block, so that a result that
// depends on the order shows. Shared memory is filled with NaNs before each block and fenced.
//
// What a GPU would answer with garbage or a hang ends the program with a sentence: a launch beyond
// the limits, a barrier that some threads never reach, lanes that meet at different operations, an
// address that is not aligned.
#pragma once
#define TORCHCONV_EMULATOR

#include <setjmp.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#define __global__ static
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static  // one block runs at a time
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __grid_constant__

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

namespace torchconv::emulator {

constexpr int kLanes = 32;
constexpr int64_t kStackBytes = 64 << 10;
constexpr int64_t kMostShared = 227 << 10;  // of a block on sm_90; sm_80 has 163 KiB
constexpr int64_t kGuard = 256;
constexpr unsigned char kPoison = 0xff;

[[noreturn]] inline void fail(const char* what) {
  std::printf("FAIL emulator: %s\n", what);
  std::fflush(stdout);
  std::_Exit(3);
}

enum class State { ready, at_barrier, in_warp, done };

// A copy that cp.async has started.
struct Copy {
  void* to;
  const void* from;
  int bytes, valid;
};

struct Fiber {
  jmp_buf at;
  ucontext_t begin;
  std::unique_ptr<unsigned char[]> stack;
  bool begun = false;
  State state = State::ready;
  dim3 thread;
  int number = 0;
  // What the thread gives to and gets from its warp's operation, while it waits in it.
  const void* operation = nullptr;
  unsigned mask = 0;
  const void* in = nullptr;
  void* out = nullptr;
  std::vector<Copy> copies;  // not in a group yet
  std::vector<std::vector<Copy>> groups;
  // Products of a warpgroup: each says whether its operands are still what they were.
  std::vector<std::function<bool()>> new_products;
  std::vector<std::vector<std::function<bool()>>> products;
};

inline jmp_buf scheduler;
inline std::vector<std::unique_ptr<Fiber>> fibers;  // kept for the next block
inline Fiber* current = nullptr;
inline dim3 block_index, block_size, grid_size;
inline const std::function<void()>* body = nullptr;
inline std::vector<unsigned char> shared_bytes;
inline unsigned char* shared = nullptr;
inline int64_t shared_size = 0;
inline int threads = 0, waiting = 0;
inline bool backwards = false;

inline void to_scheduler() {
  if (_setjmp(current->at) == 0) _longjmp(scheduler, 1);
}

inline void run_forever() {
  for (;;) {
    (*body)();
    current->state = State::done;
    to_scheduler();
  }
}

inline void resume(Fiber* fiber) {
  current = fiber;
  if (_setjmp(scheduler) != 0) return;
  if (fiber->begun) _longjmp(fiber->at, 1);
  fiber->begun = true;
  getcontext(&fiber->begin);
  fiber->stack.reset(new unsigned char[kStackBytes]);
  fiber->begin.uc_stack.ss_sp = fiber->stack.get();
  fiber->begin.uc_stack.ss_size = kStackBytes;
  fiber->begin.uc_link = nullptr;
  makecontext(&fiber->begin, run_forever, 0);
  setcontext(&fiber->begin);
}

inline void sync_threads() {
  current->state = State::at_barrier;
  if (++waiting == threads) {  // threads that have ended never arrive: CUDA asks for all of them
    waiting = 0;
    for (int i = 0; i < threads; ++i) fibers[i]->state = State::ready;
    return;
  }
  to_scheduler();
}

// An operation of the lanes in `mask`: when the last of them is there, combine(in, out) is called
// once with what each lane gives and where each gets its result; null for lanes outside the mask.
template <typename In, typename Out, typename Combine>
Out in_warp(unsigned mask, const In& in, const Combine&) {
  static const char operation = 0;  // its address tells this operation from others
  Out result{};
  Fiber& self = *current;
  const int first = self.number / kLanes * kLanes;
  if (!(mask >> (self.number - first) & 1)) fail("a lane is not in its own mask");
  self.operation = &operation;
  self.mask = mask;
  self.in = &in;
  self.out = &result;
  self.state = State::in_warp;
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!(mask >> lane & 1)) continue;
    if (first + lane >= threads || fibers[first + lane]->state == State::done)
      fail("a mask names a lane that is not there");
    const Fiber& other = *fibers[first + lane];
    if (other.state != State::in_warp) {
      to_scheduler();
      return result;
    }
    if (other.operation != &operation || other.mask != mask)
      fail("lanes of a warp meet at different operations");
  }
  const In* ins[kLanes] = {};
  Out* outs[kLanes] = {};
  for (int lane = 0; lane < kLanes; ++lane)
    if (mask >> lane & 1) {
      Fiber& other = *fibers[first + lane];
      ins[lane] = static_cast<const In*>(other.in);
      outs[lane] = static_cast<Out*>(other.out);
      other.state = State::ready;
    }
  Combine()(ins, outs);
  return result;
}

inline void run_block() {
  std::fill(shared_bytes.begin(), shared_bytes.end(), kPoison);
  waiting = 0;
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = *fibers[i];
    fiber.state = State::ready;
    fiber.copies.clear();
    fiber.groups.clear();
    fiber.new_products.clear();
    fiber.products.clear();
  }
  for (int left = threads; left > 0;) {
    bool moved = false;
    for (int i = 0; i < threads; ++i) {
      Fiber* fiber = fibers[backwards ? threads - 1 - i : i].get();
      if (fiber->state != State::ready) continue;
      resume(fiber);
      moved = true;
      left -= fiber->state == State::done;
    }
    if (!moved) fail("a block is stuck: some threads wait where the others never come");
  }
  for (int64_t i = 0; i < kGuard; ++i)
    if (shared[-1 - i] != kPoison || shared[shared_size + i] != kPoison)
      fail("a block wrote outside its shared memory");
  backwards = !backwards;
}

inline void run_grid(dim3 blocks, dim3 block, int64_t bytes, const std::function<void()>& kernel) {
  threads = int(block.x * block.y * block.z);
  if (blocks.x == 0 || blocks.y == 0 || blocks.z == 0 || threads == 0) fail("an empty launch");
  if (blocks.x > 0x7fffffff || blocks.y > 65535 || blocks.z > 65535) fail("too many blocks");
  if (block.x > 1024 || block.y > 1024 || block.z > 64 || threads > 1024) fail("too many threads");
  if (bytes < 0 || bytes > kMostShared) fail("too much shared memory");
  while (int(fibers.size()) < threads) fibers.push_back(std::make_unique<Fiber>());
  for (int i = 0; i < threads; ++i) {
    fibers[i]->number = i;
    fibers[i]->thread = dim3(i % block.x, i / block.x % block.y, i / block.x / block.y);
  }
  shared_bytes.resize(bytes + 2 * kGuard + 1024);
  shared = shared_bytes.data() + kGuard;
  shared += (1024 - uintptr_t(shared) % 1024) % 1024;
  shared_size = bytes;
  grid_size = blocks;
  block_size = block;
  body = &kernel;
  for (unsigned z = 0; z < blocks.z; ++z)
    for (unsigned y = 0; y < blocks.y; ++y)
      for (unsigned x = 0; x < blocks.x; ++x) {
        block_index = dim3(x, y, z);
        run_block();
      }
}

}  // namespace torchconv::emulator

#define threadIdx (torchconv::emulator::current->thread)
#define blockIdx (torchconv::emulator::block_index)
#define blockDim (torchconv::emulator::block_size)
#define gridDim (torchconv::emulator::grid_size)

inline void __syncthreads() { torchconv::emulator::sync_threads(); }

namespace torchconv::cuda {

struct Launch;

// As launch() and dynamic_shared() of csrc/cuda/micro/launch.h.
template <typename How, typename... Parameters, typename... Arguments>
void launch(const How& how, void (*kernel)(Parameters...), Arguments... arguments) {
  emulator::run_grid(how.blocks, how.threads, how.shared_bytes,
                     [&] { kernel(Parameters(arguments)...); });
}

inline void allow_next_kernel() {}
inline void wait_for_kernel() {}

template <typename T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(emulator::shared);
}

}  // namespace torchconv::cuda

#include "emulator_warp.h"
#include "emulator_warpgroup.h"
