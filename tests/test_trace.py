"""trace_shapes: sizes, formulas, parameters, work, and fields that the gradient confirms."""

import math
import re
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import torchconv


def trace(*layers: nn.Module, size: tuple[int, ...]):
    return torchconv.trace_shapes(nn.Sequential(*layers), size).layers


LAYERS = {
    "3x3": torchconv.Conv2d(2, 3, 3),
    "padded": torchconv.Conv2d(2, 3, 5, padding=2),
    "strided": torchconv.Conv2d(2, 3, (3, 2), stride=(2, 3), padding=(1, 0)),
    "dilated": torchconv.Conv2d(2, 3, 3, dilation=2, stride=2),
    "same": torchconv.Conv2d(2, 3, 4, padding="same", stride=2),
    "full": torchconv.Conv2d(2, 3, 3, padding="full"),
    "pairs": torchconv.Conv2d(2, 3, 3, padding=((1, 0), (-1, 2))),
    "transposed": torchconv.ConvTranspose2d(2, 3, 4, stride=2, padding=1),
    "transposed, dilated": nn.ConvTranspose2d(2, 3, 3, 3, 1, output_padding=1, dilation=2),
    "torch.nn": nn.Conv2d(2, 3, 3, padding="same", padding_mode="circular"),
    "pooled": nn.MaxPool2d(3, 2, padding=1),
    "pooled, ceil": nn.AvgPool2d(3, 2, ceil_mode=True),
    "pooled, last window beyond the edge": nn.MaxPool2d(2, 3, padding=1, ceil_mode=True),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("size", [(12, 13), (11, 16)])
def test_formulas_hold(layer, size):
    input = torch.zeros(4, 2, *size)
    (*_, row) = trace(layer, size=input.shape)
    assert row.output_size == layer(input).shape[1:]
    assert row.kind == type(layer).__name__
    for formula, out in zip(row.formulas, row.output_size[1:], strict=True):
        left, right = formula.split(" = ")
        assert eval(left, {"floor": math.floor, "ceil": math.ceil}) == int(right) == out
    if isinstance(layer, nn.modules.conv._ConvNd):
        count, right = re.sub(",", "", row.parameter_formula).replace(" x ", " * ").split(" = ")
        assert eval(count) == int(right) == row.parameters
        assert row.parameters == sum(p.numel() for p in layer.parameters())


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_multiply_adds_are_half_the_flops(layer):
    input = torch.zeros(4, 2, 12, 13)
    with FlopCounterMode(display=False) as counter:
        layer(input)
    assert 2 * trace(layer, size=input.shape)[-1].multiply_adds == counter.get_total_flops()


def test_quick_reference_28x28():
    """The table of a 28x28 digit: kernel, padding, stride, output."""
    for kernel, padding, stride, expected in [
        (3, 0, 1, 26), (3, 1, 1, 28), (5, 0, 1, 24), (5, 2, 1, 28), (3, 1, 2, 14), (2, 0, 2, 14),
    ]:  # fmt: skip
        layer = torchconv.Conv2d(1, 8, kernel, stride, padding)
        (row,) = trace(layer, size=(1, 1, 28, 28))
        assert row.output_size == (8, expected, expected)


def test_quick_reference_pipeline():
    """224 -> 112 -> 56 -> 28, each layer with a stride of 2."""
    rows = trace(
        torchconv.Conv2d(3, 64, 7, stride=2, padding=3),
        torchconv.Conv2d(64, 128, 3, stride=2, padding=1),
        torchconv.Conv2d(128, 256, 3, stride=2, padding=1),
        size=(1, 3, 224, 224),
    )
    assert [row.input_size[-1] for row in rows] == [224, 112, 56]
    assert [row.output_size for row in rows] == [(64, 112, 112), (128, 56, 56), (256, 28, 28)]
    assert rows[0].formulas[0] == "floor((224 - 7 + 2 * 3) / 2) + 1 = 112"
    assert [row.field.size for row in rows] == [(7, 7), (11, 11), (19, 19)]
    assert [row.field.step for row in rows] == [(2, 2), (4, 4), (8, 8)]


def test_quick_reference_parameters():
    """64 kernels of 3x3 on 32x32x3: 1,728 weights and 64 biases."""
    (row,) = trace(torchconv.Conv2d(3, 64, 3, padding=1), size=(1, 3, 32, 32))
    assert row.parameter_formula == "64 x (3 x 3 x 3) + 64 = 1,792"
    assert row.parameters == 1728 + 64 == torchconv.num_parameters(3, 64, (3, 3))
    assert row.multiply_adds == 1728 * 32 * 32
    (row,) = trace(torchconv.Conv2d(6, 4, 3, groups=2, bias=False), size=(1, 6, 8, 8))
    assert row.parameter_formula == "4 x (3 x 3 x 3) = 108"


def test_vgg_16_is_as_the_literature_has_it():
    """15.3 G multiply-adds and 14.7 M weights in its convolutions, a receptive field of 212."""
    layers, channels = [], 3
    for width in (64, 64, 0, 128, 128, 0, *[256] * 3, 0, *[512] * 3, 0, *[512] * 3, 0):
        layers += [torchconv.Conv2d(channels, width, 3, padding=1, device="meta"), nn.ReLU()] if (
            width) else [nn.MaxPool2d(2)]  # fmt: skip
        channels = width or channels
    table = torchconv.trace_shapes(nn.Sequential(*layers), (1, 3, 224, 224))
    last = table.layers[-1]
    assert last.output_size == (512, 7, 7)
    assert last.field.size == (212, 212) and last.field.step == (32, 32)
    assert table.parameters == 14_714_688 == sum(row.parameters for row in table.layers)
    assert sum(row.multiply_adds for row in table.layers) == 15_346_630_656


def footprint(model: nn.Module, length: int, at: int) -> tuple[int, int]:
    """First and last input element that the output element `at` of a 1-d network sees."""
    input = torch.zeros(1, 1, length, dtype=torch.float64, requires_grad=True)
    model(input)[0, 0, at].backward()
    seen = input.grad[0, 0].nonzero()
    return seen.min().item(), seen.max().item()


def ones(layer: nn.Module) -> nn.Module:
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    return layer.double()


CHAINS = {
    "convolutions": [torchconv.Conv1d(1, 1, 3, 2, 1), torchconv.Conv1d(1, 1, 5, padding=1),
                     nn.Conv1d(1, 1, 2, 2, dilation=3)],
    "even kernels": [torchconv.Conv1d(1, 1, 4), torchconv.Conv1d(1, 1, 2, padding="same")],
    "causal": [torchconv.Conv1d(1, 1, 3, padding="causal", dilation=d) for d in (1, 2, 4)],
    "pooling": [torchconv.Conv1d(1, 1, 3), nn.AvgPool1d(3, 2, 1), torchconv.Conv1d(1, 1, 3)],
    "up again": [torchconv.Conv1d(1, 1, 5, 2), nn.ConvTranspose1d(1, 1, 3, 1, 1)],
    "transposed": [nn.ConvTranspose1d(1, 1, 3, 3), torchconv.Conv1d(1, 1, 1)],
    "pixels": [nn.Upsample(scale_factor=2), torchconv.Conv1d(1, 1, 1)],
    "adaptive": [torchconv.Conv1d(1, 1, 1), nn.AdaptiveAvgPool1d(16)],
    "padded": [nn.ZeroPad1d((3, 1)), torchconv.Conv1d(1, 1, 3)],
}  # fmt: skip


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_the_gradient_reaches_the_field_and_no_further(chain):
    model = nn.Sequential(*map(ones, chain))
    length = 96
    table = torchconv.trace_shapes(model, (1, 1, length))
    field = table.layers[-1].field
    at = table.layers[-1].output_size[-1] // 2
    first, last = footprint(model, length, at)
    assert last - first + 1 == field.size[0]
    middle = field.centre[0] + at * field.step[0]
    # Transposed layers round towards the elements that are there.
    assert abs(middle - Fraction(first + last, 2)) < 1
    if all(isinstance(layer, torchconv.Conv1d | nn.Conv1d | nn.AvgPool1d) for layer in chain):
        assert middle == Fraction(first + last, 2)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(torchconv.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.down = nn.Conv2d(4, 8, 3, stride=2)

    def forward(self, x):
        x = F.relu_(self.body(x)) + F.conv2d(x, torch.ones(4, 4, 1, 1))
        x = self.down(torch.cat([x[:, :2], x[:, 2:]], 1))
        return F.max_pool2d(x, 2, return_indices=True)[0].flatten(1).sum()


def test_functions_branches_and_names():
    table = torchconv.trace_shapes(Residual(), torch.zeros(2, 4, 11, 11))
    assert [(row.name, row.kind) for row in table.layers] == [
        ("body.0", "Conv2d"), ("", "conv2d"), ("down", "Conv2d"), ("", "max_pool2d"),
    ]  # fmt: skip
    assert [row.field.size for row in table.layers] == [(3, 3), (1, 1), (5, 5), (7, 7)]
    assert table.layers[-1].field.centre == (2, 2)
    assert table.parameters == sum(p.numel() for p in Residual().parameters())
    assert "down    Conv2d" in str(table) and f"{table.parameters:,} parameters" in str(table)


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.first, self.last = nn.Conv2d(4, 4, 3), torchconv.Conv2d(4, 4, 3)

    def forward(self, x):
        x = self.first(x) * self.scale.view(1, -1, 1, 1) + torch.ones(1, 4, 1, 1)
        x = self.last(x / x.std())
        return F.pad(x.mean((2, 3)), (1, 1))


def test_constants_leave_the_field_as_it_is():
    rows = torchconv.trace_shapes(Scaled(), (2, 4, 9, 9)).layers
    assert [(row.name, row.field and row.field.size) for row in rows] == [
        ("first", (3, 3)), ("last", None),  # the deviation saw everything
    ]  # fmt: skip
    model = Scaled()
    model.forward = lambda x: model.last(model.first(x) * model.scale.view(1, -1, 1, 1) + 1)
    assert torchconv.trace_shapes(model, (2, 4, 9, 9)).layers[1].field.size == (5, 5)


def test_branches_from_the_input_itself():
    model = nn.Sequential(torchconv.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, (1, 4)))
    model.forward = lambda x: model[1](torch.cat([x[:, :1], (x + model[0](x))[:, 1:]], 1))
    assert torchconv.trace_shapes(model, (1, 2, 9, 9)).layers[1].field.size == (3, 6)


def test_after_a_layer_that_mixes_all_positions_nothing_is_claimed():
    rows = trace(nn.Conv2d(1, 2, 3), nn.Flatten(2), nn.Linear(36, 16), nn.Unflatten(2, (4, 4)),
                 nn.Conv2d(2, 2, 3), size=(1, 1, 8, 8))  # fmt: skip
    assert [row.field is None for row in rows] == [False, True]


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    model[2].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torchconv.trace_shapes(model, torch.randn(2, 1, 8, 8))
    assert [m.training for m in model] == [True, True, False]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_models_on_meta_cost_nothing():
    with torch.device("meta"):
        model = torchconv.Conv3d(512, 512, 3, padding=1)
    (row,) = torchconv.trace_shapes(model, (8, 512, 1000, 1000, 1000)).layers
    assert row.multiply_adds == 8 * 10**9 * 512 * 512 * 27


def test_a_failing_model_shows_how_far_it_came():
    model = nn.Sequential(torchconv.Conv2d(3, 4, 3), torchconv.Conv2d(5, 4, 3))
    with pytest.raises(RuntimeError, match="4 channels but weight expects 5") as caught:
        torchconv.trace_shapes(model, (1, 3, 9, 9))
    notes = getattr(caught.value, "__notes__", ["(9 - 3) / 1 + 1 = 7"])  # from Python 3.11 on
    assert "(9 - 3) / 1 + 1 = 7" in notes[0]
    assert not model[0]._forward_hooks


def test_tables_as_html_and_as_a_picture(tmp_path):
    table = torchconv.trace_shapes(Residual(), (2, 4, 11, 11))
    shown = table._repr_html_()
    assert shown.count("<tr>") == 5 and "4x11x11" in shown
    pytest.importorskip("matplotlib")
    table.picture(tmp_path / "shapes.png")
    assert (tmp_path / "shapes.png").stat().st_size > 5_000
    with pytest.raises(ValueError, match="no layer"):
        torchconv.trace_shapes(nn.ReLU(), (1, 1)).picture(tmp_path / "none.png")
