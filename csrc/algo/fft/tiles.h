// Tiles from a tensor, and back.
#pragma once

#include "algo/fft/transform.h"

namespace torchconv::fft_detail {

// The elements of a tensor that a tile holds along one axis: its element k is number
// first + k * step of the tensor's, for k below `count`; the others are zero.
struct Stretch {
  int64_t first, step, count;
  int64_t size;  // of the tensor
};
struct Stretches {
  Stretch axis[kMaxAxes];
  PaddingMode mode = PaddingMode::zeros;  // of what lies outside the tensor
};

// Tile number `tile` of one image: its input, its outputs, and the taps.
Stretches input_of(const Problem& p, const Cut& cut, int64_t tile);
Stretches output_of(const Problem& p, const Cut& cut, int64_t tile);
Stretches taps_of(const Problem& p);

// Of channels whose first element is at `offset`.
template <typename T>
class Tiles {
 public:
  Tiles(const Cut& cut, const Transform<T>& transform)
      : cut_(cut),
        transform_(transform),
        lines_(cut.axes > 1 ? cut.axis[cut.axes - 2].points : 1) {}

  // From the tensor to points. The transform's conjugate, of a conjugated tensor, is that of the
  // tensor read backwards: where `backwards`, products are of x[i + t] and not of x[i - t].
  void read(const Reals& from, int64_t offset, const Stretches& s, bool backwards, T scale, T* tile,
            T* points, int64_t plane) const;

  // From points to the tensor, whose first element is element skip[a] of the tile on every axis.
  void write(T* points, int64_t plane, const int64_t* skip, const T* start, Finish finish, T* tile,
             const Reals& to, int64_t offset, const Stretches& s) const;

 private:
  template <typename F, typename Blank>
  void for_each_plane(const Reals& tensor, int64_t offset, const Stretches& s, const int64_t* skip,
                      const F& f, const Blank& blank) const;
  void read_lines(const Reals& from, int64_t offset, const Stretch& s, PaddingMode mode,
                  bool conjugate, int64_t lines, T* tile) const;
  void write_lines(T* tile, int64_t lines, int64_t skip, const T* start, Finish finish,
                   const Reals& to, int64_t offset, const Stretch& s, int64_t row) const;

  const Cut& cut_;
  const Transform<T>& transform_;
  int64_t lines_;  // along the last axis but one
};

}  // namespace torchconv::fft_detail
