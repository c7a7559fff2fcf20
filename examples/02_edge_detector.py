"""Classic image filters as convolutions, on a photograph that scikit-learn ships.

    python examples/02_edge_detector.py [--out FOLDER]

Every filter is one small kernel. ``padding_mode="reflect"`` mirrors the photograph at its border,
so that no dark frame and no false edge appears there.
"""

import argparse
from pathlib import Path

import matplotlib
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor

import torchconv

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

INK = "#1f2937"

SMOOTH = torch.tensor([1.0, 2.0, 1.0])
SLOPE = torch.tensor([-1.0, 0.0, 1.0])
SOBEL_X = torch.outer(SMOOTH, SLOPE)  # answers to vertical edges
SOBEL_Y = SOBEL_X.T  # and to horizontal ones
LAPLACIAN = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])
SHARPEN = torch.tensor([[0.0, -1, 0], [-1, 5, -1], [0, -1, 0]])
EMBOSS = torch.tensor([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]])


def box(size: int) -> Tensor:
    return torch.full((size, size), 1 / size**2)


def gaussian(sigma: float) -> Tensor:
    """A kernel six sigmas wide, of sum 1."""
    offsets = torch.arange(-round(3 * sigma), round(3 * sigma) + 1)
    bell = torch.exp(-(offsets**2) / (2 * sigma**2))
    return torch.outer(bell, bell) / bell.sum() ** 2


def photograph() -> Tensor:
    """[3, 427, 640], from 0 to 1."""
    return torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1) / 255


def apply(image: Tensor, kernel: Tensor) -> Tensor:
    """The kernel on each channel by itself: a depthwise convolution, as large as the image."""
    channels = image.shape[0]
    weight = kernel.expand(channels, 1, *kernel.shape)
    return torchconv.conv2d(image, weight, padding="same", groups=channels, padding_mode="reflect")


def filtered(image: Tensor) -> dict[str, Tensor]:
    """Each picture by its title: a photograph has three channels, a measurement has one."""
    grey = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1).mul(image).sum(0, keepdim=True)
    soft = apply(grey, gaussian(1.0))  # derivatives answer to noise: smooth first
    across, down = apply(soft, SOBEL_X), apply(soft, SOBEL_Y)
    return {
        "photograph": image,
        "box blur, 13 x 13": apply(image, box(13)),
        "Gaussian blur, sigma 4": apply(image, gaussian(4.0)),
        "sharpen": apply(image, SHARPEN),
        "emboss": apply(grey, EMBOSS).expand(3, -1, -1),
        "Laplacian": apply(soft, LAPLACIAN),
        "Sobel x": across,
        "Sobel y": down,
        "gradient magnitude": torch.hypot(across, down),
    }


def draw(pictures: dict[str, Tensor], path: Path) -> None:
    with pyplot.rc_context({"font.family": "DejaVu Sans"}):
        figure, grid = pyplot.subplots(3, 3, figsize=(9.6, 6.9), layout="constrained")
        for axes, (title, picture) in zip(grid.flat, pictures.items(), strict=True):
            _show(axes, title, picture)
        figure.savefig(path, dpi=100, pil_kwargs={"optimize": True})
        pyplot.close(figure)


def _show(axes: Axes, title: str, picture: Tensor) -> None:
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


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("examples/output"))
    out = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    draw(filtered(photograph()), out / "edges.png")
    print(f"Nine pictures in {out / 'edges.png'}")


if __name__ == "__main__":
    main()
