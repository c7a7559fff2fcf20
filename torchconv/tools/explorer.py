"""The explorer: one HTML file in which a reader moves kernels over grids of numbers.

The page knows no formula of convolution. For every geometry it shows, one call of the operator,
with one-hot inputs for a batch and one-hot taps for output channels, tells which input element
meets which tap in which output; the page adds up what is listed there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import torch

import torchconv
from torchconv._steps import steps
from torchconv.arguments import PADDING_MODES

PAGE = Path(__file__).parent / "page"
RAMP = [1, 2, 3, 4, 5]
DIAGONAL_IMAGE = [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0]
DIAGONAL = [1, 0, 0, 0, 0, 0, 0, 0, -1]
SLOPE = [1, 0, -1, 2, 0, -2, 1, 0, -1]
BLUR = [1, 2, 1, 2, 4, 2, 1, 2, 1]
MODES = ("cross_correlation", "convolution")


def rule(call: str, dilation: int) -> str:
    """The formula of the output size in words; `table` has it in numbers."""
    if "transpose" in call:
        return "(input - 1) * stride - 2 * padding + kernel"
    span = "kernel" if dilation == 1 else "(dilation * (kernel - 1) + 1)"
    return f"floor((input - {span} + 2 * padding) / stride) + 1"


def table(
    call: str,
    size: Sequence[int],
    kernel: Sequence[int],
    channels: int = 1,
    out_channels: int = 1,
    **options: Any,
) -> dict[str, Any]:
    """What meets what in one geometry: `reads` has for every output and tap the input element.

    An output's taps are listed in the order of its weight; -1 stands for a zero of the padding.
    Whole numbers: no algorithm may round them.
    """
    taps = channels // options.get("groups", 1) * prod(kernel)
    cells = channels * prod(size)
    input = torch.eye(cells, dtype=torch.int64).view(cells, channels, *size)
    weight = torch.eye(taps, dtype=torch.int64).repeat(out_channels, 1)
    weight = weight.view(out_channels * taps, -1, *kernel)
    if "transpose" in call:
        weight = weight.transpose(0, 1)  # (in_channels, out_channels, ...), of one input channel
    output = getattr(torchconv, call)(input, weight, **options)
    met = output.view(cells, out_channels, taps, -1).permute(1, 3, 2, 0)
    assert ((met == 0) | (met == 1)).all() and met.sum(-1).max() <= 1
    reads = torch.where(met.any(-1), met.argmax(-1), -1)
    given = {"input": input, "weight": weight, **options}
    return {
        "input_size": list(size),
        "kernel_size": list(kernel),
        "output_size": list(output.shape[2:]),
        "taps": taps,
        "reads": reads.flatten().tolist(),
        "rule": rule(call, options.get("dilation", 1)),
        "formulas": [axis.formula for axis in steps(call, given, output)],
    }


def geometry(
    size: Sequence[int],
    kernel: Sequence[int],
    input: Sequence[int],
    weight: Sequence[int],
    call: str = "",
    padding: int = 0,
    padding_mode: str = "zeros",
    **options: Any,
) -> dict[str, Any]:
    """A table with numbers to start from, and the padded input as a grid of its own.

    `fill` has for every cell of that grid the input element it repeats, or -1, `inside` the one it
    is, or -1, and `places` for every output and tap the cell: answers of the operator too.
    """
    call = call or f"conv{len(size)}d"
    transposed = "transpose" in call
    shown: dict[str, Any] = {"padding": padding} | (
        {} if transposed else {"padding_mode": padding_mode}
    )
    made = table(call, size, kernel, **shown, **options)
    grid = size
    if padding and not transposed:  # whose padding cuts the output and adds no cell
        padded = table(call, size, [1] * len(size), **shown)
        grid = padded["output_size"]
        placed = table(call, grid, kernel, **options)
        assert made["reads"] == [padded["reads"][place] for place in placed["reads"]]
        inside = table(call, size, [1] * len(size), padding=padding)["reads"]
        made |= {"inside": inside, "fill": padded["reads"], "places": placed["reads"]}
    grids = [list(grid), list(kernel), made["output_size"]]
    if len(size) == 1:  # one row for each channel
        outputs = options.get("out_channels", 1)
        grids = [[options.get("channels", 1), *grid], [outputs, made["taps"]],
                 [outputs, *made["output_size"]]]  # fmt: skip
    made["grids"] = dict(zip(("input", "kernel", "output"), grids, strict=True))
    return made | {"input": list(input), "kernel": list(weight)}


def padding_word(word: str, size: Sequence[int], kernel: Sequence[int]) -> int:
    """The padding in numbers that does what the word does."""
    meant = table("conv2d", size, kernel, padding=word)
    return next(p for p in range(3) if table("conv2d", size, kernel, padding=p) == meant)


def choice(name: str, label: str, values: Sequence[Any], **more: Any) -> dict[str, Any]:
    """A control: a slider where the values are numbers, buttons where they are words."""
    return {"name": name, "label": label, "values": list(values), **more}


MODE = choice("mode", "Mode", MODES)
IMAGE = [1, 0, 2, 1, 0, 0, 1, 3, 1, 2, 2, 1, 0, 1, 1, 1, 3, 1, 0, 2, 0, 1, 2, 1, 1]
SQUARE, THREE = (5, 5), (3, 3)


def spread_or_grouped(show: str) -> dict[str, Any]:
    """A dilated geometry or one with groups of channels: "dilation 2", "groups 4"."""
    what, number = show.split()
    if what == "dilation":
        input = [(2 * i + i // 7) % 6 for i in range(49)]
        return geometry((7, 7), THREE, input, SLOPE, dilation=int(number))
    input = [(7 * i + i // 5) % 5 for i in range(20)]
    weight = [(7 * i + 3 * (i // 3) + i // 9) % 5 - 2 for i in range(48 // int(number))]
    return geometry((5,), (3,), input, weight, channels=4, out_channels=4, groups=int(number))


def tabs() -> Iterator[dict[str, Any]]:
    """What the page shows: for every tab its words, its controls and a geometry for each choice."""

    def tab(
        title: str,
        text: str,
        controls: Sequence[Mapping[str, Any]],
        make: Any,
        walk: str = "output",
        spell: str = "step",
    ) -> dict[str, Any]:
        choices = product(*(control["values"] for control in controls))
        return {
            "id": title.lower().replace(" ", "-"),
            "title": title,
            "text": text,
            "controls": controls,
            "walk": walk,
            "spell": spell,
            "geometries": {",".join(map(str, chosen)): make(*chosen) for chosen in choices},
        }

    yield tab(
        "Kernel sliding",
        "Shine a flashlight on the input: the kernel is the pattern on its glass. What lies in the "
        "light is multiplied by the pattern, and the products add up to one number of the output. "
        "Then the light moves on. In true convolution the pattern is first turned by half a turn. "
        "Change any number and see what follows.",
        [MODE],
        lambda mode: geometry(SQUARE, THREE, IMAGE, SLOPE, mode=mode),
    )
    yield tab(
        "Stride",
        "The stride is how far the kernel moves from one output to the next. With a stride of 2 "
        "it skips every other place, and about a quarter of the outputs remain. Where the last "
        "move would lead over the edge, the kernel stops: the size is rounded down, by its floor.",
        [choice("stride", "Stride", (1, 2, 3))],
        lambda stride: geometry(
            (6, 6), THREE, [(3 * i + i // 6) % 5 for i in range(36)], BLUR, stride=stride
        ),
    )
    words = {word: padding_word(word, SQUARE, THREE) for word in ("valid", "same", "full")}
    yield tab(
        "Padding",
        "Padding adds cells around the input so that the kernel may reach over the edge. 'valid' "
        "adds none, 'same' keeps the size, 'full' lets every tap meet every input. The mode says "
        "what stands in the added cells: zeros, a mirror image, the nearest cell, or the other "
        "end.",
        [
            choice("padding", "Padding", (0, 1, 2), words=words),
            choice("padding_mode", "Added cells", PADDING_MODES),
        ],
        lambda padding, mode: geometry(
            SQUARE, THREE, range(1, 26), BLUR, padding=padding, padding_mode=mode
        ),
    )
    yield tab(
        "1-d by hand",
        "Five numbers, a kernel of three, every product written out. This kernel subtracts what "
        "comes after from what came before: on a signal that rises by 1 it always answers −2. "
        "Turned around, as true convolution has it, it answers 2.",
        [MODE],
        lambda mode: geometry((5,), (3,), RAMP, [1, 0, -1], mode=mode),
        spell="all",
    )
    yield tab(
        "2-d by hand",
        "A stroke of ones and a kernel that compares the two ends of a diagonal. Where both ends "
        "are alike they cancel; where the stroke begins or ends, something is left.",
        [],
        lambda: geometry((4, 4), THREE, DIAGONAL_IMAGE, DIAGONAL),
        spell="all",
    )
    yield tab(
        "Dilation and groups",
        "Dilation spreads the taps: between two neighbours lie cells that nobody reads, and the "
        "kernel sees further with the same weights. Groups split the channels, here one a row: "
        "with one group every output channel reads all four, with two those of its own half, with "
        "four, called depthwise, only its own. A row of the kernel holds the taps of one output "
        "channel.",
        [choice("show", "Show", (*(f"dilation {d}" for d in (1, 2, 3)),
                                 *(f"groups {g}" for g in (1, 2, 4))))],
        spread_or_grouped,
    )  # fmt: skip
    yield tab(
        "Transposed",
        "Now the other way round: each input stamps the whole kernel, times its own value, onto "
        "the output; where stamps overlap they add up. The stride is how far apart the stamps "
        "are, so the output is larger than the input, and padding cuts its edge off.",
        [choice("stride", "Stride", (1, 2, 3)), choice("padding", "Padding", (0, 1))],
        lambda stride, padding: geometry(
            THREE,
            THREE,
            [1, 2, 0, 3, 1, 1, 0, 2, 1],
            BLUR,
            "conv_transpose2d",
            stride=stride,
            padding=padding,
        ),
        walk="input",
    )
    yield tab(
        "Backward",
        "How training asks back: if this output should grow, what must change? Every input it "
        "read is told the tap that it met, every tap the input that it met. Added up over all "
        "outputs, these are the two gradients.",
        [
            choice("stride", "Stride", (1, 2)),
            choice("padding", "Padding", (0, 1)),
            choice("outputs", "Gradient of", ("one output", "all so far")),
        ],
        lambda stride, padding, _: geometry(
            SQUARE, THREE, IMAGE, SLOPE, stride=stride, padding=padding
        ),
        walk="gradient",
    )


def page() -> str:
    """The whole page."""
    text = (PAGE / "explorer.html").read_text(encoding="utf-8")
    data = json.dumps(list(tabs()), separators=(",", ":"))
    parts = {
        "style": (PAGE / "explorer.css").read_text(encoding="utf-8"),
        "model": (PAGE / "model.js").read_text(encoding="utf-8"),
        "view": (PAGE / "view.js").read_text(encoding="utf-8"),
        "data": data.replace("</", "<\\/"),
    }
    for name, part in parts.items():
        text = text.replace(f"{{{{{name}}}}}", part)
    return text


def save(path: Path) -> None:
    """Writes the page as one file that needs nothing else."""
    path.write_text(page(), encoding="utf-8")
