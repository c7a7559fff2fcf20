"""The benchmark: every workload, dtype, result and algorithm asked for, checked and then timed."""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from torchconv import _C, testing
from torchconv.tools.calls import Tensors, difference, native_call, our_call, tensors
from torchconv.tools.measure import interleave
from torchconv.tools.regimes import classify
from torchconv.tools.report import Record
from torchconv.tools.workloads import Workload, fit

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's mallopt
PLANNED = ""  # the algorithm that the planner picks
FAR = 4.0  # times the lowest cost: such an algorithm would not be the fastest


@dataclass(frozen=True, kw_only=True)
class Case:
    workload: Workload
    regime: str  # of the published shape, whatever was cut from it
    dtype: str
    result: str
    algorithm: str = PLANNED  # forced by name
    channels_last: bool = False

    @property
    def line(self) -> str:
        layout = " channels_last=1" if self.channels_last else ""
        return self.workload.line(self.result, self.dtype) + layout


def cases(
    workloads: Sequence[Workload],
    dtypes: Sequence[str],
    results: Sequence[str],
    algorithms: Sequence[str] = (PLANNED,),
    *,
    max_gflop: float = math.inf,
    far: float = math.inf,
    channels_last: bool = False,
) -> list[Case]:
    """All combinations, cut down to ``max_gflop``, without those a forced algorithm refuses, or
    states a cost for that is more than ``far`` times the lowest."""
    found = []
    for workload, dtype, result in itertools.product(workloads, dtypes, results):
        fitted = fit(workload, max_gflop)
        usable = {PLANNED} | _usable(fitted.line(result, dtype), far)
        found += [
            Case(
                workload=fitted,
                regime=classify(workload).name,
                dtype=dtype,
                result=result,
                algorithm=algorithm,
                channels_last=channels_last and fitted.axes > 1,  # as torch has it
            )
            for algorithm in algorithms
            if algorithm in usable
        ]
    return found


def _usable(line: str, far: float) -> set[str]:
    usable = {one.name: one.cost_s for one in _C.plan(line).candidates if not one.refusal}
    lowest_s = min(usable.values())
    return {name for name, cost_s in usable.items() if cost_s <= far * lowest_s}


def keep_memory() -> None:
    """Has malloc keep what is freed (glibc). A fresh tensor costs a page fault every 4 KiB."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if not (mallopt and mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1)):
        raise OSError("--keep-memory needs glibc")


def run(todo: Sequence[Case], *, time_limit_s: float) -> Iterator[Record]:
    """Measures the cases one by one; neighbours of one workload and dtype share their tensors."""
    made_for, given = None, None
    for case in todo:
        if given is None or made_for != (case.workload, case.dtype):
            given = None  # frees the last tensors before it makes the next
            made_for = (case.workload, case.dtype)
            given = tensors(*made_for, channels_last=case.channels_last)
        yield measure(case, given, time_limit_s=time_limit_s)


def measure(case: Case, given: Tensors, *, time_limit_s: float) -> Record:
    """Checks ours against PyTorch's result, then times both; what fails is told in the record."""
    native = native_call(case.workload, case.result, given)
    ours = our_call(case.workload, case.result, given)
    planned = _C.plan(case.line).algorithm or "none"
    timing, error = None, None
    with torch.no_grad(), testing.algorithm(case.algorithm):
        try:
            error = difference(ours(), native())
            if error is None:
                timing = interleave(native, ours, time_limit_s=time_limit_s)
        except RuntimeError as failure:
            error = str(failure).splitlines()[0]
    return Record(
        name=case.workload.name,
        regime=case.regime,
        dtype=case.dtype,
        result=case.result,
        line=case.line,
        algorithm=case.algorithm or planned,
        forced=case.algorithm != PLANNED,
        planned=planned,
        note=case.workload.note,
        gflop=case.workload.gflop * (4 if case.dtype.startswith("complex") else 1),
        timing=timing,
        error=error,
    )
