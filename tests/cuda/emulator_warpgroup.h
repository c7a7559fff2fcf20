// What a warpgroup does as one, on the CPU: the functions of csrc/cuda/micro/warpgroup.h (which says
// who holds what; the rules here are the PTX ISA's).
//
// A thread's products are its own rows and columns, so that nobody has to meet. They are made when
// they are asked for, and again when they are waited for: shared memory that somebody has not
// written yet, or writes too early, makes the two differ.
#pragma once

#include <map>
#include <utility>

#include "cuda/micro/warpgroup.h"

namespace torchconv::emulator {

// Of line (row or column) and depth; across: pieces have neighbouring lines, not depths.
template <typename Number, bool across = false>
float number_of(uint64_t operand, int line, int depth) {
  constexpr int kBytes = sizeof(cuda::Stored<Number>), kEach = 16 / kBytes;
  const int64_t first = int64_t(operand & 0x3fff) * 16;
  const int64_t to_depth = int64_t(operand >> 16 & 0x3fff) * 16;
  const int64_t to_lines = int64_t(operand >> 32 & 0x3fff) * 16;
  const int piece = across ? depth % 8 : line % 8, in_piece = across ? line % 8 : depth % kEach;
  const int64_t at = first + depth / (across ? 8 : kEach) * to_depth + line / 8 * to_lines +
                     piece * 16 + in_piece * kBytes;
  if (at < 0 || at + kBytes > shared_size) fail("a product reads outside dynamic_shared");
  cuda::Stored<Number> number;
  std::memcpy(&number, shared + at, kBytes);
  if constexpr (kBytes == 4) return float_of(bits_of(number) & 0xffffe000);
  return float(number);
}

template <typename Number>
constexpr int kDepth = 32 / int(sizeof(cuda::Stored<Number>));  // of a product

template <typename Number, int columns>
std::vector<float> products(int thread, uint64_t a, uint64_t b) {
  std::vector<float> d(columns / 2);
  const int lane = thread % 32;
  float rows[2][kDepth<Number>];
  for (int h = 0; h < 2; ++h)
    for (int k = 0; k < kDepth<Number>; ++k)
      rows[h][k] = number_of<Number>(a, thread / 32 * 16 + lane / 4 + 8 * h, k);
  for (int j = 0; j < columns / 8; ++j)
    for (int i = 0; i < 2; ++i)
      for (int k = 0; k < kDepth<Number>; ++k) {
        const float column = number_of<Number>(b, 8 * j + 2 * (lane % 4) + i, k);
        for (int h = 0; h < 2; ++h) d[4 * j + 2 * h + i] += rows[h][k] * column;
      }
  return d;
}

// Two rows of A, of a group of lanes, that its four lanes hold together.
struct Rows {
  float number[2][16];
};
template <typename Number>
Rows held_rows(const uint32_t (&a)[4]) {
  struct In {
    uint32_t a[4];
  };
  struct Combine {
    static float held(const In* const* in, int h, int k) {  // of four lanes
      if constexpr (sizeof(cuda::Stored<Number>) == 4)
        return float_of(in[k % 4]->a[h + k / 4 * 2] & 0xffffe000);
      else
        return float(half_of<Number>(in[k % 8 / 2]->a[h + k / 8 * 2], k % 2));
    }
    void operator()(const In* const* in, Rows* const* out) const {
      for (int lane = 0; lane < kLanes; ++lane)
        for (int h = 0; h < 2; ++h)
          for (int k = 0; k < kDepth<Number>; ++k)
            out[lane]->number[h][k] = held(in + lane / 4 * 4, h, k);
    }
  };
  In in;
  std::memcpy(in.a, a, sizeof a);
  return in_warp<In, Rows>(0xffffffff, in, Combine());
}

template <typename Number, int columns, bool across>
std::vector<float> held_products(int lane, const Rows& rows, uint64_t b) {
  std::vector<float> d(columns / 2);
  for (int j = 0; j < columns / 8; ++j)
    for (int i = 0; i < 2; ++i)
      for (int k = 0; k < kDepth<Number>; ++k) {
        const float column = number_of<Number, across>(b, 8 * j + 2 * (lane % 4) + i, k);
        for (int h = 0; h < 2; ++h) d[4 * j + 2 * h + i] += rows.number[h][k] * column;
      }
  return d;
}

struct Awaited {
  int threads = 1, arrived = 0;
  int64_t expected = 0;
  int phase = 0;  // how often all have arrived
  std::vector<Copy> copies;
};
inline std::map<const void*, Awaited> barriers;

inline void settle(std::vector<std::function<bool()>>* group) {
  for (const auto& unchanged : *group)
    if (!unchanged()) fail("shared memory changed under a product");
  group->clear();
}

}  // namespace torchconv::emulator

namespace torchconv::cuda {

inline uint64_t pieces_at(const void* at) {
  const auto* byte = static_cast<const unsigned char*>(at);
  if (uintptr_t(at) % 16 != 0) emulator::fail("a shared address is not aligned");
  return uint64_t((byte - emulator::shared) / 16);
}
// Copies are made when somebody waits for them: whoever does not reads NaNs.
inline void set_up(Barrier* barrier, int threads = 1) {
  emulator::barriers[barrier] = {};
  emulator::barriers[barrier].threads = threads;
}
inline void publish_barriers() {}
inline void expect_copies(Barrier* barrier, int64_t bytes) {
  if (emulator::barriers.at(barrier).expected != 0) emulator::fail("a barrier is still in use");
  emulator::barriers.at(barrier).expected = bytes;
}
inline void start_copy(Barrier* barrier, void* shared, const void* global, int64_t bytes) {
  if (bytes % 16 != 0 || uintptr_t(shared) % 16 != 0 || uintptr_t(global) % 16 != 0)
    emulator::fail("a copy is not one of whole pieces");
  emulator::barriers.at(barrier).copies.push_back({shared, global, int(bytes), int(bytes)});
}
inline void arrive(Barrier* barrier) {
  auto& awaited = emulator::barriers.at(barrier);
  if (++awaited.arrived < awaited.threads) return;
  awaited.arrived = 0;
  ++awaited.phase;
}
inline void wait_for(Barrier* barrier, int parity) {
  auto& waited = emulator::barriers.at(barrier);
  for (int tries = 0; waited.expected == 0 && (waited.phase & 1) == parity; ++tries) {
    if (tries > 100000) emulator::fail("a block is stuck: nobody comes to a barrier");
    emulator::to_scheduler();
  }
  if (waited.expected != 0) {
    int64_t bytes = 0;
    for (const emulator::Copy& copy : waited.copies) {
      std::memcpy(copy.to, copy.from, size_t(copy.bytes));
      bytes += copy.bytes;
    }
    if (bytes != waited.expected) emulator::fail("other bytes are copied than expected");
    waited.copies.clear();
    waited.expected = 0;
    ++waited.phase;
  }
}

template <int count>
void take_registers() {}
template <int count>
void leave_registers() {}
inline void keep(uint32_t&) {}
inline void publish_shared() {}
inline void begin_products() {}
inline void commit_products() {
  auto& fiber = *emulator::current;
  fiber.products.push_back(std::move(fiber.new_products));
  fiber.new_products.clear();
}
template <int pending>
void wait_products() {
  auto& groups = emulator::current->products;
  while (groups.size() > size_t(pending)) {
    emulator::settle(&groups.front());
    groups.erase(groups.begin());
  }
}

// D += what make() says now, and is to say until the products are done.
template <int columns, typename Make>
void add_products(float (&d)[columns / 2], const Make& make) {
  const std::vector<float> made = make();
  for (int i = 0; i < columns / 2; ++i) d[i] += made[i];
  emulator::current->new_products.push_back([=] {
    const std::vector<float> again = make();
    return std::memcmp(made.data(), again.data(), made.size() * sizeof(float)) == 0;
  });
}

template <typename Number, int columns>
void multiply_pieces(float (&d)[columns / 2], uint64_t a, uint64_t b) {
  const int thread = emulator::current->number % kWarpgroup;
  add_products<columns>(d, [=] { return emulator::products<Number, columns>(thread, a, b); });
}

// Registers of A that are written too early are not noticed here.
template <typename Number, int columns, bool across>
void multiply_held(float (&d)[columns / 2], const uint32_t (&a)[4], uint64_t b) {
  const emulator::Rows rows = emulator::held_rows<Number>(a);
  const int lane = emulator::lane();
  add_products<columns>(
      d, [=] { return emulator::held_products<Number, columns, across>(lane, rows, b); });
}

}  // namespace torchconv::cuda
