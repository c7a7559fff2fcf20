"""What torch does to functions and layers: trace, compile, export, transform, autocast, count."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch._dynamo.testing import CompileCounter
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, stack_module_state, vmap
from torch.utils.flop_counter import FlopCounterMode

import torchconv


def close(ours: Tensor, native: Tensor) -> None:
    torch.testing.assert_close(ours, native, rtol=1e-4, atol=1e-5)


class Net(nn.Module):
    """Every layer with every kind of padding, on images of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            torchconv.Conv2d(3, 8, 3, stride=2, padding="same"),
            nn.ReLU(),
            torchconv.Conv2d(8, 8, 4, padding=((1, 2), (2, 1)), groups=2, padding_mode="circular"),
            nn.ReLU(),
            torchconv.Conv2d(8, 4, 3, padding="full", mode="convolution"),
            torchconv.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=1),
        )

    def forward(self, input: Tensor) -> Tensor:
        return self.layers(input)


@pytest.mark.parametrize("backend", ["eager", "aot_eager", "inductor"])
def test_compile_trains_at_any_size(backend: str) -> None:
    net = Net()
    compiled = torch.compile(net, backend=backend, fullgraph=True, dynamic=True)
    for shape in ((2, 3, 12, 14), (3, 3, 15, 13)):
        image = torch.randn(shape)
        gradients = []
        for model in (net, compiled):
            net.zero_grad()
            model(image).square().mean().backward()
            gradients.append([p.grad.clone() for p in net.parameters()])
        for a, b in zip(*gradients, strict=True):
            close(a, b)


def test_compile_does_not_specialise_on_sizes() -> None:
    counter = CompileCounter()
    paddings = (1, "valid", "same", "full", ((0, 1), (2, 0)))

    @torch.compile(backend=counter, fullgraph=True, dynamic=True)
    def run(input: Tensor, weight: Tensor) -> list[Tensor]:
        outputs = [torchconv.conv2d(input, weight, None, 2, padding) for padding in paddings]
        return [*outputs, torchconv.conv_transpose2d(input, weight.mT, stride=2, padding=1)]

    for size in (8, 9, 14, 23):
        input, weight = torch.randn(2, 4, size, size + 3), torch.randn(4, 4, 3, 3)
        for ours, padding in zip(run(input, weight), paddings, strict=False):
            close(ours, torchconv.conv2d(input, weight, None, 2, padding))
    assert counter.frame_count == 1


def test_compile_does_not_specialise_on_the_stride() -> None:
    counter = CompileCounter()

    @torch.compile(backend=counter, fullgraph=True, dynamic=True)
    def run(input: Tensor, weight: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        same = torchconv.conv2d(input, weight, None, stride, "same")
        return same, torchconv.conv_transpose2d(input, weight, None, stride, 1)

    input, weight = torch.randn(2, 4, 9, 7), torch.randn(4, 4, 3, 3)
    for stride in (2, 3, 5):
        same, transposed = run(input, weight, stride)
        close(same, torchconv.conv2d(input, weight, None, stride, "same"))
        close(transposed, F.conv_transpose2d(input, weight, None, stride, 1))
    assert counter.frame_count == 1


@pytest.mark.parametrize("strict", [False, True])
def test_export_with_dynamic_sizes(strict: bool) -> None:
    net = Net().eval()
    height, width = torch.export.Dim("height", min=4, max=64), torch.export.Dim("width", min=4)
    program = torch.export.export(
        net,
        (torch.randn(2, 3, 12, 14),),
        dynamic_shapes=({0: torch.export.Dim("batch"), 2: height, 3: width},),
        strict=strict,
    )
    image = torch.randn(5, 3, 9, 17)
    close(program.module()(image), net(image))


def test_symbolic_trace_keeps_the_functions_as_leaves() -> None:
    net = Net()
    traced = fx.symbolic_trace(net)
    targets = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert targets == [torchconv.conv2d] * 3 + [torchconv.conv_transpose2d]
    image = torch.randn(1, 3, 10, 11)
    close(traced(image), net(image))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace", "ignore:Converting a tensor to a Python")
def test_jit_trace_follows_other_sizes() -> None:
    net = nn.Sequential(
        torchconv.Conv2d(3, 8, 3, stride=2, padding=1),
        torchconv.Conv2d(8, 8, 5, padding="same", groups=2),
        torchconv.Conv2d(8, 8, 4, padding="full", mode="convolution", padding_mode="circular"),
    )
    traced = torch.jit.trace(net, torch.randn(1, 3, 12, 14))
    image = torch.randn(2, 3, 9, 11)
    close(traced(image), net(image))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace", "ignore:Converting a tensor to a Python")
def test_jit_trace_keeps_the_size_where_it_must_be_told() -> None:
    net = Net()
    image = torch.randn(1, 3, 12, 14)
    traced = torch.jit.trace(net, image)
    close(traced(image + 1), net(image + 1))


def functions() -> dict[str, tuple[object, object]]:
    """Ours and torch's, of (input, weight, bias)."""
    return {
        "conv": (
            lambda x, w, b: torchconv.conv2d(x, w, b, padding="same"),
            lambda x, w, b: F.conv2d(x, w, b, padding="same"),
        ),
        "transpose": (
            lambda x, w, b: torchconv.conv_transpose2d(x, w, b, 2, 1),
            lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1),
        ),
    }


@pytest.mark.parametrize("transform", [
    lambda f: grad(lambda *t: f(*t).square().sum(), (0, 1, 2)),
    lambda f: jacrev(f, (0, 1, 2)),
    lambda f: jacfwd(f, (0, 1, 2)),
    lambda f: hessian(lambda *t: f(*t).pow(3).sum(), (0, 1, 2)),
    lambda f: lambda *t: jvp(f, t, tuple(v.cos() for v in t)),
], ids=["grad", "jacrev", "jacfwd", "hessian", "jvp"])  # fmt: skip
@pytest.mark.parametrize("name", functions())
def test_func(name: str, transform) -> None:
    tensors = [torch.randn(s, dtype=torch.float64) for s in ((1, 2, 4, 3), (2, 2, 3, 3), (2,))]
    ours, native = (transform(function)(*tensors) for function in functions()[name])
    torch.testing.assert_close(ours, native)


@pytest.mark.parametrize("dims", [(0, None, None), (None, 0, None), (0, 1, 0), (None, None, 0)])
@pytest.mark.parametrize("name", functions())
def test_vmap(name: str, dims: tuple[int | None, ...]) -> None:
    shapes = [(3, 2, 4, 5), (2, 2, 3, 3), (2,)]
    batched = [s if d is None else (*s[:d], 4, *s[d:]) for s, d in zip(shapes, dims, strict=True)]
    tensors = [torch.randn(s, dtype=torch.float64) for s in batched]
    ours, native = (vmap(function, dims)(*tensors) for function in functions()[name])
    torch.testing.assert_close(ours, native)


def small() -> nn.Module:
    return nn.Sequential(nn.Conv1d(2, 3, 3, padding=1), nn.Tanh(), nn.ConvTranspose1d(3, 1, 2, 2))


def test_per_sample_gradients_and_ensembles() -> None:
    models = [torchconv.convert(small()) for _ in range(3)]
    parameters, buffers = stack_module_state(models)
    samples = torch.randn(4, 2, 6)

    def loss(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(models[0], (parameters, buffers), (sample[None],)).square().sum()

    # The gradient of every model by every sample, at once and one after the other.
    each = vmap(vmap(grad(loss), (None, 0)), (0, None))(parameters, samples)
    for m, model in enumerate(models):
        for s, sample in enumerate(samples):
            model.zero_grad()
            model(sample[None]).square().sum().backward()
            for name, parameter in model.named_parameters():
                close(each[name][m, s], parameter.grad)


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("function", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("padding", [1, (1, 1)])
def test_autocast_dtypes_are_torchs(
    function: str, low: torch.dtype, padding: int | tuple[int, int]
) -> None:
    tensors = [torch.randn(s, requires_grad=True) for s in ((2, 4, 6, 6), (4, 4, 3, 3), (4,))]
    with torch.autocast("cpu", low):
        native = getattr(F, function)(*tensors, padding=padding)
        ours = getattr(torchconv, function)(*tensors, padding=padding)
    assert ours.dtype == native.dtype == low
    torch.testing.assert_close(ours, native, rtol=0.02, atol=0.05)
    expected = torch.autograd.grad(native.sum(), tensors)
    for a, b in zip(torch.autograd.grad(ours.sum(), tensors), expected, strict=True):
        assert a.dtype == b.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.5)


def test_flops_are_torchs() -> None:
    image = torch.randn(2, 4, 9, 9)
    weight, transposed = torch.randn(6, 2, 3, 3), torch.randn(4, 3, 2, 2)
    counts = []
    for home in (torchconv, F):
        with FlopCounterMode(display=False) as counter:
            home.conv2d(image, weight, stride=2, padding=1, groups=2)
            home.conv_transpose2d(image, transposed, stride=2, groups=2)
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1]


def test_flops_of_a_backward_are_twice_the_forwards() -> None:
    image = torch.randn(2, 4, 9, 9, requires_grad=True)
    weight = torch.randn(6, 2, 3, 3, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        output = torchconv.conv2d(image, weight, groups=2)
        forward = counter.get_total_flops()
        output.sum().backward()
    assert counter.get_total_flops() == 3 * forward


class Tagged(torch.Tensor):
    """A subclass that does nothing but stay."""


@pytest.mark.parametrize("function", ["conv2d", "conv_transpose2d"])
def test_subclasses_stay(function: str) -> None:
    input, weight = torch.randn(1, 2, 5, 5), torch.randn(2, 2, 3, 3)
    ours = getattr(torchconv, function)(input.as_subclass(Tagged), weight, padding=1)
    assert type(ours) is Tagged
    close(ours.as_subclass(torch.Tensor), getattr(F, function)(input, weight, padding=1))


def test_modes_see_the_function() -> None:
    seen = []

    class Spy(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    input, weight = torch.randn(1, 2, 5), torch.randn(2, 2, 3)
    with Spy():
        torchconv.conv1d(input, weight)
        torchconv.conv_transpose1d(input, weight)
    assert torchconv.conv1d in seen and torchconv.conv_transpose1d in seen


def test_inference_mode() -> None:
    net = Net()
    with torch.inference_mode():
        assert net(torch.randn(1, 3, 8, 8)).is_inference()
