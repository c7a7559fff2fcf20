// The CPU kernels: tensors become views, the planner picks an algorithm, ATen's threads run it.
#include <atomic>
#include <memory>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/alignment.h>

#include "core/relabel.h"
#include "plan/planner.h"
#include "torch/kept.h"
#include "torch/precision.h"
#include "torch/run.h"

namespace torchconv {
namespace {

static_assert(c10::gAlignment >= 64, "Context::scratch is 64-byte aligned");

// Consecutive tasks that no worker has begun.
struct alignas(64) Share {
  std::atomic<int64_t> next;
  int64_t end;
};

// Context::parallel on ATen's threads. Each worker has its share of consecutive tasks, which write
// places of the result far from the others': two that come to a fresh page at once both clear one.
// Who is done takes from the shares of the others, so an uneven task or a slow core delays nobody; a
// worker is an index, not a thread, so running serially or nested is the same program.
void parallel(int64_t tasks, int threads, const void* closure,
              void (*body)(const void* closure, int64_t task, int worker)) {
  const int64_t workers = std::min<int64_t>(tasks, threads);
  const auto shares = std::make_unique<Share[]>(size_t(workers));
  for (int64_t w = 0; w < workers; ++w) {
    shares[w].next.store(tasks * w / workers, std::memory_order_relaxed);
    shares[w].end = tasks * (w + 1) / workers;
  }
  at::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker)
      for (int64_t w = worker; w < worker + workers; ++w) {
        Share& share = shares[w % workers];
        for (int64_t task; (task = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;)
          body(closure, task, int(worker));
      }
#if defined(__SSE2__)
    _mm_sfence();  // what was written past the caches comes in no order of its own
#endif
  });
}

constexpr int64_t kSmallScratch = 8 << 10;

void run(Problem problem, Operands operands, const Tensor& second) {
  drop_blind_taps(&problem, &operands.weight);
  Context context;
  context.threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  context.parallel = &parallel;

  const Choice choice = choose(problem, context.threads);
  TORCH_CHECK(choice.algorithm, refusal(problem));
  alignas(64) char small_scratch[kSmallScratch];  // a tiny call allocates its result alone
  c10::DataPtr scratch;
  context.scratch = small_scratch;
  if (choice.scratch_bytes > kSmallScratch) {
    scratch = c10::GetCPUAllocator()->allocate(size_t(choice.scratch_bytes));
    context.scratch = scratch.get();
  }
  KeptWeight kept;
  if (choice.kept.bytes > 0) kept.look_up(choice, problem, second, &operands, &context);
  choice.algorithm->run(problem, operands, context);
  kept.commit();
}

// A large result is memory that the allocator has fresh from the system, and writing it first costs
// a page fault every 4 KiB: more time than the products of a short filter take. Linux is asked for
// pages of 2 MiB, where its setting leaves that to programs ("madvise", the usual one).
void ask_for_huge_pages([[maybe_unused]] const Tensor& result) {
#if defined(__linux__)
  constexpr uintptr_t kPage = 2 << 20;
  if (result.nbytes() < 2 * kPage) return;
  const uintptr_t data = reinterpret_cast<uintptr_t>(result.const_data_ptr());
  const uintptr_t begin = (data + kPage - 1) / kPage * kPage;
  const uintptr_t end = (data + result.nbytes()) / kPage * kPage;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a wish: may be refused
#endif
}

Tensor on_cpu(c10::DispatchKeySet, const Arguments& arguments) {
  return compute_on_cpu(arguments, Activation::none);
}

}  // namespace

Tensor compute_on_cpu(const Arguments& arguments, Activation activation) {
  require_alike(arguments);
  if (arguments.first.scalar_type() == at::kComplexHalf && activation == Activation::none)
    return in_complex64<on_cpu>({}, arguments);

  Problem problem = checked_problem(arguments, activation);
  problem.precise = wants_precise();
  // Not at::empty, which would look for a device to allocate on and, in deterministic mode, fill
  // what is written in full anyway.
  Tensor result =
      at::detail::empty_cpu(result_size(problem), arguments.first.scalar_type(),
                            /*pin_memory=*/false, result_format(arguments.first, arguments.second));
  ask_for_huge_pages(result);
  if (result.numel() > 0) run(problem, operands(problem, arguments, result), arguments.second);
  return result;
}

TORCH_LIBRARY_IMPL(torchconv, CPU, library) { implement<on_cpu>(library); }

}  // namespace torchconv
