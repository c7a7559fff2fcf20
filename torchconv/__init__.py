"""Convolutions that behave like PyTorch's own, only faster."""

import torch as _torch  # noqa: F401, loads the libraries that _C links to

from torchconv import _C as _C  # registers the operators that the rest asks torch.ops for
from torchconv import flops as flops  # registers the formulas
from torchconv import kernels
from torchconv import pace as _pace
from torchconv.convert import convert
from torchconv.explain import explain
from torchconv.functional import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from torchconv.kept import get_kept_weights, set_kept_weights
from torchconv.modules import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from torchconv.patch import patch
from torchconv.precision import get_precision, set_precision
from torchconv.sizes import num_parameters, output_size
from torchconv.trace import trace_shapes

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convert",
    "explain",
    "get_kept_weights",
    "get_precision",
    "kernels",
    "num_parameters",
    "output_size",
    "patch",
    "set_kept_weights",
    "set_precision",
    "trace_shapes",
]

_pace.settle()
