"""patch(): unchanged code on torchconv."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import torchconv


class Counter(TorchDispatchMode):
    """Which convolutions reach the dispatcher."""

    def __enter__(self) -> "Counter":
        self.ours = self.torchs = 0
        super().__enter__()
        return self

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ours += func.namespace == "torchconv"
        self.torchs += "convolution" in func.name()
        return func(*args, **(kwargs or {}))


class Block(nn.Module):
    """A residual block, as in torchvision: two 3x3, or 1x1 - 3x3 - 1x1 where it is a bottleneck."""

    def __init__(self, channels: int, width: int, stride: int, *, bottleneck: bool) -> None:
        super().__init__()
        out = width * (4 if bottleneck else 1)

        def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
            layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
            return [layer, nn.BatchNorm2d(outputs)]

        if bottleneck:
            layers = [*conv(channels, width, 1), nn.ReLU(), *conv(width, width, 3, stride)]
            layers += [nn.ReLU(), *conv(width, out, 1)]
        else:
            layers = [*conv(channels, width, 3, stride), nn.ReLU(), *conv(width, width, 3)]
        self.body = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(*conv(channels, out, 1, stride))

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(self.body(input) + self.shortcut(input))


def resnet(bottleneck: bool) -> nn.Module:
    stem = [nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    out = 4 if bottleneck else 1
    return nn.Sequential(
        *stem,
        nn.MaxPool2d(3, 2, 1),
        Block(16, 16, 1, bottleneck=bottleneck),
        Block(16 * out, 24, 2, bottleneck=bottleneck),
        Block(24 * out, 24, 1, bottleneck=bottleneck),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24 * out, 10),
    ).double()


@pytest.mark.parametrize("way", ["patch", "convert"])
@pytest.mark.parametrize("bottleneck", [False, True], ids=["basic", "bottleneck"])
def test_resnet_forward_and_backward_are_equal(bottleneck: bool, way: str) -> None:
    native = resnet(bottleneck)
    ours = copy.deepcopy(native)
    if way == "convert":
        torchconv.convert(ours)
    image = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    images = [image.clone().requires_grad_() for _ in range(2)]
    expected = native(images[0])
    if way == "patch":
        with torchconv.patch(), Counter() as counter:
            output = ours(images[1])
        assert counter.ours == sum(isinstance(m, nn.Conv2d) for m in ours.modules())
        assert counter.torchs == 0
    else:
        output = ours(images[1])
    for logits in (expected, output):
        F.cross_entropy(logits, torch.tensor([1, 7])).backward()
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(images[1].grad, images[0].grad)
    for a, b in zip(ours.parameters(), native.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def names() -> list[str]:
    return [f"conv{t}{axes}d" for t in ("", "_transpose") for axes in (1, 2, 3)]


@pytest.mark.parametrize("home", [torch, F], ids=["torch", "functional"])
@pytest.mark.parametrize("name", names())
def test_every_function_is_ours_inside_and_torchs_outside(name: str, home: object) -> None:
    axes = int(name[-2])
    input, weight = torch.randn(1, 2, *[5] * axes), torch.randn(2, 2, *[3] * axes)
    function = getattr(home, name)
    with Counter() as counter:
        native = function(input, weight, stride=2, padding=1)
        with torchconv.patch():
            ours = function(input, weight=weight, stride=2, padding=(1,) * axes)
        assert counter.ours == 1 and counter.torchs == 1
        function(input, weight)
    assert counter.torchs == 2
    torch.testing.assert_close(ours, native, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
def test_layers_that_pad_first(padding_mode: str) -> None:
    layer = nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode=padding_mode)
    input = torch.randn(1, 2, 6, 7)
    with torchconv.patch():
        ours = layer(input)
    torch.testing.assert_close(ours, layer(input), rtol=1e-4, atol=1e-5)


def test_arguments_without_a_kernel_go_to_torch() -> None:
    weight = torch.randn(3, 2, 3, 3)
    fake = torch.randn(1, 2, 5, 5).to_mkldnn()
    with torch.no_grad(), torchconv.patch(), Counter() as counter:
        output = F.conv2d(fake, weight)
    assert output.is_mkldnn and counter.ours == 0


@pytest.mark.parametrize("wrong", [
    lambda x, w: F.conv2d(x, w, stride=0),
    lambda x, w: F.conv2d(x, w, groups=3),
    lambda x, w: F.conv2d(x, w.double()),
    lambda x, w: F.conv2d(x, w, padding="sane"),
    lambda x, w: F.conv2d(x, w, stride=1.5),
    lambda x, w: F.conv2d(None, w),
    lambda x, w: F.conv2d(x, w, stripe=1),
])  # fmt: skip
def test_errors_keep_their_type(wrong) -> None:
    input, weight = torch.randn(1, 2, 5, 5), torch.randn(3, 2, 3, 3)
    with pytest.raises(Exception) as native:
        wrong(input, weight)
    with torchconv.patch(), pytest.raises(native.type):
        wrong(input, weight)


def test_patch_nests_and_can_be_used_again() -> None:
    input, weight = torch.randn(1, 2, 5), torch.randn(3, 2, 3)
    with Counter() as counter:
        context = torchconv.patch()
        with context:
            F.conv1d(input, weight)
        with context, context, torchconv.patch():
            F.conv1d(input, weight)
            torchconv.conv1d(input, weight, padding="same")
    assert counter.ours == 3 and counter.torchs == 0


@pytest.mark.parametrize("where", ["inside", "around"])
def test_patch_and_compile(where: str) -> None:
    layer = nn.Conv1d(2, 3, 3, padding=1)
    targets = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> torch.fx.GraphModule:
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    def inside(input: Tensor) -> Tensor:
        with torchconv.patch():
            return layer(input)

    input = torch.randn(1, 2, 9)
    if where == "inside":
        output = torch.compile(inside, backend=backend, fullgraph=True)(input)
    else:
        with torchconv.patch():
            output = torch.compile(layer, backend=backend, fullgraph=True)(input)
    assert "torchconv.conv.default" in targets
    torch.testing.assert_close(output, layer(input), rtol=1e-4, atol=1e-5)
