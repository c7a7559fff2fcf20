"""Wrong calls, as data: each raises what torch raises, in one sentence with the numbers in it.

A row is an expression, the type and a pattern of the message. The same expression is evaluated on
torch.nn.functional, except for what only torchconv can be asked.
"""

import re

import numpy
import pytest
import torch
import torch.nn.functional as F

import torchconv

NAMES = {
    "torch": torch,
    "numpy": numpy,
    "x": torch.ones(2, 4, 8, 8),  # input
    "w": torch.ones(6, 4, 3, 3),  # weight
    "b": torch.ones(6),  # bias
    "v": torch.ones(4, 6, 3, 3),  # weight of a transposed convolution
    "x1": torch.ones(2, 4, 8),
    "w1": torch.ones(6, 4, 3),
    "x3": torch.ones(2, 4, 8, 8, 8),
    "w3": torch.ones(6, 4, 3, 3, 3),
    "v3": torch.ones(4, 6, 3, 3, 3),
}

# Wrong for torch, too.
SHARED = [
    # numbers
    ("conv2d(x, w, stride=0)", RuntimeError, r"stride must be positive, got \(0, 0\)"),
    ("conv2d(x, w, stride=-1)", RuntimeError, r"stride must be positive, got \(-1, -1\)"),
    ("conv2d(x, w, stride=(1, 0))", RuntimeError, r"stride must be positive, got \(1, 0\)"),
    ("conv1d(x1, w1, stride=0)", RuntimeError, r"stride must be positive, got \(0,\)"),
    ("conv2d(x, w, dilation=0)", RuntimeError, r"dilation must be positive, got \(0, 0\)"),
    ("conv3d(x3, w3, dilation=-2)", RuntimeError, r"dilation must be positive, got \(-2, -2, -2"),
    ("conv2d(x, w, groups=0)", RuntimeError, r"groups must be positive, got 0"),
    ("conv2d(x, w, groups=-2)", RuntimeError, r"groups must be positive, got -2"),
    ("conv2d(x, w, padding=2**62)", RuntimeError, r"padding 4611686018427387904 .* too large"),
    ("conv2d(x, w, dilation=2**62)", RuntimeError, r"4611686018427387904 with kernel 3 is too l"),
    ("conv2d(x, w, padding=-3)", RuntimeError, r"padded input of 2 \(8 \+ 2 \* -3\) on axis 0"),
    ("conv2d(x, w, padding=-2**62)", RuntimeError, r"padding must be .*-4611686018427387904"),
    ("conv2d(x, w, stride=2**64)", ValueError, r"stride 18446744073709551616 is too la"),
    # ranks and lengths
    ("conv2d(x[0, 0], w)", RuntimeError, r"input needs 4 dimensions .* got 2: \(8, 8\)"),
    ("conv2d(x3, w)", RuntimeError, r"input needs 4 dimensions .* got 5: \(2, 4, 8, 8, 8\)"),
    ("conv1d(x, w1)", RuntimeError, r"input needs 3 dimensions .* or 2 \(no batch\), got 4"),
    ("conv3d(x1, w3)", RuntimeError, r"input needs 5 dimensions .* got 3: \(2, 4, 8\)"),
    ("conv2d(x, w1)", RuntimeError, r"weight needs 4 dimensions .* got 3: \(6, 4, 3\)"),
    ("conv2d(x, w[0, 0, 0, 0])", RuntimeError, r"weight needs 4 dimensions .* got 0: \(\)"),
    ("conv2d(x, w, stride=(1, 1, 1))", RuntimeError, r"stride has 3 entries, expected 1 or 2"),
    ("conv2d(x, w, stride=())", RuntimeError, r"stride has 0 entries, expected 1 or 2: \(\)"),
    ("conv2d(x, w, padding=(1, 2, 3))", RuntimeError, r"padding has 3 entries.*\(1, 2, 3\)"),
    ("conv3d(x3, w3, dilation=(1, 2))", RuntimeError, r"dilation has 2 entries, expected 1 or 3"),
    # channels and sizes
    ("conv2d(x[:, :3], w)", RuntimeError, r"input has 3 channels but weight expects 4"),
    ("conv2d(x, w, groups=2)", RuntimeError, r"input has 4 .* expects 8 \(4 per group, 2 groups"),
    ("conv2d(x, w[:, :1], groups=4)", RuntimeError, r"groups 4 does not divide the 6 output"),
    ("conv2d(x, w, groups=2**62)", RuntimeError, r"groups 4611686018427387904"),
    ("conv2d(x, w[:0])", RuntimeError, r"groups 1 does not divide the 0 output channels"),
    ("conv2d(x, w, b[:3])", RuntimeError, r"bias has shape \(3,\), expected \(6,\)"),
    ("conv2d(x, w, b[None])", RuntimeError, r"bias has shape \(1, 6\), expected \(6,\)"),
    ("conv2d(x, w, b[0])", RuntimeError, r"bias has shape \(\), expected \(6,\)"),
    ("conv2d(x[..., :2], w)", RuntimeError, r"kernel 3 .* padded input of 2 .* on axis 1"),
    ("conv2d(x, w, dilation=4)", RuntimeError, r"spans 9, more than the padded input of 8"),
    ("conv2d(x[:, :, :0], w)", RuntimeError, r"more than the padded input of 0 \(0 \+ 2 \* 0\)"),
    ("conv2d(x, w[..., :0])", RuntimeError, r"weight has an empty kernel: \(6, 4, 3, 0\)"),
    # dtypes and devices
    ("conv2d(x, w.double())", RuntimeError, r"input is float32 but weight is float64"),
    ("conv2d(x, w, b.double())", RuntimeError, r"input is float32 but bias is float64"),
    ("conv2d(x.bfloat16(), w)", RuntimeError, r"input is bfloat16 but weight is float32"),
    ("conv2d(x.cfloat(), w)", RuntimeError, r"input is complex64 but weight is float32"),
    ("conv2d(x.long(), w)", RuntimeError, r"input is int64 but weight is float32"),
    ("conv2d(x.bool(), w.bool())", NotImplementedError, r"not implemented for bool"),
    (
        "conv2d(x.to(torch.float8_e4m3fn), w.to(torch.float8_e4m3fn))",
        NotImplementedError,
        r"not implemented for float8_e4m3fn",
    ),
    # types
    ("conv2d(None, w)", TypeError, r"input must be a Tensor, got NoneType"),
    ("conv2d(x, None)", TypeError, r"weight must be a Tensor, got NoneType"),
    ("conv2d([[1.0]], w)", TypeError, r"input must be a Tensor, got list"),
    ("conv2d(x.numpy(), w)", TypeError, r"input must be a Tensor, got ndarray"),
    ("conv2d(x, w, 'bias')", TypeError, r"bias must be a Tensor, got str"),
    ("conv2d(x, w, stride=1.5)", TypeError, r"stride must be an int or .* got 1.5"),
    ("conv2d(x, w, stride=(1, 1.5))", TypeError, r"stride must be an int or .* got 1.5"),
    ("conv2d(x, w, stride='1')", TypeError, r"stride must be an int or .* got '1'"),
    ("conv2d(x, w, stride=None)", TypeError, r"stride must be an int or .* got None"),
    ("conv2d(x, w, stride=True)", TypeError, r"stride must be an int or .* got True"),
    ("conv2d(x, w, padding=None)", TypeError, r"padding must be an int or .* got None"),
    ("conv2d(x, w, dilation={2})", TypeError, r"dilation must be an int or .* got \{2\}"),
    ("conv2d(x, w, stride=torch.tensor([2, 2]))", TypeError, r"stride must be .* got tensor"),
    ("conv2d(x, w, groups=1.0)", TypeError, r"groups must be an int, got 1.0"),
    ("conv2d(x, w, groups=None)", TypeError, r"groups must be an int, got None"),
    ("conv2d(x, w, groups='1')", TypeError, r"groups must be an int, got '1'"),
    ("conv2d(x, w, groups=(1, 1))", TypeError, r"groups must be an int, got \(1, 1\)"),
    ("conv2d(x, w, stripe=1)", TypeError, r"stripe"),
    ("conv2d(x)", TypeError, r"weight"),
    # words
    ("conv2d(x, w, padding='sane')", RuntimeError, r"padding must be .* got 'sane'"),
    ("conv2d(x, w, padding='')", RuntimeError, r"padding must be .* got ''"),
    ("conv2d(x, w, padding='causal')", RuntimeError, r"'full', got 'causal'"),
    # transposed
    ("conv_transpose2d(x, v, stride=0)", RuntimeError, r"stride must be positive, got \(0, 0\)"),
    ("conv_transpose2d(x, v, dilation=0)", RuntimeError, r"dilation must be positive"),
    ("conv_transpose2d(x, v, groups=0)", RuntimeError, r"groups must be positive, got 0"),
    ("conv_transpose2d(x, v, output_padding=1)", RuntimeError, r"output_padding 1, stride 1, dil"),
    (
        "conv_transpose2d(x, v, None, 2, 0, -1)",
        RuntimeError,
        r"output_padding must not be negative",
    ),
    ("conv_transpose2d(x, v, None, 2, 0, (1, 2))", RuntimeError, r"output_padding 2, .* on axis 1"),
    (
        "conv_transpose2d(x, v, None, 2, 0, (1, 1, 1))",
        RuntimeError,
        r"output_padding has 3 entries",
    ),
    ("conv_transpose2d(x, v, padding=9)", RuntimeError, r"output size -8 is out of range"),
    ("conv_transpose2d(x, v, padding=2**62)", RuntimeError, r"2 \* 4611686018427387904"),
    (
        "conv_transpose2d(x, v, stride=2**62)",
        RuntimeError,
        r"out of range: .* \* 46116860184273879",
    ),
    ("conv_transpose2d(x, v, padding='same')", TypeError, r"padding must be .* got 'same'"),
    ("conv_transpose2d(x[..., :0], v)", RuntimeError, r"\(0 - 1\) \* 1 .* on axis 1"),
    ("conv_transpose2d(x, w)", RuntimeError, r"input has 4 channels but weight expects 6"),
    ("conv_transpose2d(x, v, groups=3)", RuntimeError, r"groups 3 does not divide the 4 input"),
    ("conv_transpose2d(x, v, b[:3])", RuntimeError, r"bias has shape \(3,\), expected \(6,\)"),
    ("conv_transpose2d(x, v, b[None])", RuntimeError, r"bias has shape \(1, 6\), expected \(6,\)"),
    ("conv_transpose2d(x, v, b, groups=2)", RuntimeError, r"bias .* expected \(12,\)"),
    ("conv_transpose2d(x, v.double())", RuntimeError, r"input is float32 but weight is float64"),
    ("conv_transpose2d(x, v, b.half())", RuntimeError, r"input is float32 but bias is float16"),
    ("conv_transpose2d(x.bool(), v.bool())", NotImplementedError, r"not implemented for bool"),
    ("conv_transpose2d(x[0, 0], v)", RuntimeError, r"input needs 4 dimensions .* got 2"),
    ("conv_transpose3d(x3, v)", RuntimeError, r"weight needs 5 dimensions .* got 4"),
    ("conv_transpose2d(None, v)", TypeError, r"input must be a Tensor, got NoneType"),
]

# Only torchconv can be asked, or only it says no.
OURS = [
    ("conv2d(x, w.to('meta'))", RuntimeError, r"input is on cpu but weight is on meta"),
    ("conv2d(x.to('meta'), w)", RuntimeError, r"input is on meta but weight is on cpu"),
    ("conv2d(x, w, b.to('meta'))", RuntimeError, r"input is on cpu but bias is on meta"),
    ("conv_transpose2d(x, v.to('meta'))", RuntimeError, r"input is on cpu but weight is on meta"),
    ("conv_transpose2d(x, v, b.to('meta'))", RuntimeError, r"input is on cpu but bias is on meta"),
    ("conv2d(x, w, mode='flip')", ValueError, r"mode must be one of cross_corr.* got 'flip'"),
    ("conv2d(x, w, mode=None)", ValueError, r"mode must be one of .* got None"),
    ("conv2d(x, w, padding_mode='mirror')", ValueError, r"padding_mode must .* got 'mirror'"),
    ("conv2d(x, w, padding_mode=0)", ValueError, r"padding_mode must be one of .* got 0"),
    ("conv_transpose2d(x, v, mode='flip')", ValueError, r"mode must be one of .* got 'flip'"),
    ("conv2d(x, w, padding=8, padding_mode='reflect')", RuntimeError, r"'reflect' .* 7 .* needs 8"),
    ("conv2d(x, w, padding=9, padding_mode='circular')", RuntimeError, r"'circular' .* 8 .* 9"),
    (
        "conv2d(x, w, padding=((9, 0), (0, 0)), padding_mode='circular')",
        RuntimeError,
        r"'circular' .* 8 .* 9 on axis 0",
    ),
    (
        "conv2d(x[..., :0], w, padding=2, padding_mode='replicate')",
        RuntimeError,
        r"'replicate' .* an input of 0",
    ),
    ("conv2d(x, w, padding=((1, 2),) * 3)", RuntimeError, r"padding has 3 pairs, expected 1 or 2"),
    (
        "conv2d(x, w, padding=((1, 2), 3))",
        TypeError,
        r"padding must be .*pairs.* got \(\(1, 2\), 3",
    ),
    ("conv2d(x, w, padding=((1, 2, 3),))", TypeError, r"padding must be .*pairs.*\(1, 2, 3\)"),
    ("conv2d(x, w, padding=((1, 0.5), (0, 0)))", TypeError, r"padding must be .* got 0.5"),
    (
        "conv2d(x, w, padding=((-5, 0), (-2, -4)))",
        RuntimeError,
        r"spans 3, which does not fit a padded input of 2 \(8 \+ -2 \+ -4\) on axis 1",
    ),
    ("conv2d(x, w, stride=0, padding='same')", RuntimeError, r"stride must be positive"),
    ("conv2d(x, w, stride=0, padding=((0, 1),))", RuntimeError, r"stride must be positive"),
    ("conv1d(x1, w1, stride=-1, padding='causal')", RuntimeError, r"stride must be positive"),
    ("conv2d(x, w, padding=((2**62, 0),))", RuntimeError, r"4611686018427387904"),
    ("conv2d(x, w, padding=((0, 2**63 - 1),))", RuntimeError, r"\(8 \+ 0 \+ 9223372036854775807\)"),
    ("conv2d(x, w, dilation=2**62, padding='full')", RuntimeError, r"dilation 4611686018427387904"),
    ("conv2d(x, w, dilation=2**62, padding='same')", RuntimeError, r"dilation 4611686018427387904"),
]


def raised(expression: str, home: object) -> pytest.ExceptionInfo[Exception]:
    with pytest.raises(Exception) as error:
        eval(expression, vars(home) | NAMES)
    return error


@pytest.mark.parametrize("expression, kind, message", SHARED + OURS)
def test_message(expression: str, kind: type[Exception], message: str) -> None:
    error = raised(expression, torchconv)
    text = str(error.value)
    assert error.type is kind, text
    assert re.search(message, text), text
    if "unexpected keyword" not in text and "missing" not in text:  # Python's own sentences
        call = expression.split("(")[0]
        assert text.startswith((f"{call}: ", "convolution is not implemented for")), text
        assert "\n" not in text and len(text) < 300


@pytest.mark.parametrize("expression, kind", [row[:2] for row in SHARED])
def test_type_is_torchs(expression: str, kind: type[Exception]) -> None:
    assert raised(expression, F).type is kind


@pytest.mark.parametrize("expression, kind, message", SHARED)
def test_message_under_patch(expression: str, kind: type[Exception], message: str) -> None:
    with torchconv.patch():
        assert raised(expression, F).type is kind


def test_the_table_is_long_enough() -> None:
    assert len(SHARED) + len(OURS) >= 60
