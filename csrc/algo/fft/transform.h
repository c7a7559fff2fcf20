// The transform of a tile, from its lines to points and back: stages along every axis, then along
// the lanes (micro/fft_impl.h).
#pragma once

#include "algo/fft/plan.h"

namespace torchconv::fft_detail {

template <typename T>
class Transform {
 public:
  // Takes its roots from the arena; with a null base it only counts.
  Transform(const Cut& cut, Arena* arena);

  // Lines, in place: to be called for those that are not zero, before to_points().
  void split_lines(T* first, int64_t count) const { transform_lines(first, count, true); }
  // And for those that are wanted, after to_tile().
  void join_lines(T* first, int64_t count) const { transform_lines(first, count, false); }

  // Point vectors lie `plane` elements apart; their parts are scaled. The tile is lost.
  void to_points(T* tile, T* points, int64_t plane, T real_scale, T imaginary_scale) const;
  // Without scale: as many times too large as the tile has points.
  void to_tile(T* points, int64_t plane, T* tile) const;

 private:
  struct Pass {  // of one axis
    int stages = 0;
    int radix[16];
    int64_t points = 1;  // the line's are vectors
    T* roots[16];        // of each stage
  };
  void make_pass(int64_t points, Pass* pass, int32_t* angles, Arena* arena);
  void make_lane_roots(const int32_t* angles);
  void run_stages(const Pass& pass, FftStage<T> stage, int64_t part, bool splits) const;
  void transform_lines(T* first, int64_t count, bool splits) const;
  void transform_axis(int a, T* tile, bool splits) const;

  const Cut& cut_;
  Pass pass_[kMaxAxes];
  FftLanes<T> lanes_;
  T* lane_roots_;
};

}  // namespace torchconv::fft_detail
