"""Interleaved timing: two calls in one process, in turn, so that both meet the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

LEAST_PAIRS = 5
MOST_PAIRS = 200
# A sample shorter than this is mostly clock and caches: cheap calls are repeated within one.
SAMPLE_S = 200e-6


@dataclass(frozen=True)
class Timing:
    """Medians over pairs. A ratio is native over ours: above 1 ours is faster."""

    native_s: float
    ours_s: float
    ratio: float
    ratio_q1: float  # quartiles
    ratio_q3: float
    pairs: int


def interleave(
    native: Callable[[], object], ours: Callable[[], object], *, time_limit_s: float
) -> Timing:
    """Times both calls pair by pair, alternating which goes first, for about ``time_limit_s``."""
    for call in (native, ours):  # warm-up
        call()
    once_s = (_sample(native, 1), _sample(ours, 1))
    repeats = max(1, round(SAMPLE_S / max(once_s)))
    budget = int(time_limit_s / (sum(once_s) * repeats))
    pairs = min(max(budget, LEAST_PAIRS), MOST_PAIRS)
    samples = []
    for pair in range(pairs):
        if pair % 2 == 0:
            native_s = _sample(native, repeats)
            ours_s = _sample(ours, repeats)
        else:
            ours_s = _sample(ours, repeats)
            native_s = _sample(native, repeats)
        samples.append((native_s, ours_s))
    return summary(samples)


def summary(samples: list[tuple[float, float]]) -> Timing:
    """The timing that pairs of (native, ours) seconds amount to."""
    ratios = [native_s / ours_s for native_s, ours_s in samples]
    low, middle, high = quantiles(ratios, n=4, method="inclusive")
    return Timing(
        native_s=median(native_s for native_s, _ in samples),
        ours_s=median(ours_s for _, ours_s in samples),
        ratio=middle,
        ratio_q1=low,
        ratio_q3=high,
        pairs=len(samples),
    )


def _sample(call: Callable[[], object], repeats: int) -> float:
    """Seconds of one call, averaged over ``repeats``."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats
