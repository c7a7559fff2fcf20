"""Helpers for tests, of this package and of code that uses it: problems from one line of text.

A problem line (csrc/core/text.h) names everything about a convolution but the numbers in its
tensors; `from_line` makes those, `run` computes the tensor that the line's first word asks for.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from torchconv import _C


def algorithms(device: str = "cpu") -> list[str]:
    """The names of all algorithms of "cpu" or "cuda", the preferred first, the reference last.

    None for "cuda", where the build has no kernels for it.
    """
    return _C.algorithms(device)


def is_exact(algorithm: str, device: str = "cpu") -> bool:
    """Whether an algorithm sums the very products of the definition, so that sums of small integers
    are exact and a NaN reaches just what sees it.

    Raises:
        ValueError: no algorithm has that name.
    """
    return _C.error_factor(algorithm, device) == 1


@contextmanager
def algorithm(name: str) -> Iterator[None]:
    """Forces every convolution of this process onto one algorithm; "" leaves the choice free.

    Raises:
        ValueError: no algorithm has that name.
    """
    before = _C.forced_algorithm()
    _C.force_algorithm(name)
    try:
        yield
    finally:
        _C.force_algorithm(before)


def from_line(line: str, *, integers: bool = True, seed: int = 0) -> dict[str, Tensor]:
    """All tensors of a problem: "input", "weight", "output" and, where the line has one, "bias".

    Args:
        line: the problem.
        integers: whether to fill with integers from -3 to 3 (0 to 3 if unsigned), whose sums are
            exact in every dtype as long as they stay small, or with normal random numbers.
        seed: of the random numbers.

    >>> from torchconv import testing
    >>> tensors = testing.from_line("output float32 channels=2>4 input=8 kernel=3")
    >>> {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    {'input': (1, 2, 8), 'weight': (4, 2, 3), 'output': (1, 4, 6)}
    """
    problem = _C.parse(line)
    dtype: torch.dtype = getattr(torch, problem["dtype"])
    channels, outputs = problem["in_channels"], problem["out_channels"]
    shapes = {
        "input": (problem["batch"], channels, *problem["input_size"]),
        "weight": (outputs, channels // problem["groups"], *problem["kernel_size"]),
        "output": (problem["batch"], outputs, *problem["output_size"]),
    }
    if problem["bias"]:
        shapes["bias"] = (outputs,)
    generator = torch.Generator().manual_seed(seed)

    def real(shape: tuple[int, ...]) -> Tensor:
        if integers or not (dtype.is_floating_point or dtype.is_complex):
            least = 0 if dtype == torch.uint8 else -3
            return torch.randint(least, 4, shape, generator=generator).double()
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    tensors = {
        name: (torch.complex(real(shape), real(shape)) if dtype.is_complex else real(shape)).to(
            dtype
        )
        for name, shape in shapes.items()
    }
    if problem["channels_last"]:
        for name in ("input", "output"):
            tensors[name] = tensors[name].movedim(1, -1).contiguous().movedim(-1, 1)
    return {name: tensor.to(problem["device"]) for name, tensor in tensors.items()}


def run(line: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """The tensor a problem line asks for, computed from the two others."""
    problem: dict[str, Any] = dict(_C.parse(line))
    result = problem["result"]
    operands = [tensors[name] for name in ("input", "weight", "output") if name != result]
    if result == "output":
        operands.append(tensors.get("bias"))  # type: ignore[arg-type]
    operator = {
        "output": torch.ops.torchconv.conv,
        "input": torch.ops.torchconv.conv_input,
        "weight": torch.ops.torchconv.conv_weight,
    }[result]
    if result == "input":
        operands.reverse()  # the schema is conv_input(output, weight, ...)
    size = problem["kernel_size" if result == "weight" else f"{result}_size"]
    words = ("stride", "padding", "dilation", "groups", "flip", "padding_mode")
    computed: Tensor = operator(*operands, size, *(problem[name] for name in words))
    return computed


def reference(line: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """The same by the defining sum."""
    with algorithm("reference"):
        return run(line, tensors)


def error_bound(line: str, tensors: Mapping[str, Tensor], algorithm: str = "reference") -> Tensor:
    """How far, in float64, each element of a result may lie from the exact one.

    A sum of n products in a dtype of precision eps is off by at most n * eps * sum |x| |w|,
    whatever its order, and its rounding to the result's dtype by another eps, or, below the least
    normal number, by the step from one number to the next. An algorithm that is not exact adds its
    error factor times eps times the largest of these sums in the same channel.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1.
    """
    problem = _C.parse(line)
    dtype: torch.dtype = getattr(torch, problem["dtype"])
    if not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError(f"error_bound: {dtype} sums are exact")
    accumulate = torch.float32 if dtype.itemsize == 2 else dtype
    double = line.replace(str(dtype).removeprefix("torch."), "float64", 1)
    magnitude = reference(double, {name: t.abs().double() for name, t in tensors.items()})
    terms = reference(
        double, {k: torch.ones_like(t, dtype=torch.float64) for k, t in tensors.items()}
    )
    # A complex product is four real ones and two sums.
    eps = torch.finfo(accumulate).eps * (4 if dtype.is_complex else 1)
    stored = torch.finfo(dtype)
    bound = (terms * eps + stored.eps) * magnitude + stored.smallest_normal * stored.eps
    if not is_exact(algorithm, problem["device"]) and bound.numel() > 0:
        largest = magnitude.flatten(2).amax(2).reshape(*bound.shape[:2], *[1] * (bound.dim() - 2))
        bound = bound + _C.error_factor(algorithm, problem["device"]) * eps * largest
    return bound
