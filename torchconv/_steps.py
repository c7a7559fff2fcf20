"""What one call does to the spatial axes: its size formula in numbers, and where its outputs look.

A rule reads the arguments of a call by their names in torch.nn.functional. On each axis its answer
says, in steps between neighbouring elements of the call's input:

    scale   how far apart neighbouring outputs look
    reach   how far the last element an output sees lies behind the first
    shift   where the middle of what output 0 sees lies
"""

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from torch import Tensor

from torchconv.arguments import integers, low_padding


class Axis(NamedTuple):
    """One axis of one call."""

    formula: str  # "(28 - 5 + 2 * 2) / 1 + 1 = 28"
    scale: Fraction
    reach: int
    shift: Fraction


Arguments = Mapping[str, Any]
Rule = Callable[[str, int, Arguments, list[int], list[int]], list[Axis]]

# Elements beyond the nearest that interpolate() mixes into one output.
TAPS = {"linear": 1, "bilinear": 1, "trilinear": 1, "bicubic": 3}

_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = (*_CONV[:5], "output_padding", "groups", "dilation")
_MAX_POOL = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVERAGE_POOL = ("input", "kernel_size", "stride", "padding", "ceil_mode")


def slid(
    n: int, k: int, s: int, low: int, high: int, d: int, out: int, dropped: bool = False
) -> Axis:
    """A window of k taps, d apart, that moves by s over n elements and their padding."""
    span = f"{k}" if d == 1 else f"({d} * ({k} - 1) + 1)"
    padding = (f" + 2 * {low}" if low else "") if low == high else _signed(low, high)
    reach = d * (k - 1)
    quotient = f"({n} - {span}{padding}) / {s}"
    if (n + low + high - reach - 1) % s:
        quotient = f"{'floor' if dropped else 'ceil'}({quotient})"
    formula = f"{quotient} + 1 = {out}"
    return Axis(formula, Fraction(s), reach, Fraction(reach, 2) - low)


def _signed(*numbers: int) -> str:
    return "".join(f" {'+' if n > 0 else '-'} {abs(n)}" for n in numbers if n)


def _conv(
    call: str, axes: int, given: Arguments, input: list[int], output: list[int]
) -> list[Axis]:
    kernel = list(given["weight"].shape[-axes:])
    stride, dilation = (integers(call, name, given.get(name, 1), axes) for name in _CONV[3::2])
    low, named = low_padding(call, given.get("padding", 0), input, kernel, stride, dilation)
    steps = []
    for n, k, s, p, d, out in zip(input, kernel, stride, low, dilation, output, strict=True):
        # Where the high side is not the low one, it is what the last output sees there.
        high = p if named is None else (out - 1) * s + d * (k - 1) + 1 - n - p
        steps.append(slid(n, k, s, p, high, d, out, dropped=True))
    return steps


def _conv_transpose(
    call: str, axes: int, given: Arguments, input: list[int], output: list[int]
) -> list[Axis]:
    names = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}
    numbers = [integers(call, name, given.get(name, least), axes) for name, least in names.items()]
    steps = []
    for n, k, s, p, extra, d, out in zip(
        input, given["weight"].shape[-axes:], *numbers, output, strict=True
    ):
        cut = f" - 2 * {p}" if p else ""
        span = f"{k}" if d == 1 else f"({d} * ({k} - 1) + 1)"
        formula = f"({n} - 1) * {s}{cut} + {span}{f' + {extra}' if extra else ''} = {out}"
        reach = d * (k - 1)  # an output sees the inputs whose stamp covers it
        shift = (Fraction(p) - Fraction(reach, 2)) / s
        steps.append(Axis(formula, Fraction(1, s), reach // s, shift))
    return steps


def _pool(
    call: str, axes: int, given: Arguments, input: list[int], output: list[int]
) -> list[Axis]:
    kernel = integers(call, "kernel_size", given["kernel_size"], axes)
    stride = integers(call, "stride", given.get("stride") or kernel, axes)
    padding = integers(call, "padding", given.get("padding", 0), axes)
    dilation = integers(call, "dilation", given.get("dilation", 1), axes)
    steps = []
    for n, k, s, p, d, out in zip(input, kernel, stride, padding, dilation, output, strict=True):
        whole = (n + 2 * p - d * (k - 1) - 1) // s + 1
        steps.append(slid(n, k, s, p, p, d, out, dropped=out == whole))
    return steps


def _adaptive_pool(
    call: str, axes: int, given: Arguments, input: list[int], output: list[int]
) -> list[Axis]:
    steps = []
    for n, out in zip(input, output, strict=True):
        widest = max((-(-(o + 1) * n // out) - o * n // out for o in range(out)), default=1)
        scale = Fraction(n, max(out, 1))
        steps.append(Axis(f"asked for {out}", scale, widest - 1, (scale - 1) / 2))
    return steps


def _interpolate(
    call: str, axes: int, given: Arguments, input: list[int], output: list[int]
) -> list[Axis]:
    reach = TAPS.get(given.get("mode", "nearest"), 0)
    steps = []
    for n, out in zip(input, output, strict=True):
        scale = Fraction(n, max(out, 1))
        factor = Fraction(out, max(n, 1))  # prints as 2 or 3/2
        steps.append(Axis(f"{n} * {factor} = {out}", scale, reach, (scale - 1) / 2))
    return steps


def _pad(call: str, axes: int, given: Arguments, input: list[int], output: list[int]) -> list[Axis]:
    pairs = list(given["pad"])
    pairs += [0] * (2 * axes - len(pairs))
    low, high = pairs[0::2][axes - 1 :: -1], pairs[1::2][axes - 1 :: -1]
    return [
        Axis(f"{n}{_signed(a, b) or ' + 0'} = {out}", Fraction(1), 0, Fraction(-a))
        for n, a, b, out in zip(input, low, high, output, strict=True)
    ]


def _rules() -> dict[str, tuple[int, Rule, Sequence[str]]]:
    rules: dict[str, tuple[int, Rule, Sequence[str]]] = {
        "interpolate": (0, _interpolate, ("input", "size", "scale_factor", "mode")),
        "pixel_shuffle": (2, _interpolate, ("input", "upscale_factor")),
        "pad": (0, _pad, ("input", "pad", "mode", "value")),
    }
    for axes in (1, 2, 3):
        rules |= {
            f"conv{axes}d": (axes, _conv, _CONV),
            f"conv_transpose{axes}d": (axes, _conv_transpose, _TRANSPOSED),
            f"max_pool{axes}d": (axes, _pool, _MAX_POOL),
            f"avg_pool{axes}d": (axes, _pool, _AVERAGE_POOL),
            f"adaptive_max_pool{axes}d": (axes, _adaptive_pool, ("input", "output_size")),
            f"adaptive_avg_pool{axes}d": (axes, _adaptive_pool, ("input", "output_size")),
        }
    return rules


# By the function's name: how many axes it has (0: as many as the input shows), its rule, and the
# names of its arguments.
RULES = _rules()


def steps(name: str, given: Arguments, output: Tensor) -> list[Axis]:
    """What the call `name` with the arguments `given` did on each axis; nothing without axes."""
    axes, rule, _ = RULES[name]
    axes = axes or given["input"].dim() - 2
    if axes < 1:
        return []  # a matrix that is padded
    sizes = ([int(n) for n in tensor.shape[-axes:]] for tensor in (given["input"], output))
    return rule(name, axes, given, *sizes)


def multiply_adds(name: str, given: Arguments, output: Tensor) -> int:
    """Of a convolution: every output position (input position, transposed) meets all the taps."""
    if "weight" not in given:
        return 0
    weight: Tensor = given["weight"]
    axes = weight.dim() - 2
    met = given["input"] if "transpose" in name else output
    batch = met.shape[0] if met.dim() == axes + 2 else 1
    return int(batch * math.prod(met.shape[-axes:]) * weight.numel())
