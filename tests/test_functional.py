"""Values of the functions, against constructions from F.pad, F.conv*, numpy and scipy.

Everything is filled with small integers, so that results are compared with ==.
"""

import itertools

import numpy
import pytest
import scipy.signal
import torch
import torch.nn.functional as F
from torch import Tensor

import torchconv

CONV = {1: torchconv.conv1d, 2: torchconv.conv2d, 3: torchconv.conv3d}
NATIVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSE = {
    1: torchconv.conv_transpose1d,
    2: torchconv.conv_transpose2d,
    3: torchconv.conv_transpose3d,
}
NATIVE_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def integers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randint(-3, 4, shape).to(dtype)


def pad(input: Tensor, pairs: list[tuple[int, int]], mode: str = "zeros") -> Tensor:
    """F.pad with pairs in the order of the axes."""
    flat = [side for pair in reversed(pairs) for side in pair]
    return F.pad(input, flat, mode="constant" if mode == "zeros" else mode)


# input size, kernel, stride, dilation, padding, and the pairs that the padding stands for
PADDINGS = {
    "int": ((7, 6), (3, 2), (1, 1), (1, 1), 1, [(1, 1), (1, 1)]),
    "one_entry": ((7, 6), (3, 2), (1, 2), (1, 1), (2,), [(2, 2), (2, 2)]),
    "tuple": ((7, 6), (3, 2), (2, 1), (1, 1), (0, 2), [(0, 0), (2, 2)]),
    "negative": ((7, 9), (3, 2), (1, 1), (1, 1), (-1, -2), [(-1, -1), (-2, -2)]),
    "valid": ((7, 6), (3, 2), (1, 2), (2, 1), "valid", [(0, 0), (0, 0)]),
    "full": ((7, 6), (3, 2), (1, 1), (2, 3), "full", [(4, 4), (3, 3)]),
    "full_strided": ((7, 6), (3, 4), (2, 3), (1, 1), "full", [(2, 2), (3, 3)]),
    "same": ((7, 6), (3, 5), (1, 1), (1, 1), "same", [(1, 1), (2, 2)]),
    "same_even": ((7, 6), (4, 2), (1, 1), (1, 3), "same", [(1, 2), (1, 2)]),
    "pairs": ((7, 6), (3, 2), (1, 2), (1, 1), ((1, 2), (0, 3)), [(1, 2), (0, 3)]),
    "one_pair": ((7, 6), (3, 2), (1, 2), (1, 1), ((0, 3),), [(0, 3), (0, 3)]),
    "pairs_as_lists": ((7, 6), (3, 2), (1, 1), (2, 1), [[1, 0], [2, 2]], [(1, 0), (2, 2)]),
    "pairs_that_crop": ((9, 8), (3, 2), (2, 1), (1, 2), ((-2, 3), (1, -3)), [(-2, 3), (1, -3)]),
    "causal": ((9,), (3,), (1,), (2,), "causal", [(4, 0)]),
    "causal_strided": ((9,), (4,), (3,), (1,), "causal", [(3, 0)]),
    "volume": ((5, 4, 6), (3, 2, 1), (1, 2, 1), (1, 1, 1), "same", [(1, 1), (0, 0), (0, 0)]),
}


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("case", PADDINGS)
def test_padding_is_what_it_stands_for(case: str, padding_mode: str) -> None:
    size, kernel, stride, dilation, padding, pairs = PADDINGS[case]
    if case == "pairs_that_crop" and padding_mode == "circular":
        pytest.skip("F.pad wraps around what the crop left, not around the input")
    axes = len(size)
    input, weight, bias = integers(2, 4, *size), integers(6, 2, *kernel), integers(6)
    ours = CONV[axes](
        input, weight, bias, stride, padding, dilation, groups=2, padding_mode=padding_mode
    )
    padded = pad(input, pairs, padding_mode)
    native = NATIVE[axes](padded, weight, bias, stride, 0, dilation, groups=2)
    assert torch.equal(ours, native)
    assert ours.shape[2:] == torchconv.output_size(size, kernel, stride, padding, dilation)


@pytest.mark.parametrize("size, kernel, stride, dilation", [
    *itertools.product((1, 2, 5, 6), (1, 2, 3, 4), (1, 2, 3, 5), (1, 2)),
])  # fmt: skip
def test_same_keeps_one_output_per_stride(
    size: int, kernel: int, stride: int, dilation: int
) -> None:
    # TensorFlow's definition of SAME.
    output = -(-size // stride)
    total = max(0, (output - 1) * stride + dilation * (kernel - 1) + 1 - size)
    input, weight = integers(1, 1, size), integers(1, 1, kernel)
    padded = F.pad(input, (total // 2, total - total // 2))
    ours = torchconv.conv1d(input, weight, stride=stride, padding="same", dilation=dilation)
    assert torch.equal(ours, F.conv1d(padded, weight, stride=stride, dilation=dilation))
    assert ours.shape[-1] == output


@pytest.mark.parametrize("mode", ["valid", "same", "full"])
@pytest.mark.parametrize("size, kernel", [((7, 6), (3, 3)), ((6, 9), (1, 5)), ((5, 5), (5, 5))])
def test_modes_are_scipys(mode: str, size: tuple[int, int], kernel: tuple[int, int]) -> None:
    image, taps = integers(*size, dtype=torch.float64), integers(*kernel, dtype=torch.float64)
    for word, function in (
        ("cross_correlation", scipy.signal.correlate2d),
        ("convolution", scipy.signal.convolve2d),
    ):
        ours = torchconv.conv2d(image[None], taps[None, None], padding=mode, mode=word)[0]
        numpy.testing.assert_array_equal(ours, function(image, taps, mode))


def test_convolution_of_one_axis_is_numpys() -> None:
    signal, taps = integers(1, 1, 20, dtype=torch.int64), integers(1, 1, 4, dtype=torch.int64)
    ours = torchconv.conv1d(signal, taps, padding="full", mode="convolution")
    numpy.testing.assert_array_equal(ours[0, 0], numpy.convolve(signal[0, 0], taps[0, 0]))


TRANSPOSED = {
    "plain": dict(),
    "stride": dict(stride=2),
    "padding": dict(stride=3, padding=1),
    "output_padding": dict(stride=3, padding=2, output_padding=2),
    "output_padding_below_dilation": dict(stride=1, output_padding=1, dilation=2),
    "groups": dict(stride=2, groups=2, dilation=3),
}


@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("case", TRANSPOSED)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_transposed_equals_torch(axes: int, case: str, bias: bool) -> None:
    arguments = TRANSPOSED[case]
    input, weight = integers(2, 4, *(5, 4, 3)[:axes]), integers(4, 3, *(3, 2, 4)[:axes])
    added = integers(3 * arguments.get("groups", 1)) if bias else None
    native = NATIVE_TRANSPOSE[axes](input, weight, added, **arguments)
    assert torch.equal(TRANSPOSE[axes](input, weight, added, **arguments), native)
    unbatched = TRANSPOSE[axes](input[0], weight, added, **arguments)
    assert torch.equal(unbatched, native[0])
    flipped = weight.flip(*range(2, axes + 2))
    ours = TRANSPOSE[axes](input, flipped, added, **arguments, mode="convolution")
    assert torch.equal(ours, native)


@pytest.mark.parametrize("padding", [0, (1,), "same", "full", ((2, 0),)])
def test_unbatched_input_is_a_batch_of_one(padding: torchconv.arguments.Padding) -> None:
    input, weight, bias = integers(2, 8), integers(4, 2, 3), integers(4)
    ours = torchconv.conv1d(input, weight, bias, padding=padding)
    assert torch.equal(ours, torchconv.conv1d(input[None], weight, bias, padding=padding)[0])


@pytest.mark.parametrize("padding", [1, "same", ((0, 1), (2, 0))])
def test_empty_batch_and_its_gradients(padding: torchconv.arguments.Padding) -> None:
    input = torch.empty(0, 3, 8, 8, requires_grad=True)
    weight = torch.ones(4, 3, 3, 3, requires_grad=True)
    output = torchconv.conv2d(input, weight, padding=padding)
    assert output.shape[:2] == (0, 4)
    output.sum().backward()
    assert input.grad is not None and input.grad.shape == input.shape
    assert torch.equal(weight.grad, torch.zeros_like(weight))


@pytest.mark.parametrize("dtype", [
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128,
], ids=str)  # fmt: skip
def test_dtype(dtype: torch.dtype) -> None:
    input, weight = integers(1, 4, 6, 6, dtype=dtype), integers(2, 4, 3, 3, dtype=dtype)
    native = F.conv2d(input, weight, padding=1)
    ours = torchconv.conv2d(input, weight, padding="same")
    assert ours.dtype == native.dtype
    assert torch.equal(ours, native)


def test_integers_wrap_as_torchs_do() -> None:
    input, weight = torch.full((1, 2, 3), 100, dtype=torch.int8), torch.full((1, 2, 2), 3).char()
    assert torch.equal(torchconv.conv1d(input, weight), F.conv1d(input, weight))


@pytest.mark.parametrize("case", PADDINGS)
def test_gradients_of_every_padding(case: str) -> None:
    size, kernel, stride, dilation, padding, pairs = PADDINGS[case]
    axes = len(size)
    tensors = [integers(2, 4, *size), integers(6, 2, *kernel), integers(6)]
    ours, native = ([t.clone().requires_grad_() for t in tensors] for _ in range(2))
    output = CONV[axes](*ours, stride, padding, dilation, groups=2)
    cotangent = integers(*output.shape)
    output.backward(cotangent)
    padded = pad(native[0], pairs)
    NATIVE[axes](padded, *native[1:], stride, 0, dilation, groups=2).backward(cotangent)
    for a, b in zip(ours, native, strict=True):
        assert torch.equal(a.grad, b.grad)


def test_sizes_may_be_any_integer_type() -> None:
    input, weight = integers(1, 1, 9), integers(1, 1, 3)
    native = F.conv1d(input, weight, stride=2, padding=1)
    for two, one in ((numpy.int64(2), numpy.int32(1)), (torch.tensor(2), torch.tensor(1))):
        assert torch.equal(torchconv.conv1d(input, weight, stride=two, padding=one), native)
        assert torch.equal(torchconv.conv1d(input, weight, stride=[two], padding=[one]), native)


def test_output_size_takes_ints_and_tuples() -> None:
    assert torchconv.output_size(32, 3) == 30
    assert torchconv.output_size(32, 3, 2, ((1, 0),)) == (16,)
    assert torchconv.output_size((32, 16), 3, padding=(1, 0)) == (32, 14)
    assert torchconv.output_size(5, 3, padding="causal", dilation=4) == 5
    with pytest.raises(RuntimeError, match="spans 5, which does not fit a padded input of 3"):
        torchconv.output_size(3, 5)
    with pytest.raises(RuntimeError, match=r"stride must be positive, got \(0,\)"):
        torchconv.output_size(3, 3, stride=0)


def test_num_parameters_counts_a_layers() -> None:
    layer = torch.nn.Conv3d(6, 4, (3, 2, 1), groups=2)
    count = sum(p.numel() for p in layer.parameters())
    assert torchconv.num_parameters(6, 4, (3, 2, 1), groups=2) == count
    with pytest.raises(
        ValueError, match="groups 3 does not divide in_channels 6 and out_channels 4"
    ):
        torchconv.num_parameters(6, 4, 3, groups=3)
