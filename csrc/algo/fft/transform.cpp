#include "algo/fft/transform.h"

#include <cmath>
#include <numeric>

namespace torchconv::fft_detail {
namespace {

constexpr int32_t kTurn =
    12 * kMostPoints;  // angles are parts of it: all roots of u^n = i have one
constexpr int32_t kFine = 256;
constexpr int64_t kPanelBytes = 16 << 10;  // of a tile's columns, half an L1 cache

// e^(2 pi i k / kTurn) as a product of two of a few, in double: off by less than its rounding to
// T, or for double by two of them.
struct Root {
  double re, im;
};
struct Roots {
  Root coarse[kTurn / kFine], fine[kFine];
  Roots() {
    const double unit = 2 * std::acos(-1.0) / kTurn;
    for (int k = 0; k < kTurn / kFine; ++k)
      coarse[k] = {std::cos(unit * kFine * k), std::sin(unit * kFine * k)};
    for (int k = 0; k < kFine; ++k) fine[k] = {std::cos(unit * k), std::sin(unit * k)};
  }
};

Root root(int32_t angle) {
  static const Roots roots;
  const Root &a = roots.coarse[angle % kTurn / kFine], &b = roots.fine[angle % kFine];
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}

}  // namespace

template <typename T>
Transform<T>::Transform(const Cut& cut, Arena* arena) : cut_(cut) {
  const int64_t columns = cut.last().points / cut.lanes;
  const int64_t period = std::lcm(columns, cut.lanes) / cut.lanes;
  int64_t longest = 1;
  for (int a = 0; a < cut.axes; ++a) longest = std::max(longest, cut.axis[a].points);
  int32_t* const angles = arena->take<int32_t>(longest);
  for (int a = 0; a < cut.axes - 1; ++a) make_pass(cut.axis[a].points, &pass_[a], angles, arena);
  make_pass(columns, &pass_[cut.axes - 1], angles, arena);
  lane_roots_ = arena->take<T>(period * cut.lanes * cut.lanes);
  lanes_ = {nullptr,     cut.imaginary, cut.line, columns, cut.vectors() / cut.lanes,
            lane_roots_, period,        nullptr,  0,       T(1),
            T(1)};
  if (arena->base) make_lane_roots(angles);
}

// Leaves the angles of the last remainders behind.
template <typename T>
void Transform<T>::make_pass(int64_t points, Pass* pass, int32_t* angles, Arena* arena) {
  pass->points = points;
  for (int64_t left = points; left > 1; left /= pass->radix[pass->stages++])
    pass->radix[pass->stages] = left % 3 == 0 ? 3 : left % 4 == 0 ? 4 : 2;
  int64_t blocks = 1;
  if (arena->base) angles[0] = kTurn / 4;  // of i
  for (int s = 0; s < pass->stages; ++s) {
    const int radix = pass->radix[s];
    T* to = pass->roots[s] = arena->take<T>(blocks * (radix - 1) * 2);
    if (arena->base) {
      for (int64_t b = 0; b < blocks; ++b)
        for (int part = 1; part < radix; ++part) {
          const Root z = root(angles[b] / radix * part);
          *to++ = T(z.re);
          *to++ = T(z.im);
        }
      for (int64_t b = blocks; b-- > 0;)
        for (int32_t q = radix, angle = angles[b]; q-- > 0;)
          angles[b * radix + q] = (angle + q * kTurn) / radix;
    }
    blocks *= radix;
  }
}

// Of the blocks of a level, numbered by how they were halved, the even ones.
template <typename T>
void Transform<T>::make_lane_roots(const int32_t* angles) {
  T* to = lane_roots_;
  for (int64_t group = 0; group < lanes_.period; ++group)
    for (int level = 1; (1 << level) <= cut_.lanes; ++level)
      for (int block = 0; block < 1 << (level - 1); block += 2, to += 2 * cut_.lanes)
        for (int64_t lane = 0; lane < cut_.lanes; ++lane) {
          int32_t angle = angles[(group * cut_.lanes + lane) % lanes_.columns];
          for (int bit = level - 1; bit-- > 0;) angle = (angle + (block >> bit & 1) * kTurn) / 2;
          const Root z = root(angle / 2);
          to[lane] = T(z.re);
          to[cut_.lanes + lane] = T(z.im);
        }
}

// `stage` is the axis as one part of `part` elements a step; `lines` and `count` those of a step.
template <typename T>
void Transform<T>::run_stages(const Pass& pass, FftStage<T> stage, int64_t part,
                              bool splits) const {
  const FftKernels<T>& kernel = kernels<T>().fft;
  const int64_t lines = stage.lines, count = stage.count;
  const bool is_line = part == cut_.lanes;
  int64_t blocks = splits ? 1 : pass.points;
  for (int i = 0; i < pass.stages; ++i) {
    const int s = splits ? i : pass.stages - 1 - i;
    if (!splits) blocks /= pass.radix[s];
    const int64_t steps = pass.points / blocks / pass.radix[s];  // of the axis, in a part
    stage.blocks = blocks;
    stage.part = steps * part;
    stage.block = stage.part * pass.radix[s];
    (is_line ? stage.count : stage.lines) = steps * (is_line ? count : lines);
    stage.roots = pass.roots[s];
    (splits ? kernel.split : kernel.join)[pass.radix[s] - 2](stage);
    if (splits) blocks *= pass.radix[s];
  }
}

// As many lines at a time as stay in the cache from stage to stage.
template <typename T>
void Transform<T>::transform_lines(T* first, int64_t count, bool splits) const {
  const Pass& pass = pass_[cut_.axes - 1];
  const int64_t together = round_down(kPanelBytes / (cut_.line * int64_t(sizeof(T))), 1);
  for (int64_t l = 0; l < count; l += together)
    run_stages(pass,
               FftStage<T>{first + l * cut_.line, cut_.imaginary, 1, 0, 0,
                           std::min(together, count - l), cut_.line, 1, nullptr},
               cut_.lanes, splits);
}

// Axis a, a panel of columns at a time.
template <typename T>
void Transform<T>::transform_axis(int a, T* tile, bool splits) const {
  const Pass& pass = pass_[a];
  if (pass.stages == 0) return;
  int64_t inner = 1;  // lines of a step
  for (int b = a + 1; b < cut_.axes - 1; ++b) inner *= cut_.axis[b].points;
  const int64_t slab = pass.points * inner, columns = lanes_.columns;
  const int64_t vector_bytes = 2 * cut_.lanes * int64_t(sizeof(T));
  const int64_t panel = std::clamp<int64_t>(kPanelBytes / (slab * vector_bytes), 1, columns);
  for (int64_t l = 0; l < cut_.lines; l += slab)
    for (int64_t c = 0; c < columns; c += panel) {
      const FftStage<T> stage{
          tile + l * cut_.line + c * cut_.lanes, cut_.imaginary, 1, 0, 0, inner, cut_.line,
          std::min(panel, columns - c),          nullptr};
      run_stages(pass, stage, inner * cut_.line, splits);
    }
}

template <typename T>
void Transform<T>::to_points(T* tile, T* points, int64_t plane, T real_scale,
                             T imaginary_scale) const {
  for (int a = 0; a < cut_.axes - 1; ++a) transform_axis(a, tile, true);
  FftLanes<T> lanes = lanes_;
  lanes.tile = tile;
  lanes.points = points;
  lanes.plane = plane;
  lanes.real_scale = real_scale;
  lanes.imaginary_scale = imaginary_scale;
  kernels<T>().fft.split_lanes(lanes);
}

template <typename T>
void Transform<T>::to_tile(T* points, int64_t plane, T* tile) const {
  FftLanes<T> lanes = lanes_;
  lanes.tile = tile;
  lanes.points = points;
  lanes.plane = plane;
  kernels<T>().fft.join_lanes(lanes);
  for (int a = cut_.axes - 1; a-- > 0;) transform_axis(a, tile, false);
}

template class Transform<float>;
template class Transform<double>;

}  // namespace torchconv::fft_detail
