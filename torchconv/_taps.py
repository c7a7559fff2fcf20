"""What the kernels of torchconv.kernels are made of: lines, bells and slopes, in float64."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchconv.arguments import integer, integers, word

Dtype = torch.dtype | None
DIRECTIONS = ("x", "y", "z")  # from the last axis on


def sizes_of(call: str, size: Any, axes: int, odd: bool = False) -> list[int]:
    """The size along each axis."""
    if integer(call, "axes", axes) not in (1, 2, 3):
        raise ValueError(f"{call}: axes must be 1, 2 or 3, got {axes}")
    sizes = integers(call, "size", size, axes)
    if min(sizes) < 1 or (odd and any(n % 2 == 0 for n in sizes)):
        raise ValueError(f"{call}: size must be positive{' and odd' * odd}, got {size}")
    return sizes


def check_positive(call: str, **values: float) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{call}: {name} must be positive, got {value}")


def offsets(sizes: Sequence[int]) -> list[Tensor]:
    """For each axis, how far each tap lies from the middle, in a shape that broadcasts."""
    lines = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in sizes)
    return [line.view(-1, *[1] * (len(sizes) - a - 1)) for a, line in enumerate(lines)]


def bell(sizes: Sequence[int], sigma: float) -> Tensor:
    """A Gaussian of sum 1."""
    squares = sum((d**2 for d in offsets(sizes)), torch.zeros(()))
    values = torch.exp(-squares / (2 * sigma**2))
    return values / values.sum()


def slope(call: str, smooth: tuple[int, int, int], direction: str, axes: int) -> Tensor:
    """-1 0 1 along the direction, `smooth` along every other axis."""
    sizes = sizes_of(call, 3, axes)
    if word(call, "direction", direction, DIRECTIONS) not in DIRECTIONS[:axes]:
        raise ValueError(f"{call}: direction {direction} needs more axes than {axes}")
    along = axes - 1 - DIRECTIONS.index(direction)
    taps = torch.ones(sizes, dtype=torch.float64)
    for axis, offset in enumerate(offsets(sizes)):
        taps = taps * (offset if axis == along else torch.tensor(smooth).view_as(offset))
    return taps + 0.0  # no -0 among the taps


def second_difference(call: str, axes: int, diagonal: bool) -> Tensor:
    distance = sum((d.abs() for d in offsets(sizes_of(call, 3, axes))), torch.zeros(()))
    taps = ((distance > 0) & (diagonal | (distance < 2))).double()
    taps[(1,) * axes] = -taps.sum()
    return taps


def weight(call: str, taps: Tensor, channels: int, dtype: Dtype, device: Any) -> Tensor:
    """The taps once for each channel, in the dtype and on the device asked for."""
    dtype = dtype or torch.get_default_dtype()
    if integer(call, "channels", channels) < 1:
        raise ValueError(f"{call}: channels must be positive, got {channels}")
    cast = taps.to(dtype)
    if not (dtype.is_floating_point or dtype.is_complex) and (cast.double() != taps).any():
        name = str(dtype).removeprefix("torch.")
        raise ValueError(f"{call}: its taps are no {name} numbers")
    return cast.to(device).expand(channels, 1, *taps.shape).contiguous()
