"""The detectors of torchconv.kernels on a photograph that scikit-learn ships.

    python examples/02_edge_detector.py [--out FOLDER]

Every filter is one small kernel, shown in its corner. ``padding_mode="reflect"`` mirrors the
photograph at its border, so that no dark frame and no false edge appears there.
"""

import argparse
import math
from pathlib import Path

import matplotlib
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor

import torchconv
from torchconv import kernels

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

INK = "#1f2937"

Filtered = tuple[Tensor, Tensor | None]  # a picture, and the kernel that made it


def photograph() -> Tensor:
    """[3, 427, 640], from 0 to 1."""
    return torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1) / 255


def apply(image: Tensor, kernel: Tensor) -> Tensor:
    """The kernel on each channel by itself: a depthwise convolution, as large as the image."""
    channels = image.shape[0]
    weight = kernel.expand(channels, -1, -1, -1)
    return torchconv.conv2d(image, weight, padding="same", groups=channels, padding_mode="reflect")


def filtered(image: Tensor) -> dict[str, Filtered]:
    """Each picture by its title: a photograph has three channels, a measurement has one."""
    grey = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1).mul(image).sum(0, keepdim=True)
    soft = apply(grey, kernels.gaussian(1.0))  # derivatives answer to noise: smooth first
    on = {
        "box, 13 x 13": (image, kernels.box(13)),
        "gaussian, sigma 4": (image, kernels.gaussian(4.0)),
        "sharpen": (image, kernels.sharpen(2.0)),
        "emboss": (grey.expand(3, -1, -1), kernels.emboss()),
        "laplacian": (soft, kernels.laplacian()),
        "sobel_x: vertical edges": (soft, kernels.sobel_x()),
        "sobel_y: horizontal edges": (soft, kernels.sobel_y()),
        "prewitt, along y": (soft, kernels.prewitt("y")),
        "gabor: upright stripes": (grey, kernels.gabor(7.0)),
        "gabor, turned by 45 degrees": (grey, kernels.gabor(7.0, angle=math.pi / 4)),
    }
    slopes = [apply(soft, kernels.scharr(direction)) for direction in ("x", "y")]
    return {
        "photograph": (image, None),
        **{title: (apply(picture, kernel), kernel) for title, (picture, kernel) in on.items()},
        "scharr, length of the gradient": (torch.hypot(*slopes), None),
    }


def draw(pictures: dict[str, Filtered], path: Path) -> None:
    with pyplot.rc_context({"font.family": "DejaVu Sans"}):
        figure, grid = pyplot.subplots(4, 3, figsize=(9.6, 9.2), layout="constrained")
        for axes, (title, picture) in zip(grid.flat, pictures.items(), strict=True):
            _show(axes, title, *picture)
        figure.savefig(path, dpi=90)
        with Image.open(path) as picture:  # 256 colours are enough, and a third as large
            few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(path, optimize=True)
        pyplot.close(figure)


def _show(axes: Axes, title: str, picture: Tensor, kernel: Tensor | None) -> None:
    if picture.shape[0] == 3:
        axes.imshow(picture.clamp(0, 1).permute(1, 2, 0))
    else:
        signed = bool(picture.min() < 0)
        limit = picture.abs().quantile(0.99).item()  # a few strong edges must not dim the rest
        axes.imshow(
            picture[0], cmap="RdBu_r" if signed else "magma", vmin=-limit * signed, vmax=limit
        )
    axes.set_title(title, fontsize=10, color=INK)
    axes.axis("off")
    if kernel is not None:
        inset = axes.inset_axes((0.82, 0.02, 0.16, 0.24))
        limit = kernel.abs().max().item()
        inset.imshow(kernel[0, 0], cmap="RdBu_r", vmin=-limit, vmax=limit)
        inset.set(xticks=[], yticks=[])
        inset.spines[:].set_color("#9ca3af")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("examples/output"))
    out = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    draw(filtered(photograph()), out / "edges.png")
    print(f"Twelve pictures in {out / 'edges.png'}")


if __name__ == "__main__":
    main()
