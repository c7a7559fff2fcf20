"""Sizes without tensors: the output dimension formula and the number of parameters."""

from math import prod

from torchconv.arguments import Padding, Size, integer, integers, low_padding


def output_size(
    input_size: Size,
    kernel_size: Size,
    stride: Size = 1,
    padding: Padding = 0,
    dilation: Size = 1,
) -> int | tuple[int, ...]:
    """Spatial size of a convolution's output.

    On every axis, with `padding` counted on each side::

        output = floor((input + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1

    Args:
        input_size: elements per axis, an int (one axis) or a tuple.
        kernel_size: taps per axis, an int (the same on every axis) or a tuple.
        stride: elements between neighbouring outputs. Default: 1
        padding: elements added on each side, or any other form `torchconv.conv2d` takes.
            Default: 0
        dilation: elements between neighbouring taps. Default: 1

    Returns:
        A tuple with one size per axis; an int where no argument is a tuple.

    Raises:
        RuntimeError: where the kernel is larger than the padded input, or a stride is not positive.

    Source: Dumoulin and Visin, A guide to convolution arithmetic for deep learning,
    arXiv:1603.07285.

    >>> import torchconv
    >>> torchconv.output_size(224, kernel_size=7, stride=2, padding=3)
    112
    >>> torchconv.output_size((5, 6), kernel_size=(3, 2), padding="same", stride=2)
    (3, 3)
    """
    call = "output_size"
    arguments = (input_size, kernel_size, stride, padding, dilation)
    sequences = [v for v in arguments if isinstance(v, tuple | list)]
    axes = max((len(v) for v in sequences), default=1)
    inputs = integers(call, "input_size", input_size, axes)
    kernels = integers(call, "kernel_size", kernel_size, axes)
    strides = integers(call, "stride", stride, axes)
    dilations = integers(call, "dilation", dilation, axes)
    for name, values in (("kernel_size", kernels), ("stride", strides), ("dilation", dilations)):
        if min(values) < 1:
            raise RuntimeError(f"{call}: {name} must be positive, got {tuple(values)}")
    low, size = low_padding(call, padding, inputs, kernels, strides, dilations)
    if size is None:
        pairs = [(p, p) for p in low]
        _, size = low_padding(call, pairs, inputs, kernels, strides, dilations)
        assert size is not None  # pairs always have one
    return tuple(size) if sequences else size[0]


def num_parameters(
    in_channels: int, out_channels: int, kernel_size: Size, groups: int = 1, bias: bool = True
) -> int:
    """Number of trainable numbers of a convolution layer.

    ::

        out_channels * (in_channels / groups) * product(kernel_size) + out_channels if bias

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: taps per axis: an int for one axis, a tuple for more.
        groups: blocks the channels are split into. Default: 1
        bias: whether each output channel has a bias. Default: True

    Returns:
        The count, an int.

    Raises:
        ValueError: where groups does not divide both channel counts.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 9.2.

    >>> import torchconv
    >>> torchconv.num_parameters(3, 64, (7, 7))
    9472
    >>> torchconv.num_parameters(8, 8, (3, 3), groups=8, bias=False)
    72
    """
    call = "num_parameters"
    taps = [kernel_size] if isinstance(kernel_size, int) else list(kernel_size)
    taps = [integer(call, "kernel_size", k) for k in taps]
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise ValueError(
            f"{call}: groups {groups} does not divide in_channels {in_channels} and "
            f"out_channels {out_channels}"
        )
    return out_channels * (in_channels // groups) * prod(taps) + (out_channels if bias else 0)
