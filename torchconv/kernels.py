"""Classic feature detectors, as weights ready for the convolutions of this package.

Every function returns (channels, 1, *kernel_size), the same kernel for each channel, so that
`groups=channels` filters the channels of a picture one by one. Taps are those of a
cross-correlation, the default mode: what a detector responds to looks like its kernel. Axes are
named as in pictures: x is the last one and points right, y the one before it and points down.
"""

import math
from typing import Any

import torch
from torch import Tensor

from torchconv import _taps
from torchconv._docs import KERNEL, documented
from torchconv._taps import Dtype
from torchconv.arguments import Size


@documented(KERNEL)
def identity(
    size: Size = 3, axes: int = 2, *, channels: int = 1, dtype: Dtype = None, device: Any = None
) -> Tensor:
    """Leaves everything as it is: a single 1 in the middle.

    Args:
        size: taps per axis, odd; an int or one per axis. Default: 3
        {arguments}

    Source: the neutral element of convolution, the discrete delta.

    >>> from torchconv import kernels
    >>> kernels.identity(axes=1)
    tensor([[[0., 1., 0.]]])
    """
    taps = torch.zeros(_taps.sizes_of("identity", size, axes, odd=True), dtype=torch.float64)
    taps[tuple(n // 2 for n in taps.shape)] = 1
    return _taps.weight("identity", taps, channels, dtype, device)


@documented(KERNEL)
def box(
    size: Size = 3, axes: int = 2, *, channels: int = 1, dtype: Dtype = None, device: Any = None
) -> Tensor:
    """The mean of a neighbourhood: blurs, and responds to brightness. Its sum is 1.

    Args:
        size: taps per axis; an int or one per axis. Default: 3
        {arguments}

    Source: Gonzalez and Woods, Digital Image Processing, chapter 3, smoothing filters.

    >>> from torchconv import kernels
    >>> kernels.box((1, 4))
    tensor([[[[0.2500, 0.2500, 0.2500, 0.2500]]]])
    """
    sizes = _taps.sizes_of("box", size, axes)
    taps = torch.full(sizes, 1 / math.prod(sizes), dtype=torch.float64)
    return _taps.weight("box", taps, channels, dtype, device)


@documented(KERNEL)
def gaussian(
    sigma: float = 1.0,
    size: Size | None = None,
    axes: int = 2,
    *,
    channels: int = 1,
    dtype: Dtype = None,
    device: Any = None,
) -> Tensor:
    """A blur alike in all directions, without the ringing of a box. Its sum is 1.

    Along every axis, at a distance d from the middle, exp(-d^2 / (2 sigma^2)) up to scale.

    Args:
        sigma: width of the bell in elements. Default: 1.0
        size: taps per axis; an int or one per axis. Default: three sigmas on each side
        {arguments}

    Source: Marr and Hildreth, Theory of edge detection, 1980.

    >>> from torchconv import kernels
    >>> kernels.gaussian(sigma=1.0, size=3, axes=1)  # e^-0.5 = 0.61 of the middle on each side
    tensor([[[0.2741, 0.4519, 0.2741]]])
    """
    _taps.check_positive("gaussian", sigma=sigma)
    sizes = _taps.sizes_of("gaussian", 2 * round(3 * sigma) + 1 if size is None else size, axes)
    return _taps.weight("gaussian", _taps.bell(sizes, sigma), channels, dtype, device)


@documented(KERNEL)
def sobel_x(axes: int = 2, *, channels: int = 1, dtype: Dtype = None, device: Any = None) -> Tensor:
    """Responds to vertical edges: positive where it grows brighter to the right.

    The difference of the two neighbours along x, smoothed by 1 2 1 along every other axis.

    Args:
        {arguments}

    Source: Sobel and Feldman, An isotropic 3x3 image gradient operator, 1968.

    >>> from torchconv import kernels
    >>> kernels.sobel_x()
    tensor([[[[-1.,  0.,  1.],
              [-2.,  0.,  2.],
              [-1.,  0.,  1.]]]])
    """
    return _taps.weight(
        "sobel_x", _taps.slope("sobel_x", (1, 2, 1), "x", axes), channels, dtype, device
    )


@documented(KERNEL)
def sobel_y(axes: int = 2, *, channels: int = 1, dtype: Dtype = None, device: Any = None) -> Tensor:
    """Responds to horizontal edges: positive where it grows brighter downwards.

    Args:
        {arguments}

    Source: Sobel and Feldman, An isotropic 3x3 image gradient operator, 1968.

    >>> from torchconv import kernels
    >>> kernels.sobel_y()
    tensor([[[[-1., -2., -1.],
              [ 0.,  0.,  0.],
              [ 1.,  2.,  1.]]]])
    """
    return _taps.weight(
        "sobel_y", _taps.slope("sobel_y", (1, 2, 1), "y", axes), channels, dtype, device
    )


@documented(KERNEL)
def prewitt(
    direction: str = "x",
    axes: int = 2,
    *,
    channels: int = 1,
    dtype: Dtype = None,
    device: Any = None,
) -> Tensor:
    """Responds to edges across a direction, as Sobel's, but smooths evenly: 1 1 1.

    Args:
        direction: along which brightness must grow: "x", "y" or "z". Default: "x"
        {arguments}

    Source: Prewitt, Object enhancement and extraction, 1970.

    >>> from torchconv import kernels
    >>> kernels.prewitt("y")
    tensor([[[[-1., -1., -1.],
              [ 0.,  0.,  0.],
              [ 1.,  1.,  1.]]]])
    """
    taps = _taps.slope("prewitt", (1, 1, 1), direction, axes)
    return _taps.weight("prewitt", taps, channels, dtype, device)


@documented(KERNEL)
def scharr(
    direction: str = "x",
    axes: int = 2,
    *,
    channels: int = 1,
    dtype: Dtype = None,
    device: Any = None,
) -> Tensor:
    """Responds to edges across a direction; its two directions together give the truest angle.

    Smooths by 3 10 3, so that the length of the gradient depends least on the edge's angle.

    Args:
        direction: along which brightness must grow: "x", "y" or "z". Default: "x"
        {arguments}

    Source: Scharr, Optimal operators in digital image processing, thesis, 2000.

    >>> from torchconv import kernels
    >>> kernels.scharr("x")
    tensor([[[[ -3.,   0.,   3.],
              [-10.,   0.,  10.],
              [ -3.,   0.,   3.]]]])
    """
    taps = _taps.slope("scharr", (3, 10, 3), direction, axes)
    return _taps.weight("scharr", taps, channels, dtype, device)


@documented(KERNEL)
def laplacian(
    axes: int = 2,
    *,
    diagonal: bool = False,
    channels: int = 1,
    dtype: Dtype = None,
    device: Any = None,
) -> Tensor:
    """Responds to spots and lines, and with both signs to each side of an edge; not to slopes.

    The sum of the second differences, 1 -2 1, along all axes.

    Args:
        diagonal: whether the diagonal neighbours count as well. Default: False
        {arguments}

    Source: Marr and Hildreth, Theory of edge detection, 1980.

    >>> from torchconv import kernels
    >>> kernels.laplacian()
    tensor([[[[ 0.,  1.,  0.],
              [ 1., -4.,  1.],
              [ 0.,  1.,  0.]]]])
    """
    taps = _taps.second_difference("laplacian", axes, diagonal)
    return _taps.weight("laplacian", taps, channels, dtype, device)


@documented(KERNEL)
def sharpen(
    amount: float = 1.0,
    axes: int = 2,
    *,
    channels: int = 1,
    dtype: Dtype = None,
    device: Any = None,
) -> Tensor:
    """Makes edges stand out: the picture less its Laplacian. Its sum is 1.

    Args:
        amount: of the Laplacian; 0 leaves the picture as it is. Default: 1.0
        {arguments}

    Source: Gonzalez and Woods, Digital Image Processing, chapter 3, sharpening filters.

    >>> from torchconv import kernels
    >>> kernels.sharpen()
    tensor([[[[ 0., -1.,  0.],
              [-1.,  5., -1.],
              [ 0., -1.,  0.]]]])
    """
    taps = -amount * _taps.second_difference("sharpen", axes, diagonal=False)
    taps[(1,) * axes] += 1
    return _taps.weight(
        "sharpen", taps + 0.0, channels, dtype, device
    )  # + 0.0: no -0 among the taps


@documented(KERNEL)
def emboss(axes: int = 2, *, channels: int = 1, dtype: Dtype = None, device: Any = None) -> Tensor:
    """Lights the picture as a relief from the upper left. Its sum is 1.

    The picture and its slope towards the lower right: every tap is the sum of its offsets from the
    middle, and the middle is 1.

    Args:
        {arguments}

    Source: the customary relief filter of image editors.

    >>> from torchconv import kernels
    >>> kernels.emboss()
    tensor([[[[-2., -1.,  0.],
              [-1.,  1.,  1.],
              [ 0.,  1.,  2.]]]])
    """
    taps = sum(_taps.offsets(_taps.sizes_of("emboss", 3, axes)), torch.zeros(()))
    taps[(1,) * axes] = 1
    return _taps.weight("emboss", taps, channels, dtype, device)


@documented(KERNEL)
def gabor(
    wavelength: float = 8.0,
    angle: float = 0.0,
    phase: float = 0.0,
    sigma: float | None = None,
    size: Size | None = None,
    axes: int = 2,
    *,
    channels: int = 1,
    dtype: Dtype = None,
    device: Any = None,
) -> Tensor:
    """Responds to stripes of one width and one direction, as cells of the visual cortex do.

    A wave under a Gaussian bell of sum 1, with u = x cos(angle) + y sin(angle)::

        bell(x, y) * (cos(2 pi u / wavelength + phase) - mean)

    where the mean under the bell is taken away, so that even brightness gives 0.

    Args:
        wavelength: elements from stripe to stripe. Default: 8.0
        angle: radians from x towards y along which the wave runs; 0 finds upright stripes.
            Default: 0.0
        phase: radians; 0 finds a bright line in the middle, -pi / 2 an edge that grows brighter
            along the angle. Default: 0.0
        sigma: width of the bell in elements. Default: half a wavelength
        size: taps per axis; an int or one per axis. Default: three sigmas on each side
        {arguments}

    Source: Daugman, Uncertainty relation for resolution in space, spatial frequency, and
    orientation optimized by two-dimensional visual cortical filters, 1985.

    >>> from torchconv import kernels
    >>> kernels.gabor(wavelength=4.0).shape  # sigma 2, so 6 taps on each side
    torch.Size([1, 1, 13, 13])
    >>> bool(kernels.gabor(wavelength=4.0).sum().abs() < 1e-6)
    True
    """
    sigma = wavelength / 2 if sigma is None else sigma
    _taps.check_positive("gabor", wavelength=wavelength, sigma=sigma)
    sizes = _taps.sizes_of("gabor", 2 * round(3 * sigma) + 1 if size is None else size, axes)
    if axes > 2 or (axes == 1 and angle):
        raise ValueError(f"gabor: axes must be 2, or 1 with angle 0, got {axes}, angle {angle}")
    bell, offsets = _taps.bell(sizes, sigma), _taps.offsets(sizes)
    along = offsets[-1] * math.cos(angle) + (offsets[0] * math.sin(angle) if axes == 2 else 0)
    wave = torch.cos(2 * math.pi * along / wavelength + phase)
    return _taps.weight("gabor", bell * (wave - (bell * wave).sum()), channels, dtype, device)
