"""Training curves: ResNet-18 on synthetic images by plain torch and by torchconv, same seed.

Training amplifies every rounding: a relu that flips in one of two right runs parts them for good.
So plain torch in float64 tells where the curve really runs, and how far a right run may leave it
is told by plain torch's, and by plain torch's from weights one unit in the last place away.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import torchconv
from torchconv import _tables
from torchconv.explain import RESULTS
from torchconv.tools.report import load_json, machine, save_json
from torchconv.tools.zoo import randomise, resnet18

EXACT, TORCH, OURS = "torch, float64", "torch", "torchconv"
NUDGED = "torch, one ulp away"
RUNS = (EXACT, TORCH, OURS, NUDGED)
CLASSES, SIZE, NOISE = 10, 32, 1.5
RATE, MOMENTUM = 0.02, 0.9
FIRST_TOLERANCE = 1e-5  # of the first loss, which no training has amplified yet; relative


@dataclass
class Curves:
    """The loss of every step of every run so far."""

    settings: dict[str, int]  # steps, batch, thin
    machine: dict[str, Any] = field(default_factory=machine)
    algorithms: dict[str, dict[str, int]] = field(default_factory=dict)  # layers, by result
    losses: dict[str, list[float]] = field(default_factory=dict)

    def apart(self, run: str) -> list[float]:
        """How far a run's losses are from float64's, step by step."""
        pairs = zip(self.losses[run], self.losses[EXACT], strict=False)
        return [abs(a - b) for a, b in pairs]

    @property
    def sound(self) -> bool:
        """Whether the first losses agree, and all are finite."""
        allowed = FIRST_TOLERANCE * self.losses[EXACT][0]
        return all(
            self.apart(name)[0] <= allowed and all(map(math.isfinite, losses))
            for name, losses in self.losses.items()
        )

    def save(self, path: Path) -> None:
        save_json(asdict(self), path)

    @classmethod
    def load(cls, path: Path) -> Curves:
        return cls(**load_json(path))


def run(steps: int, batch: int, thin: int) -> Iterator[Curves]:
    """Trains once for each of RUNS; yields the same curves after every step, one loss longer."""
    curves = Curves({"steps": steps, "batch": batch, "thin": thin})
    for name in RUNS:
        torch.manual_seed(0)
        model = randomise(resnet18(thin))
        if name == OURS:
            curves.algorithms = algorithms(torchconv.convert(model), batch)
        elif name == NUDGED:
            nudge(model)
        elif name == EXACT:
            model.double()
        losses = curves.losses[name] = []
        for loss in train(model, steps, batch):
            losses.append(loss)
            yield curves


def images(steps: int, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of noisy copies of ten smooth patterns, and which pattern each one is."""
    generator = torch.Generator().manual_seed(1)
    patterns = torch.randn(CLASSES, 3, 8, 8, generator=generator)
    patterns = F.interpolate(patterns, size=SIZE, mode="bilinear")
    for _ in range(steps):
        labels = torch.randint(CLASSES, (batch,), generator=generator)
        noise = torch.randn(batch, 3, SIZE, SIZE, generator=generator)
        yield patterns[labels] + NOISE * noise, labels


def train(model: nn.Module, steps: int, batch: int) -> Iterator[float]:
    """The loss of each step, before it."""
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    dtype = next(model.parameters()).dtype
    for inputs, labels in images(steps, batch):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs.to(dtype)), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield loss.item()


def nudge(model: nn.Module) -> None:
    """Moves every weight to a neighbouring number, up or down by chance."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                up = torch.rand_like(parameter) < 0.5
                parameter.copy_(torch.nextafter(parameter, torch.where(up, math.inf, -math.inf)))


def algorithms(model: nn.Module, batch: int) -> dict[str, dict[str, int]]:
    """How many layers each algorithm computes, by result, with the sizes of the training."""
    counts: dict[str, Counter[str]] = {result: Counter() for result in RESULTS}

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Conv2d)
        for result, counter in counts.items():
            plan = torchconv.explain(
                inputs[0], layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation,
                layer.groups, result=result,
            )  # fmt: skip
            counter[plan.algorithm or "none"] += 1

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    model.eval()
    with torch.no_grad():
        model(torch.zeros(batch, 3, SIZE, SIZE))
    model.train()
    for hook in hooks:
        hook.remove()
    return {result: dict(counter.most_common()) for result, counter in counts.items()}


# --- What is left behind ------------------------------------------------------------------------


def table(curves: Curves) -> str:
    """Losses at some steps, and how far apart the runs came."""
    runs = [name for name in RUNS[1:] if name in curves.losses]
    done = min(len(losses) for losses in curves.losses.values())
    shown = [step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500) if step < done] + [done]
    rows = [
        (
            str(step),
            *(f"{losses[step - 1]:.6f}" for losses in curves.losses.values()),
            *(f"{curves.apart(name)[step - 1]:.1e}" for name in runs),
        )
        for step in shown
    ]
    head = ("step", *curves.losses, *(f"off: {name}" for name in runs))
    lines = [_tables.text(head, rows, range(len(head)))]
    lines += [f"{name}: off float64 by {max(curves.apart(name)):.2g} at most" for name in runs]
    for result, counted in curves.algorithms.items():
        words = ", ".join(f"{name} {count}" for name, count in counted.items())
        lines.append(f"layers by {result}: {words}")
    return "\n".join(lines)


def plot(curves: Curves, path: Path) -> None:
    """Draws the losses, and under them how far they are from float64's."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from torchconv.tools.plot import COLOURS, INK, PALE, facts_of

    styles: dict[str, dict[str, Any]] = {
        EXACT: {"color": PALE, "lw": 9},
        TORCH: {"color": "#9ca3af", "lw": 4},
        OURS: {"color": COLOURS[0], "lw": 1.8},
        NUDGED: {"color": COLOURS[3], "lw": 1.4, "ls": (0, (4, 2))},
    }
    with pyplot.rc_context({"font.size": 10, "font.family": "DejaVu Sans"}):
        figure, (above, below) = pyplot.subplots(
            2, 1, figsize=(7.6, 5.6), sharex=True, height_ratios=(3, 2), layout="constrained"
        )
        for name, losses in curves.losses.items():
            steps = range(1, len(losses) + 1)
            above.plot(steps, losses, label=name, **styles[name])
            if name != EXACT:
                # Equal losses have no logarithm: a gap.
                apart = [distance or math.nan for distance in curves.apart(name)]
                below.plot(range(1, len(apart) + 1), apart, label=name, **styles[name])
        below.set_yscale("log")
        above.set_ylabel("loss", color=INK)
        below.set_ylabel("off float64 by", color=INK)
        for axes in (above, below):
            axes.grid(color=PALE, linewidth=0.8)
            axes.tick_params(length=0, which="both", colors=INK)
            axes.spines[:].set_visible(False)
            axes.legend(frameon=False)
        below.set_xlabel(f"step\n{facts_of(curves.machine)}", color=INK, fontsize=9)
        above.set_title("ResNet-18, same seed, same images", fontsize=10, color=INK)
        figure.savefig(path, dpi=130)
        pyplot.close(figure)
