// How the places of all pairs of an image and a group (micro/lines.h) are shared out, to an engine
// that makes the outputs of one: a type with the types Element, Plan (a LinesPlan made from a forward
// problem) and Worker (the memory of a thread, taken from an Arena), made from a problem, its
// operands and its plan, with
//
//     task(place, pairs, block, worker)    makes a place of all pairs of a block
//     pairs_together(problem)              so many pairs, or a multiple, make a block
#pragma once

#include "micro/lines.h"
#include "micro/tasks.h"

namespace torchconv {

// Pairs of batch and group, in blocks: what is outside the input is the same for all pairs, and
// cleared once a block.
struct Pairs {
  int64_t count, per_block, blocks;
  Pairs(const Problem& p, int64_t together) : count(p.batch * p.groups) {
    const double products = p.multiply_adds() / std::max(double(count), 1.0);
    per_block = std::clamp<int64_t>(int64_t(kTaskProducts / std::max(products, 1.0)), 1,
                                    std::max<int64_t>(count, 1));
    per_block = round_up(per_block, together);
    blocks = ceil_div(count, per_block);
  }
};

// What every engine holds.
template <typename T, typename P>
struct LinesEngine {
  using Element = T;
  using Plan = P;
  static int64_t pairs_together(const Problem&) { return 1; }
  const Problem& p;
  const Operands& operands;
  const Plan& plan;
  Reals weight, output;
  PaddedLines<T> padded;
  Grid taps_grid;

  LinesEngine(const Problem& problem, const Operands& o, const Plan& its_plan)
      : p(problem),
        operands(o),
        plan(its_plan),
        weight(o.weight, p.dtype),
        output(o.output, p.dtype),
        padded{p, plan, Reals(o.input, p.dtype)},
        taps_grid(weight_grid(p, weight.stride)) {}
};

template <typename Engine>
int64_t padded_bytes(const Problem& p) {
  if (writes_nothing(p)) return 0;
  Arena counter{nullptr};
  typename Engine::Worker(typename Engine::Plan(p), &counter);
  return counter.used;
}

// The forward problems that a result is made of.
template <typename Engine>
void run_padded(const Problem& p, const Operands& operands, const Context& context) {
  using T = typename Engine::Element;
  const int64_t bytes = largest(p, padded_bytes<Engine>);
  const auto worker_of = [&](const typename Engine::Plan& plan, int number) {
    Arena own{static_cast<char*>(context.scratch) + number * bytes};
    return typename Engine::Worker(plan, &own);
  };
  const auto for_each_engine = [&](const auto& body) {
    for_each_forward(p, operands, [&](const Problem& q, const Operands& views) {
      if (writes_nothing(q)) return;
      const typename Engine::Plan plan(q);
      body(Engine(q, views, plan), plan);
    });
  };
  // All forward problems of a block together, so that the elements which they write by turns are
  // still in the cache; unless there are too few blocks to share out.
  const Pairs pairs(p, Engine::pairs_together(p));
  if (p.result != Result::weight && pairs.blocks >= kTasksWanted) {
    for_each_task<T>(context, pairs.blocks, context.threads, [&](int64_t block, int number) {
      for_each_engine([&](const Engine& engine, const typename Engine::Plan& plan) {
        for (int64_t i = 0; i < plan.places(); ++i)
          engine.task(plan.place(engine.p, i), pairs, block, worker_of(plan, number));
      });
    });
    return;
  }
  for_each_engine([&](const Engine& engine, const typename Engine::Plan& plan) {
    const Pairs all(engine.p, Engine::pairs_together(engine.p));
    const int64_t tasks = plan.places() * all.blocks;
    for_each_task<T>(context, tasks, context.threads, [&](int64_t task, int number) {
      engine.task(plan.place(engine.p, task % plan.places()), all, task / plan.places(),
                  worker_of(plan, number));
    });
  });
}

}  // namespace torchconv
