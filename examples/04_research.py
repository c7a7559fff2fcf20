"""What a researcher asks of a layer: derivatives of every kind, transforms, compilation.

    python examples/04_research.py

Each question is answered by torchconv and, where PyTorch has an answer too, compared with it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, grad, hessian, jvp, vmap

import torchconv


def same(what: str, ours: Tensor, native: Tensor) -> None:
    """Prints what was compared and how closely it agrees; stops where it does not."""
    torch.testing.assert_close(ours, native)
    print(f"{what}: {tuple(ours.shape)}, within {(ours - native).abs().max():.1e} of PyTorch's")


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def finite_differences() -> None:
    """First and second derivatives of a dilated, grouped, strided convolution, both ways."""
    tensors = [t.requires_grad_() for t in (normal(2, 4, 7, 6), normal(6, 2, 3, 2), normal(6))]

    def convolve(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torchconv.conv2d(input, weight, bias, (2, 1), ((1, 0), (2, 1)), (1, 2), groups=2)

    assert torch.autograd.gradcheck(convolve, tensors, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(convolve, tensors)
    print("gradcheck and gradgradcheck: derivatives equal finite differences, reverse and forward")


def second_order() -> None:
    """The Hessian of a small network's loss by the taps of its first layer."""
    image, taps, mixing = normal(1, 1, 6, 6), normal(2, 1, 3, 3), normal(1, 2, 1, 1)

    def loss(convolve, taps: Tensor) -> Tensor:
        return convolve(torch.tanh(convolve(image, taps)), mixing).square().mean()

    curvature, native = (
        hessian(lambda w, run=run: loss(run, w))(taps) for run in (torchconv.conv2d, F.conv2d)
    )
    same("Hessian by the taps", curvature, native)
    values = torch.linalg.eigvalsh(curvature.reshape(taps.numel(), -1))
    print(f"  its eigenvalues lie from {values[0]:.2g} to {values[-1]:.2g}")


def third_order() -> None:
    """The three operators differentiate into each other, as often as one likes."""

    def third(convolve) -> Tensor:
        torch.manual_seed(0)
        image, taps = normal(1, 2, 6), normal(2, 2, 3).requires_grad_()
        value = convolve(image, taps, padding=1).tanh().sum()
        for _ in range(2):
            (slope,) = torch.autograd.grad(value, taps, create_graph=True)
            value = slope.square().sum()
        return torch.autograd.grad(value, taps)[0]

    same("third derivative", third(torchconv.conv1d), third(F.conv1d))


def per_sample_gradients() -> None:
    """The gradient of every sample by itself in one sweep, as differential privacy needs it."""
    model = torch.nn.Sequential(
        torchconv.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torchconv.Conv2d(8, 4, 3, stride=2)
    ).double()
    images, targets = normal(16, 3, 9, 9), normal(16, 4, 4, 4)
    parameters = dict(model.named_parameters())

    def loss(parameters: dict[str, Tensor], image: Tensor, target: Tensor) -> Tensor:
        output = functional_call(model, parameters, (image.unsqueeze(0),))
        return F.mse_loss(output.squeeze(0), target)

    each = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, images, targets)["0.weight"]
    one_by_one = torch.stack(
        [
            grad(loss)(parameters, *sample)["0.weight"]
            for sample in zip(images, targets, strict=True)
        ]
    )
    torch.testing.assert_close(each, one_by_one)
    norms = each.flatten(1).norm(dim=1)
    print(
        f"per-sample gradients: {tuple(each.shape)}, norms {norms.min():.3f} to {norms.max():.3f}"
    )


def directional() -> None:
    """Forward mode: how the output moves as the image moves one way, without a backward pass."""
    image, direction, taps = normal(1, 2, 8, 8), normal(1, 2, 8, 8), normal(3, 2, 3, 3)
    _, ours = jvp(lambda x: torchconv.conv2d(x, taps, padding=1), (image,), (direction,))
    _, native = jvp(lambda x: F.conv2d(x, taps, padding=1), (image,), (direction,))
    same("directional derivative (forward mode)", ours, native)


def compiled() -> None:
    """torch.compile takes a torchconv network whole, without a graph break."""
    model = torch.nn.Sequential(
        torchconv.Conv1d(2, 8, 5, padding="causal"), torch.nn.GELU(), torchconv.Conv1d(8, 2, 3)
    )
    signal = torch.randn(4, 2, 64)
    fast = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(fast(signal), model(signal))
    fast(signal).sum().backward()
    print("torch.compile(fullgraph=True): equal output, trains")


def planned() -> None:
    """Nothing is hidden: which algorithm would run, and why not another."""
    print(torchconv.explain(torch.zeros(8, 64, 56, 56), torch.zeros(128, 64, 3, 3), padding=1))


def main() -> None:
    torch.manual_seed(0)
    finite_differences()
    second_order()
    third_order()
    directional()
    per_sample_gradients()
    compiled()
    planned()


if __name__ == "__main__":
    main()
