"""Layers: torch.nn's in everything but who computes."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import torchconv

PAIRS = {
    "Conv1d": (dict(), (2, 4, 20)),
    "Conv2d": (dict(groups=2, bias=False), (2, 4, 9, 8)),
    "Conv3d": (dict(dtype=torch.float64), (1, 4, 5, 6, 7)),
    "ConvTranspose1d": (dict(output_padding=1), (2, 4, 20)),
    "ConvTranspose2d": (dict(groups=2, bias=False), (2, 4, 9, 8)),
    "ConvTranspose3d": (dict(dtype=torch.float64, output_padding=(0, 1, 1)), (1, 4, 5, 4, 3)),
}


def both(name: str, **arguments: object) -> tuple[nn.Module, nn.Module]:
    """Our layer and torch's, made under one seed."""
    layers = []
    for home in (torchconv, nn):
        torch.manual_seed(1)
        layers.append(getattr(home, name)(4, 6, 3, 2, 1, **arguments))
    return layers[0], layers[1]


def close(ours: torch.Tensor, native: torch.Tensor) -> None:
    torch.testing.assert_close(ours, native, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_same_initialisation_repr_and_attributes(name: str) -> None:
    ours, native = both(name, **PAIRS[name][0])
    assert repr(ours) == repr(native)
    assert isinstance(ours, type(native))
    assert vars(ours).keys() - {"mode"} == vars(native).keys()
    for key, value in vars(native).items():
        if not key.startswith("_"):
            assert getattr(ours, key) == value, key
    for key, value in native.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)


@pytest.mark.parametrize("name", PAIRS)
def test_checkpoints_move_both_ways(name: str) -> None:
    ours, native = both(name, **PAIRS[name][0])
    for a, b in ((ours, native), (native, ours)):
        nn.init.normal_(a.weight)
        file = io.BytesIO()
        torch.save(a.state_dict(), file)
        file.seek(0)
        b.load_state_dict(torch.load(file))
        assert torch.equal(a.weight, b.weight)


@pytest.mark.parametrize("name", PAIRS)
def test_training_step_equals_torchs(name: str) -> None:
    arguments, shape = PAIRS[name]
    layers = both(name, **arguments)
    input = torch.randn(shape, dtype=layers[0].weight.dtype)
    outputs = []
    for layer in layers:
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            optimizer.zero_grad()
            outputs.append(layer(input).square().mean())
            outputs[-1].backward()
            optimizer.step()
    close(torch.stack(outputs[:2]), torch.stack(outputs[2:]))
    for a, b in zip(layers[0].parameters(), layers[1].parameters(), strict=True):
        close(a, b)


@pytest.mark.parametrize("name", PAIRS)
def test_copies_compute_the_same(name: str) -> None:
    ours = getattr(torchconv, name)(4, 6, 3, mode="convolution").eval()
    input = torch.randn(PAIRS[name][1])
    for again in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert type(again) is type(ours) and again.mode == "convolution"
        assert torch.equal(again(input), ours(input))


@pytest.mark.parametrize("padding_mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("padding", [1, 2, "same"])
def test_padding_mode(padding: int | str, padding_mode: str) -> None:
    layers = []
    for home in (torchconv, nn):
        torch.manual_seed(1)
        layers.append(home.Conv2d(2, 3, (4, 3), padding=padding, padding_mode=padding_mode))
    input = torch.randn(2, 2, 8, 7)
    close(layers[0](input), layers[1](input))


@pytest.mark.parametrize("layer, size", [
    (torchconv.Conv1d(1, 1, 5, padding="causal", stride=2), (4,)),
    (torchconv.Conv2d(1, 1, 3, padding="same", stride=2), (4, 4)),
    (torchconv.Conv2d(1, 1, 3, padding="full"), (9, 9)),
    (torchconv.Conv2d(1, 1, 3, padding=((1, 2), (0, -1))), (8, 4)),
], ids=["causal", "same_strided", "full", "pairs"])  # fmt: skip
def test_paddings_torch_has_not(layer: nn.Module, size: tuple[int, ...]) -> None:
    assert layer(torch.zeros(1, 1, *[7] * len(size))).shape[2:] == size
    assert f"padding={layer.padding}" in repr(layer)
    assert layer.padding == copy.deepcopy(layer).padding


def test_convolution_mode_flips_the_taps() -> None:
    layer = torchconv.Conv2d(2, 3, 3, mode="convolution")
    assert repr(layer).endswith("mode=convolution)")
    input = torch.randn(1, 2, 6, 6)
    close(layer(input), nn.functional.conv2d(input, layer.weight.flip(2, 3), layer.bias))


def test_transposed_convolution_mode_flips_the_taps() -> None:
    layer = torchconv.ConvTranspose2d(2, 3, 3, stride=2, mode="convolution")
    input, taps = torch.randn(1, 2, 4, 4), layer.weight.flip(2, 3)
    close(layer(input), nn.functional.conv_transpose2d(input, taps, layer.bias, 2))


def test_transposed_output_size() -> None:
    ours, native = both("ConvTranspose2d")
    input = torch.randn(2, 4, 5, 6)
    for size in ([10, 12], [2, 6, 9, 11], None):
        close(ours(input, output_size=size), native(input, output_size=size))


@pytest.mark.parametrize("wrong", [
    dict(padding="causal"), dict(padding="sane"), dict(padding_mode="mirror"), dict(mode="flip"),
    dict(groups=3), dict(groups=0),
], ids=str)  # fmt: skip
def test_constructor_refuses(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        torchconv.Conv2d(4, 6, 3, **wrong)


def test_transposed_constructor_refuses() -> None:
    with pytest.raises(ValueError, match="mode must be one of cross_correlation, convolution"):
        torchconv.ConvTranspose1d(4, 6, 3, mode="flip")
    with pytest.raises(ValueError, match="zeros"):
        torchconv.ConvTranspose1d(4, 6, 3, padding_mode="circular")


def test_subclass_may_call_conv_forward() -> None:
    class Standardized(torchconv.Conv2d):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return self._conv_forward(input, weight, self.bias)

    layer = Standardized(2, 3, 3, bias=False)
    close(layer(torch.ones(1, 2, 5, 5)), torch.zeros(1, 3, 3, 3))


# What users do to a layer before they convert it. Each must still be there afterwards.
WAYS = {
    "plain": lambda layer: layer,
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": lambda layer: parametrizations.spectral_norm(layer).eval(),
    "old_weight_norm": torch.nn.utils.weight_norm,
    "old_spectral_norm": lambda layer: torch.nn.utils.spectral_norm(layer).eval(),
    "prune": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    "frozen": lambda layer: layer.requires_grad_(False),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_convert_keeps_everything(name: str, way: str) -> None:
    layers = [WAYS[way](both(name)[1]) for _ in range(2)]
    native, ours = layers[0], torchconv.convert(layers[1])
    assert ours is layers[1] and isinstance(ours, getattr(torchconv, name))
    assert ours.training == native.training
    assert ours.state_dict().keys() == native.state_dict().keys()
    input = torch.randn(2, 4, 7, 7)
    close(ours(input), native(input))


def test_convert_rebuilds_a_parametrized_class_for_one_copy_alone() -> None:
    native = parametrizations.weight_norm(both("Conv2d")[1])
    ours = torchconv.convert(copy.deepcopy(native))
    assert isinstance(ours, torchconv.Conv2d) and not isinstance(native, torchconv.Conv2d)
    input = torch.randn(2, 4, 7, 7)
    close(copy.deepcopy(ours)(input), native(input))
    parametrize.remove_parametrizations(ours, "weight")
    assert type(ours) is torchconv.Conv2d
    close(ours(input), native(input))


def test_convert_shares_parameters_and_modules() -> None:
    shared = nn.Conv1d(2, 2, 3, padding=1)
    model = nn.Sequential(shared, nn.Sequential(nn.ReLU(), shared), nn.ConvTranspose1d(2, 2, 2))
    parameters = list(model.parameters())
    calls = []
    shared.register_forward_hook(lambda *_: calls.append(1))
    assert torchconv.convert(model) is model
    assert model[0] is model[1][1] is shared and type(shared) is torchconv.Conv1d
    assert type(model[2]) is torchconv.ConvTranspose1d
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    model(torch.zeros(1, 2, 5))
    assert len(calls) == 2
    assert torchconv.convert(model) is model  # again: nothing left to do


def test_convert_leaves_the_users_subclasses() -> None:
    class Special(nn.Conv2d):
        pass

    model = nn.Sequential(Special(1, 1, 1), nn.Conv2d(1, 1, 1))
    torchconv.convert(model)
    assert type(model[0]) is Special and type(model[1]) is torchconv.Conv2d


def test_convert_refuses_lazy_layers_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.LazyConv2d(3, 1))
    with pytest.raises(ValueError, match="1 is a LazyConv2d without parameters"):
        torchconv.convert(model)
    assert type(model[0]) is nn.Conv2d
    model(torch.zeros(1, 1, 4, 4))
    torchconv.convert(model)
    assert type(model[1]) is torchconv.Conv2d


def test_converted_layer_pickles() -> None:
    model = torchconv.convert(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"))
    again = pickle.loads(pickle.dumps(model))
    input = torch.randn(1, 2, 4, 4)
    assert type(again) is torchconv.Conv2d
    assert torch.equal(again(input), model(input))
