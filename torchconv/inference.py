"""Inference: batch norms folded into the convolutions before them, activations into stores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from torchconv import modules
from torchconv.arguments import check_tensors, forward_geometry

_CONVS: dict[type[nn.Module], int] = {
    nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3,
    modules.Conv1d: 1, modules.Conv2d: 2, modules.Conv3d: 3,
}  # fmt: skip
_NORMS: dict[int, type[_BatchNorm]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_MODULES: dict[type[nn.Module], str] = {nn.ReLU: "relu", nn.SiLU: "silu", nn.GELU: "gelu"}
_FUNCTIONS: dict[Any, str] = {F.relu: "relu", torch.relu: "relu", F.silu: "silu", F.gelu: "gelu"}
Modules = Mapping[str, nn.Module]
_METHODS = {"relu": "relu", "relu_": "relu"}


class FusedConv(nn.Module):
    """A convolution, the batch norm after it and an activation, in one pass over the output.

    `torchconv.convert(model, inference=True)` makes these.

    Args:
        layer: the convolution, of `torch.nn` or of torchconv, over 1, 2 or 3 axes.
        norm: the batch norm that follows it, with running statistics. Default: None
        activation: "none", "relu", "silu" or "gelu". Default: "none"

    Source: for y = (conv(x, w) + b - mean) * s + beta with s = gamma / sqrt(var + eps), the weight
    is w * s and the bias (b - mean) * s + beta.

    >>> import torch, torchconv
    >>> from torchconv.inference import FusedConv
    >>> layer = torch.nn.Conv1d(1, 1, 2, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[[1.0, -1.0]]]))
    >>> FusedConv(layer, activation="relu")(torch.tensor([[[3.0, 1.0, 4.0]]])).tolist()
    [[[2.0, 0.0]]]
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self, layer: _ConvNd, norm: _BatchNorm | None = None, activation: str = "none"
    ) -> None:
        super().__init__()
        self.layer_name = type(layer).__name__
        self.axes = _CONVS[type(layer)]
        self.mode = getattr(layer, "mode", "cross_correlation")
        self.activation = activation
        self.stride, self.padding, self.dilation = layer.stride, layer.padding, layer.dilation
        self.groups, self.padding_mode = layer.groups, layer.padding_mode
        if norm is None:
            self.weight = cast(nn.Parameter, layer.weight)
            self.bias = cast(nn.Parameter | None, layer.bias)
        else:
            self.weight, self.bias = _folded(layer, norm)
        self.train(layer.training)

    def forward(self, input: Tensor) -> Tensor:
        call = self.layer_name.lower()
        shape = "out_channels, in_channels / groups"
        check_tensors(call, self.axes, shape, input=input, weight=self.weight, bias=self.bias)
        batched = input.dim() == self.axes + 2
        input = input if batched else input.unsqueeze(0)
        geometry = forward_geometry(
            call,
            input,
            self.weight,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.mode,
            self.padding_mode,
        )
        output: Tensor = torch.ops.torchconv.conv_activated.default(
            input, self.weight, self.bias, self.activation, *geometry
        )
        return output if batched else output.squeeze(0)

    def extra_repr(self) -> str:
        taps = "x".join(map(str, self.weight.shape[2:]))
        return f"{self.layer_name} of {taps} taps, activation={self.activation}"


def _folded(layer: _ConvNd, norm: _BatchNorm) -> tuple[nn.Parameter, nn.Parameter]:
    """The weight and the bias of both in one, rounded once."""
    assert norm.running_mean is not None and norm.running_var is not None
    weight = layer.weight.detach().double()
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    bias = -norm.running_mean.double() * scale
    if layer.bias is not None:
        bias = bias + layer.bias.detach().double() * scale
    if norm.bias is not None:
        bias = bias + norm.bias.detach().double()
    dtype = layer.weight.dtype
    weight = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    return (
        nn.Parameter(weight.to(dtype), requires_grad=False),
        nn.Parameter(bias.to(dtype), requires_grad=False),
    )


def fuse(model: nn.Module) -> nn.Module:
    """A model that computes what `model` does in evaluation, with fewer passes over memory.

    The given model is left as it is, and shares every parameter that folding does not change.
    What torch.fx cannot trace is fused below, child by child.
    """
    twin = _fused_graph(model) or _fused_children(model)
    twin.__dict__["_unfused"] = model  # not a child: its parameters are no part of the state
    return twin


def unfuse(model: nn.Module) -> nn.Module:
    """The model that `fuse` was given, or the model itself."""
    found: nn.Module = model.__dict__.get("_unfused", model)
    return found


def check_evaluating(model: nn.Module) -> None:
    for name, child in model.named_modules():
        if child.training and isinstance(child, tuple(_NORMS.values())):
            raise ValueError(
                f"convert: inference=True needs a model in evaluation mode, and {name or 'it'} is "
                "training; call model.eval() first"
            )


def _fused_children(model: nn.Module) -> nn.Module:
    if _is_conv(model):
        return FusedConv(model)
    twin = type(model).__new__(type(model))
    twin.__dict__.update(model.__dict__)
    twin._modules = {name: child and fuse(child) for name, child in model._modules.items()}
    return twin


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        ours = type(module).__module__.startswith("torchconv.")
        return ours or super().is_leaf_module(module, qualified_name)


def _fused_graph(model: nn.Module) -> fx.GraphModule | None:
    """The model as one graph; None where it cannot be traced, or is a layer itself."""
    if not list(model.children()):
        return None
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception:  # what a model's own code raises where it meets a proxy can be anything
        return None
    made = fx.GraphModule(model, graph, type(model).__name__)
    given = dict(model.named_modules(remove_duplicate=False))
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in list(graph.nodes):
        layer = _module_of(given, node)
        if not _is_conv(layer):
            continue
        norm, last = _norm_after(given, node, _CONVS[type(layer)])
        activation, last = _activation_after(given, last)
        if last is not node:
            last.replace_all_uses_with(node)
            _erase_between(graph, node, last)
        if calls[node.target] > 1:  # each place may be followed by something else
            node.target = f"{node.target}_at_{node.name}"
        made.add_submodule(str(node.target), FusedConv(layer, norm, activation))
    made.delete_all_unused_submodules()
    made.recompile()
    return made


def _is_conv(layer: nn.Module | None) -> TypeGuard[_ConvNd]:
    return layer is not None and type(layer) in _CONVS and _is_plain(layer)


def _is_plain(layer: nn.Module) -> bool:
    """Whether a layer does nothing beside its forward."""
    hooked = layer._forward_hooks or layer._forward_pre_hooks
    return not hooked and not parametrize.is_parametrized(layer)


def _module_of(modules: Modules, node: fx.Node) -> nn.Module | None:
    return modules[str(node.target)] if node.op == "call_module" else None


def _only_user(node: fx.Node) -> fx.Node | None:
    """The node that reads this one, if it is the only one and reads nothing else."""
    users = list(node.users)
    return users[0] if len(users) == 1 and users[0].all_input_nodes == [node] else None


def _norm_after(modules: Modules, node: fx.Node, axes: int) -> tuple[_BatchNorm | None, fx.Node]:
    user = _only_user(node)
    norm = _module_of(modules, user) if user else None
    if user is None or type(norm) is not _NORMS[axes] or not _is_plain(norm):
        return None, node
    return (norm, user) if norm.running_mean is not None else (None, node)


def _activation_after(modules: Modules, node: fx.Node) -> tuple[str, fx.Node]:
    user = _only_user(node)
    if user is None:
        return "none", node
    found = None
    layer = _module_of(modules, user)
    if layer is not None and _is_plain(layer):
        found = _MODULES.get(type(layer))
    elif user.op == "call_function":
        found = _FUNCTIONS.get(user.target)
    elif user.op == "call_method":
        found = _METHODS.get(str(user.target))
    approximate = getattr(layer, "approximate", user.kwargs.get("approximate", "none"))
    if found is None or approximate != "none":
        return "none", node
    return found, user


def _erase_between(graph: fx.Graph, first: fx.Node, last: fx.Node) -> None:
    while last is not first:
        before = last.all_input_nodes[0]
        graph.erase_node(last)
        last = before
