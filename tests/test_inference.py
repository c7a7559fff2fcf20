"""convert(model, inference=True): batch norms and activations inside the convolutions."""

import copy
import pickle

import pytest
import torch
from problems import PROBLEMS, line
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import torchconv
from torchconv import testing
from torchconv.inference import FusedConv

ACTIVATIONS = {"none": lambda y: y, "relu": F.relu, "silu": F.silu, "gelu": F.gelu}
CONV, NORM = (nn.Conv1d, nn.Conv2d, nn.Conv3d), (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def settled(model: nn.Module, seed: int = 0) -> nn.Module:
    """In evaluation mode, with statistics and affine parts that are not their defaults."""
    generator = torch.Generator().manual_seed(seed)
    for child in model.modules():
        if isinstance(child, NORM) and child.running_mean is not None:
            child.running_mean.normal_(generator=generator)
            child.running_var.uniform_(0.5, 2, generator=generator)
            if child.affine:
                child.weight.data.normal_(generator=generator)
                child.bias.data.normal_(generator=generator)
    return model.eval()


def fused_layers(model: nn.Module) -> list[FusedConv]:
    return [child for child in model.modules() if isinstance(child, FusedConv)]


def agree(fused, model, *inputs, factor=16):
    with torch.no_grad():
        wanted, got = model(*inputs), fused(*inputs)
    scale = wanted.abs().max().item() + 1e-6
    assert (got - wanted).abs().max().item() <= factor * torch.finfo(wanted.dtype).eps * scale


@pytest.mark.parametrize("algorithm", testing.algorithms())
@pytest.mark.parametrize("activation", ["relu", "silu", "gelu"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_an_activation_in_the_store(algorithm, activation, dtype):
    """Every way to store: lines, columns, strided, part of a vector, channels_last."""
    ran = 0
    for name in ("1x1", "3x3", "1d", "3d", "depthwise", "grouped", "stride_2", "tiles_of_8_9",
                 "last_bands", "deep", "reflect"):  # fmt: skip
        tensors = testing.from_line(line(name, "output", dtype), integers=False)
        given = [tensors["input"], tensors["weight"], tensors.get("bias")]
        if "channels_last" in PROBLEMS[name]:
            given[0] = given[0].contiguous(memory_format=torch.channels_last)
        problem = torchconv._C.parse(line(name, "output", dtype))
        geometry = [problem[k] for k in ("output_size", "stride", "padding", "dilation")]
        rest = [problem["groups"], False, problem["padding_mode"]]
        with testing.algorithm(algorithm):
            try:
                plain = torch.ops.torchconv.conv(*given, *geometry, *rest)
            except RuntimeError as refused:
                assert "refuses" in str(refused)
                continue
            got = torch.ops.torchconv.conv_activated(*given, activation, *geometry, *rest)
        ran += 1
        wide = plain.double()
        wanted = ACTIVATIONS[activation](wide)
        # The plain sum was rounded before the activation, which stretches by 1.13 at the most.
        eps = torch.finfo(plain.dtype).eps
        bound = 4 * eps * (1 + wide.abs())
        assert ((got.double() - wanted).abs() <= bound).all(), name
        assert got.is_contiguous() == plain.is_contiguous()
    assert ran or dtype == "float64"


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_activations_everywhere(activation, dtype):
    """Through a 1x1 convolution by one, which leaves its input alone."""
    x = torch.cat([torch.linspace(-120, 120, 4801), torch.tensor([0.0, -0.0, 1e-30, -1e-30])])
    x = x.to(dtype).view(1, 1, -1)
    got = torch.ops.torchconv.conv_activated(
        x, torch.ones(1, 1, 1, dtype=dtype), None, activation, None, [1], [0], [1], 1, False
    )
    wanted = ACTIVATIONS[activation](x.double())
    tolerance = 3 * torch.finfo(dtype).eps * (1e-6 + x.double().abs())
    assert ((got.double() - wanted).abs() <= tolerance).all()
    special = torch.tensor([[[float("nan"), float("inf")]]], dtype=dtype)
    got = torch.ops.torchconv.conv_activated(
        special, torch.ones(1, 1, 1, dtype=dtype), None, activation, None, [1], [0], [1], 1, False
    )
    assert got[0, 0, 0].isnan() and got[0, 0, 1] == float("inf")


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("activation", [None, nn.ReLU, nn.SiLU, nn.GELU])
@pytest.mark.parametrize("norm", [False, True])
def test_a_chain_is_one_layer(axes, activation, norm):
    layers = [CONV[axes - 1](4, 6, 3, padding=1, groups=2)]
    layers += [NORM[axes - 1](6)] * norm + ([activation()] if activation else [])
    model = settled(nn.Sequential(*layers))
    fused = torchconv.convert(model, inference=True)
    assert len(list(fused.children())) == 1 and len(fused_layers(fused)) == 1
    agree(fused, model, torch.randn(2, 4, *[9] * axes))


class Block(nn.Module):
    """A residual block, whose one ReLU serves twice, and once behind an addition."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, affine=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + x)


class Branching(nn.Module):
    """Python asks for the value of a tensor, so torch.fx cannot trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.block = Block(8)

    def forward(self, x):
        y = self.first(x)
        return self.block(y) if y.sum() > -1e30 else y


def test_a_residual_block():
    model = settled(Block(8))
    fused = torchconv.convert(model, inference=True)
    assert [f.activation for f in fused_layers(fused)] == ["relu", "none"]
    assert not any(isinstance(child, nn.BatchNorm2d) for child in fused.modules())
    agree(fused, model, torch.randn(2, 8, 7, 9))


def test_what_cannot_be_traced_is_fused_child_by_child():
    model = settled(Branching())
    fused = torchconv.convert(model, inference=True)
    assert [f.activation for f in fused_layers(fused)] == ["relu", "relu", "none"]
    agree(fused, model, torch.randn(2, 3, 12, 12))


def test_the_given_model_is_left_alone_and_given_back():
    model = settled(Block(8))
    before = copy.deepcopy(model.state_dict())
    names = [name for name, _ in model.named_modules()]
    fused = torchconv.convert(model, inference=True)
    assert [name for name, _ in model.named_modules()] == names
    assert type(model.conv1) is nn.Conv2d
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert torchconv.convert(fused) is model
    assert isinstance(model.conv1, torchconv.Conv2d)


def test_parameters_that_do_not_change_are_shared():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh())
    fused = torchconv.convert(model.eval(), inference=True)
    assert fused_layers(fused)[0].weight is model[0].weight


def test_a_layer_used_twice_is_fused_at_each_place():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.conv(F.relu(self.bn(self.conv(x))))

    model = settled(Twice())
    fused = torchconv.convert(model, inference=True)
    assert [f.activation for f in fused_layers(fused)] == ["relu", "none"]
    agree(fused, model, torch.randn(1, 4, 6, 6))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(approximate="tanh")),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.LeakyReLU()),
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
    ],
)
def test_what_is_not_fused_is_kept(make):
    model = settled(make())
    fused = torchconv.convert(model, inference=True)
    assert len(list(fused.children())) == len(model)
    agree(fused, model, torch.randn(2, 3, 8, 8))


def test_hooks_run():
    model = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    seen = []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    torchconv.convert(model, inference=True)(torch.randn(1, 3, 8, 8))
    assert seen == [1]


def test_a_model_in_training_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    with pytest.raises(ValueError, match=r"1 is training; call model\.eval\(\) first"):
        torchconv.convert(model, inference=True)


def test_modes_and_paddings_stay():
    layer = torchconv.Conv2d(3, 4, 4, stride=2, padding="same", padding_mode="reflect",
                             mode="convolution")  # fmt: skip
    model = settled(nn.Sequential(layer, nn.BatchNorm2d(4), nn.ReLU()))
    fused = torchconv.convert(model, inference=True)
    assert len(fused_layers(fused)) == 1
    agree(fused, model, torch.randn(2, 3, 9, 8))
    agree(fused, model, torch.randn(3, 9, 8).unsqueeze(0))


def test_gradients_still_flow():
    """In two passes, through what is still a parameter or an input."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU()).double().eval()
    fused = torchconv.convert(model, inference=True)
    x = torch.randn(1, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(fused, x)
    with torch.autograd.forward_ad.dual_level(), torch.no_grad():
        dual = torch.autograd.forward_ad.make_dual(x.detach(), torch.ones_like(x))
        assert torch.autograd.forward_ad.unpack_dual(fused(dual)).tangent is not None


def test_compile_vmap_autocast_pickle_and_copies():
    model = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    fused = torchconv.convert(model, inference=True)
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        wanted = fused(x)
        compiled = torch.compile(fused, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x), wanted)
        torch.testing.assert_close(torch.func.vmap(fused)(x), wanted)
        torch.testing.assert_close(copy.deepcopy(fused)(x), wanted)
        torch.testing.assert_close(pickle.loads(pickle.dumps(fused))(x), wanted)
        with torch.autocast("cpu", torch.bfloat16):
            assert fused(x).dtype == torch.bfloat16


def test_operations_are_counted():
    fused = torchconv.convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), inference=True)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        fused(torch.randn(2, 3, 8, 8))
    assert counted.get_total_flops() == 2 * 2 * 4 * 36 * 27


def test_the_operator_says_what_is_wrong():
    x, w = torch.ones(1, 1, 4), torch.ones(1, 1, 2)
    rest = (None, [1], [0], [1], 1, False)
    with pytest.raises(ValueError, match="activation must be 'none', 'relu', 'silu' or 'gelu'"):
        torch.ops.torchconv.conv_activated(x, w, None, "tanh", *rest)
    with pytest.raises(RuntimeError, match="activation relu needs a real floating dtype, got int"):
        torch.ops.torchconv.conv_activated(x.int(), w.int(), None, "relu", *rest)
    torch.library.opcheck(torch.ops.torchconv.conv_activated.default, (x, w, None, "silu", *rest))
