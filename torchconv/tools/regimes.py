"""Regimes: the kinds of convolution that a benchmark must tell apart, with the target for each.

A target is a geometric mean of F.conv's time over ours on a CPU: forward, by input, by weight.
"""

from __future__ import annotations

from dataclasses import dataclass

from torchconv.tools.workloads import RESULTS, Workload


@dataclass(frozen=True)
class Regime:
    name: str
    title: str
    targets: tuple[float, float, float]  # of float32, in the order of RESULTS

    def target(self, result: str, dtype: str) -> float | None:
        """The ratio to reach, None where none is set for the dtype."""
        targets = self.targets if dtype == "float32" else DTYPE_TARGETS.get(dtype)
        return targets[RESULTS.index(result)] if targets else None


REGIMES = {
    regime.name: regime
    for regime in (
        Regime("dense_3x3", "dense 3x3, stride 1, maps of 28 and up", (2.2, 2.2, 2.2)),
        Regime("dense_3x3_small", "dense 3x3, stride 1, maps of 7 and 14", (1.4, 1.4, 1.4)),
        Regime("dense_other", "dense other: 1x1, strided, 5x5, 7x7", (1.15, 1.2, 1.3)),
        Regime("first_layer", "first layers: 1 to 4 input channels", (1.5, 5.0, 3.0)),
        Regime("depthwise", "depthwise 2-d, kernels of 3 to 9", (2.0, 2.5, 20.0)),
        Regime("depthwise_large", "depthwise 2-d, kernels of 13 to 51", (20.0, 3.0, 30.0)),
        Regime("depthwise_1d_3d", "depthwise 1-d and 3-d", (5.0, 8.0, 15.0)),
        Regime("grouped", "grouped", (4.0, 6.0, 5.0)),
        Regime("dilated_transposed", "dilated and transposed", (1.2, 1.5, 3.0)),
        Regime("long_1d", "1-d filters of 256 taps and more", (20.0, 20.0, 20.0)),
    )
}

# For dtypes other than float32 one target serves every regime.
DTYPE_TARGETS = {
    "bfloat16": (50.0, 8.0, 6.0),  # where the CPU has no bfloat16 arithmetic, as for float16
    "float16": (50.0, 8.0, 6.0),
    "float64": (2.0, 2.0, 2.0),
    "complex64": (3.0, 3.0, 3.0),
}

# Halfway, as ratios go, between maps of 14 and of 28; and between kernels of 9 and of 13.
SMALL_MAP_POSITIONS = 14 * 28
LARGE_DEPTHWISE_KERNEL = 11


def classify(workload: Workload) -> Regime:
    """The regime of a workload, from its shape alone."""
    return REGIMES[_regime_name(workload)]


def _regime_name(workload: Workload) -> str:
    kernel_size, in_channels = workload.kernel_size, workload.input[1]
    dilated = any(d > 1 and k > 1 for d, k in zip(workload.dilation, kernel_size, strict=True))
    if workload.transposed:
        return "dilated_transposed"
    if workload.axes == 1 and kernel_size[0] >= 256:
        return "long_1d"
    if workload.groups == in_channels > 1:
        return _depthwise_name(workload)
    if workload.groups > 1:
        return "grouped"
    if dilated:
        return "dilated_transposed"
    if in_channels <= 4:
        return "first_layer"
    if kernel_size == (3, 3) and workload.stride == (1, 1):
        rows, columns = workload.output[2:]
        return "dense_3x3" if rows * columns >= SMALL_MAP_POSITIONS else "dense_3x3_small"
    return "dense_other"


def _depthwise_name(workload: Workload) -> str:
    if workload.axes != 2:
        return "depthwise_1d_3d"
    return "depthwise_large" if max(workload.kernel_size) >= LARGE_DEPTHWISE_KERNEL else "depthwise"
