"""The feature detectors: their taps, what they respond to, and where they run."""

import math

import pytest
import torch

import torchconv
from torchconv import kernels

SLOPES = {
    "sobel_x": ("x", kernels.sobel_x),
    "sobel_y": ("y", kernels.sobel_y),
    "prewitt": ("y", lambda axes, **k: kernels.prewitt("y", axes, **k)),
    "scharr": ("x", lambda axes, **k: kernels.scharr("x", axes, **k)),
}
EVERY = {
    **{name: make for name, (_, make) in SLOPES.items()},
    "identity": lambda axes, **k: kernels.identity(axes=axes, **k),
    "box": lambda axes, **k: kernels.box(axes=axes, **k),
    "gaussian": lambda axes, **k: kernels.gaussian(axes=axes, **k),
    "laplacian": kernels.laplacian,
    "laplacian with diagonals": lambda axes, **k: kernels.laplacian(axes, diagonal=True, **k),
    "sharpen": lambda axes, **k: kernels.sharpen(axes=axes, **k),
    "emboss": kernels.emboss,
    "gabor": lambda axes, **k: kernels.gabor(axes=axes, **k),
}
MAKE = {1: torchconv.conv1d, 2: torchconv.conv2d, 3: torchconv.conv3d}
CASES = [
    (name, axes)
    for name in EVERY
    for axes in (1, 2, 3)
    if not (axes == 1 and name in ("sobel_y", "prewitt")) and not (axes == 3 and name == "gabor")
]


@pytest.mark.parametrize(("name", "axes"), CASES)
def test_a_detector_is_a_depthwise_weight(name, axes):
    weight = EVERY[name](axes, channels=3, dtype=torch.float64)
    assert weight.shape[:2] == (3, 1) and weight.dim() == axes + 2
    assert weight.dtype == torch.float64 and weight.is_contiguous()
    assert all(n % 2 for n in weight.shape[2:])
    assert not torch.signbit(weight[weight == 0]).any()
    picture = torch.randn(2, 3, *[30] * axes, dtype=torch.float64)
    filtered = MAKE[axes](picture, weight, padding="same", groups=3)
    assert filtered.shape == picture.shape
    torch.testing.assert_close(filtered[:, 1:2], MAKE[axes](
        picture[:, 1:2], weight[:1], padding="same"))  # fmt: skip


@pytest.mark.parametrize(("name", "axes"), CASES)
def test_even_brightness_is_kept_or_ignored(name, axes):
    keeps = name in ("identity", "box", "gaussian", "sharpen", "emboss")
    total = EVERY[name](axes, dtype=torch.float64).sum().item()
    assert total == pytest.approx(1.0 if keeps else 0.0, abs=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("name", SLOPES)
def test_slopes_respond_to_growth_along_their_direction_alone(name, axes):
    direction, make = SLOPES[name]
    axis = {"x": axes - 1, "y": axes - 2}[direction]
    if axis < 0:
        with pytest.raises(ValueError, match=f"{name}: direction y needs more axes than 1"):
            make(axes)
        return
    weight = make(axes, dtype=torch.int64)
    for grown in range(axes):
        shape = [1] * axes
        shape[grown] = 5
        ramp = torch.arange(5).view(1, 1, *shape).expand(1, 1, *[5] * axes)
        answer = MAKE[axes](ramp, weight)
        # Twice the sum of the taps on one side, for a ramp of slope 1.
        assert (answer == (weight.clamp(min=0).sum() * 2 if grown == axis else 0)).all()


def test_taps_by_the_book():
    assert kernels.laplacian(diagonal=True)[0, 0].tolist() == [[1, 1, 1], [1, -8, 1], [1, 1, 1]]
    assert kernels.laplacian(axes=1)[0, 0].tolist() == [1, -2, 1]
    assert kernels.laplacian(axes=3).sum() == 0 and kernels.laplacian(axes=3).min() == -6
    assert kernels.prewitt("z", axes=3)[0, 0, :, 1, 1].tolist() == [-1, 0, 1]
    assert kernels.emboss(axes=1)[0, 0].tolist() == [-1, 1, 1]
    assert torch.equal(kernels.sharpen(0.0), kernels.identity())
    assert torch.equal(kernels.sobel_y(), kernels.sobel_x().mT)
    assert kernels.box(2)[0, 0].tolist() == [[0.25, 0.25], [0.25, 0.25]]
    assert kernels.identity((1, 5)).shape == (1, 1, 1, 5)


def test_gaussian_is_separable_and_of_its_width():
    line, plane = (kernels.gaussian(2.0, axes=a, dtype=torch.float64)[0, 0] for a in (1, 2))
    assert line.shape == (13,)
    torch.testing.assert_close(plane, torch.outer(line, line))
    distance = torch.arange(-6, 7, dtype=torch.float64)
    assert (line * distance**2).sum().sqrt() == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("angle", [0.0, math.pi / 4, math.pi / 2])
def test_gabor_answers_most_to_its_own_stripes(angle):
    y, x = torch.meshgrid(*[torch.arange(41, dtype=torch.float64) - 20] * 2, indexing="ij")

    def answer(wavelength: float, turn: float) -> float:
        along = x * math.cos(angle + turn) + y * math.sin(angle + turn)
        stripes = torch.cos(2 * math.pi * along / wavelength)[None, None]
        weight = kernels.gabor(8.0, angle, dtype=torch.float64)
        return torchconv.conv2d(stripes, weight, padding="same")[0, 0, 20, 20].item()

    assert answer(8.0, 0.0) == pytest.approx(0.5, abs=0.02)
    assert all(abs(answer(8.0, turn)) < 0.2 for turn in (math.pi / 4, math.pi / 2))
    assert all(abs(answer(wavelength, 0.0)) < 0.3 for wavelength in (4.0, 20.0))


def test_gabor_of_phase_minus_a_quarter_finds_edges():
    step = (torch.arange(25) >= 12).double().expand(25, 25)[None, None]
    weight = kernels.gabor(8.0, phase=-math.pi / 2, dtype=torch.float64)
    answer = torchconv.conv2d(step, weight).item()
    assert answer > 0.1
    assert torchconv.conv2d(1 - step, weight).item() == pytest.approx(-answer)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.complex64, torch.int8])
def test_every_dtype_that_holds_the_taps(dtype):
    assert kernels.sobel_x(dtype=dtype).dtype == dtype
    assert kernels.sobel_x().dtype == torch.get_default_dtype()
    assert kernels.gaussian(device="meta").is_meta


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: kernels.box(dtype=torch.int64), ValueError, "box: its taps are no int64 numbers"),
    (lambda: kernels.sobel_x(dtype=torch.uint8), ValueError, "its taps are no uint8 numbers"),
    (lambda: kernels.identity(4), ValueError, "size must be positive and odd, got 4"),
    (lambda: kernels.box(0), ValueError, "box: size must be positive, got 0"),
    (lambda: kernels.box(2.5), TypeError, "box: size must be an int"),
    (lambda: kernels.box((3, 3, 3)), RuntimeError, "size has 3 entries, expected 1 or 2"),
    (lambda: kernels.gaussian(0.0), ValueError, "gaussian: sigma must be positive, got 0.0"),
    (lambda: kernels.gabor(math.inf), ValueError, "gabor: wavelength must be positive, got inf"),
    (lambda: kernels.gabor(axes=3), ValueError, "gabor: axes must be 2"),
    (lambda: kernels.gabor(angle=1.0, axes=1), ValueError, "or 1 with angle 0, got 1, angle 1.0"),
    (lambda: kernels.scharr("w"), ValueError, "direction must be one of x, y, z, got 'w'"),
    (lambda: kernels.laplacian(4), ValueError, "laplacian: axes must be 1, 2 or 3, got 4"),
    (lambda: kernels.emboss(channels=0), ValueError, "emboss: channels must be positive, got 0"),
])  # fmt: skip
def test_what_makes_no_kernel_is_said(make, error, message):
    with pytest.raises(error, match=message):
        make()
