// Holds csrc/cuda/micro/warp.h to the layouts it documents: whole matrices are taken apart by those
// formulas, multiplied by the warp, put together again and compared with the plain product.
//
// The same program for the emulator and for a GPU, so that the two are held to each other:
//
//     nvcc -arch=sm_80 -Icsrc tests/cuda/warp.cu -o warp && ./warp
//
// With an argument it does one thing that a kernel must not do, for the emulator to say so.
#include <cstdio>
#include <cstring>
#include <vector>

#include "cuda/micro/tile.h"
#include "cuda/micro/warp.h"

using namespace torchconv;
using namespace torchconv::cuda;

namespace {

int failures = 0;

void expect(bool holds, const char* what) {
  std::printf("%s %s\n", holds ? "ok  " : "FAIL", what);
  failures += !holds;
}

// Memory that kernel and host both see.
template <typename T>
struct Shared {
  T* data = nullptr;
  size_t count;
  explicit Shared(size_t n) : count(n) {
#ifdef __CUDACC__
    if (cudaMallocManaged(&data, n * sizeof(T)) != cudaSuccess) data = nullptr;
#else
    data = static_cast<T*>(std::aligned_alloc(256, round_up(int64_t(n * sizeof(T)), 256)));
#endif
    for (size_t i = 0; i < n; ++i) data[i] = T{};
  }
  T& operator[](size_t i) { return data[i]; }
};

void finish() {
#ifdef __CUDACC__
  expect(cudaDeviceSynchronize() == cudaSuccess, cudaGetErrorString(cudaGetLastError()));
#endif
}

int small(int i) { return (i * 7 + i / 5) % 9 - 4; }

// Every lane's part of A (m x k), B (k x 8) and D (m x 8) as the header has it, from row-major
// matrices.
template <typename T>
__global__ void multiply_16_bit(const T* a, const T* b, float* d) {
  const int lane = int(threadIdx.x), group = lane / 4, pair = lane % 4;
  const auto two = [](T low, T high) { return uint32_t(low.bits) | uint32_t(high.bits) << 16; };
  uint32_t ra[4], rb[2];
  for (int j = 0; j < 4; ++j) {
    const int row = group + j % 2 * 8, k = 2 * pair + j / 2 * 8;
    ra[j] = two(a[row * 16 + k], a[row * 16 + k + 1]);
  }
  for (int j = 0; j < 2; ++j) {
    const int k = 2 * pair + j * 8;
    rb[j] = two(b[k * 8 + group], b[(k + 1) * 8 + group]);
  }
  float rd[4];
  for (int j = 0; j < 4; ++j) rd[j] = d[(group + j / 2 * 8) * 8 + 2 * pair + j % 2];
  mma_16x8x16<T>(rd, ra, rb);
  for (int j = 0; j < 4; ++j) d[(group + j / 2 * 8) * 8 + 2 * pair + j % 2] = rd[j];
}

__global__ void multiply_tf32(const float* a, const float* b, float* d) {
  const int lane = int(threadIdx.x), group = lane / 4, pair = lane % 4;
  uint32_t ra[4], rb[2];
  for (int j = 0; j < 4; ++j) ra[j] = to_tf32(a[(group + j % 2 * 8) * 8 + pair + j / 2 * 4]);
  for (int j = 0; j < 2; ++j) rb[j] = to_tf32(b[(pair + j * 4) * 8 + group]);
  float rd[4];
  for (int j = 0; j < 4; ++j) rd[j] = d[(group + j / 2 * 8) * 8 + 2 * pair + j % 2];
  mma_16x8x8_tf32(rd, ra, rb);
  for (int j = 0; j < 4; ++j) d[(group + j / 2 * 8) * 8 + 2 * pair + j % 2] = rd[j];
}

__global__ void multiply_double(const double* a, const double* b, double* d) {
  const int lane = int(threadIdx.x), group = lane / 4, pair = lane % 4;
  double rd[2] = {d[group * 8 + 2 * pair], d[group * 8 + 2 * pair + 1]};
  mma_8x8x4_double(rd, a[group * 4 + pair], b[pair * 8 + group]);
  for (int j = 0; j < 2; ++j) d[group * 8 + 2 * pair + j] = rd[j];
}

template <typename T, typename Sum, typename Make, typename Kernel>
void check_product(const char* what, int rows, int depth, const Make& make, Kernel* kernel) {
  Shared<T> a(rows * depth), b(depth * 8);
  Shared<Sum> d(rows * 8);
  std::vector<double> expected(rows * 8);
  for (int i = 0; i < rows * depth; ++i) a[i] = make(small(i));
  for (int i = 0; i < depth * 8; ++i) b[i] = make(small(3 * i + 1));
  for (int i = 0; i < rows * 8; ++i) d[i] = Sum(small(5 * i + 2));
  for (int row = 0; row < rows; ++row)
    for (int column = 0; column < 8; ++column) {
      double sum = double(d[row * 8 + column]);
      for (int k = 0; k < depth; ++k)
        sum += small(row * depth + k) * small(3 * (k * 8 + column) + 1);
      expected[row * 8 + column] = sum;
    }
  launch(Launch{dim3(1), dim3(32)}, kernel, a.data, b.data, d.data);
  finish();
  bool equal = true;
  for (int i = 0; i < rows * 8; ++i) equal &= double(d[i]) == expected[i];
  expect(equal, what);
}

// 32 rows of 8 numbers: four matrices. Lane l keeps what it got of each.
template <int count, bool transposed>
__global__ void load(uint32_t* got) {
  uint16_t* rows = dynamic_shared<uint16_t>();
  for (int i = 0; i < 8; ++i) rows[threadIdx.x * 8 + i] = uint16_t(threadIdx.x * 8 + i);
  __syncthreads();
  uint32_t r[count];
  // Lanes beyond 8 * count give addresses that nobody reads.
  load_matrices<count, transposed>(r, rows + threadIdx.x % (8 * count) * 8);
  for (int m = 0; m < count; ++m) got[m * 32 + threadIdx.x] = r[m];
}

template <int count, bool transposed>
void check_load(const char* what) {
  Shared<uint32_t> got(count * 32);
  launch(Launch{dim3(1), dim3(32), 32 * 16}, &load<count, transposed>, got.data);
  finish();
  bool equal = true;
  for (int m = 0; m < count; ++m)
    for (int lane = 0; lane < 32; ++lane) {
      const int group = lane / 4, pair = lane % 4 * 2;
      const auto at = [m](int row, int column) { return uint32_t(m * 64 + row * 8 + column); };
      const uint32_t low = transposed ? at(pair, group) : at(group, pair);
      const uint32_t high = transposed ? at(pair + 1, group) : at(group, pair + 1);
      equal &= got[m * 32 + lane] == (low | high << 16);
    }
  expect(equal, what);
}

// Three copies of each thread in three groups: the second is there once one may be pending.
template <int bytes>
__global__ void copy(const unsigned char* from, unsigned char* to) {
  unsigned char* shared = dynamic_shared<unsigned char>();
  const int at = int(threadIdx.x) * bytes, stage = 64 * bytes;
  for (int s = 0; s < 3; ++s) {
    copy_async<bytes>(shared + s * stage + at, from + s * stage + at, s == 1 ? bytes / 2 : bytes);
    commit_copies();
  }
  wait_copies<1>();
  __syncthreads();
  const int other = 63 * bytes - at;
  for (int s = 0; s < 2; ++s)
    for (int i = 0; i < bytes; ++i) to[s * stage + other + i] = shared[s * stage + other + i];
  wait_copies<0>();
  __syncthreads();
  for (int i = 0; i < bytes; ++i) to[2 * stage + other + i] = shared[2 * stage + other + i];
}

template <int bytes>
void check_copy(const char* what) {
  const int stage = 64 * bytes;
  Shared<unsigned char> from(3 * stage), to(3 * stage);
  for (int i = 0; i < 3 * stage; ++i) from[i] = (unsigned char)(i * 5 + 1);
  launch(Launch{dim3(1), dim3(64), 3 * stage}, &copy<bytes>, from.data, to.data);
  finish();
  bool equal = true;
  for (int i = 0; i < 3 * stage; ++i) {
    const bool zero = i / stage == 1 && i % bytes >= bytes / 2;
    equal &= to[i] == (zero ? 0 : from[i]);
  }
  expect(equal, what);
}

__global__ void shuffle(int* got) {
  const int lane = int(threadIdx.x) % 32;
  int* mine = got + threadIdx.x * 5;
  mine[0] = __shfl_sync(0xffffffff, lane * 10, 5);
  mine[1] = __shfl_xor_sync(0xffffffff, lane * 10, 3);
  mine[2] = __shfl_down_sync(0xffffffff, lane * 10, 4, 8);
  mine[3] = __shfl_up_sync(0xffffffff, lane * 10, 2);
  int sum = lane;
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffff, sum, step);
  __syncwarp();
  mine[4] = sum;
}

void check_shuffle() {
  Shared<int> got(64 * 5);
  launch(Launch{dim3(1), dim3(64)}, &shuffle, got.data);
  finish();
  bool equal = true;
  for (int i = 0; i < 64; ++i) {
    const int lane = i % 32;
    equal &= got[i * 5] == 50 && got[i * 5 + 1] == (lane ^ 3) * 10 && got[i * 5 + 4] == 496;
    equal &= got[i * 5 + 2] == (lane % 8 < 4 ? lane + 4 : lane) * 10;
    equal &= got[i * 5 + 3] == (lane >= 2 ? lane - 2 : lane) * 10;
  }
  expect(equal, "shuffles");
}

void check_rounding() {
  bool equal = true;
#ifndef __CUDACC__  // a device function there; its use is in multiply_tf32
  equal &= to_tf32(1.0f) == 0x3f800000 && to_tf32(float_of(0x3f801000)) == 0x3f802000;
  equal &=
      to_tf32(float_of(0x3f800fff)) == 0x3f800000 && to_tf32(float_of(0xbf801000)) == 0xbf802000;
#endif
  expect(equal, "rounding to tf32");
}

// Whether the addresses of threads that are served together lie in different banks, all 128 bytes
// of them.
template <typename At>
bool meets_no_bank_twice(int threads, const At& at) {
  const int bytes = 128 / threads;
  unsigned seen = 0;
  for (int thread = 0; thread < threads; ++thread) seen |= 1u << (at(thread) % 128 / bytes);
  return seen == (threads == 32 ? ~0u : (1u << threads) - 1);
}

void check_places() {
  bool equal = true;
  for (int line = 0; line < 128; line += 8)
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      // Eight lines, by ldmatrix, cp.async and vector stores; two whole ones.
      equal &= meets_no_bank_twice(8, [=](int t) { return chunk_place(line + t, chunk); });
      equal &= meets_no_bank_twice(8, [=](int t) { return chunk_place(line + t / 4, t % 4); });
      for (int half : {0, 4})  // doubles of a fragment: four lines of two chunks
        equal &= meets_no_bank_twice(16, [=](int t) {
          return chunk_place(line + half + t / 4, chunk / 2 * 2 + t % 4 / 2) + t % 2 * 8;
        });
    }
  expect(equal, "chunks meet no bank twice");
  equal = true;
  for (int i = 0; i < 128; i += 32) {
    equal &= meets_no_bank_twice(32, [=](int t) { return 4 * sum_place(i / 2, i + t, 128); });
    equal &= meets_no_bank_twice(32, [=](int t) { return 4 * sum_place(i + t, i / 2, 128); });
    equal &= meets_no_bank_twice(
        32, [=](int t) { return 4 * sum_place(i + t / 4, i + t % 4 * 2, 128); });
  }
  expect(equal, "sums meet no bank twice");
}

// What a kernel must not do.
__global__ void stuck(int) {
  if (threadIdx.x < 7) __syncthreads();
  if (threadIdx.x >= 7) __syncwarp();
}
__global__ void early_exit(int threads) {
  if (int(threadIdx.x) >= threads) return;
  __syncthreads();
}
__global__ void diverged(int) {
  uint32_t r[1];
  if (threadIdx.x % 2)
    load_matrices<1>(r, dynamic_shared<char>());
  else
    __syncwarp();
}
__global__ void fence(int) { dynamic_shared<char>()[512] = 1; }
__global__ void misaligned(int) {
  copy_async<16>(dynamic_shared<char>() + 8, dynamic_shared<char>());
}
__global__ void nothing(int) {}

void do_wrong(const char* what) {
  const auto named = [what](const char* name) { return std::strcmp(what, name) == 0; };
  const Launch warp{dim3(1), dim3(32), 512};
  if (named("stuck")) launch(warp, &stuck, 0);
  if (named("early_exit")) launch(warp, &early_exit, 31);
  if (named("diverged")) launch(warp, &diverged, 0);
  if (named("fence")) launch(warp, &fence, 0);
  if (named("misaligned")) launch(warp, &misaligned, 0);
  if (named("threads")) launch(Launch{dim3(1), dim3(1025)}, &nothing, 0);
  if (named("empty")) launch(Launch{dim3(0), dim3(32)}, &nothing, 0);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) return do_wrong(argv[1]), 0;
  const auto half = [](int v) { return Float16::from(float(v)); };
  const auto brain = [](int v) { return BFloat16::from(float(v)); };
  const auto plain = [](int v) { return double(v); };
  check_product<Float16, float>("mma m16n8k16 float16", 16, 16, half, &multiply_16_bit<Float16>);
  check_product<BFloat16, float>("mma m16n8k16 bfloat16", 16, 16, brain,
                                 &multiply_16_bit<BFloat16>);
  check_product<float, float>("mma m16n8k8 tf32", 16, 8, plain, &multiply_tf32);
  check_product<double, double>("mma m8n8k4 float64", 8, 4, plain, &multiply_double);
  check_load<1, false>("ldmatrix x1");
  check_load<2, false>("ldmatrix x2");
  check_load<4, false>("ldmatrix x4");
  check_load<1, true>("ldmatrix x1 trans");
  check_load<2, true>("ldmatrix x2 trans");
  check_load<4, true>("ldmatrix x4 trans");
  check_copy<4>("cp.async 4");
  check_copy<8>("cp.async 8");
  check_copy<16>("cp.async 16");
  check_shuffle();
  check_rounding();
  check_places();
  std::printf("%d failed\n", failures);
  return failures != 0;
}
