"""Weights that are kept packed or transformed while they do not change."""

from typing import NamedTuple

from torchconv import _C

DEFAULT_LIMIT_BYTES = 256 * 2**20


class KeptWeights(NamedTuple):
    """What is kept now, and the most that may be."""

    limit_bytes: int  # 0: nothing is kept
    bytes: int
    weights: int


def set_kept_weights(limit: bool | int) -> None:
    """Sets how much memory may hold weights in the form in which an algorithm uses them.

    Some algorithms first transform the weight: Winograd's makes four times as many numbers of it.
    They are kept from the second call with the same weight on, until the weight changes, is freed,
    or makes room for one used later. They are never stale: every call compares the weight with a
    copy of the one they were made from, byte for byte, so that any way to write to it is noticed,
    be it through `.data`, numpy, another process or a pointer. Results have the same bits, kept or
    not.

    Args:
        limit: bytes that may be taken in the whole process, copies included; True stands for
            256 MiB, False or 0 keeps nothing. What was kept is freed. Default: True

    Returns:
        Nothing.

    Raises:
        TypeError: `limit` is no integer.
        ValueError: `limit` is negative.

    Source: csrc/torch/kept.cpp.

    >>> import torchconv
    >>> torchconv.set_kept_weights(False)
    >>> torchconv.get_kept_weights()
    KeptWeights(limit_bytes=0, bytes=0, weights=0)
    >>> torchconv.set_kept_weights(True)
    """
    if not isinstance(limit, int):
        raise TypeError(
            f"set_kept_weights: limit must be a bool or an int, got {type(limit).__name__}"
        )
    if not 0 <= limit < 2**63:
        raise ValueError(f"set_kept_weights: limit must be between 0 and 2**63 - 1, got {limit}")
    _C.set_kept_limit(DEFAULT_LIMIT_BYTES if limit is True else int(limit))


def get_kept_weights() -> KeptWeights:
    """The limit that `set_kept_weights` has set, and what is kept now.

    Args:
        None.

    Returns:
        A named tuple: limit_bytes, bytes (of all kept weights, with their copies) and weights,
        their number.

    Raises:
        Nothing.

    Source: csrc/torch/kept.cpp.

    >>> import torchconv
    >>> torchconv.get_kept_weights().limit_bytes // 2**20
    256
    """
    return KeptWeights(*_C.kept_state())
