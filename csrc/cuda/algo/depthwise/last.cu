// depthwise, forward, on channels that lie side by side in memory (channels_last).
//
// A thread has a vector of channels and kOutputs neighbours of a line of outputs, and for each line
// of taps
//
//     sum[q] += x[q * stride + u] * w[u]        for the taps u of the line, a few at once
//
// where the window x is loaded once for all its taps, all loads before the first product. Where the
// window lies in a line, and what of it in the padding, is the same for all lines and found before
// them. What other lines and threads of the block load again comes from the first-level cache. Taps
// lie in shared memory, channels fastest, as many lines of them at once as fit.
//
// nvcc 13.0, sm_90a, bfloat16: 2.2 instructions and 0.10 loads for a product in lines of 7 taps, 2.5
// and 0.14 in lines of 3; 94 to 120 registers, no spills: 16 warps on a multiprocessor.
#include "cuda/algo/depthwise/last.h"

namespace torchconv::cuda::channelwise {
namespace {

constexpr int64_t kTapBytes = 32 << 10;  // of shared memory
constexpr int kTapsAhead = 4;            // loads of a thread that are under way at once

constexpr int kMostRounds = 4;  // more would save little
// Outputs of a thread: the window of x and the sums fit its registers.
template <typename T, int stride>
constexpr int kOutputs = (stride == 2 ? 4 : 7) / (sizeof(T) == 8 ? 2 : 1);

// Blocks on a multiprocessor: three where float's long windows need a few registers more than 128.
template <typename T, int taps>
constexpr int kResident = sizeof(T) == 4 && taps == 0 ? 3 : 4;

struct Tile {
  int channels;      // threads along them
  int strips, rows;  // of outputs of a block at a time
  int rounds;        // that a block goes on by so many rows
  int tap_lines;     // that shared memory holds at once
  int tap_pitch;     // numbers from tap to tap there
  int step;          // of the input's line, in bytes
  int blocks_channels, blocks_width, blocks_height;
};

// The taps of `lines` lines from `from` on, for so many channels from the weight's first on. A warp
// reads what lies together in memory, the taps of a channel. Thread after thread takes one number,
// so a thread goes on by kThreads, digit by digit: tap, line, channel.
template <typename T, typename Sum>
__device__ __forceinline__ void fetch_taps(const Problem& p, const View& weight, const T* first,
                                           int channels, int from, int lines, int pitch,
                                           Sum* shared) {
  const int height = int(p.axis[1].kernel_size), width = int(p.axis[2].kernel_size);
  unsigned rest = threadIdx.x, step = kThreads;
  int u = split_off(&rest, width), line = split_off(&rest, lines), c = int(rest);
  const int step_u = split_off(&step, width), step_line = split_off(&step, lines);
  while (c < channels) {
    T taps[kTapsAhead];
    int at[kTapsAhead];
#pragma unroll
    for (int k = 0; k < kTapsAhead; ++k) {
      const int row = from + line, depth = row < height ? 0 : row / height;
      at[k] = c < channels ? (line * width + u) * pitch + c : -1;
      if (c < channels)
        taps[k] = first[c * int(weight.group) + depth * int(weight.axis[0]) +
                        (row - depth * height) * int(weight.axis[1]) + u * int(weight.axis[2])];
      u += step_u, line += step_line, c += int(step);
      if (u >= width) u -= width, ++line;
      if (line >= lines) line -= lines, ++c;
    }
#pragma unroll
    for (int k = 0; k < kTapsAhead; ++k)
      if (at[k] >= 0) shared[at[k]] = widen<Sum>(taps[k]);
  }
}

// Of the first output and the first channel of a thread.
struct Place {
  int n, o0, o1, o2, channel;
};

template <typename T, int taps, int stride>
struct Line {
  using Sum = typename SumOf<T>::Type;
  static constexpr int pack = kVector<T>, outputs = kOutputs<T, stride>;
  static constexpr int kChunk = taps_at_once(taps), kWindow = (outputs - 1) * stride + kChunk;
  Sum sum[outputs][pack] = {};

  // The products of a window with the first `count` taps of a line.
  __device__ __forceinline__ void add(const Vector<T> (&stored)[kWindow], const Sum* tap_line,
                                      int pitch, int count) {
    Sum x[kWindow][pack];
#pragma unroll
    for (int c = 0; c < kWindow; ++c) widen_vector<T>(stored[c], x[c]);
    const auto tap = [&](int u) {
      return *reinterpret_cast<const Pack<Sum, pack>*>(tap_line + u * pitch);
    };
    Pack<Sum, pack> next = tap(0);  // a tap ahead
#pragma unroll
    for (int u = 0; u < kChunk; ++u) {
      if (u >= count) break;
      const Pack<Sum, pack> w = next;
      if (u + 1 < count) next = tap(u + 1);
#pragma unroll
      for (int q = 0; q < outputs; ++q)
#pragma unroll
        for (int j = 0; j < pack; ++j) sum[q][j] += x[q * stride + u][j] * w.value[j];
    }
  }

  // The products with `lines` lines of taps from line `from` on, which lie at tap_lines.
  __device__ __forceinline__ void add_lines(const Problem& p, const View& input, const Tile& tile,
                                            const Place& at, const Sum* tap_lines, int from,
                                            int lines) {
    const Axis &z = p.axis[0], &y = p.axis[1], &x = p.axis[2];
    const char* const image =
        static_cast<const char*>(input.data) + at.n * input.batch + at.channel * int(sizeof(T));
    const int i0 = at.o0 * int(z.stride) - int(z.padding);
    const int i1 = at.o1 * int(y.stride) - int(y.padding);
    const int i2 = at.o2 * stride - int(x.padding);
    const int height = int(y.kernel_size), width = taps ? taps : int(x.kernel_size);
    for (int first = 0; first < width; first += kChunk) {
      const Window<T, kWindow> window(p.padding_mode, i2 + first, int(x.input_size), tile.step);
      const Sum* tap_line = tap_lines + first * tile.tap_pitch;
      for (int t0 = from / height, t1 = from - t0 * height, left = lines; left > 0; ++t0, t1 = 0) {
        const int of_plane = height - t1 < left ? height - t1 : left;
        const int d = fold_inside(p.padding_mode, i0 + t0 * int(z.dilation), int(z.input_size));
        const char* const plane = image + d * input.axis[0] + window.start();
        left -= of_plane;
#pragma unroll 1
        for (const int end = t1 + of_plane; t1 < end; ++t1) {
          const int h = fold_inside(p.padding_mode, i1 + t1 * int(y.dilation), int(y.input_size));
          if (d >= 0 && h >= 0) {
            Vector<T> stored[kWindow];
            window.load(plane + h * input.axis[1], stored);
            add(stored, tap_line, tile.tap_pitch, taps ? taps : width - first);
          }
          tap_line += width * tile.tap_pitch;
        }
      }
    }
  }

  __device__ __forceinline__ void store(const Problem& p, const Operands& operands,
                                        const Place& place) const {
    const View &output = operands.output, &bias = operands.bias;
    Sum start[pack] = {};
    if (bias.data)
      for (int j = 0; j < pack; ++j)
        start[j] = widen<Sum>(static_cast<const T*>(bias.data)[(place.channel + j) * bias.group]);
    T* at = static_cast<T*>(output.data) + place.n * output.batch + place.channel +
            place.o0 * output.axis[0] + place.o1 * output.axis[1] + place.o2 * output.axis[2];
#pragma unroll
    for (int q = 0; q < outputs; ++q) {
      if (place.o2 + q >= int(p.axis[2].output_size)) break;
      auto* const out = reinterpret_cast<Pack<T, pack>*>(at);
      Pack<T, pack> values = {};
      if (operands.accumulate) values = *out;
#pragma unroll
      for (int j = 0; j < pack; ++j) {
        Sum total = sum[q][j] + start[j];
        if (operands.accumulate) total += widen<Sum>(values.value[j]);
        values.value[j] = narrow<T>(total);
      }
      *out = values;
      at += output.axis[2];
    }
  }
};

template <typename T, int taps, int stride>
__global__ void __launch_bounds__(kThreads, kResident<T, taps>)
    sum_lines(Problem p, Operands operands, Tile tile) {
  using Sum = typename SumOf<T>::Type;
  constexpr int pack = kVector<T>;
  Sum* const shared = dynamic_shared<Sum>();
  unsigned item = threadIdx.x, block = blockIdx.x;
  const int vector = split_off(&item, tile.channels), strip = split_off(&item, tile.strips);
  const int row = int(item), across = tile.channels * pack;
  const int first_channel = split_off(&block, tile.blocks_channels) * across;
  Place at;
  at.channel = first_channel + vector * pack;
  at.o2 = (split_off(&block, tile.blocks_width) * tile.strips + strip) * kOutputs<T, stride>;
  at.o1 = split_off(&block, tile.blocks_height) * tile.rounds * tile.rows + row;
  at.o0 = split_off(&block, int(p.axis[0].output_size)), at.n = int(block);
  const bool works =
      row < tile.rows && at.channel < int(p.groups) && at.o2 < int(p.axis[2].output_size);

  const int channels = int(p.groups) - first_channel;
  const int tap_lines = int(p.axis[0].kernel_size * p.axis[1].kernel_size);
  for (int round = 0; round < tile.rounds; ++round, at.o1 += tile.rows) {
    const bool has_row = works && at.o1 < int(p.axis[1].output_size);
    Line<T, taps, stride> line;
    for (int from = 0; from < tap_lines; from += tile.tap_lines) {
      const int held = tap_lines - from < tile.tap_lines ? tap_lines - from : tile.tap_lines;
      if (round == 0 || held < tap_lines) {
        __syncthreads();
        fetch_taps(
            p, operands.weight,
            static_cast<const T*>(operands.weight.data) + first_channel * operands.weight.group,
            channels < across ? channels : across, from, held, tile.tap_pitch, shared);
        __syncthreads();
      }
      if (has_row) line.add_lines(p, operands.input, tile, at, shared + vector * pack, from, held);
    }
    if (has_row) line.store(p, operands, at);
  }
}

// Strips and rows of a block: what its items multiply and what they load, over all blocks, is least.
void choose_shape(const Problem& p, int outputs, Tile* tile) {
  const Axis &y = p.axis[1], &x = p.axis[2];
  const int64_t line = ceil_div(x.output_size, outputs), items = kThreads / tile->channels;
  double least = 0;
  for (int64_t strips = 1; strips <= items && strips <= line; ++strips) {
    const int64_t rows = items / strips;
    const int64_t width = ceil_div(line, strips), height = ceil_div(y.output_size, rows);
    const double loaded = double(strips * outputs * x.stride + x.kernel_size) *
                          double(rows * y.stride + y.kernel_size);
    const double work =
        double(width) * double(height) * (double(items * outputs * p.taps()) / 8 + loaded);
    if (strips > 1 && work >= least) continue;
    least = work;
    tile->strips = int(strips), tile->rows = int(rows);
    tile->blocks_width = int(width), tile->blocks_height = int(height);
  }
}

template <typename T, int taps, int stride>
bool run_lines(const Problem& p, const Operands& operands, const Context& context) {
  constexpr int pack = kVector<T>;
  using Sum = typename SumOf<T>::Type;
  Tile tile = {};
  const int64_t vectors = p.groups / pack, width = p.axis[2].kernel_size;
  // A vector more from tap to tap: a warp that stores taps of one channel finds other banks.
  const auto line_bytes = [&] { return width * (tile.channels + 1) * pack * int64_t(sizeof(Sum)); };
  tile.channels = channel_threads(vectors);
  while (tile.channels > 1 && line_bytes() > kTapBytes) tile.channels /= 2;
  if (line_bytes() > kTapBytes) return false;
  const int64_t tap_lines = p.axis[0].kernel_size * p.axis[1].kernel_size;
  tile.tap_lines = int(std::min(kTapBytes / line_bytes(), tap_lines));
  tile.tap_pitch = (tile.channels + 1) * pack;
  tile.blocks_channels = int(ceil_div(vectors, tile.channels));
  choose_shape(p, kOutputs<T, stride>, &tile);
  const double of_height = double(tile.blocks_channels) * double(tile.blocks_width) *
                           double(p.axis[0].output_size) * double(p.batch);
  const double rounds = std::floor(of_height * double(tile.blocks_height) / kBlocks);
  tile.rounds = int(std::max(1., std::min(rounds, double(kMostRounds))));
  tile.blocks_height = int(ceil_div(tile.blocks_height, tile.rounds));
  const double blocks = of_height * double(tile.blocks_height);
  if (blocks > double(kMostBlocks)) return false;
  Operands views = operands;
  views.input = in_bytes<T>(operands.input);
  tile.step = int(views.input.axis[2]);
  launch(launch_of(int64_t(blocks), kThreads, tile.tap_lines * line_bytes(), context.stream),
         &sum_lines<T, taps, stride>, p, views, tile);
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
