#include "micro/pack.h"

#include <algorithm>

#include "core/arithmetic.h"
#include "core/fold.h"

namespace torchconv {

constexpr int64_t kChannelsAtATime = 32;
constexpr int64_t kShortLine = 16;  // of which many go together, where channels are fewer
constexpr int64_t kTapsCopied = 8;  // of a line, measured: fewer are gathered and turned instead

namespace {

template <typename T>
void zero(T* to, int64_t to_row, int64_t rows, int64_t count) {
  // Mostly the one element at the edge that a tap misses: too few for a call that fills memory.
  constexpr int64_t kFew = 4;
  if (count <= kFew) {
    for (int64_t k = 0; k < count; ++k)
      for (int64_t r = 0; r < rows; ++r) to[r * to_row + k] = T{};
    return;
  }
  for (int64_t r = 0; r < rows; ++r, to += to_row) std::fill_n(to, count, T{});
}

void next_tap(const Problem& p, int64_t* tap) {
  for (int a = p.axes - 1; a >= 0; --a) {
    if (++tap[a] < p.axis[a].kernel_size) return;
    tap[a] = 0;
  }
}

// One run of one tap, for `channels` rows.
template <typename T>
void pack_run(const Problem& p, const Reals& input, int64_t offset, const int64_t* tap,
              const Run& run, int64_t channels, T* to, int64_t to_row) {
  const int last = p.axes - 1;
  if (!add_outer(p, last, input, tap, run.o, &offset)) return zero(to, to_row, channels, run.count);
  const Axis& x = p.axis[last];
  const int64_t first = run.o[last] * x.stride - x.padding + tap[last] * x.dilation;
  pack_line(input, p.padding_mode, offset, x.input_size, input.stride.axis[last], first, x.stride,
            run.count, channels, to, to_row);
}

// Lines [begin, end) of positions, counted through all images, of one tap of one channel: those
// along the axis before the last go together.
template <typename T>
void pack_lines(const Problem& p, const Reals& input, int64_t offset, const int64_t* tap,
                int64_t begin, int64_t end, T* to) {
  const int last = p.axes - 1;
  const Axis &x = p.axis[last], &y = p.axis[last - 1];
  const int64_t line = x.output_size, shift = tap[last] * x.dilation - x.padding;
  const Inside in = inside(x.input_size, shift, x.stride, line);
  Grid lines = output_grid(p);
  lines.axes = last;
  lines.per_image /= line;
  for_each_run(lines, begin, end - begin, [&](const Run& run) {
    T* const at = to + run.column * line;
    const int64_t first = run.o[last - 1] * y.stride - y.padding + tap[last - 1] * y.dilation;
    int64_t place = offset + run.n * input.stride.batch;
    Inside rows = inside(y.input_size, first, y.stride, run.count);
    if (!add_outer(p, last - 1, input, tap, run.o, &place) || in.begin == in.end) rows = {0, 0};
    zero(at, line, rows.begin, line);
    zero(at + rows.end * line, line, run.count - rows.end, line);
    if (rows.begin == rows.end) return;
    T* const inner = at + rows.begin * line;
    const int64_t count = rows.end - rows.begin;
    zero(inner, line, count, in.begin);
    zero(inner + in.end, line, count, line - in.end);
    place += (first + rows.begin * y.stride) * input.stride.axis[last - 1] +
             (shift + in.begin * x.stride) * input.stride.axis[last];
    const Lines met{input.at(place), count, y.stride * input.stride.axis[last - 1],
                    in.end - in.begin,
                    in.end - in.begin > 1 ? x.stride * input.stride.axis[last] : 1};
    kernels<T>().gather(input.store, met, inner + in.begin, line);
  });
}

// Whether the taps of a line lie side by side, at least so many of them.
bool taps_lie_together(const Problem& p, const Reals& input, int64_t least) {
  const Axis& x = p.axis[p.axes - 1];
  return x.kernel_size >= least && input.stride.axis[p.axes - 1] * x.dilation == 1;
}

// Where patches go: an element of the first position and row of X, and the way to the next of each.
template <typename T>
struct Place {
  T* to;
  int64_t position, row;
  T* at(int64_t p, int64_t m) const { return to + p * position + m * row; }
};

// One run of taps [t0, t1) of a line, of one channel: a square that is copied, or turned where the
// next element is the next position's.
template <typename T>
void square_run(const Problem& p, const Reals& input, int64_t offset, const int64_t* tap,
                int64_t t0, int64_t t1, const Run& run, const Place<T>& place) {
  const int last = p.axes - 1;
  const bool turned = place.position == 1;
  if (!add_outer(p, last, input, tap, run.o, &offset))
    return turned ? zero(place.to, place.row, t1 - t0, run.count)
                  : zero(place.to, place.position, run.count, t1 - t0);
  const Axis& x = p.axis[last];
  const int64_t first = run.o[last] * x.stride - x.padding;
  // The positions that all these taps have inside; none, where one tap has none.
  const Inside low = inside(x.input_size, first + t0, x.stride, run.count);
  const Inside high = inside(x.input_size, first + t1 - 1, x.stride, run.count);
  const int64_t begin = low.begin < low.end ? low.begin : run.count, end = high.end;
  const auto tap_by_tap = [&](int64_t from, int64_t until) {
    const int64_t some = turned ? until - from : 1;  // positions that lie side by side
    for (int64_t t = t0; t < t1; ++t)
      for (int64_t k = from; k < until; k += some)
        pack_line(input, p.padding_mode, offset, x.input_size, 1, first + k * x.stride + t,
                  x.stride, some, 1, place.at(k, t - t0), place.row);
  };
  if (begin >= end) return tap_by_tap(0, run.count);
  tap_by_tap(0, begin);
  const Lines lines{input.at(offset + first + begin * x.stride + t0), end - begin, x.stride,
                    t1 - t0, 1};
  if (turned)
    kernels<T>().interleave(input.store, lines, Sum<T>(1), place.at(begin, 0), 1, place.row);
  else
    kernels<T>().gather(input.store, lines, place.at(begin, 0), place.position);
  tap_by_tap(end, run.count);
}

template <typename T>
void pack_squares(const Problem& p, const Reals& input, int64_t g, int plane, int64_t m0,
                  int64_t m1, int64_t first, int64_t count, const Place<T>& place) {
  const Grid grid = output_grid(p);
  const int last = p.axes - 1;
  const int64_t line = p.axis[last].kernel_size, lines = p.taps() / line;
  for (int64_t l = m0 / line; l * line < m1; ++l) {  // l = (channel, line of taps)
    int64_t tap[kMaxAxes] = {};
    for (int64_t a = last - 1, rest = l % lines; a >= 0; --a) {
      tap[a] = rest % p.axis[a].kernel_size;
      rest /= p.axis[a].kernel_size;
    }
    const int64_t t0 = std::max<int64_t>(m0 - l * line, 0), t1 = std::min(m1 - l * line, line);
    const int64_t offset = plane + g * input.stride.group + l / lines * input.stride.in_channel;
    for_each_run(grid, first, count, [&](const Run& run) {
      square_run(p, input, offset + run.n * input.stride.batch, tap, t0, t1, run,
                 Place<T>{place.at(run.column, l * line + t0 - m0), place.position, place.row});
    });
  }
}

}  // namespace

Inside inside(int64_t size, int64_t first, int64_t stride, int64_t count) {
  const int64_t last = size - 1;
  int64_t begin = first < 0 ? (-first + stride - 1) / stride : 0;
  int64_t end = first <= last ? (last - first) / stride + 1 : 0;
  if (end > count) end = count;
  if (begin > end) begin = end = 0;
  return {begin, end};
}

template <typename T>
void pack_line(const Reals& input, PaddingMode mode, int64_t offset, int64_t size, int64_t step,
               int64_t first, int64_t stride, int64_t count, int64_t rows, T* to, int64_t to_row) {
  for_each_stretch(
      mode, size, first, stride, count,
      [&](int64_t column, int64_t index, int64_t length) {
        const Lines lines{input.at(offset + index * step), rows, input.stride.in_channel, length,
                          length > 1 ? step * stride : 1};
        kernels<T>().gather(input.store, lines, to + column, to_row);
      },
      [&](int64_t column, int64_t length) { zero(to + column, to_row, rows, length); });
}

template <typename T>
void pack_patches(const Problem& p, const Reals& input, int64_t g, int plane, int64_t m0,
                  int64_t m1, int64_t first, int64_t count, T* to, int64_t to_row) {
  // Positions far apart and taps side by side are squares to be turned, rather than elements to be
  // picked one by one.
  if (p.axis[p.axes - 1].stride > 2 && taps_lie_together(p, input, 3))
    return pack_squares(p, input, g, plane, m0, m1, first, count, Place<T>{to, 1, to_row});
  const int64_t taps = p.taps();
  const Grid grid = output_grid(p);
  const int64_t line = grid.size[grid.axes - 1];
  const Inside whole{ceil_div(first, line), (first + count) / line};  // lines
  const bool by_lines = grid.axes > 1 && line < kShortLine && whole.begin < whole.end &&
                        p.padding_mode == PaddingMode::zeros && input.stride.in_channel != 1;
  // Few enough channels at a time that their images stay in the caches from tap to tap.
  const int64_t c0 = m0 / taps, c1 = ceil_div(m1, taps);
  for (int64_t c = c0; c < c1; c += kChannelsAtATime) {
    const int64_t end = std::min(c + kChannelsAtATime, c1);
    int64_t tap[kMaxAxes] = {};
    for (int64_t t = 0; t < taps; ++t, next_tap(p, tap)) {
      // The channels ci of these for which m = (ci, t) is asked for.
      const int64_t from = std::max(c, ceil_div(m0 - t, taps)),
                    until = std::min(end, ceil_div(m1 - t, taps));
      if (from >= until) continue;
      const int64_t offset = plane + g * input.stride.group + from * input.stride.in_channel;
      T* const rows = to + (from * taps + t - m0) * to_row;
      const auto run_by_run = [&](int64_t begin, int64_t end) {
        for_each_run(grid, begin, end - begin, [&](const Run& run) {
          pack_run(p, input, offset + run.n * input.stride.batch, tap, run, until - from,
                   rows + begin - first + run.column, taps * to_row);
        });
      };
      if (!by_lines || until - from >= grid.size[grid.axes - 2]) {
        run_by_run(first, first + count);
        continue;
      }
      run_by_run(first, whole.begin * line);
      for (int64_t r = 0; r < until - from; ++r)
        pack_lines(p, input, offset + r * input.stride.in_channel, tap, whole.begin, whole.end,
                   rows + r * taps * to_row + whole.begin * line - first);
      run_by_run(whole.end * line, first + count);
    }
  }
}

namespace {

bool copies_taps(const Problem& p, const Reals& input) {
  return taps_lie_together(p, input, p.axis[p.axes - 1].stride > 2 ? 3 : kTapsCopied);
}

}  // namespace

bool turns_patches(const Problem& p, const Reals& input) {
  const bool in_place = input.stride.axis[0] == 1 || input.stride.in_channel == 1;
  return !copies_taps(p, input) && !(is_pointwise(p) && in_place);
}

template <typename T>
void pack_positions(const Problem& p, const Reals& input, int64_t g, int plane, int64_t m0,
                    int64_t m1, int64_t first, int64_t count, T* patches, int64_t patches_row,
                    T* to, int64_t to_row) {
  const int64_t channel = input.stride.in_channel, step = input.stride.axis[0];
  if (copies_taps(p, input))
    return pack_squares(p, input, g, plane, m0, m1, first, count, Place<T>{to, to_row, 1});
  if (turns_patches(p, input)) {
    pack_patches(p, input, g, plane, m0, m1, first, count, patches, patches_row);
    const Lines lines{patches, m1 - m0, patches_row, count, 1};
    return kernels<T>().interleave(kOwnStore<T>, lines, Sum<T>(1), to, 1, to_row);
  }
  for_each_run(output_grid(p), first, count, [&](const Run& run) {
    char* const at = input.at(plane + run.n * input.stride.batch + g * input.stride.group +
                              m0 * channel + run.o[0] * step);
    T* const row = to + run.column * to_row;
    if (channel == 1)
      kernels<T>().gather(input.store, Lines{at, run.count, step, m1 - m0, 1}, row, to_row);
    else
      kernels<T>().interleave(input.store, Lines{at, m1 - m0, channel, run.count, step}, Sum<T>(1),
                              row, 1, to_row);
  });
}

template void pack_patches(const Problem&, const Reals&, int64_t, int, int64_t, int64_t, int64_t,
                           int64_t, float*, int64_t);
template void pack_patches(const Problem&, const Reals&, int64_t, int, int64_t, int64_t, int64_t,
                           int64_t, double*, int64_t);
template void pack_patches(const Problem&, const Reals&, int64_t, int, int64_t, int64_t, int64_t,
                           int64_t, uint16_t*, int64_t);
template void pack_patches(const Problem&, const Reals&, int64_t, int, int64_t, int64_t, int64_t,
                           int64_t, uint32_t*, int64_t);
template void pack_patches(const Problem&, const Reals&, int64_t, int, int64_t, int64_t, int64_t,
                           int64_t, uint64_t*, int64_t);
template void pack_patches(const Problem&, const Reals&, int64_t, int, int64_t, int64_t, int64_t,
                           int64_t, BFloat16*, int64_t);
template void pack_positions(const Problem&, const Reals&, int64_t, int, int64_t, int64_t, int64_t,
                             int64_t, float*, int64_t, float*, int64_t);
template void pack_positions(const Problem&, const Reals&, int64_t, int, int64_t, int64_t, int64_t,
                             int64_t, double*, int64_t, double*, int64_t);
template void pack_positions(const Problem&, const Reals&, int64_t, int, int64_t, int64_t, int64_t,
                             int64_t, uint16_t*, int64_t, uint16_t*, int64_t);
template void pack_positions(const Problem&, const Reals&, int64_t, int, int64_t, int64_t, int64_t,
                             int64_t, uint32_t*, int64_t, uint32_t*, int64_t);
template void pack_positions(const Problem&, const Reals&, int64_t, int, int64_t, int64_t, int64_t,
                             int64_t, uint64_t*, int64_t, uint64_t*, int64_t);
template void pack_positions(const Problem&, const Reals&, int64_t, int, int64_t, int64_t, int64_t,
                             int64_t, BFloat16*, int64_t, BFloat16*, int64_t);
template void pack_line(const Reals&, PaddingMode, int64_t, int64_t, int64_t, int64_t, int64_t,
                        int64_t, int64_t, float*, int64_t);
template void pack_line(const Reals&, PaddingMode, int64_t, int64_t, int64_t, int64_t, int64_t,
                        int64_t, int64_t, double*, int64_t);
template void pack_line(const Reals&, PaddingMode, int64_t, int64_t, int64_t, int64_t, int64_t,
                        int64_t, int64_t, uint16_t*, int64_t);
template void pack_line(const Reals&, PaddingMode, int64_t, int64_t, int64_t, int64_t, int64_t,
                        int64_t, int64_t, uint32_t*, int64_t);
template void pack_line(const Reals&, PaddingMode, int64_t, int64_t, int64_t, int64_t, int64_t,
                        int64_t, int64_t, uint64_t*, int64_t);
template void pack_line(const Reals&, PaddingMode, int64_t, int64_t, int64_t, int64_t, int64_t,
                        int64_t, int64_t, BFloat16*, int64_t);

}  // namespace torchconv
