// What a warp does as one, on the CPU: CUDA's shuffles, and the functions of csrc/cuda/micro/warp.h
// (which says who holds what; the rules here are the PTX ISA's).
#pragma once

#include <cmath>

#include "core/half.h"

namespace torchconv::emulator {

template <typename T>
struct Shuffled {
  T value;
  int from;  // the lane read; its own where that is outside the width
};

template <typename T>
T shuffle(unsigned mask, T value, int from) {
  struct Combine {
    void operator()(const Shuffled<T>* const* in, T* const* out) const {
      for (int lane = 0; lane < kLanes; ++lane) {
        if (!in[lane]) continue;
        if (!in[in[lane]->from]) fail("a shuffle reads a lane outside its mask");
        *out[lane] = in[in[lane]->from]->value;
      }
    }
  };
  return in_warp<Shuffled<T>, T>(mask, Shuffled<T>{value, from}, Combine());
}

inline int lane() { return current->number % kLanes; }

// The lane `to` where it lies in this lane's segment of `width` lanes.
inline int within(int to, int width) {
  return to / width == lane() / width && to >= 0 ? to : lane();
}

// Fragments of one matrix product; Element is what a register holds, or what is in it.
template <typename Register, int na, int nb, typename Sum, int nd>
struct Product {
  Register a[na], b[nb];
  Sum d[nd];
};
template <typename Sum, int nd>
struct Sums {
  Sum d[nd];
};

template <typename T>
double half_of(uint32_t bits, int64_t number) {
  const T value{uint16_t(bits >> (16 * number))};
  return double(float(value));
}
inline double tf32_of(uint32_t bits) { return double(float_of(bits & 0xffffe000)); }

// Sums of 16 rows and 8 columns, where the lanes of a warp hold them.
template <int depth, typename In, typename Out>
void add_products(const In* const* in, const double (&a)[16][depth], const double (&b)[8][depth],
                  Out* const* out) {
  for (int lane = 0; lane < kLanes; ++lane)
    for (int i = 0; i < 4; ++i) {
      const double* row = a[lane / 4 + i / 2 * 8];
      const double* column = b[lane % 4 * 2 + i % 2];
      double sum = in[lane]->d[i];
      for (int k = 0; k < depth; ++k) sum += row[k] * column[k];
      out[lane]->d[i] = float(sum);
    }
}

}  // namespace torchconv::emulator

inline void __syncwarp(unsigned mask = 0xffffffff) {
  torchconv::emulator::shuffle(mask, 0, torchconv::emulator::lane());
}
template <typename T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
  using torchconv::emulator::lane;
  return torchconv::emulator::shuffle(mask, value, lane() / width * width + (from & (width - 1)));
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  using namespace torchconv::emulator;
  return shuffle(mask, value, within(lane() ^ bits, width));
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
  using namespace torchconv::emulator;
  return shuffle(mask, value, within(lane() + int(by), width));
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
  using namespace torchconv::emulator;
  return shuffle(mask, value, within(lane() - int(by), width));
}

namespace torchconv::cuda {

template <typename T>
void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  using namespace emulator;
  using In = Product<uint32_t, 4, 2, float, 4>;
  using Out = Sums<float, 4>;
  struct Combine {
    void operator()(const In* const* in, Out* const* out) const {
      double a[16][16], b[8][16];
      for (int k = 0; k < 16; ++k) {
        for (int row = 0; row < 16; ++row)
          a[row][k] = half_of<T>(in[row % 8 * 4 + k % 8 / 2]->a[row / 8 + k / 8 * 2], k % 2);
        for (int column = 0; column < 8; ++column)
          b[column][k] = half_of<T>(in[column * 4 + k % 8 / 2]->b[k / 8], k % 2);
      }
      add_products<16>(in, a, b, out);
    }
  };
  In in;
  std::memcpy(in.a, a, sizeof a), std::memcpy(in.b, b, sizeof b), std::memcpy(in.d, d, sizeof d);
  const Out out = in_warp<In, Out>(0xffffffff, in, Combine());
  std::memcpy(d, out.d, sizeof d);
}

inline void mma_16x8x8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  using namespace emulator;
  using In = Product<uint32_t, 4, 2, float, 4>;
  using Out = Sums<float, 4>;
  struct Combine {
    void operator()(const In* const* in, Out* const* out) const {
      double a[16][8], b[8][8];
      for (int k = 0; k < 8; ++k) {
        for (int row = 0; row < 16; ++row)
          a[row][k] = tf32_of(in[row % 8 * 4 + k % 4]->a[row / 8 + k / 4 * 2]);
        for (int column = 0; column < 8; ++column)
          b[column][k] = tf32_of(in[column * 4 + k % 4]->b[k / 4]);
      }
      add_products<8>(in, a, b, out);
    }
  };
  In in;
  std::memcpy(in.a, a, sizeof a), std::memcpy(in.b, b, sizeof b), std::memcpy(in.d, d, sizeof d);
  const Out out = in_warp<In, Out>(0xffffffff, in, Combine());
  std::memcpy(d, out.d, sizeof d);
}

inline void mma_8x8x4_double(double (&d)[2], double a, double b) {
  using namespace emulator;
  using In = Product<double, 1, 1, double, 2>;
  using Out = Sums<double, 2>;
  struct Combine {
    void operator()(const In* const* in, Out* const* out) const {
      for (int lane = 0; lane < kLanes; ++lane)
        for (int i = 0; i < 2; ++i) {
          const int row = lane / 4, column = lane % 4 * 2 + i;
          double sum = in[lane]->d[i];
          for (int k = 0; k < 4; ++k)
            sum = std::fma(in[row * 4 + k]->a[0], in[column * 4 + k]->b[0], sum);
          out[lane]->d[i] = sum;
        }
    }
  };
  const Out out = in_warp<In, Out>(0xffffffff, In{{a}, {b}, {d[0], d[1]}}, Combine());
  std::memcpy(d, out.d, sizeof d);
}

inline uint32_t to_tf32(float value) {
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7f800000) == 0x7f800000) return value == value ? bits : 0x7fffffff;
  return (bits + 0x1000) & 0xffffe000;
}

namespace shared_memory {

inline void require(const void* at, int64_t bytes) {
  const auto* byte = static_cast<const unsigned char*>(at);
  if (uintptr_t(at) % uintptr_t(bytes) != 0) emulator::fail("a shared address is not aligned");
  if (byte < emulator::shared || byte + bytes > emulator::shared + emulator::shared_size)
    emulator::fail("an address outside dynamic_shared");
}

}  // namespace shared_memory

template <int count, bool transposed = false>
void load_matrices(uint32_t (&r)[count], const void* row) {
  using namespace emulator;
  using In = const void*;
  using Out = Sums<uint32_t, count>;
  struct Combine {
    void operator()(const In* const* in, Out* const* out) const {
      for (int m = 0; m < count; ++m) {
        uint16_t matrix[8][8];
        for (int i = 0; i < 8; ++i) {
          const void* from = *in[8 * m + i];
          shared_memory::require(from, 16);
          std::memcpy(matrix[i], from, 16);
        }
        for (int lane = 0; lane < kLanes; ++lane) {
          const int group = lane / 4, pair = lane % 4 * 2;
          const uint32_t low = transposed ? matrix[pair][group] : matrix[group][pair];
          const uint32_t high = transposed ? matrix[pair + 1][group] : matrix[group][pair + 1];
          out[lane]->d[m] = low | high << 16;
        }
      }
    }
  };
  const Out out = in_warp<In, Out>(0xffffffff, row, Combine());
  std::memcpy(r, out.d, sizeof r);
}

template <int bytes>
void copy_async(void* shared, const void* global, int valid = bytes) {
  shared_memory::require(shared, bytes);
  if (uintptr_t(global) % bytes != 0) emulator::fail("a global address is not aligned");
  if (valid < 0 || valid > bytes) emulator::fail("a copy of more bytes than there are");
  emulator::current->copies.push_back({shared, global, bytes, valid});
}

inline void commit_copies() {
  emulator::current->groups.push_back(std::move(emulator::current->copies));
  emulator::current->copies.clear();
}

// As late as they may be: whoever reads before it waited reads NaNs.
template <int pending>
void wait_copies() {
  auto& groups = emulator::current->groups;
  while (groups.size() > size_t(pending)) {
    for (const emulator::Copy& copy : groups.front()) {
      std::memset(copy.to, 0, size_t(copy.bytes));
      std::memcpy(copy.to, copy.from, size_t(copy.valid));
    }
    groups.erase(groups.begin());
  }
}

}  // namespace torchconv::cuda
