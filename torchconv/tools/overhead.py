"""The cost of a call itself: a convolution of a 4x4 image, where the arithmetic is nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

import torchconv
from torchconv.tools.measure import Timing, interleave

Convolve = Callable[..., Tensor]

TARGETS = {"no grad": 2.5, "recording": 2.0, "forward + backward": 1.3}


def overheads(time_limit_s: float) -> Iterator[tuple[str, Timing]]:
    """Times each kind of call of F.conv2d and of torchconv.conv2d on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for kind in TARGETS:
            with torch.no_grad() if kind == "no grad" else nullcontext():
                native, ours = _call(kind, F.conv2d), _call(kind, torchconv.conv2d)
                timing = interleave(native, ours, time_limit_s=time_limit_s)
            yield kind, timing
    finally:
        torch.set_num_threads(threads)


def _call(kind: str, convolve: Convolve) -> Callable[[], object]:
    input, weight, bias = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 3, 3), torch.randn(1)
    for parameter in (weight, bias):
        parameter.requires_grad_()
    if kind == "forward + backward":
        ones = torch.ones(1, 1, 2, 2)
        return lambda: torch.autograd.grad(convolve(input, weight, bias), (weight, bias), ones)
    return lambda: convolve(input, weight, bias)


def table(time_limit_s: float) -> str:
    lines = [
        f"{'4x4 input, 1 thread':<22}{'F.conv2d':>10}{'torchconv':>12}{'ratio':>8}{'target':>8}"
    ]
    for kind, timing in overheads(time_limit_s):
        lines.append(
            f"{kind:<22}{timing.native_s * 1e6:>7.2f} us{timing.ours_s * 1e6:>9.2f} us"
            f"{timing.ratio:>8.2f}{TARGETS[kind]:>8.1f}"
        )
    return "\n".join(lines)
