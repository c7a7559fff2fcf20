// The walks over a tensor's positions, its view as reals, and where the two meet (pack.h).
#include "core/arithmetic.h"
#include "micro/pack.h"

namespace torchconv {

Grid output_grid(const Problem& p) {
  Grid grid;
  grid.axes = p.axes;
  for (int a = 0; a < p.axes; ++a) {
    grid.size[a] = p.axis[a].output_size;
    grid.stride[a] = 0;
    grid.per_image *= grid.size[a];
  }
  return grid;
}

namespace {

// Adds an inner axis, which becomes one with the axis around it where the two lie end to end.
void add_axis(Grid* grid, int64_t size, int64_t stride) {
  grid->per_image *= size;
  if (grid->axes > 0 && size == 1) return;
  if (grid->axes == 1 && grid->size[0] == 1) grid->axes = 0;
  const int around = grid->axes - 1;
  if (grid->axes > 0 && grid->stride[around] == stride * size) {
    grid->size[around] *= size;
    grid->stride[around] = stride;
  } else {
    grid->size[grid->axes] = size;
    grid->stride[grid->axes++] = stride;
  }
}

}  // namespace

Grid joined_grid(const Problem& p, const View& output) {
  Grid grid;
  for (int a = 0; a < p.axes; ++a) add_axis(&grid, p.axis[a].output_size, output.axis[a]);
  return grid;
}

Grid weight_grid(const Problem& p, const View& weight) {
  Grid grid;
  add_axis(&grid, p.in_channels_per_group(), weight.in_channel);
  for (int a = 0; a < p.axes; ++a) add_axis(&grid, p.axis[a].kernel_size, weight.axis[a]);
  return grid;
}

namespace {

Store store_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
    case DType::complex64: return Store::f32;
    case DType::float64:
    case DType::complex128: return Store::f64;
    case DType::bfloat16: return Store::bf16;
    case DType::float16: return Store::f16;
    case DType::uint8: return Store::u8;
    case DType::int8: return Store::i8;
    case DType::int16: return Store::i16;
    case DType::int32: return Store::i32;
    case DType::int64: return Store::i64;
  }
  return Store::f32;
}

}  // namespace

Reals::Reals(const View& view, DType dtype)
    : data(static_cast<char*>(view.data)),
      stride(view),
      store(store_of(dtype)),
      bytes(element_bytes(dtype) / planes_of(dtype)),
      planes(planes_of(dtype)) {
  stride.batch *= planes;
  stride.group *= planes;
  stride.in_channel *= planes;
  stride.out_channel *= planes;
  for (int64_t& s : stride.axis) s *= planes;
}

void index_of(const Problem& p, int count, int64_t Axis::* size, int64_t number, int64_t* index) {
  for (int a = count - 1; a >= 0; --a) {
    index[a] = number % (p.axis[a].*size);
    number /= p.axis[a].*size;
  }
}

bool add_outer(const Problem& p, int axes, const Reals& input, const int64_t* tap, const int64_t* o,
               int64_t* offset) {
  for (int a = 0; a < axes; ++a) {
    const Axis& x = p.axis[a];
    const int64_t v = o[a] * x.stride - x.padding + tap[a] * x.dilation;
    const int64_t i = fold(p.padding_mode, v, x.input_size);
    if (i < 0) return false;
    *offset += i * input.stride.axis[a];
  }
  return true;
}

}  // namespace torchconv
