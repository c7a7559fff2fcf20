"""The shapes of a network: what each of its convolutions, poolings and resizings does to a size."""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from torchconv import _tables
from torchconv._steps import RULES, Axis, multiply_adds, steps

HEAD = ("layer", "", "input", "output", "size on each axis", "parameters", "multiply-adds", "sees",
        "every", "centre")  # fmt: skip
RIGHT = (5, 6)  # columns of numbers


@dataclass(frozen=True)
class Field:
    """Which part of the network's input the elements of a tensor see, axis by axis.

    All in input elements: element 0 sees `size` of them around `centre`, its neighbour the same
    `step` further on. Padding counts as input, so a centre or a side may lie outside of it.
    """

    size: tuple[Fraction, ...]
    centre: tuple[Fraction, ...]
    step: tuple[Fraction, ...]

    def over(self, axes: int) -> "Field":
        """The same on so many axes, where it had none yet."""
        return self if self.step else Field(*((Fraction(n),) * axes for n in (1, 0, 1)))

    def through(self, axes: Sequence[Axis]) -> "Field":
        """The field of what a call makes of a tensor with this one."""
        before = self.over(len(axes))
        each = zip(before.size, before.centre, before.step, axes, strict=True)
        after = [(r + axis.reach * j, c + axis.shift * j, j * axis.scale) for r, c, j, axis in each]
        return Field(*zip(*after, strict=True))

    def beside(self, other: "Field | None") -> "Field | None":
        """The field of what is computed from two tensors, element by element."""
        if other is None:
            return None
        one, two = self.over(len(other.step)), other.over(len(self.step))
        if one.step != two.step:
            return None
        sides = [
            (min(a - (r - 1) / 2, b - (q - 1) / 2), max(a + (r - 1) / 2, b + (q - 1) / 2))
            for a, r, b, q in zip(one.centre, one.size, two.centre, two.size, strict=True)
        ]
        size = tuple(high - low + 1 for low, high in sides)
        return Field(size, tuple((low + high) / 2 for low, high in sides), one.step)


ITSELF = Field((), (), ())  # the network's input, as yet without a number of axes


@dataclass(frozen=True)
class LayerShape:
    """One call of a convolution, pooling or resizing, as trace_shapes saw it."""

    name: str  # the module that called, "" for the model itself
    kind: str  # the class of a layer, or the function
    input_size: tuple[int, ...]  # without the batch
    output_size: tuple[int, ...]
    kernel_size: tuple[int, ...]  # empty where there is no kernel
    formulas: tuple[str, ...]  # of the output size, one per axis
    parameters: int
    parameter_formula: str
    multiply_adds: int
    field: Field | None  # None where something that mixes all positions came before


@dataclass(frozen=True)
class ShapeTable:
    """The layers of a network in the order of their calls."""

    layers: tuple[LayerShape, ...]
    parameters: int  # of the whole model

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                layer.name,
                layer.kind,
                _by(layer.input_size),
                _by(layer.output_size),
                ", ".join(dict.fromkeys(layer.formulas)),
                layer.parameter_formula or "-",
                f"{layer.multiply_adds:,}" if layer.multiply_adds else "-",
                _by([ceil(n) for n in layer.field.size]) if layer.field else "-",
                _by(layer.field.step) if layer.field else "-",
                ", ".join(f"{float(c):g}" for c in layer.field.centre) if layer.field else "-",
            )
            for layer in self.layers
        ]

    def _total(self) -> str:
        work = sum(layer.multiply_adds for layer in self.layers)
        return f"{self.parameters:,} parameters in all, {work:,} multiply-adds in convolutions"

    def __str__(self) -> str:
        return f"{_tables.text(HEAD, self._rows(), RIGHT)}\n{self._total()}"

    def _repr_html_(self) -> str:
        return _tables.html(self._total(), HEAD, self._rows(), RIGHT)

    def picture(self, path: str | Path) -> None:
        """Draws the network as a row of blocks into a PNG, SVG or PDF file; needs matplotlib."""
        from torchconv import pictures  # needs matplotlib, which is optional

        pictures.draw_shapes(self, path)


def trace_shapes(model: nn.Module, input: Tensor | Sequence[int]) -> ShapeTable:
    """Every size in a network, and where it comes from.

    The model runs once, in evaluation mode and without gradients. Each convolution, pooling,
    padding and resizing on the way, of torchconv, of torch.nn or called as a function, becomes a
    row: its input and output size, the formula of the output size with its numbers, its parameters
    and multiply-adds, and its receptive field: how many elements of the network's input one output
    sees, how far apart neighbouring outputs look, and around which element the first one does.
    Whatever keeps the size is taken to work element by element.

    Args:
        model: the network.
        input: what it is called with, or the size of that, batch included.

    Returns:
        A `ShapeTable`: `print` shows it, a notebook shows it, `picture` draws it, and its `layers`
        hold the numbers.

    Raises:
        What the model raises; from Python 3.11 on with the table of all that went well.

    Source: Araujo, Norris and Sim, Computing receptive fields of convolutional neural networks,
    Distill, 2019.

    >>> import torch, torchconv
    >>> table = torchconv.trace_shapes(torchconv.Conv2d(3, 64, 3, padding=1), (1, 3, 32, 32))
    >>> table.layers[0].formulas[0]
    '(32 - 3 + 2 * 1) / 1 + 1 = 32'
    >>> table.layers[0].parameter_formula
    '64 x (3 x 3 x 3) + 64 = 1,792'
    """
    parameters = sum(p.numel() for p in model.parameters())
    if not isinstance(input, Tensor):
        like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(()))
        input = torch.zeros(tuple(input), dtype=like.dtype, device=like.device)
    tracer = _Tracer(input)
    with torch.no_grad(), evaluating(model), tracer.naming(model):
        try:
            with tracer:
                model(input)
        except Exception as error:
            if hasattr(error, "add_note"):
                so_far = ShapeTable(tuple(tracer.layers), parameters)
                error.add_note(f"trace_shapes, up to there:\n{so_far}")
            raise
    return ShapeTable(tuple(tracer.layers), parameters)


class _Tracer(TorchFunctionMode):
    """Writes a row for each call that a rule knows, and hands fields on from tensor to tensor."""

    def __init__(self, input: Tensor) -> None:
        super().__init__()
        self.layers: list[LayerShape] = []
        self.callers: list[tuple[str, nn.Module]] = []
        # None: sees everything, or nobody knows. Parameters and constants have no entry.
        self.fields: MutableMapping[Tensor, Field | None] = WeakTensorKeyDictionary()
        self.fields[input] = ITSELF

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        outputs = _tensors(result)
        if not outputs:
            return result
        name = getattr(func, "__name__", "").removeprefix("_").removesuffix("_with_indices")
        known = [t for t in _tensors([args, *kwargs.values()]) if t in self.fields]
        given = {**dict(zip(RULES[name][2], args, strict=False)), **kwargs} if name in RULES else {}
        axes = steps(name, given, outputs[0]) if given else []
        if axes:
            before = self.fields.get(given["input"])
            field = before and before.through(axes)
            self.layers.append(self._layer(name, given, outputs[0], axes, field))
        else:
            field = self._kept(known, outputs[0])
        if known:  # otherwise a constant or a parameter, which leaves any field as it is
            self.fields.update(dict.fromkeys(outputs, field))
        return result

    def _kept(self, inputs: list[Tensor], output: Tensor) -> Field | None:
        """The field of what an element by element operation makes of inputs with fields."""
        if any(t.dim() != output.dim() or t.shape[2:] != output.shape[2:] for t in inputs):
            return None
        fields = [self.fields[t] for t in inputs]
        field = fields[0] if fields else None
        for other in fields[1:]:
            field = field if field == other else field and field.beside(other)
        return field

    def _layer(
        self, name: str, given: Mapping[str, Any], output: Tensor, axes: list[Axis],
        field: Field | None,
    ) -> LayerShape:  # fmt: skip
        path, module = self.callers[-1]
        # A layer's own call, or a function's somewhere in a module.
        own = type(module).__name__.lower() == name.replace("_", "")
        inside, outside = (
            tuple(tensor.shape[tensor.dim() - len(axes) - 1 :])
            for tensor in (given["input"], output)
        )
        count, spelled, kernel = 0, "", given.get("kernel_size", ())
        if "weight" in given:
            count, spelled = _parameters(given, inside[0], outside[0])
            kernel = given["weight"].shape[-len(axes) :]
        return LayerShape(
            path,
            type(module).__name__ if own else name,
            inside,
            outside,
            (kernel,) * len(axes) if isinstance(kernel, int) else tuple(kernel),
            tuple(axis.formula for axis in axes),
            count,
            spelled,
            multiply_adds(name, given, output),
            field,
        )

    @contextmanager
    def naming(self, model: nn.Module) -> Iterator[None]:
        """Keeps account of which module is running."""

        def enter(name: str) -> Callable[..., None]:
            return lambda module, _: self.callers.append((name, module))

        def leave(*_: Any) -> None:
            self.callers.pop()

        hooks = []
        for name, module in model.named_modules():
            hooks.append(module.register_forward_pre_hook(enter(name)))
            hooks.append(module.register_forward_hook(leave, always_call=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, whatever mode each part is in."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


def _parameters(given: Mapping[str, Any], inputs: int, outputs: int) -> tuple[int, str]:
    """How many numbers the weight and the bias of a convolution hold, and the sum spelled out."""
    weight, bias = given["weight"], given.get("bias")
    count = weight.numel() + (0 if bias is None else bias.numel())
    taps = " x ".join(str(n) for n in (*weight.shape[2:], inputs // given.get("groups", 1)))
    added = "" if bias is None else f" + {outputs}"
    return count, f"{outputs} x ({taps}){added} = {count:,}"


def _tensors(value: Any) -> list[Tensor]:
    return [item for item in tree_leaves(value) if isinstance(item, Tensor)]


def _by(numbers: Sequence[int | Fraction]) -> str:
    return "x".join(map(str, numbers))
