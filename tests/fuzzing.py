"""Random calls of the functions and the operators, as Python text: what ran is what is printed.

Most calls have a value; some are made wrong on purpose.
"""

import random
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

DTYPES = ("float32",) * 6 + (
    "float64", "float64", "bfloat16", "float16", "complex64", "complex128", "complex32",
    "uint8", "int8", "int16", "int32", "int64",
)  # fmt: skip
LAYOUTS = ("plain",) * 4 + ("last", "reversed", "sliced", "offset", "expanded")
PADDING_MODES = ("reflect", "replicate", "circular")
# Nothing between: a size that is neither refused nor quick would only fill the memory.
HUGE = (2**40, 2**62, 2**63 - 1, 2**64, -(2**62), -(2**63))


def tensor(shape: tuple[int, ...], dtype: str = "float32", layout: str = "plain", seed: int = 0):
    """Small whole numbers that lie in memory as `layout` says."""
    generator = torch.Generator().manual_seed(seed)
    kind: torch.dtype = getattr(torch, dtype)

    def whole(*size: int) -> Tensor:
        least = 0 if kind == torch.uint8 else -2
        return torch.randint(least, 3, size, generator=generator).double()

    def numbers(*size: int) -> Tensor:
        return (torch.complex(whole(*size), whole(*size)) if kind.is_complex else whole(*size)).to(
            kind
        )

    if layout == "reversed" and shape:
        return numbers(*reversed(shape)).permute(*reversed(range(len(shape))))
    if layout == "last" and len(shape) > 2:
        return numbers(shape[0], *shape[2:], shape[1]).movedim(-1, 1)
    if layout == "sliced" and shape:
        return numbers(*shape[:-1], 2 * shape[-1] + 1)[..., 1::2]
    if layout == "offset" and shape:
        return numbers(shape[0] + 1, *shape[1:])[1:]
    if layout == "expanded" and shape:
        return numbers(1, *shape[1:]).expand(shape)
    return numbers(*shape)


@dataclass
class Operand:
    """A tensor to be: `tensor` with these arguments."""

    shape: list[int]
    dtype: str
    layout: str
    seed: int

    def __str__(self) -> str:
        return f"tensor({tuple(self.shape)}, {self.dtype!r}, {self.layout!r}, {self.seed})"


@dataclass
class Call:
    name: str
    axes: int
    tensors: dict[str, Operand] = field(default_factory=dict)
    words: dict[str, Any] = field(default_factory=dict)
    wrong: str = ""  # what was made wrong

    def __str__(self) -> str:
        words = [f"{name}={operand}" for name, operand in self.tensors.items()]
        words += [f"{name}={value!r}" for name, value in self.words.items()]
        return f"{self.name}({', '.join(words)})"


class Random(random.Random):
    def chance(self, probability: float) -> bool:
        return self.random() < probability

    def per_axis(self, axes: int, least: int, most: int) -> Any:
        """An int or a tuple, as a caller writes it."""
        if self.chance(0.4):
            return self.randint(least, most)
        return tuple(self.numbers(1 if self.chance(0.1) else axes, least, most))

    def numbers(self, count: int, least: int, most: int) -> list[int]:
        return [self.randint(least, most) for _ in range(count)]

    def operand(self, shape: list[int], dtype: str) -> Operand:
        return Operand(shape, dtype, self.choice(LAYOUTS), self.randrange(1000))


def random_call(seed: int, index: int) -> Call:
    """The same for the same two numbers."""
    r = Random(f"{seed} {index}")
    axes = r.choice((1, 1, 2, 2, 2, 3))
    call = r.choices((forward, transposed, operators), (6, 2, 2))[0](r, axes)
    if r.chance(0.25):
        r.choice(WRONGS)(r, call)
    return call


def sizes(r: Random, axes: int) -> tuple[list[int], list[int]]:
    """Spatial sizes of an image and of a kernel, most of which fit."""
    most = 9 if axes < 3 else 6
    kernel = r.numbers(axes, 1, 4 if axes < 3 else 3)
    least = 0 if r.chance(0.1) else 3
    return r.numbers(axes, least, most), kernel


def forward(r: Random, axes: int) -> Call:
    call = Call(f"conv{axes}d", axes)
    size, kernel = sizes(r, axes)
    batch, groups = r.choice((0, 1, 2, 2, 3)), r.choice((1, 1, 1, 2, 3))
    channels, outputs, dtype = r.randint(1, 3), groups * r.randint(1, 4), r.choice(DTYPES)
    batched = [] if r.chance(0.15) else [batch]
    call.tensors["input"] = r.operand([*batched, groups * channels, *size], dtype)
    call.tensors["weight"] = r.operand([outputs, channels, *kernel], dtype)
    if r.chance(0.4):
        call.tensors["bias"] = r.operand([outputs], dtype)
    if r.chance(0.5):
        call.words["stride"] = r.per_axis(axes, 1, 3)
    if r.chance(0.3):
        call.words["dilation"] = r.per_axis(axes, 1, 3)
    if r.chance(0.7):
        call.words["padding"] = padding(r, axes)
    if groups > 1:
        call.words["groups"] = groups
    if r.chance(0.2):
        call.words["mode"] = r.choice(("convolution", "convolution", "cross_correlation"))
    if r.chance(0.25):
        call.words["padding_mode"] = r.choice((*PADDING_MODES, "zeros"))
    return call


def padding(r: Random, axes: int) -> Any:
    if r.chance(0.4):
        return r.per_axis(axes, 0, 4)
    if r.chance(0.3):
        return tuple(tuple(r.numbers(2, -2, 5)) for _ in range(1 if r.chance(0.1) else axes))
    return r.choice(("same", "same", "valid", "full", "causal" if axes == 1 else "same"))


def transposed(r: Random, axes: int) -> Call:
    call = Call(f"conv_transpose{axes}d", axes)
    size, kernel = sizes(r, axes)
    groups, dtype = r.choice((1, 1, 1, 2, 3)), r.choice(DTYPES)
    channels, outputs = groups * r.randint(1, 3), r.randint(1, 3)
    batched = [] if r.chance(0.15) else [r.choice((0, 1, 2, 2, 3))]
    call.tensors["input"] = r.operand([*batched, channels, *size], dtype)
    call.tensors["weight"] = r.operand([channels, outputs, *kernel], dtype)
    if r.chance(0.4):
        call.tensors["bias"] = r.operand([outputs * groups], dtype)
    for word, least, most in (("stride", 1, 4), ("padding", 0, 2), ("dilation", 1, 3)):
        if r.chance(0.5):
            call.words[word] = r.per_axis(axes, least, most)
    if r.chance(0.3):
        call.words["output_padding"] = r.per_axis(axes, 0, 2)
    if groups > 1:
        call.words["groups"] = groups
    if r.chance(0.2):
        call.words["mode"] = "convolution"
    return call


def operators(r: Random, axes: int) -> Call:
    """Any sizes go together: what falls outside contributes nothing."""
    size, kernel = sizes(r, axes)
    output = r.numbers(axes, 0 if r.chance(0.1) else 1, 7)
    batch, groups = r.choice((0, 1, 2, 2, 3)), r.choice((1, 1, 1, 2, 3))
    channels, outputs, dtype = r.randint(1, 3), groups * r.randint(1, 4), r.choice(DTYPES)
    operands = {
        "input": r.operand([batch, groups * channels, *size], dtype),
        "weight": r.operand([outputs, channels, *kernel], dtype),
        "output": r.operand([batch, outputs, *output], dtype),
    }
    result = r.choice(("output", "input", "weight"))
    call = Call("conv" if result == "output" else f"conv_{result}", axes)
    order = ("output", "weight") if result == "input" else ("input", "weight", "output")
    call.tensors = {name: operands[name] for name in order if name != result}
    if result == "output":
        call.tensors["bias"] = r.operand([outputs], dtype)
    word = "kernel_size" if result == "weight" else f"{result}_size"
    call.words[word] = {"output": output, "input": size, "weight": kernel}[result]
    call.words["stride"] = r.numbers(axes, 1, 4)
    call.words["padding"] = r.numbers(axes, -2, 5)
    call.words["dilation"] = r.numbers(axes, 1, 4)
    call.words["groups"] = groups
    call.words["flip"] = r.chance(0.3)
    if r.chance(0.25):
        call.words["padding_mode"] = r.choice(PADDING_MODES)
    return call


# Ways to make a call wrong, or at least strange.


def wrong_shape(r: Random, call: Call) -> None:
    name = r.choice(list(call.tensors))
    shape = call.tensors[name].shape
    if r.chance(0.3):
        shape.insert(r.randint(0, len(shape)), 1)
    elif r.chance(0.3):
        shape.pop()
    else:
        shape[r.randrange(len(shape))] = r.choice((0, 1, 4, 7))
    call.wrong = f"shape of {name}"


def wrong_dtype(r: Random, call: Call) -> None:
    name = r.choice(list(call.tensors))
    call.tensors[name].dtype = r.choice((*DTYPES, "bool"))
    call.wrong = f"dtype of {name}"


def number_word(r: Random, call: Call) -> str:
    names = [n for n in call.words if n not in ("mode", "padding_mode", "groups", "flip")]
    return r.choice([*names, "stride", "padding", "dilation"])


def wrong_number(r: Random, call: Call) -> None:
    word = number_word(r, call)
    numbers = [r.choice((1, 2)) for _ in range(call.axes)]
    numbers[r.randrange(call.axes)] = r.choice((0, -1, -3, *HUGE))
    call.words[word] = numbers if r.chance(0.7) or "_" not in call.name else tuple(numbers)
    call.wrong = f"number in {word}"


def wrong_count(r: Random, call: Call) -> None:
    word = number_word(r, call)
    call.words[word] = tuple(r.numbers(r.choice((0, 1, 2, 3, 4)), 1, 2))
    call.wrong = f"length of {word}"


def wrong_groups(r: Random, call: Call) -> None:
    call.words["groups"] = r.choice((0, -1, 2, 3, 5, *HUGE))
    call.wrong = "groups"


def wrong_type(r: Random, call: Call) -> None:
    word = r.choice(("stride", "padding", "dilation", "groups"))
    call.words[word] = r.choice((1.5, None, True, "sane", (1.5,), [None], {2}, ((1,), 2)))
    call.wrong = f"type of {word}"


WRONGS = (wrong_shape, wrong_shape, wrong_dtype, wrong_number, wrong_number, wrong_count,
          wrong_groups, wrong_type)  # fmt: skip
