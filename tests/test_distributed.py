"""Training on two processes, as a user writes it: DDP and FSDP2 over gloo."""

import socket
from collections.abc import Callable

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel

import torchconv

WORLD = 2


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        torchconv.Conv2d(3, 8, 3, padding="same"),
        nn.ReLU(),
        torchconv.Conv2d(8, 8, 3, groups=2, padding_mode="circular", padding=1),
        nn.ReLU(),
        torchconv.ConvTranspose2d(8, 2, 2, stride=2),
    )


def loss(model: nn.Module, images: Tensor) -> Tensor:
    return model(images).float().square().mean()


def trained(model: nn.Module, images: Tensor) -> nn.Module:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss(model, images).backward()
        optimizer.step()
    return model


def worker(rank: int, port: int, train: Callable[[int, Tensor], None]) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=WORLD)
    generator = torch.Generator().manual_seed(1)
    train(rank, torch.randn(2 * WORLD, 3, 8, 8, generator=generator))
    dist.destroy_process_group()


def on_two_processes(train: Callable[[int, Tensor], None]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(worker, (port, train), nprocs=WORLD)


def part(rank: int, images: Tensor) -> Tensor:
    return images.chunk(WORLD)[rank]


def train_ddp(rank: int, images: Tensor) -> None:
    ours = trained(DistributedDataParallel(model()), part(rank, images))
    for a, b in zip(ours.parameters(), trained(model(), images).parameters(), strict=True):
        torch.testing.assert_close(a, b)


def sharded(policy: MixedPrecisionPolicy) -> nn.Module:
    ours, mesh = model(), init_device_mesh("cpu", (WORLD,))
    for layer in ours:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    return fully_shard(ours, mesh=mesh, mp_policy=policy)


def train_fsdp(rank: int, images: Tensor) -> None:
    ours = trained(sharded(MixedPrecisionPolicy()), part(rank, images))
    for a, b in zip(ours.parameters(), trained(model(), images).parameters(), strict=True):
        torch.testing.assert_close(a.full_tensor(), b)


def train_fsdp_mixed(rank: int, images: Tensor) -> None:
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    ours = trained(sharded(policy), part(rank, images))
    native = trained(model(), images)
    for a, b in zip(ours.parameters(), native.parameters(), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.full_tensor(), b, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("train", [
    train_ddp,
    pytest.param(train_fsdp, marks=pytest.mark.long),  # most of it is starting the processes
    pytest.param(train_fsdp_mixed, marks=pytest.mark.long),
])  # fmt: skip
def test_two_processes_train_as_one(train: Callable[[int, Tensor], None]) -> None:
    on_two_processes(train)
