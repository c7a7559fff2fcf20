"""How much rounding the planner may trade for speed."""

from torchconv import _C
from torchconv.arguments import word

PRECISIONS = ("highest", "high")


def set_precision(precision: str) -> None:
    """Sets whether convolutions of 32 and 16 bits may run on algorithms that round more.

    Winograd's algorithm computes a 3x3 convolution with a quarter of the products, one of 5x5 with
    a third. Its rounding error is a few times that of a plain sum in float32, and a NaN or an
    infinity in the input reaches all outputs of a tile of at most 5x5, not just those that see it,
    and all taps of a gradient by weight. float64, complex and integer tensors never use it; nothing
    does while torch.use_deterministic_algorithms is on.

    Args:
        precision: "high" allows it, "highest" does not, in the whole process. Default: "high"

    Returns:
        Nothing.

    Raises:
        ValueError: `precision` is another word.

    Source: csrc/algo/winograd; the words are those of torch.set_float32_matmul_precision.

    >>> import torchconv
    >>> torchconv.set_precision("highest")
    >>> torchconv.get_precision()
    'highest'
    >>> torchconv.set_precision("high")
    """
    word("set_precision", "precision", precision, PRECISIONS)
    _C.set_highest_precision(precision == "highest")


def get_precision() -> str:
    """The precision that `set_precision` has set.

    Args:
        None.

    Returns:
        "high" or "highest".

    Raises:
        Nothing.

    Source: the last call of `set_precision`.

    >>> import torchconv
    >>> torchconv.get_precision()
    'high'
    """
    return "highest" if _C.highest_precision() else "high"
