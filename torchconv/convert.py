"""Moves an existing model onto torchconv."""

from typing import Literal, TypeVar, cast, overload

from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize

from torchconv import modules
from torchconv.inference import check_evaluating, fuse, unfuse

Model = TypeVar("Model", bound=nn.Module)

_OURS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: modules.Conv1d,
    nn.Conv2d: modules.Conv2d,
    nn.Conv3d: modules.Conv3d,
    nn.ConvTranspose1d: modules.ConvTranspose1d,
    nn.ConvTranspose2d: modules.ConvTranspose2d,
    nn.ConvTranspose3d: modules.ConvTranspose3d,
}


@overload
def convert(module: Model, *, inference: Literal[False] = False) -> Model: ...
@overload
def convert(module: nn.Module, *, inference: Literal[True]) -> nn.Module: ...
def convert(module: Model, *, inference: bool = False) -> Model | nn.Module:
    """Makes every `torch.nn` convolution in a model one of torchconv's, in place.

    Our layers are torch.nn's with another forward, so the module object stays and only its class
    changes: parameters, buffers, hooks, parametrizations, names, training flags and modules used in
    two places are all kept. Layers whose class is the user's own subclass are left as they are.

    For inference, a second model is made beside the given one, which stays as it is: batch norms
    are folded into the weights before them, and a ReLU, SiLU or GELU that follows is computed as
    the convolution stores its output. Results are those of the given model within rounding.

    Args:
        module: the model, or a convolution itself.
        inference: whether to make that second model. To undo it, convert it once more without:
            that gives the first one back. Default: False

    Returns:
        The same object; with `inference`, the second model, which shares the parameters that
        folding leaves alone.

    Raises:
        ValueError: a lazy convolution has no parameters yet, or, with `inference`, a batch norm is
            in training mode; nothing is changed then.

    >>> import torch, torchconv
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
    >>> torchconv.convert(model) is model
    True
    >>> isinstance(model[0], torchconv.Conv2d)
    True
    >>> fused = torchconv.convert(model.eval(), inference=True)
    >>> [type(layer).__name__ for layer in fused.children()]
    ['FusedConv']
    >>> torchconv.convert(fused) is model
    True
    """
    module = cast(Model, unfuse(module))
    for name, child in module.named_modules():
        if isinstance(child, LazyModuleMixin) and isinstance(child, tuple(_OURS)):
            raise ValueError(
                f"convert: {name or 'the module'} is a {type(child).__name__} without parameters "
                "yet; run the model once, then convert it"
            )
    if inference:
        check_evaluating(module)
        return fuse(module)
    for child in module.modules():
        cls = type(child)
        if cls in _OURS:
            child.__class__ = _OURS[cls]
        elif parametrize.is_parametrized(child) and cls.__bases__[0] in _OURS:
            # Parametrizing made this class for one module. A copy of the module may share it, so
            # it is rebuilt on our base rather than changed.
            own = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
            child.__class__ = type(cls.__name__, (_OURS[cls.__bases__[0]],), own)
    return module
