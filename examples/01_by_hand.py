"""Convolution by hand: two small examples worked number by number, then compared with everyone.

    python examples/01_by_hand.py

Prints each step, and stops with an AssertionError where two ways to compute it disagree.
"""

from collections.abc import Iterator

import numpy as np
import scipy.signal
import torch
import torch.nn.functional as F

import torchconv

SIGNAL = np.array([1, 2, 3, 4, 5])
KERNEL = np.array([1, 0, -1])

# A thick diagonal stroke, and the same kernel laid along the other diagonal: walking down and to
# the right it answers -1 where the stroke begins and 1 where it ends.
IMAGE = np.array([[0, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]])
DIAGONAL = np.diag(KERNEL)


def windows(signal: np.ndarray, taps: np.ndarray) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Every place where the taps fit inside the signal, with the part of the signal they cover."""
    sizes = (n - k + 1 for n, k in zip(signal.shape, taps.shape, strict=True))
    for place in np.ndindex(*sizes):
        yield place, signal[tuple(slice(o, o + k) for o, k in zip(place, taps.shape, strict=True))]


def correlate(signal: np.ndarray, taps: np.ndarray, mode: str = "valid") -> np.ndarray:
    """Cross-correlation from scratch: slide, multiply, add.

    "valid" keeps to the signal, "full" pads until a single tap touches it, and "same" pads so that
    the result is as large as the signal.
    """
    padding = {
        "valid": 0,
        "same": (np.array(taps.shape) - 1) // 2,
        "full": np.array(taps.shape) - 1,
    }
    sides = np.broadcast_to(padding[mode], signal.ndim)
    padded = np.pad(signal, [(p, p) for p in sides])
    outputs = [(window * taps).sum() for _, window in windows(padded, taps)]
    return np.array(outputs).reshape(
        [n - k + 1 for n, k in zip(padded.shape, taps.shape, strict=True)]
    )


def convolve(signal: np.ndarray, taps: np.ndarray, mode: str = "valid") -> np.ndarray:
    """True convolution is cross-correlation with the taps reversed on every axis."""
    return correlate(signal, np.flip(taps), mode)


def ours(signal: np.ndarray, taps: np.ndarray, padding: str, word: str) -> np.ndarray:
    """The same by torchconv, which wants [batch, channel, ...] and [out, in, ...]."""
    run = {1: torchconv.conv1d, 2: torchconv.conv2d}[signal.ndim]
    output = run(torch.tensor(signal)[None, None], torch.tensor(taps)[None, None],
                 padding=padding, mode=word)  # fmt: skip
    return output[0, 0].numpy()


def spell_out(signal: np.ndarray, taps: np.ndarray) -> None:
    """Prints every dot product of the valid cross-correlation."""
    for place, window in windows(signal, taps):
        terms = " + ".join(f"{x}*({w})" if w < 0 else f"{x}*{w}"
                           for x, w in zip(window.flat, taps.flat, strict=True))  # fmt: skip
        where = ",".join(map(str, place))
        print(f"  output[{where}] = {terms} = {(window * taps).sum()}")


def one_dimension() -> None:
    print(f"1-d: signal {SIGNAL.tolist()}, kernel {KERNEL.tolist()}\n")
    print("Cross-correlation, what deep learning calls convolution:")
    spell_out(SIGNAL, KERNEL)
    print("\nTrue convolution: the kernel reversed, then the same.")
    spell_out(SIGNAL, np.flip(KERNEL))

    correlated, convolved = correlate(SIGNAL, KERNEL), convolve(SIGNAL, KERNEL)
    assert correlated.tolist() == [-2, -2, -2]
    assert convolved.tolist() == [2, 2, 2]
    np.testing.assert_array_equal(correlated, ours(SIGNAL, KERNEL, "valid", "cross_correlation"))
    np.testing.assert_array_equal(convolved, ours(SIGNAL, KERNEL, "valid", "convolution"))
    np.testing.assert_array_equal(convolved, np.convolve(SIGNAL, KERNEL, "valid"))
    print(f"\ntorchconv agrees: {correlated.tolist()} and {convolved.tolist()}\n")


def two_dimensions() -> None:
    print(f"2-d: image\n{IMAGE}\nkernel\n{DIAGONAL}\n")
    for place, window in windows(IMAGE, DIAGONAL):
        diagonal = window.diagonal()
        print(f"  output{list(place)}: diagonal {diagonal}, {diagonal[0]} - {diagonal[2]} "
              f"= {(window * DIAGONAL).sum()}")  # fmt: skip
    output = correlate(IMAGE, DIAGONAL)
    assert output.tolist() == [[-1, 1], [1, 1]]
    np.testing.assert_array_equal(output, ours(IMAGE, DIAGONAL, "valid", "cross_correlation"))
    print(f"\ntorchconv agrees:\n{output}\n")


def everyone() -> None:
    """From scratch, torchconv, scipy and PyTorch, in each mode of scipy."""
    rng = np.random.default_rng(0)
    image, taps = rng.integers(-9, 10, (7, 9)), rng.integers(-9, 10, (3, 5))
    pairs = {"the example above": (IMAGE, DIAGONAL), "random integers": (image, taps)}
    for title, (signal, kernel) in pairs.items():
        for mode in ("valid", "same", "full"):
            correlated = correlate(signal, kernel, mode)
            convolved = convolve(signal, kernel, mode)
            for answer, expected in (
                (scipy.signal.correlate2d(signal, kernel, mode), correlated),
                (ours(signal, kernel, mode, "cross_correlation"), correlated),
                (scipy.signal.convolve2d(signal, kernel, mode), convolved),
                (ours(signal, kernel, mode, "convolution"), convolved),
            ):
                np.testing.assert_array_equal(answer, expected)
            if mode != "full":  # a word that F.conv2d does not know
                native = F.conv2d(torch.tensor(signal)[None, None],
                                  torch.tensor(kernel)[None, None], padding=mode)  # fmt: skip
                np.testing.assert_array_equal(native[0, 0].numpy(), correlated)
            print(f"{title}, {mode:<5}: from scratch = torchconv = scipy = PyTorch, "
                  f"{' x '.join(map(str, correlated.shape))} outputs")  # fmt: skip


def main() -> None:
    one_dimension()
    two_dimensions()
    everyone()


if __name__ == "__main__":
    main()
