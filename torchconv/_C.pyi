from collections.abc import Mapping, Sequence
from types import NotImplementedType
from typing import TypedDict

import torch
from torch import Tensor

class Candidate:
    @property
    def name(self) -> str: ...
    @property
    def refusal(self) -> str: ...
    @property
    def cost_s(self) -> float: ...
    @property
    def scratch_bytes(self) -> int: ...
    @property
    def kept_bytes(self) -> int: ...

class Plan:
    @property
    def problem(self) -> str: ...
    @property
    def algorithm(self) -> str | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def candidates(self) -> list[Candidate]: ...

class Problem(TypedDict):
    result: str
    dtype: str
    padding_mode: str
    flip: bool
    bias: bool
    channels_last: bool
    device: str
    tf32: bool
    capability: int
    batch: int
    in_channels: int
    out_channels: int
    groups: int
    input_size: list[int]
    kernel_size: list[int]
    output_size: list[int]
    stride: list[int]
    padding: list[int]
    dilation: list[int]

def algorithms(device: str = "cpu") -> list[str]: ...
def error_factor(algorithm: str, device: str = "cpu") -> float: ...
def set_highest_precision(highest: bool) -> None: ...
def highest_precision() -> bool: ...
def set_kept_limit(bytes: int) -> None: ...
def kept_state() -> tuple[int, int, int]: ...
def is_kept(line: str, weight: Tensor) -> bool: ...
def target() -> str: ...
def build_info() -> dict[str, str]: ...
def check(
    result: str,
    dtype: torch.dtype,
    *,
    input: Sequence[int] | None,
    weight: Sequence[int] | None,
    output: Sequence[int] | None,
    bias: Sequence[int] | None,
    result_size: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    flip: bool,
    padding_mode: str,
) -> str: ...
def parse(line: str) -> Problem: ...
def plan(line: str, threads: int = 0) -> Plan: ...
def measure(line: str, algorithm: str, repetitions: int) -> float: ...
def set_pace(factors: Mapping[str, Mapping[str, float]]) -> None: ...
def force_algorithm(name: str) -> None: ...
def forced_algorithm() -> str: ...
def conv(
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Sequence[int],
    padding: int | str | Sequence[int] | Sequence[Sequence[int]],
    dilation: int | Sequence[int],
    groups: int,
    mode: str,
    padding_mode: str,
    /,
) -> Tensor | NotImplementedType: ...
def conv_transpose(
    axes: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Sequence[int],
    padding: int | Sequence[int],
    output_padding: int | Sequence[int],
    groups: int,
    dilation: int | Sequence[int],
    mode: str,
    /,
) -> Tensor | NotImplementedType: ...
