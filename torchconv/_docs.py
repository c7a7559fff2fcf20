"""The part of a docstring that functions over 1, 2 and 3 axes share."""

from collections.abc import Callable
from typing import Any, TypeVar

Documented = TypeVar("Documented", bound=Callable[..., Any])

SOURCE = """Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning,
    arXiv:1603.07285."""

CONV = f"""On every axis, for an output index o, a tap t and an input index i::

        i = o * stride - padding + t * dilation
        output[n, co, o] = bias[co] + sum over ci, t of weight[co, ci, t] * input[n, ci, i]

    The sum over ci is over the input channels of co's group. Positional arguments are those of
    `torch.nn.functional`, as are dtypes, layouts and derivatives.

    Args:
        input: (batch, in_channels, *size) or (in_channels, *size).
        weight: (out_channels, in_channels / groups, *kernel_size).
        bias: (out_channels,), added to every position. Default: None
        stride: input elements between neighbouring outputs; an int or one per axis. Default: 1
        padding: input elements added on each side: an int, one per axis, a pair (low, high) per
            axis (negative ones crop), "valid" (none), "same" (output = ceil(input / stride)),
            "full" (every overlap) or, over one axis, "causal" (all on the low side). Default: 0
        dilation: input elements between neighbouring taps; an int or one per axis. Default: 1
        groups: blocks of channels that are convolved separately. Default: 1
        mode: "cross_correlation" (default), or "convolution": the taps flipped on every axis.
        padding_mode: what is read beyond the edge: "zeros" (default), "reflect", "replicate" or
            "circular".

    Returns:
        (batch, out_channels, *output_size), without batch where the input has none. See
        `torchconv.output_size`.

    Raises:
        RuntimeError: sizes, ranks, dtypes or devices that do not fit together.
        TypeError: an argument of the wrong type.
        ValueError: a mode or padding_mode that is none of the words, a number of over 64 bits.

    {SOURCE}"""

CONV_TRANSPOSE = f"""The gradient of a convolution by its input, as a layer: each input element
    stamps the taps onto the output, `stride` apart. On every axis::

        output = (input - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1

    Positional arguments are those of `torch.nn.functional`, as are dtypes, layouts and derivatives.

    Args:
        input: (batch, in_channels, *size) or (in_channels, *size).
        weight: (in_channels, out_channels / groups, *kernel_size).
        bias: (out_channels,), added to every position. Default: None
        stride: output elements between neighbouring inputs; an int or one per axis. Default: 1
        padding: output elements cut from each side; an int or one per axis. Default: 0
        output_padding: output elements added on the high side, fewer than stride or dilation.
            Default: 0
        groups: blocks of channels that are convolved separately. Default: 1
        dilation: output elements between neighbouring taps; an int or one per axis. Default: 1
        mode: "cross_correlation" (default: the transpose of a cross-correlation), or
            "convolution": the taps flipped on every axis.

    Returns:
        (batch, out_channels, *output_size), without batch where the input has none.

    Raises:
        RuntimeError: sizes, ranks, dtypes or devices that do not fit together.
        TypeError: an argument of the wrong type.
        ValueError: a mode that is none of the words, a number of over 64 bits.

    {SOURCE}"""


LAYER = f"""Arguments, initialisation, parameters, attributes and state_dict are those of the layer
    of the same name in `torch.nn`, of which this is a subclass: checkpoints move both ways.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: taps per axis; an int or one per axis.
        stride, padding, dilation, groups, padding_mode, mode: as in the function of the same name;
            an int or one per axis where torch.nn takes that.
        bias: whether to add a learnable number to each output channel. Default: True
        device, dtype: of the parameters. Default: torch's defaults

    Shape:
        input: (batch, in_channels, *size) or (in_channels, *size).
        output: (batch, out_channels, *output_size), without batch where the input has none.

    Raises:
        ValueError: groups that do not divide the channels, or a word that is not known.

    {SOURCE}"""

KERNEL = """axes: how many spatial axes the kernel has: 1, 2 or 3. Default: 2
        channels: how many times the kernel is repeated, for groups=channels. Default: 1
        dtype, device: of the result. Default: torch's defaults

    Returns:
        (channels, 1, *kernel_size), a weight for conv1d, conv2d or conv3d.

    Raises:
        ValueError: a number or word that makes no kernel, or a dtype that cannot hold its taps.
        TypeError: a size or a number of axes that is no integer.
        RuntimeError: a size with more or fewer entries than axes."""


def documented(arguments: str) -> Callable[[Documented], Documented]:
    """Puts the shared part where the docstring says {arguments}."""

    def fill(item: Documented) -> Documented:
        if item.__doc__:  # None under python -OO
            item.__doc__ = item.__doc__.replace("{arguments}", arguments)
        return item

    return fill
