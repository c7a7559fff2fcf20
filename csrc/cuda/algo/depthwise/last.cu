// depthwise, forward, on channels that lie side by side in memory (channels_last).
//
// A thread has a vector of channels, 16 bytes, and kOutputs neighbours of a line of outputs:
//
//     sum[q] += x[q * stride + u] * w[u]        for a few taps u of a line at once
//
// Every load is of 16 bytes and of neighbouring channels across a warp. An input is loaded once for
// all its taps in a line; what other lines and threads of the block ask for again comes from the
// first-level cache. Taps lie in shared memory, channels fastest, as many lines of them at once as
// fit.
//
// nvcc 13.0, sm_90a: 103 to 164 registers, no spills; three blocks on a multiprocessor.
#include "cuda/algo/depthwise/last.h"

namespace torchconv::cuda::channelwise {
namespace {

constexpr int kThreads = 128;       // three blocks on a multiprocessor leave 168 registers a thread
constexpr int kChannelThreads = 8;  // along channels: 128 bytes, a line of the cache
constexpr int64_t kTapBytes = 32 << 10;  // of shared memory

// Outputs of a thread: 32 sums, fewer where the stride makes the window long.
template <typename T, int taps, int stride>
constexpr int kOutputs = stride == 2 && taps == 0        ? 2
                         : stride == 1 && sizeof(T) == 4 ? 8
                                                         : 4;

struct Tile {
  int channels;      // threads along them, a power of two
  int strips, rows;  // of outputs of a block
  int tap_lines;     // that shared memory holds at once
  int64_t blocks_channels, blocks_width, blocks_height;
};

template <typename T, int taps, int stride>
struct Line {
  using Sum = typename SumOf<T>::Type;
  static constexpr int pack = kPack<T>, outputs = kOutputs<T, taps, stride>;
  static constexpr int kChunk = taps_at_once(taps), kWindow = (outputs - 1) * stride + kChunk;
  Sum sum[outputs][pack] = {};

  // The products of a line of inputs, whose first output's first tap is at i, with a line of taps.
  __device__ __forceinline__ void add(PaddingMode mode, const T* line, int64_t step, int64_t i,
                                      int64_t size, const Sum* tap_line, int tap_step, int width) {
#pragma unroll 1
    for (int first = 0; first < (taps ? 1 : width); first += kChunk) {
      Pack<T, pack> x[kWindow];
#pragma unroll
      for (int c = 0; c < kWindow; ++c) x[c] = load_channels(mode, line, step, i + first + c, size);
      Sum w[kChunk][pack];
#pragma unroll
      for (int u = 0; u < kChunk; ++u)
        if (taps || first + u < width) load_wide(w[u], tap_line + (first + u) * tap_step);
#pragma unroll
      for (int c = 0; c < kWindow; ++c) {
        Sum value[pack];
#pragma unroll
        for (int j = 0; j < pack; ++j) value[j] = widen<Sum>(x[c].value[j]);
#pragma unroll
        for (int u = 0; u < kChunk; ++u) {
          if ((c - u) % stride != 0 || c < u || (c - u) / stride >= outputs) continue;
          if (!taps && first + u >= width) continue;
#pragma unroll
          for (int j = 0; j < pack; ++j) sum[(c - u) / stride][j] += value[j] * w[u][j];
        }
      }
    }
  }
};

template <typename T, int taps, int stride>
__global__ void __launch_bounds__(kThreads, 3) sum_lines(Problem p, Operands operands, Tile tile) {
  using Sum = typename SumOf<T>::Type;
  constexpr int pack = kPack<T>, outputs = kOutputs<T, taps, stride>;
  Sum* const shared = dynamic_shared<Sum>();
  const View &input = operands.input, &weight = operands.weight, &output = operands.output;
  const int vector = int(threadIdx.x) & (tile.channels - 1);
  const int item = int(threadIdx.x) / tile.channels;

  int64_t block = blockIdx.x;
  const int64_t first_channel = split_off(&block, tile.blocks_channels) * tile.channels * pack;
  const int64_t channel = first_channel + vector * pack;
  const int64_t o2 =
      (split_off(&block, tile.blocks_width) * tile.strips + item % tile.strips) * outputs;
  const int64_t o1 = split_off(&block, tile.blocks_height) * tile.rows + item / tile.strips;
  const int64_t o0 = split_off(&block, p.axis[0].output_size), n = block;
  const bool works = channel < p.groups && o1 < p.axis[1].output_size && o2 < p.axis[2].output_size;
  const T* const image = static_cast<const T*>(input.data) + n * input.batch + channel;

  Line<T, taps, stride> line;
  const int height = int(p.axis[1].kernel_size), width = int(p.axis[2].kernel_size);
  const int tap_lines = int(p.axis[0].kernel_size) * height, across = tile.channels * pack;
  for (int from = 0; from < tap_lines; from += tile.tap_lines) {
    const int held = tap_lines - from < tile.tap_lines ? tap_lines - from : tile.tap_lines;
    __syncthreads();
    for (int at = int(threadIdx.x); at < held * width * across; at += kThreads) {
      const int c = at / (held * width), tap = at % (held * width), row = from + tap / width;
      if (first_channel + c < p.groups)
        shared[tap * across + c] = widen<Sum>(static_cast<const T*>(
            weight.data)[(first_channel + c) * weight.group + row / height * weight.axis[0] +
                         row % height * weight.axis[1] + tap % width * weight.axis[2]]);
    }
    __syncthreads();
    for (int row = from; row < from + held && works; ++row) {
      const int64_t d =
          fold_inside(p.padding_mode,
                      o0 * p.axis[0].stride - p.axis[0].padding + row / height * p.axis[0].dilation,
                      p.axis[0].input_size);
      const int64_t h =
          fold_inside(p.padding_mode,
                      o1 * p.axis[1].stride - p.axis[1].padding + row % height * p.axis[1].dilation,
                      p.axis[1].input_size);
      if (d < 0 || h < 0) continue;
      line.add(p.padding_mode, image + d * input.axis[0] + h * input.axis[1], input.axis[2],
               o2 * stride - p.axis[2].padding, p.axis[2].input_size,
               shared + (row - from) * width * across + vector * pack, across, width);
    }
  }
  if (!works) return;

  Sum bias[pack] = {};
  if (operands.bias.data)
    for (int j = 0; j < pack; ++j)
      bias[j] = widen<Sum>(
          static_cast<const T*>(operands.bias.data)[(channel + j) * operands.bias.group]);
  T* at = static_cast<T*>(output.data) + n * output.batch + channel + o0 * output.axis[0] +
          o1 * output.axis[1] + o2 * output.axis[2];
#pragma unroll
  for (int q = 0; q < outputs; ++q) {
    if (o2 + q >= p.axis[2].output_size) break;
    auto* const out = reinterpret_cast<Pack<T, pack>*>(at);
    Pack<T, pack> values = {};
    if (operands.accumulate) values = *out;
#pragma unroll
    for (int j = 0; j < pack; ++j) {
      Sum sum = line.sum[q][j] + bias[j];
      if (operands.accumulate) sum += widen<Sum>(values.value[j]);
      values.value[j] = narrow<T>(sum);
    }
    *out = values;
    at += output.axis[2];
  }
}

template <typename T, int taps, int stride>
bool run_lines(const Problem& p, const Operands& operands, const Context& context) {
  constexpr int pack = kPack<T>;
  using Sum = typename SumOf<T>::Type;
  Tile tile;
  const int64_t vectors = p.groups / pack, width = p.axis[2].kernel_size;
  tile.channels = channel_threads(vectors, kChannelThreads);
  while (tile.channels > 1 && width * tile.channels * pack * int64_t(sizeof(Sum)) > kTapBytes)
    tile.channels /= 2;
  const int64_t line_bytes = width * tile.channels * pack * int64_t(sizeof(Sum));
  if (line_bytes > kTapBytes) return false;
  const int64_t tap_lines = p.axis[0].kernel_size * p.axis[1].kernel_size;
  tile.tap_lines = int(kTapBytes / line_bytes < tap_lines ? kTapBytes / line_bytes : tap_lines);
  // As square as it gets, for few inputs around it: of 16 items, 4 strips in 4 rows.
  const int64_t items = kThreads / tile.channels,
                line = ceil_div(p.axis[2].output_size, kOutputs<T, taps, stride>);
  tile.strips = p.axis[1].output_size == 1 ? int(items) : 4;
  while (tile.strips > 1 && tile.strips / 2 >= line) tile.strips /= 2;
  tile.rows = int(items) / tile.strips;
  tile.blocks_channels = ceil_div(vectors, tile.channels);
  tile.blocks_width = ceil_div(line, tile.strips);
  tile.blocks_height = ceil_div(p.axis[1].output_size, tile.rows);
  const double blocks = double(tile.blocks_channels) * double(tile.blocks_width) *
                        double(tile.blocks_height) * double(p.axis[0].output_size) *
                        double(p.batch);
  if (blocks > double(kMostBlocks)) return false;
  Launch how;
  how.blocks = dim3(unsigned(blocks));
  how.threads = dim3(kThreads);
  how.shared_bytes = tile.tap_lines * line_bytes;
  how.stream = context.stream;
  launch(how, &sum_lines<T, taps, stride>, p, operands, tile);
  return true;
}

}  // namespace

bool forward_channels_last(const Problem& given, const Operands& views, const Context& context) {
  Problem p = given;
  Operands operands = views;
  if (!depthwise_in_three_axes(&p, &operands)) return false;
  return for_kernel_of(p, [&](auto typed, auto taps, auto stride) {
    using T = decltype(typed);
    if (!channels_aligned<T>(p, operands.input) || !channels_aligned<T>(p, operands.output))
      return false;
    return run_lines<T, decltype(taps)::value, decltype(stride)::value>(p, operands, context);
  });
}

}  // namespace torchconv::cuda::channelwise
