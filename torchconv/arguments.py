"""Words to numbers: what a caller may write for sizes, as the plain lists the operators take.

Nothing here branches on the size of a tensor unless the form of the padding asks for it, so traced
shapes (SymInt) pass through. Shape errors of a convolution are left to the operator's own check.
"""

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

Size = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]

MODES = ("cross_correlation", "convolution")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class Geometry(NamedTuple):
    """The arguments the three operators share, in their order."""

    result_size: list[int] | None
    stride: list[int]
    padding: list[int]  # the low side; the high side follows from the sizes
    dilation: list[int]
    groups: int
    flip: bool
    padding_mode: str


def integer(call: str, name: str, value: Any, expected: str = "an int") -> int:
    """`value` as an int (or SymInt), whatever integer type it has."""
    if not isinstance(value, bool):
        if isinstance(value, int | torch.SymInt):
            return cast(int, value)  # a SymInt does what an int does
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise TypeError(f"{call}: {name} must be {expected}, got {value!r}")


def integers(call: str, name: str, value: Any, axes: int) -> list[int]:
    """`value` once per axis: a single one stands for every axis."""
    expected = "an int or a tuple of ints"
    if not isinstance(value, tuple | list):
        return [integer(call, name, value, expected)] * axes
    if len(value) not in (1, axes):
        raise RuntimeError(
            f"{call}: {name} has {len(value)} entries, expected 1 or {axes}: {tuple(value)}"
        )
    numbers = [integer(call, name, entry, expected) for entry in value]
    return numbers * axes if len(value) == 1 else numbers


def word(call: str, name: str, value: Any, known: tuple[str, ...]) -> str:
    """`value`, which must be one of the `known` words."""
    if value not in known:
        raise ValueError(f"{call}: {name} must be one of {', '.join(known)}, got {value!r}")
    return str(value)


def low_padding(
    call: str,
    padding: Any,
    input_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[list[int], list[int] | None]:
    """The low side of any form of padding, and the output size where it is not the natural one.

    The natural size (that of equal padding on both sides) is left to the operator: no arithmetic
    on shapes then shows in a trace.
    """
    axes = len(kernel_size)
    # Elements between the first and the last tap.
    reach = [d * (k - 1) for d, k in zip(dilation, kernel_size, strict=True)]
    if padding == "valid":
        return [0] * axes, None
    if padding == "full":
        return reach, None
    if padding == "same" or (padding == "causal" and axes == 1):
        if any(s < 1 for s in stride):
            return [0] * axes, None  # nothing to divide by; the operator has the words for it
        size = [(n + s - 1) // s for n, s in zip(input_size, stride, strict=True)]
        if padding == "causal":
            return reach, size
        # What the last output sees beyond the input; at stride 1 the input's size cancels.
        total = [
            r if s == 1 else torch.sym_max(0, (o - 1) * s + r + 1 - n)  # type: ignore[no-untyped-call]
            for n, o, s, r in zip(input_size, size, stride, reach, strict=True)
        ]
        return [t // 2 for t in total], size
    if isinstance(padding, str):
        words = "'valid', 'same', 'full'" + (", 'causal'" if axes == 1 else "")
        raise RuntimeError(
            f"{call}: padding must be ints, pairs or one of {words}, got {padding!r}"
        )
    if isinstance(padding, tuple | list) and any(isinstance(p, tuple | list) for p in padding):
        return _pairs(call, padding, input_size, reach, stride)
    return integers(call, "padding", padding, axes), None


def _pairs(
    call: str,
    padding: Sequence[Any],
    input_size: Sequence[int],
    reach: Sequence[int],
    stride: Sequence[int],
) -> tuple[list[int], list[int] | None]:
    """Padding given as ((low, high), ...)."""
    axes = len(reach)
    if len(padding) not in (1, axes):
        raise RuntimeError(
            f"{call}: padding has {len(padding)} pairs, expected 1 or {axes}: {tuple(padding)}"
        )
    pairs = [padding[0]] * axes if len(padding) == 1 else padding
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise TypeError(f"{call}: padding must be ints or pairs (low, high), got {padding!r}")
    low, high = (
        [integer(call, "padding", p, "ints or pairs of ints") for p in side]
        for side in zip(*pairs, strict=True)
    )
    if any(s < 1 for s in stride):
        return low, None  # nothing to divide by; the operator has the words for it
    spare = [n + a + b - r - 1 for n, a, b, r in zip(input_size, low, high, reach, strict=True)]
    for axis, rest in enumerate(spare):
        if rest < 0:
            raise RuntimeError(
                f"{call}: kernel spans {reach[axis] + 1}, more than the padded input of "
                f"{rest + reach[axis] + 1} ({input_size[axis]} + {low[axis]} + {high[axis]}) "
                f"on axis {axis}"
            )
    return low, [rest // s + 1 for rest, s in zip(spare, stride, strict=True)]


def check_tensors(call: str, axes: int, weight_channels: str, **tensors: Any) -> None:
    """Types, and the ranks of input and weight: what depends on the number in the call's name."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) and not (name == "bias" and tensor is None):
            raise TypeError(f"{call}: {name} must be a Tensor, got {type(tensor).__name__}")
    input, weight = tensors["input"], tensors["weight"]
    if input.dim() not in (axes + 1, axes + 2):
        raise RuntimeError(
            f"{call}: input needs {axes + 2} dimensions (batch, channels and {axes} spatial) or "
            f"{axes + 1} (no batch), got {input.dim()}: {tuple(input.shape)}"
        )
    if weight.dim() != axes + 2:
        raise RuntimeError(
            f"{call}: weight needs {axes + 2} dimensions ({weight_channels} and {axes} spatial), "
            f"got {weight.dim()}: {tuple(weight.shape)}"
        )


def forward_geometry(
    call: str,
    input: Tensor,
    weight: Tensor,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
    mode: str,
    padding_mode: str,
) -> Geometry:
    """The geometry of a convolution; its result is the output."""
    axes = weight.dim() - 2
    strides = integers(call, "stride", stride, axes)
    dilations = integers(call, "dilation", dilation, axes)
    low, output_size = low_padding(
        call, padding, input.shape[-axes:], weight.shape[2:], strides, dilations
    )
    return Geometry(
        output_size,
        strides,
        low,
        dilations,
        integer(call, "groups", groups),
        word(call, "mode", mode, MODES) == "convolution",
        word(call, "padding_mode", padding_mode, PADDING_MODES),
    )


def transposed_geometry(
    call: str,
    input: Tensor,
    weight: Tensor,
    stride: Size,
    padding: Padding,
    output_padding: Size,
    groups: int,
    dilation: Size,
    mode: str,
) -> Geometry:
    """The geometry of a transposed convolution: its result is the input of the form.

    The operator would name the tensors by their role in the form, so whatever can be wrong is
    said here, in the words of the caller.
    """
    axes = weight.dim() - 2
    strides = integers(call, "stride", stride, axes)
    paddings = integers(call, "padding", padding, axes)
    extra = integers(call, "output_padding", output_padding, axes)
    dilations = integers(call, "dilation", dilation, axes)
    count = integer(call, "groups", groups)
    flip = word(call, "mode", mode, MODES) == "convolution"
    for name, values, least in (
        ("stride", strides, 1),
        ("dilation", dilations, 1),
        ("groups", [count], 1),
        ("output_padding", extra, 0),
    ):
        if any(value < least for value in values):
            raise RuntimeError(f"{call}: {name} must be at least {least}, got {values}")
    _check_transposed_channels(call, input, weight, count)
    size = []
    for axis, (n, k, s, p, e, d) in enumerate(
        zip(input.shape[-axes:], weight.shape[2:], strides, paddings, extra, dilations, strict=True)
    ):
        if e >= s and e >= d:
            raise RuntimeError(
                f"{call}: output_padding must be smaller than either stride or dilation, "
                f"got output_padding {e}, stride {s}, dilation {d} on axis {axis}"
            )
        size.append((n - 1) * s - 2 * p + d * (k - 1) + e + 1)
        if n < 1 or k < 1 or size[axis] < 1:
            raise RuntimeError(
                f"{call}: output size {size[axis]} is too small: ({n} - 1) * {s} - 2 * {p} + "
                f"{d} * ({k} - 1) + {e} + 1 on axis {axis}"
            )
    return Geometry(size, strides, paddings, dilations, count, flip, "zeros")


def _check_transposed_channels(call: str, input: Tensor, weight: Tensor, groups: int) -> None:
    shapes = f"input {tuple(input.shape)}, weight {tuple(weight.shape)}"
    channels = weight.shape[0]
    if channels < groups or channels % groups != 0:
        raise RuntimeError(
            f"{call}: groups {groups} does not divide the {channels} input channels of weight; "
            f"{shapes}"
        )
    if input.shape[-(weight.dim() - 1)] != channels:
        raise RuntimeError(
            f"{call}: input has {input.shape[-(weight.dim() - 1)]} channels but weight expects "
            f"{channels}; {shapes}"
        )
