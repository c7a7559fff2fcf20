"""Extra memory: what an algorithm allocates beside its result, as the allocator saw it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from torchconv import _C, testing
from torchconv.tools.calls import our_call, tensors
from torchconv.tools.workloads import RESULTS, Workload, fit


@dataclass(frozen=True)
class Use:
    workload: str
    result: str
    algorithm: str
    threads: int
    planned_bytes: int  # what explain states
    measured_bytes: int  # the peak of one call, less its result


def uses(
    workloads: Iterable[Workload], threads: int, *, dtype: str = "float32", max_gflop: float = 0.5
) -> Iterator[Use]:
    """One call of every workload, result and algorithm that does not refuse it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for workload in (fit(w, max_gflop) for w in workloads):
            given = tensors(workload, dtype)
            for result in RESULTS:
                call = our_call(workload, result, given)
                for candidate in _C.plan(workload.line(result, dtype), threads).candidates:
                    if candidate.refusal or candidate.name == "reference":  # which takes none
                        continue
                    with testing.algorithm(candidate.name):
                        measured = extra_bytes(call)
                    yield Use(workload.name, result, candidate.name, threads,
                              candidate.scratch_bytes, measured)  # fmt: skip
    finally:
        torch.set_num_threads(before)


def table(measured: Iterable[Use]) -> str:
    """The most that each algorithm took for each result, and for which workload."""
    most: dict[tuple[str, str], Use] = {}
    for use in measured:
        key = (use.algorithm, use.result)
        if key not in most or use.measured_bytes > most[key].measured_bytes:
            most[key] = use
    lines = [
        f"{'algorithm':<12}{'result':<9}{'threads':>8}{'measured':>12}{'stated':>12}  workload"
    ]
    for (algorithm, result), use in sorted(most.items()):
        lines.append(
            f"{algorithm:<12}{result:<9}{use.threads:>8}{use.measured_bytes:>12,}"
            f"{use.planned_bytes:>12,}  {use.workload}"
        )
    return "\n".join(lines)


def extra_bytes(call: Callable[[], Tensor]) -> int:
    """The peak of what a call holds allocated, less what it returns."""
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        result = call()
    held, peak = 0, 0
    for event in seen.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak - result.untyped_storage().nbytes()
