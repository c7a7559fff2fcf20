// Weights that an algorithm has packed or transformed, kept from call to call.
//
// Never stale: what is kept is made from a copy of the weight, and used only after the weight has
// been compared with that copy, byte for byte. Nothing less would do. `w.data`, detach().numpy(),
// DLPack, a raw pointer, another process and a mapped file all write without any trace: the alias
// is gone when the next call comes, and the version counter has not moved. A comparison costs what
// it takes to read both, 0.15 ms a megabyte from memory and a fifth of that from a cache, where
// winograd's transform takes 0.7 ms. Storage, address and version only say where to look, and when
// it is worth the copy.
//
// gemm keeps nothing: it packs a weight at little more than the cost of reading it, where to compare
// and to read what was packed are three reads. Alone in the caches it gained 7 to 34 % at up to 49
// positions, in a sweep over a network's weights nothing.
//
// A weight is kept from its second use on, so that a call with a fresh weight pays nothing; one
// that was used twice before it changed, from the first use after a change.
#pragma once

#include <memory>

#include <ATen/core/Tensor.h>

#include "plan/planner.h"

namespace torchconv {

constexpr int64_t kDefaultKeptLimit = 256 << 20;

struct PreparedWeight;

// The part of one call in all that, from before its run until after it.
class KeptWeight {
 public:
  KeptWeight() = default;
  // For a call that runs as `choice` says: compares, with the context's threads, and gives the
  // context what is kept, or else memory to fill, and the operands the copy to fill it from.
  void look_up(const Choice& choice, const Problem& problem, const at::Tensor& weight,
               Operands* operands, Context* context);
  // Keeps what the run has filled.
  void commit();
  KeptWeight(const KeptWeight&) = delete;
  KeptWeight& operator=(const KeptWeight&) = delete;
  ~KeptWeight();

 private:
  std::shared_ptr<PreparedWeight> prepared_;
  bool pending_ = false;
};

// Whether the next such call, on this view of the weight, would find it filled.
bool is_kept(const Choice& choice, const Problem& problem, const View& view,
             const at::Tensor& weight);

// Bytes that one weight takes: prepared, and its copy.
int64_t kept_bytes(const Kept& kept, const Problem& problem);

// The most that all of them may take. Setting it forgets them all; 0 keeps none from now on.
void set_kept_limit(int64_t bytes);

struct KeptState {
  int64_t limit_bytes, bytes, weights;
};
KeptState kept_state();

}  // namespace torchconv
