"""Trains a small network of torchconv layers on scikit-learn's handwritten digits.

    python examples/03_train.py [--epochs N] [--out FOLDER]

1,797 digits of 8 x 8 pixels, a fifth of them kept for the test. Takes ten seconds or so on two
cores. Exits with an error where the network reads fewer than 98 % of the test digits rightly.
"""

import argparse
import sys
import time
from pathlib import Path

import matplotlib
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from tqdm import tqdm

import torchconv
from torchconv.pictures import each_scaled, mosaic

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

BATCH = 128
GOAL = 0.98
INK, BLUE, ORANGE = "#1f2937", "#3867d6", "#fa8231"
History = dict[str, list[float]]


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images [count, 1, 8, 8] from 0 to 1 and their labels: for training, then for the test."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(data.target)
    train, test = train_test_split(
        torch.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0
    )
    return images[train], labels[train], images[test], labels[test]


class Network(nn.Module):
    """Three convolutions, one of them depthwise, then a linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torchconv.Conv2d(1, 32, 5, padding=2)
        self.second = nn.Sequential(
            torchconv.Conv2d(32, 32, 3, padding=1, groups=32, bias=False),
            torchconv.Conv2d(32, 64, 1, bias=False),
            nn.BatchNorm2d(64),
        )
        self.third = torchconv.Conv2d(64, 96, 3, padding="same")
        self.classify = nn.Sequential(nn.Dropout(0.3), nn.Linear(96 * 2 * 2, 10))

    def features(self, images: Tensor) -> list[Tensor]:
        first = F.relu(self.first(images))
        second = F.relu(self.second(first))
        third = F.relu(self.third(F.max_pool2d(second, 2)))
        return [first, second, third]

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(F.max_pool2d(self.features(images)[-1], 2).flatten(1))


def shifted(images: Tensor) -> Tensor:
    """Every image moved by up to one pixel each way, so that no digit is seen twice alike."""
    count = len(images)
    rows, columns = torch.randint(0, 3, (2, count, 1, 1))
    rows, columns = rows + torch.arange(8).view(1, 8, 1), columns + torch.arange(8).view(1, 1, 8)
    padded = F.pad(images, (1, 1, 1, 1))
    return padded[torch.arange(count).view(-1, 1, 1), 0, rows, columns].unsqueeze(1)


def train(network: Network, epochs: int, data: tuple[Tensor, Tensor, Tensor, Tensor]) -> History:
    """Fits the network in place. Returns the training loss and test accuracy of each epoch."""
    images, labels, test_images, test_labels = data
    steps = epochs * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    history: History = {"loss": [], "accuracy": []}
    progress = tqdm(total=steps, unit="step", desc="training")
    for _ in range(epochs):
        network.train()
        losses = []
        for batch in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(shifted(images[batch])), labels[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            progress.update()
        history["loss"].append(sum(losses) / len(losses))
        history["accuracy"].append(accuracy(network, test_images, test_labels))
        progress.set_postfix({name: f"{values[-1]:.4f}" for name, values in history.items()})
    progress.close()
    return history


@torch.inference_mode()
def accuracy(network: Network, images: Tensor, labels: Tensor) -> float:
    network.eval()
    return (network(images).argmax(1) == labels).float().mean().item()


@torch.inference_mode()
def draw(network: Network, history: History, image: Tensor, path: Path) -> None:
    """The learned kernels, what the layers make of one digit, and the course of the training."""
    network.eval()
    first, second, third = (maps[0] for maps in network.features(image.unsqueeze(0)))
    with pyplot.rc_context({"font.family": "DejaVu Sans", "text.color": INK}):
        figure = pyplot.figure(figsize=(9.6, 5.2), layout="constrained")
        upper, lower = figure.subfigures(2, 1, height_ratios=(4, 5), hspace=0.05)
        left, middle, right = upper.subplots(1, 3, width_ratios=(1, 2, 2))
        _tiles(left, image, "a digit of the test", "gray", 1)
        _tiles(middle, network.first.weight[:, 0], "the first layer's 32 kernels", "RdBu_r", 8)
        _tiles(right, first, "what they see in the digit", "magma", 8)
        left, middle, right = lower.subplots(1, 3, width_ratios=(1.9, 1, 1.5))
        _curves(left, history)
        _tiles(middle, second, "the second layer's 64 maps", "magma", 8)
        _tiles(right, third, "the third layer's 96 maps", "magma", 12)
        figure.savefig(path, dpi=100)
        pyplot.close(figure)


def _tiles(axes: Axes, maps: Tensor, title: str, colours: str, columns: int) -> None:
    """All maps as one mosaic, each scaled by its own largest value."""
    signed = bool(maps.min() < 0)
    axes.imshow(mosaic(each_scaled(maps), columns), cmap=colours, vmin=-1 if signed else 0, vmax=1)
    axes.set_title(title, fontsize=10)
    axes.axis("off")


def _curves(axes: Axes, history: History) -> None:
    epochs = range(1, len(history["loss"]) + 1)
    wrong = [1 - share for share in history["accuracy"]]
    axes.plot(epochs, wrong, color=BLUE, linewidth=2, label="test digits misread")
    axes.plot(epochs, history["loss"], color=ORANGE, linewidth=2, label="training loss")
    axes.set_yscale("log")
    axes.set_title(f"{history['accuracy'][-1]:.1%} of the test digits read rightly", fontsize=10)
    axes.set_xlabel("epoch", color=INK)
    axes.grid(color="#e5e7eb", linewidth=0.8)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, which="both", colors=INK)
    axes.legend(frameon=False)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--out", type=Path, default=Path("examples/output"))
    parser.add_argument("--goal", type=float, default=GOAL, help="accuracy that counts as success")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    data = digits()
    network = Network()
    start = time.monotonic()
    history = train(network, options.epochs, data)
    reached = history["accuracy"][-1]
    options.out.mkdir(parents=True, exist_ok=True)
    picture = options.out / "train.png"
    draw(network, history, data[2][1], picture)
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{reached:.2%} of {len(data[3])} test digits read rightly by {count:,} parameters "
          f"after {time.monotonic() - start:.0f} s; picture in {picture}")  # fmt: skip
    return 0 if reached >= options.goal else 1


if __name__ == "__main__":
    sys.exit(main())
