#include "algo/fft/tiles.h"

namespace torchconv::fft_detail {
namespace {

// Calls f(axis, first output) for one tile.
template <typename F>
void for_each_origin(const Problem& p, const Cut& cut, int64_t tile, const F& f) {
  for (int a = p.axes; a-- > 0;) {
    const TileAxis& t = cut.axis[a];
    const int64_t tiles = t.tiles_apart * std::min(t.dilation, p.axis[a].output_size);
    f(a, t.origin(tile % tiles));
    tile /= tiles;
  }
}

}  // namespace

// No further than the outputs reach: what lies beyond need not have a fold.
Stretches input_of(const Problem& p, const Cut& cut, int64_t tile) {
  Stretches s;
  s.mode = p.padding_mode;
  for_each_origin(p, cut, tile, [&](int a, int64_t origin) {
    const Axis& x = p.axis[a];
    const TileAxis& t = cut.axis[a];
    const int64_t outputs = ceil_div(x.output_size - origin, t.dilation);
    s.axis[a] = {origin * t.stride - x.padding, t.dilation,
                 std::min(t.size, std::min(outputs, t.outputs) + x.kernel_size - 1), x.input_size};
  });
  return s;
}

Stretches output_of(const Problem& p, const Cut& cut, int64_t tile) {
  Stretches s;
  for_each_origin(p, cut, tile, [&](int a, int64_t origin) {
    const Axis& x = p.axis[a];
    const TileAxis& t = cut.axis[a];
    s.axis[a] = {origin, t.dilation,
                 std::min(t.outputs, ceil_div(x.output_size - origin, t.dilation)), x.output_size};
  });
  return s;
}

Stretches taps_of(const Problem& p) {
  Stretches s;
  for (int a = 0; a < p.axes; ++a) s.axis[a] = {0, 1, p.axis[a].kernel_size, p.axis[a].kernel_size};
  return s;
}

// Calls f(line, offset) for the first line of each plane of lines: of one position on all axes but
// the last two, where the tensor has it; blank(line) where it has not.
template <typename T>
template <typename F, typename Blank>
void Tiles<T>::for_each_plane(const Reals& tensor, int64_t offset, const Stretches& s,
                              const int64_t* skip, const F& f, const Blank& blank) const {
  for (int64_t l = 0; l < cut_.lines; l += lines_) {
    int64_t rest = l / lines_, at = offset;
    bool inside = true;
    for (int a = cut_.axes - 2; a-- > 0;) {
      const int64_t k = rest % cut_.axis[a].points - (skip ? skip[a] : 0);
      const Stretch& x = s.axis[a];
      rest /= cut_.axis[a].points;
      const int64_t i = k >= 0 && k < x.count ? fold(s.mode, x.first + k * x.step, x.size) : -1;
      inside &= i >= 0;
      at += std::max<int64_t>(i, 0) * tensor.stride.axis[a];
    }
    if (inside)
      f(l, at);
    else
      blank(l);
  }
}

template <typename T>
void Tiles<T>::read_lines(const Reals& from, int64_t offset, const Stretch& s, PaddingMode mode,
                          bool conjugate, int64_t lines, T* tile) const {
  const int64_t half = cut_.last().points, step = from.stride.axis[cut_.axes - 1];
  // A complex line's planes are the same stretch twice, a real one's follow each other.
  for (int plane = 0; plane < 2; ++plane) {
    T* const to = tile + plane * cut_.imaginary;
    const int64_t before = from.planes == 2 ? 0 : plane * half;
    const int64_t count = std::clamp<int64_t>(s.count - before, 0, half);
    if (count > 0)
      pack_line(from, mode, offset + (from.planes == 2 ? plane : 0), s.size, step,
                s.first + before * s.step, s.step, count, lines, to, cut_.line);
    for (int64_t l = 0; l < lines; ++l) {
      T* const line = to + l * cut_.line;
      std::fill(line + count, line + half, T(0));
      if (conjugate && plane == 1 && from.planes == 2)
        for (int64_t k = 0; k < count; ++k) line[k] = -line[k];
    }
  }
}

template <typename T>
void Tiles<T>::read(const Reals& from, int64_t offset, const Stretches& s, bool backwards, T scale,
                    T* tile, T* points, int64_t plane) const {
  const Stretch& last = s.axis[cut_.axes - 1];
  const Stretch one{0, 1, 1, 1}, &next = cut_.axes > 1 ? s.axis[cut_.axes - 2] : one;
  const int64_t step = cut_.axes > 1 ? from.stride.axis[cut_.axes - 2] : 0;
  Reals lines = from;  // as the channels of a gather
  lines.stride.in_channel = step * next.step;
  const auto clear = [&](int64_t line, int64_t count) {
    std::fill_n(tile + line * cut_.line, count * cut_.line, T(0));
  };
  for_each_plane(
      from, offset, s, nullptr,
      [&](int64_t first, int64_t at) {
        for_each_stretch(
            s.mode, next.size, next.first, next.step, next.count,
            [&](int64_t k, int64_t index, int64_t count) {
              T* const to = tile + (first + k) * cut_.line;
              read_lines(lines, at + index * step, last, s.mode, backwards, count, to);
              transform_.split_lines(to, count);
            },
            [&](int64_t k, int64_t count) { clear(first + k, count); });
        clear(first + next.count, lines_ - next.count);
      },
      [&](int64_t first) { clear(first, lines_); });
  transform_.to_points(tile, points, plane, scale, backwards ? -scale : scale);
}

template <typename T>
void Tiles<T>::write_lines(T* tile, int64_t lines, int64_t skip, const T* start, Finish finish,
                           const Reals& to, int64_t offset, const Stretch& s, int64_t row) const {
  const int64_t half = cut_.last().points, step = to.stride.axis[cut_.axes - 1] * s.step;
  for (int plane = 0; plane < 2; ++plane) {
    const int64_t before = to.planes == 2 ? 0 : plane * half;
    const int64_t begin = std::clamp<int64_t>(skip - before, 0, half);
    const int64_t end = std::clamp<int64_t>(skip + s.count - before, 0, half);
    if (begin >= end) continue;
    T* const from = tile + plane * cut_.imaginary;
    const T more = start[to.planes == 2 ? plane : 0];
    for (int64_t l = 0; more != 0 && l < lines; ++l)
      for (int64_t k = begin; k < end; ++k) from[l * cut_.line + k] += more;
    const int64_t first = offset + (to.planes == 2 ? plane : 0) +
                          s.first * to.stride.axis[cut_.axes - 1] + (begin + before - skip) * step;
    const Lines place{to.at(first), lines, row, end - begin, end - begin > 1 ? step : 1};
    kernels<T>().scatter(to.store, from + begin, cut_.line, finish, place);
  }
}

template <typename T>
void Tiles<T>::write(T* points, int64_t plane, const int64_t* skip, const T* start, Finish finish,
                     T* tile, const Reals& to, int64_t offset, const Stretches& s) const {
  const int last = cut_.axes - 1;
  const Stretch one{0, 1, 1, 1}, &next = last > 0 ? s.axis[last - 1] : one;
  const int64_t step = last > 0 ? to.stride.axis[last - 1] : 0;
  const int64_t skipped = last > 0 ? skip[last - 1] : 0;
  transform_.to_tile(points, plane, tile);
  for_each_plane(
      to, offset, s, skip,
      [&](int64_t first, int64_t at) {
        T* const lines = tile + (first + skipped) * cut_.line;
        transform_.join_lines(lines, next.count);
        write_lines(lines, next.count, skip[last], start, finish, to, at + next.first * step,
                    s.axis[last], step * next.step);
      },
      [](int64_t) {});
}

template class Tiles<float>;
template class Tiles<double>;

}  // namespace torchconv::fft_detail
