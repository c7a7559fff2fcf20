"""Tensors of more than 2^31 elements: every index is 64 bits wide. Long: each takes 2 to 5 GB."""

import pytest
import torch

import torchconv
from torchconv import testing

pytestmark = pytest.mark.long

LENGTH = 2**31 + 77  # elements of one byte, or of two
ENDS = (0, 1, 2**31 - 2, 2**31 - 1, 2**31, LENGTH - 3)


def bytes_free() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        fields = dict(line.split(":") for line in file)
    return int(fields["MemAvailable"].split()[0]) * 1024


@pytest.fixture(autouse=True)
def enough_memory():
    try:
        free = bytes_free()
    except OSError:
        pytest.skip("how much memory is free is known on Linux alone")
    if free < 14 << 30:
        pytest.skip(f"14 GiB needed, {free >> 30} free")


def signal(dtype: torch.dtype) -> torch.Tensor:
    """Zeros but for a few marks, on both sides of 2^31."""
    x = torch.zeros(1, 1, LENGTH, dtype=dtype)
    for number, i in enumerate(ENDS, 1):
        x[0, 0, i] = number
    return x


@pytest.mark.parametrize("dtype", [torch.int8, torch.bfloat16])
def test_a_large_input_makes_a_large_output(dtype):
    x = signal(dtype)
    y = torchconv.conv1d(x, torch.tensor([[[1, 2, 3]]], dtype=dtype))
    assert y.shape[-1] == LENGTH - 2
    for i in (0, 1, 2**31 - 4, 2**31 - 3, 2**31 - 2, 2**31 - 1, 2**31, LENGTH - 3):
        expected = x[0, 0, i] + 2 * x[0, 0, i + 1] + 3 * x[0, 0, i + 2]
        assert y[0, 0, i] == expected, i
    assert y.count_nonzero() <= 3 * len(ENDS)


@pytest.mark.parametrize("algorithm", ["gemm", "direct", "reference"])
def test_a_stride_reaches_beyond(algorithm):
    x = signal(torch.bfloat16)
    stride = 2**30
    with testing.algorithm(algorithm):
        y = torchconv.conv1d(x, torch.ones(1, 1, 2, dtype=torch.bfloat16), stride=stride)
    expected = [float(x[0, 0, i] + x[0, 0, i + 1]) for i in (0, stride, 2 * stride)]
    assert y.flatten().tolist() == expected


def test_gradients_of_a_large_input():
    y = torch.zeros(1, 1, LENGTH - 2, dtype=torch.bfloat16)
    y[0, 0, 5] = 1
    y[0, 0, 2**31 + 1] = 2
    weight = torch.tensor([[[1, 2, 3]]], dtype=torch.bfloat16)
    geometry = ([1], [0], [1], 1, False, "zeros")
    gx = torch.ops.torchconv.conv_input(y, weight, [LENGTH], *geometry)
    assert gx[0, 0, 5:8].tolist() == [1, 2, 3]
    assert gx[0, 0, 2**31 + 1 : 2**31 + 4].tolist() == [2, 4, 6]
    assert gx.count_nonzero() == 6
    gw = torch.ops.torchconv.conv_weight(gx, y, [3], *geometry)
    assert gw.flatten().tolist() == [5, 10, 15]


def test_many_images_lie_beyond():
    x = torch.zeros(2**16 + 1, 1, 2**15, dtype=torch.int8)
    x[-1, 0, -2:] = torch.tensor([1, 2], dtype=torch.int8)
    y = torchconv.conv1d(x, torch.tensor([[[3, 5]]], dtype=torch.int8))
    assert y[-1, 0, -1] == 13
    assert y.count_nonzero() == 2
