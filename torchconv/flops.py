"""What torch.utils.flop_counter counts for the operators."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

Shape = Sequence[int]


def _flops(output: Shape, weight: Shape) -> int:
    """Two per multiply-add of the defining sum, padding counted and bias not, as torch does.

    Every output position of every image meets the whole weight, whichever tensor is the result.
    """
    return 2 * output[0] * prod(output[2:]) * prod(weight)


@register_flop_formula([torch.ops.torchconv.conv, torch.ops.torchconv.conv_activated])
def _conv(input: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return _flops(out_shape, weight)


@register_flop_formula(torch.ops.torchconv.conv_input)
def _conv_input(output: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return _flops(output, weight)


@register_flop_formula(torch.ops.torchconv.conv_weight)
def _conv_weight(input: Shape, output: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return _flops(output, out_shape)
