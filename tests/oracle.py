"""The three operators by their definition, in whole numbers that doubles hold exactly.

On every axis, i = o * stride - padding + t * dilation. A table of i over (o, t) says what each tap
of each output sees; taking the input by that table makes all patches at once, whatever the sizes.
Nothing here is shared with the package.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Form(NamedTuple):
    """What ties input, weight and output together; spatial sizes and numbers, one per axis."""

    input_size: Sequence[int]
    kernel_size: Sequence[int]
    output_size: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    groups: int = 1
    flip: bool = False
    padding_mode: str = "zeros"


class Meaningless(Exception):
    """The form has no value: a fold would leave the input."""


def folded(index: int, size: int, padding_mode: str) -> int | None:
    """The element that stands for `index`; None for a zero. A fold is one step, as F.pad's."""
    if 0 <= index < size:
        return index
    if padding_mode == "zeros":
        return None
    if padding_mode == "replicate":
        inside = min(max(index, 0), size - 1)
    elif padding_mode == "reflect":
        inside = -index if index < 0 else 2 * (size - 1) - index
    else:
        inside = index + size if index < 0 else index - size
    if not 0 <= inside < size:
        raise Meaningless(f"{padding_mode} of {index} in {size}")
    return inside


def patches(input: Tensor, form: Form) -> Tensor:
    """[batch, channels, o..., t...], a copy of what every tap of every output sees."""
    axes = len(form.input_size)
    for axis in range(axes):
        size, kernel = form.input_size[axis], form.kernel_size[axis]
        table = [
            folded(
                o * form.stride[axis] - form.padding[axis] + t * form.dilation[axis],
                size,
                form.padding_mode,
            )
            for o in range(form.output_size[axis])
            for t in range(kernel)
        ]
        # One more element, a zero, for all that lies outside.
        zero = input.new_zeros([1 if a == axis + 2 else n for a, n in enumerate(input.shape)])
        rows = torch.tensor([size if i is None else i for i in table], dtype=torch.int64)
        input = torch.cat([input, zero], axis + 2).index_select(axis + 2, rows)
    batch, channels = input.shape[:2]
    pairs = [n for pair in zip(form.output_size, form.kernel_size, strict=True) for n in pair]
    order = [*range(2, 2 * axes + 2, 2), *range(3, 2 * axes + 2, 2)]
    return input.reshape(batch, channels, *pairs).permute(0, 1, *order)


def conv(input: Tensor, weight: Tensor, form: Form) -> Tensor:
    axes, groups = len(form.input_size), form.groups
    if form.flip:
        weight = weight.flip(*range(2, axes + 2))
    seen = patches(input, form).unflatten(1, (groups, -1) if input.shape[1] else (groups, 0))
    taps = weight.unflatten(0, (groups, -1))
    o, t = "abc"[:axes], "uvw"[:axes]
    output = torch.einsum(f"ngi{o}{t},goi{t}->ngo{o}", seen, taps)
    return output.flatten(1, 2)


def conv_input(output: Tensor, weight: Tensor, form: Form) -> Tensor:
    channels = weight.shape[1] * form.groups
    zeros = output.new_zeros(output.shape[0], channels, *form.input_size).requires_grad_()
    # Autograd conjugates the other factor; the trilinear form does not.
    same = conv(zeros, weight.conj(), form)
    return torch.autograd.grad(same, zeros, output, create_graph=True)[0]


def conv_weight(input: Tensor, output: Tensor, form: Form) -> Tensor:
    shape = (output.shape[1], input.shape[1] // form.groups, *form.kernel_size)
    zeros = output.new_zeros(shape).requires_grad_()
    same = conv(input.conj(), zeros, form)
    return torch.autograd.grad(same, zeros, output, create_graph=True)[0]
