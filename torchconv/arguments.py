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


def _huge(number: int, bits: int = 62) -> bool:
    """Whether arithmetic here (Python's ints have no end) has left what the operators can take.

    A traced size is not asked: the question would put a bound on it.
    """
    traced = type(number) is not int or torch.compiler.is_compiling()
    return not traced and not -(2**bits) <= number < 2**bits


def spatial_size(tensor: Tensor) -> Sequence[int]:
    """The sizes after batch and channels.

    As plain numbers under torch.jit.trace: operators take no lists of its traced ones.
    """
    size = tensor.shape[2:]
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return [int(n) for n in size] if tracing else size


def integer(call: str, name: str, value: Any, expected: str = "an int") -> int:
    """`value` as an int, whatever integer type it has."""
    if type(value) is int or isinstance(value, torch.SymInt):
        number = cast(int, value)  # a SymInt does what an int does
    else:
        try:
            if isinstance(value, bool):
                raise TypeError
            number = operator.index(value)
        except TypeError:
            raise TypeError(f"{call}: {name} must be {expected}, got {value!r}") from None
    if _huge(number, bits=63):
        raise ValueError(f"{call}: {name} {number} is too large")
    return number


def integers(call: str, name: str, value: Any, axes: int) -> list[int]:
    """`value` once per axis: a single one stands for every axis."""
    expected = "an int or a tuple of ints"
    if not isinstance(value, tuple | list):
        return [integer(call, name, value, expected)] * axes
    numbers = [integer(call, name, entry, expected) for entry in value]
    if len(value) not in (1, axes):
        raise RuntimeError(
            f"{call}: {name} has {len(value)} entries, expected 1 or {axes}: {tuple(value)}"
        )
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
    # What the operator refuses anyway is left to its words before it spoils the arithmetic here.
    refused = any(s < 1 for s in stride) or any(map(_huge, reach))
    if padding == "valid" or (refused and isinstance(padding, str)):
        return [0] * axes, None
    if padding == "full":
        return reach, None
    if padding == "same" or (padding == "causal" and axes == 1):
        size = [(n + s - 1) // s for n, s in zip(input_size, stride, strict=True)]
        if padding == "causal":
            return reach, size
        if all(s == 1 and r % 2 == 0 for s, r in zip(stride, reach, strict=True)):
            return [r // 2 for r in reach], None
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
        low, high = _sides(call, padding, axes)
        if refused:
            return low, None
        return low, _padded_output(call, input_size, low, high, reach, stride)
    return integers(call, "padding", padding, axes), None


def _sides(call: str, padding: Sequence[Any], axes: int) -> tuple[list[int], list[int]]:
    """The low and the high side of padding given as ((low, high), ...)."""
    if len(padding) not in (1, axes):
        raise RuntimeError(
            f"{call}: padding has {len(padding)} pairs, expected 1 or {axes}: {tuple(padding)}"
        )
    pairs = [padding[0]] * axes if len(padding) == 1 else padding
    if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
        raise TypeError(f"{call}: padding must be ints or pairs (low, high), got {padding!r}")
    low, high = (
        [integer(call, "padding", pair[side], "ints or pairs of ints") for pair in pairs]
        for side in (0, 1)
    )
    return low, high


def _padded_output(
    call: str,
    input_size: Sequence[int],
    low: Sequence[int],
    high: Sequence[int],
    reach: Sequence[int],
    stride: Sequence[int],
) -> list[int]:
    """The natural output size of an input with so much padding on its sides."""
    size = []
    for axis, (n, a, b, r, s) in enumerate(zip(input_size, low, high, reach, stride, strict=True)):
        if n + a + b <= r or _huge(n + a + b):
            raise RuntimeError(
                f"{call}: kernel spans {r + 1}, which does not fit a padded input of {n + a + b} "
                f"({n} + {a} + {b}) on axis {axis}"
            )
        size.append((n + a + b - r - 1) // s + 1)
    return size


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


def check_alike(call: str, input: Tensor, **others: Tensor | None) -> None:
    """One device and, where autocast will not see to that, one dtype."""
    autocast = torch.is_autocast_enabled(input.device.type)
    for name, other in others.items():
        if other is None:
            continue
        if other.dtype != input.dtype and not autocast:
            ours, theirs = (str(t.dtype).removeprefix("torch.") for t in (input, other))
            raise RuntimeError(f"{call}: input is {ours} but {name} is {theirs}")
        if other.device != input.device:
            raise RuntimeError(
                f"{call}: input is on {input.device} but {name} is on {other.device}"
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
    """The geometry of a convolution of batched input; its result is the output."""
    axes = weight.dim() - 2
    strides = integers(call, "stride", stride, axes)
    dilations = integers(call, "dilation", dilation, axes)
    low, output_size = low_padding(
        call, padding, spatial_size(input), spatial_size(weight), strides, dilations
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
    """The geometry of a transposed convolution of batched input: its result is the form's input.

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
    if count < 1:
        raise RuntimeError(f"{call}: groups must be positive, got {count}")
    for name, values in (("stride", strides), ("dilation", dilations)):
        if any(value < 1 for value in values):
            raise RuntimeError(f"{call}: {name} must be positive, got {tuple(values)}")
    if any(value < 0 for value in extra):
        raise RuntimeError(f"{call}: output_padding must not be negative, got {tuple(extra)}")
    _check_transposed_channels(call, input, weight, count)
    size = []
    for axis, (n, k, s, p, e, d) in enumerate(
        zip(
            spatial_size(input),
            spatial_size(weight),
            strides,
            paddings,
            extra,
            dilations,
            strict=True,
        )
    ):
        if e >= s and e >= d:
            raise RuntimeError(
                f"{call}: output_padding must be smaller than either stride or dilation, "
                f"got output_padding {e}, stride {s}, dilation {d} on axis {axis}"
            )
        size.append((n - 1) * s - 2 * p + d * (k - 1) + e + 1)
        if n < 1 or k < 1 or size[axis] < 0 or _huge(size[axis]):
            raise RuntimeError(
                f"{call}: output size {size[axis]} is out of range: ({n} - 1) * {s} - 2 * {p} + "
                f"{d} * ({k} - 1) + {e} + 1 on axis {axis}"
            )
    return Geometry(size, strides, paddings, dilations, count, flip, "zeros")


def _check_transposed_channels(call: str, input: Tensor, weight: Tensor, groups: int) -> None:
    channels = weight.shape[0]
    if channels < groups or channels % groups != 0:
        wrong = f"groups {groups} does not divide the {channels} input channels of weight"
    elif input.shape[1] != channels:
        wrong = f"input has {input.shape[1]} channels but weight expects {channels}"
    else:
        return
    raise RuntimeError(f"{call}: {wrong}; input {tuple(input.shape)}, weight {tuple(weight.shape)}")


def check_transposed_bias(call: str, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    """One entry for each output channel of a transposed convolution."""
    channels = weight.shape[1] * groups
    if bias is not None and (bias.dim() != 1 or bias.shape[0] != channels):
        raise RuntimeError(
            f"{call}: bias has shape {tuple(bias.shape)}, expected ({channels},), one entry for "
            "each output channel"
        )
