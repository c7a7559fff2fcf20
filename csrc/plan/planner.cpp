#include "plan/planner.h"

#include <atomic>
#include <cstdlib>

#include "plan/algorithms.h"

namespace torchconv {
namespace {

const Algorithm* find(const std::string& name) {
  for (const Algorithm* algorithm : algorithms())
    if (name == algorithm->name) return algorithm;
  return nullptr;
}

std::string refuses_as_unknown(const Problem&) {
  std::string refusal = "no algorithm has this name; there are";
  for (const Algorithm* algorithm : algorithms()) refusal += std::string(" ") + algorithm->name;
  return refusal;
}

// What TORCHCONV_ALGORITHM names; a name that is none of the list refuses every problem.
const Algorithm* named_in_environment() {
  const char* name = std::getenv("TORCHCONV_ALGORITHM");
  if (!name || !*name) return nullptr;
  static const Algorithm unknown = {name, refuses_as_unknown, nullptr, nullptr, nullptr};
  const Algorithm* algorithm = find(name);
  return algorithm ? algorithm : &unknown;
}

// Null: the planner is free.
std::atomic<const Algorithm*>& forced() {
  static std::atomic<const Algorithm*> algorithm{named_in_environment()};
  return algorithm;
}

std::string refusal_of_forced(const Algorithm* algorithm, const std::string& refusal) {
  return std::string("algorithm ") + algorithm->name + " was forced but refuses: " + refusal;
}

}  // namespace

const std::vector<const Algorithm*>& algorithms() {
#define TORCHCONV_ADDRESS(name) &name,
  static const std::vector<const Algorithm*> list = {TORCHCONV_ALGORITHMS(TORCHCONV_ADDRESS)};
#undef TORCHCONV_ADDRESS
  return list;
}

const Algorithm* choose(const Problem& problem, int threads, std::string* reason) {
  if (const Algorithm* algorithm = forced()) {
    const std::string refusal = algorithm->refuses(problem);
    if (refusal.empty()) return algorithm;
    *reason = refusal_of_forced(algorithm, refusal);
    return nullptr;
  }
  const Algorithm* best = nullptr;
  double best_s = 0;
  for (const Algorithm* algorithm : algorithms()) {
    if (!algorithm->refuses(problem).empty()) continue;
    const double cost_s = algorithm->cost(problem, threads);
    if (best && cost_s >= best_s) continue;
    best = algorithm;
    best_s = cost_s;
  }
  return best;
}

Plan explain(const Problem& problem, int threads) {
  Plan plan{problem, threads, nullptr, "", {}};
  plan.algorithm = choose(problem, threads, &plan.reason);
  if (plan.algorithm) plan.reason = forced() ? "forced" : "lowest cost";
  for (const Algorithm* algorithm : algorithms()) {
    Candidate candidate{algorithm, algorithm->refuses(problem), 0, 0};
    if (candidate.refusal.empty()) {
      candidate.cost_s = algorithm->cost(problem, threads);
      candidate.scratch_bytes = algorithm->scratch_bytes(problem, threads);
    }
    plan.candidates.push_back(candidate);
  }
  return plan;
}

bool force_algorithm(const std::string& name) {
  const Algorithm* algorithm = find(name);
  if (!algorithm && !name.empty()) return false;
  forced() = algorithm;
  return true;
}

std::string forced_algorithm() {
  const Algorithm* algorithm = forced();
  return algorithm ? algorithm->name : "";
}

}  // namespace torchconv
