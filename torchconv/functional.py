"""Convolutions as functions.

Each takes the fast entry of `_C` first: plain tensors and plain numbers, one call. Whatever that
steps aside from (words, pairs, tensor subclasses, tracing) takes the general path below it, which
turns words into numbers and calls the operator.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from torchconv import _C
from torchconv._docs import CONV, CONV_TRANSPOSE, documented
from torchconv.arguments import (
    Padding,
    Size,
    check_alike,
    check_tensors,
    check_transposed_bias,
    forward_geometry,
    transposed_geometry,
)


@documented(CONV)
def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    mode: str = "cross_correlation",
    padding_mode: str = "zeros",
) -> Tensor:
    """Slides the taps of `weight` over the spatial axis of `input`.

    {arguments}

    >>> import torch, torchconv
    >>> signal, taps = torch.tensor([[[1, 2, 3, 4, 5]]]), torch.tensor([[[1, 0, -1]]])
    >>> torchconv.conv1d(signal, taps)
    tensor([[[-2, -2, -2]]])
    >>> torchconv.conv1d(signal, taps, padding="causal", mode="convolution")
    tensor([[[1, 2, 2, 2, 2]]])
    """
    if not torch.compiler.is_compiling():
        result = _C.conv(
            1, input, weight, bias, stride, padding, dilation, groups, mode, padding_mode
        )
        if result is not NotImplemented:
            return result
    return _conv(
        conv1d, 1, input, weight, bias, stride, padding, dilation, groups, mode, padding_mode
    )


@documented(CONV)
def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    mode: str = "cross_correlation",
    padding_mode: str = "zeros",
) -> Tensor:
    """Slides the taps of `weight` over the two spatial axes of `input`.

    {arguments}

    >>> import torch, torchconv
    >>> image, taps = torch.arange(9).view(1, 1, 3, 3), torch.ones(1, 1, 2, 2, dtype=torch.int64)
    >>> torchconv.conv2d(image, taps)
    tensor([[[[ 8, 12],
              [20, 24]]]])
    """
    if not torch.compiler.is_compiling():
        result = _C.conv(
            2, input, weight, bias, stride, padding, dilation, groups, mode, padding_mode
        )
        if result is not NotImplemented:
            return result
    return _conv(
        conv2d, 2, input, weight, bias, stride, padding, dilation, groups, mode, padding_mode
    )


@documented(CONV)
def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    mode: str = "cross_correlation",
    padding_mode: str = "zeros",
) -> Tensor:
    """Slides the taps of `weight` over the three spatial axes of `input`.

    {arguments}

    >>> import torch, torchconv
    >>> volume, taps = torch.ones(1, 1, 3, 3, 3), torch.ones(1, 1, 3, 3, 3)
    >>> torchconv.conv3d(volume, taps).item()  # every element under the taps once
    27.0
    >>> torchconv.conv3d(volume, taps, padding="same")[0, 0, 0, 0]  # a corner sees 2 x 2 x 2
    tensor([ 8., 12.,  8.])
    """
    if not torch.compiler.is_compiling():
        result = _C.conv(
            3, input, weight, bias, stride, padding, dilation, groups, mode, padding_mode
        )
        if result is not NotImplemented:
            return result
    return _conv(
        conv3d, 3, input, weight, bias, stride, padding, dilation, groups, mode, padding_mode
    )


@documented(CONV_TRANSPOSE)
def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    mode: str = "cross_correlation",
) -> Tensor:
    """Spreads each element of `input` with the taps of `weight` over one spatial axis.

    {arguments}

    >>> import torch, torchconv
    >>> signal, taps = torch.tensor([[[1, 2]]]), torch.tensor([[[1, 10, 100]]])
    >>> torchconv.conv_transpose1d(signal, taps, stride=2)  # 1 10 100 and, two on, 2 20 200
    tensor([[[  1,  10, 102,  20, 200]]])
    """
    return _conv_transpose(
        conv_transpose1d,
        1,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        mode,
    )


@documented(CONV_TRANSPOSE)
def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    mode: str = "cross_correlation",
) -> Tensor:
    """Spreads each element of `input` with the taps of `weight` over two spatial axes.

    {arguments}

    >>> import torch, torchconv
    >>> image, taps = torch.tensor([[[[1, 2]]]]), torch.ones(1, 1, 2, 2, dtype=torch.int64)
    >>> torchconv.conv_transpose2d(image, taps, stride=2)  # each element twice as large
    tensor([[[[1, 1, 2, 2],
              [1, 1, 2, 2]]]])
    """
    return _conv_transpose(
        conv_transpose2d,
        2,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        mode,
    )


@documented(CONV_TRANSPOSE)
def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size = 1,
    padding: Size = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    mode: str = "cross_correlation",
) -> Tensor:
    """Spreads each element of `input` with the taps of `weight` over three spatial axes.

    {arguments}

    >>> import torch, torchconv
    >>> volume, taps = torch.ones(1, 1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2)
    >>> torchconv.conv_transpose3d(volume, taps)[0, 0, 1]  # the centre is stamped eight times
    tensor([[2., 4., 2.],
            [4., 8., 4.],
            [2., 4., 2.]])
    """
    return _conv_transpose(
        conv_transpose3d,
        3,
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        mode,
    )


def _conv(
    function: Callable[..., Tensor],
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Padding,
    dilation: Size,
    groups: int,
    mode: str,
    padding_mode: str,
) -> Tensor:
    """The general path of `function`, one of conv1d, conv2d and conv3d."""
    tensors = (input, weight, bias)
    if has_torch_function(tensors):
        words = {"mode": mode, "padding_mode": padding_mode}
        overridden: Tensor = handle_torch_function(
            function, tensors, *tensors, stride, padding, dilation, groups, **words
        )
        return overridden
    call = function.__name__
    check_tensors(
        call, axes, "out_channels, in_channels / groups", input=input, weight=weight, bias=bias
    )
    batched = input.dim() == axes + 2
    input = input if batched else input.unsqueeze(0)
    geometry = forward_geometry(
        call, input, weight, stride, padding, dilation, groups, mode, padding_mode
    )
    output: Tensor = torch.ops.torchconv.conv.default(input, weight, bias, *geometry)
    return output if batched else output.squeeze(0)


def _conv_transpose(
    function: Callable[..., Tensor],
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size,
    padding: Size,
    output_padding: Size,
    groups: int,
    dilation: Size,
    mode: str,
) -> Tensor:
    """Both paths of `function`, one of the conv_transpose functions."""
    if not torch.compiler.is_compiling():
        result = _C.conv_transpose(
            axes, input, weight, bias, stride, padding, output_padding, groups, dilation, mode
        )
        if result is not NotImplemented:
            return result
    tensors = (input, weight, bias)
    if has_torch_function(tensors):
        numbers = (stride, padding, output_padding, groups, dilation)
        overridden: Tensor = handle_torch_function(function, tensors, *tensors, *numbers, mode=mode)
        return overridden
    call = function.__name__
    check_tensors(
        call, axes, "in_channels, out_channels / groups", input=input, weight=weight, bias=bias
    )
    batched = input.dim() == axes + 2
    input = input if batched else input.unsqueeze(0)
    geometry = transposed_geometry(
        call, input, weight, stride, padding, output_padding, groups, dilation, mode
    )
    check_alike(call, input, weight=weight, bias=bias)
    check_transposed_bias(call, weight, bias, geometry.groups)
    output: Tensor = torch.ops.torchconv.conv_input.default(input, weight, *geometry)
    if bias is not None:
        # Autocast casts what the operator is given; the bias is added outside of it.
        # Its gradient is a sum, and torch has none of complex32.
        dtype = output.dtype
        wide = torch.complex64 if dtype == torch.complex32 else dtype
        output = (output + bias.to(wide).view(-1, *[1] * axes)).to(dtype)
    return output if batched else output.squeeze(0)
