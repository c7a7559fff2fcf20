"""Weights kept in the form an algorithm uses: never stale, the same bits, in bounded memory.

Winograd, forced, stands for the algorithms that keep. What a call should give is what it gives with
a clone of the weight, which nothing is kept of.
"""

import copy
import ctypes
import gc
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import torchconv
from torchconv import testing
from torchconv.tools.memory import extra_bytes

C = 16  # channels of the weights of these tests


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    torchconv.set_kept_weights(True)
    with testing.algorithm("winograd"):
        yield
    torchconv.set_kept_weights(True)


def new_weight(out_channels: int = C) -> Tensor:
    return torch.randn(out_channels, C, 3, 3)


IMAGE = torch.randn(2, C, 9, 11, generator=torch.Generator().manual_seed(1))


def convolve(weight: Tensor, input: Tensor = IMAGE, **words: object) -> Tensor:
    return torchconv.conv2d(input, weight, padding=1, **words)  # type: ignore[arg-type]


def count() -> int:
    return torchconv.get_kept_weights().weights


def assert_right(weight: Tensor, input: Tensor = IMAGE) -> None:
    assert torch.equal(convolve(weight, input), convolve(weight.clone(), input))


def keep(weight: Tensor) -> None:
    """Calls until the weight is kept, and used."""
    before = count()
    for _ in range(3):
        assert_right(weight)
    assert count() == before + 1


def is_kept(weight: Tensor, input: Tensor = IMAGE, **words: object) -> bool:
    return torchconv.explain(input, weight, padding=1, **words).weight_is_kept  # type: ignore[arg-type]


# Staleness: every way to write to a weight that is kept


def step(optimizer: Callable[..., torch.optim.Optimizer]) -> Callable[[Tensor], None]:
    def write(weight: Tensor) -> None:
        weight.grad = torch.ones_like(weight)
        optimizer([weight]).step()

    return write


def load_state_dict(assign: bool) -> Callable[[Tensor], Tensor]:
    def write(weight: Tensor) -> Tensor:
        module = torchconv.Conv2d(C, C, 3, bias=False)
        module.weight = torch.nn.Parameter(weight, requires_grad=weight.requires_grad)
        module.load_state_dict({"weight": new_weight()}, assign=assign)
        return module.weight.detach()

    return write


def by_pointer(weight: Tensor) -> None:
    last = weight.data_ptr() + weight.nbytes - 1
    ctypes.memset(last, ctypes.string_at(last)[0] ^ 0x80, 1)  # the last element's sign


def resize_storage(weight: Tensor) -> None:
    """As FSDP frees and fills a parameter."""
    storage = weight.untyped_storage()
    size = storage.size()
    storage.resize_(0)
    storage.resize_(size)
    weight.data.copy_(new_weight())


def set_data(weight: Tensor) -> None:
    weight.data = new_weight()


def swap(weight: Tensor) -> None:
    torch.utils.swap_tensors(weight, new_weight())


def write_numpy(weight: Tensor) -> None:
    weight.detach().numpy()[-1, -1, -1, -1] += 1


def to_parameters(weight: Tensor) -> None:
    torch.nn.utils.vector_to_parameters(new_weight().flatten(), [weight])


WRITES: dict[str, Callable[[Tensor], Tensor | None]] = {
    "in place": lambda w: w.add_(1),
    "one element": lambda w: w[7, 3, 2, 1].mul_(2),
    "copy_": lambda w: w.copy_(new_weight()),
    "random": lambda w: w.normal_(),
    "init": lambda w: torch.nn.init.kaiming_uniform_(w),
    "out": lambda w: torch.mul(w, 2, out=w),
    "a view": lambda w: w.view(-1)[5:9].add_(1),
    "index": lambda w: w.__setitem__(3, w[3] + 1),
    "foreach": lambda w: torch._foreach_add_([w], 1.0),  # type: ignore[func-returns-value]
    "data": lambda w: w.data.add_(1),
    "one element of data": lambda w: w.data[7, 3, 2, 1].mul_(2),
    "data =": set_data,
    "detach": lambda w: w.detach().mul_(2),
    "numpy": write_numpy,
    "dlpack": lambda w: torch.from_dlpack(w.detach()).add_(1),
    "storage fill": lambda w: w.untyped_storage().fill_(65 - w.untyped_storage()[0] % 2),
    "storage copy": lambda w: w.untyped_storage().copy_(new_weight().untyped_storage()),
    "storage resize": resize_storage,
    "pointer": by_pointer,
    "set_": lambda w: w.set_(new_weight()),
    "set_ offset": lambda w: w.set_(torch.randn(4 * w.numel()).untyped_storage(), 11, w.shape),
    "transposed": lambda w: w.transpose_(0, 1),
    "swap_tensors": swap,
    "vector_to_parameters": to_parameters,
    "load_state_dict": load_state_dict(False),
    "load_state_dict assign": load_state_dict(True),
    "sgd": step(lambda p: torch.optim.SGD(p, 0.1, foreach=False)),
    "sgd foreach": step(lambda p: torch.optim.SGD(p, 0.1, foreach=True)),
    "adam": step(lambda p: torch.optim.Adam(p, 0.1)),
    "adam fused": step(lambda p: torch.optim.Adam(p, 0.1, fused=True)),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("repeated", [False, True])
def test_a_write_is_seen(write, repeated):
    weight = new_weight()
    keep(weight)
    for _ in range(3 if repeated else 1):
        before = convolve(weight)
        with torch.no_grad():
            written = WRITES[write](weight)
        if write.startswith("load_state_dict"):
            weight = written
        assert not torch.equal(convolve(weight), before)
        for _ in range(3):
            assert_right(weight)


def test_a_parameter_is_seen_to_change_by_both_gradients():
    weight = torch.nn.Parameter(new_weight())
    image = IMAGE.clone().requires_grad_()
    ones = torch.ones(2, C, 9, 11)

    def by_input(w: Tensor) -> Tensor:
        return torch.autograd.grad(convolve(w, image), image, ones)[0]

    for _ in range(4):
        by_input(weight)
    assert count() == 2  # as the output needs it, and as the input's gradient does
    weight.data.mul_(-2)
    assert torch.equal(by_input(weight), by_input(weight.detach().clone()))


def test_signed_zeros_and_nan_are_bits_too():
    weight = new_weight()
    weight[3] = 0.0
    keep(weight)
    weight.data[3] = -0.0
    assert_right(weight)
    weight.data[5] = float("nan")
    keep_nan = [convolve(weight) for _ in range(4)]
    assert torch.equal(keep_nan[0][:, 5].isnan(), keep_nan[3][:, 5].isnan())
    assert is_kept(weight)  # a NaN is equal to itself here


def test_memory_of_numpy():
    array = np.random.default_rng(0).standard_normal((C, C, 3, 3)).astype(np.float32)
    weight = torch.from_numpy(array)
    keep(weight)
    array[0, 0, 0, 0] += 1
    assert not is_kept(weight)
    assert_right(weight)


def test_memory_of_a_mapped_file(tmp_path):
    path = tmp_path / "weight"
    np.zeros(C * C * 9, np.float32).tofile(path)
    weight = torch.from_file(str(path), shared=True, size=C * C * 9).view(C, C, 3, 3)
    weight.copy_(new_weight())
    keep(weight)
    np.memmap(path, np.float32, "r+")[-1] += 1
    assert not is_kept(weight)
    assert_right(weight)


def in_child(work: Callable[[], bool]) -> int:
    """Forks, works, and returns the child's exit status: 0 where `work` gave True.

    On one thread, which must be set before: OpenMP's other threads stay behind.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        signal.alarm(60)  # not to wait for a child that hangs
        try:
            status = 0 if work() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_memory_shared_with_another_process(one_thread):
    weight = new_weight().share_memory_()
    keep(weight)
    array = weight.numpy()

    def write() -> bool:
        array[-1, -1] += 1
        return True

    assert in_child(write) == 0
    assert not is_kept(weight)
    assert_right(weight)


def test_inference_tensors():
    with torch.inference_mode():
        weight = new_weight()
        keep(weight)
        weight.add_(1)  # which has no version to count
        assert_right(weight)
        keep_among(weight)


def test_a_slice_is_a_weight_of_its_own():
    whole = new_weight(3 * C)
    keep(whole[C : 2 * C])  # a new tensor in every call
    assert is_kept(whole[C : 2 * C])
    whole[0] += 1
    whole[2 * C] += 1
    assert is_kept(whole[C : 2 * C])
    whole[2 * C - 1] += 1
    assert not is_kept(whole[C : 2 * C])
    assert_right(whole[C : 2 * C])


@pytest.mark.parametrize(
    "view",
    [
        lambda w: w[:, ::2],
        lambda w: w[::2],
        lambda w: w[:1].expand(C, C, 3, 3),
        lambda w: torch.cat([w, w], 3)[..., :3],
    ],
)
def test_a_weight_with_gaps_is_not_kept(view):
    weight = view(torch.randn(2 * C, C, 3, 3))
    image = torch.randn(2, weight.shape[1], 9, 11)
    for _ in range(4):
        assert_right(weight, image)
    assert count() == 0


def test_layouts_of_one_weight():
    weight = new_weight()
    keep(weight)
    keep(weight.contiguous(memory_format=torch.channels_last))
    turned = weight.transpose(0, 1)
    for _ in range(3):
        assert_right(turned)
    assert count() >= 2  # the second one is gone by now


def test_memory_that_is_freed_and_taken_again():
    for _ in range(30):
        weight = new_weight()
        for _ in range(3):
            assert_right(weight)
        del weight
    assert count() <= 1


def test_transforms_and_subclasses():
    class Weight(torch.Tensor):
        pass

    weight = new_weight()
    keep(weight)
    module = torchconv.Conv2d(C, C, 3, padding=1, bias=False)
    for _ in range(3):
        made = torch.func.functional_call(module, {"weight": weight}, IMAGE)
        assert torch.equal(made, convolve(weight))
        assert torch.equal(
            convolve(weight.as_subclass(Weight)).as_subclass(Tensor), convolve(weight)
        )  # type: ignore[arg-type]
        weight.data.add_(1)
    stacked = torch.stack([weight, 2 * weight])
    for _ in range(3):
        both = torch.func.vmap(lambda w: convolve(w))(stacked)
        torch.testing.assert_close(both[1], 2 * convolve(weight))
        stacked.data.mul_(0.5)
        weight.data.mul_(0.5)
    assert not torchconv.explain(IMAGE.to("meta"), weight.to("meta"), padding=1).weight_is_kept


# The same bits


@pytest.mark.parametrize("words", [{}, {"mode": "convolution"}, {"groups": 2}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_for_any_batch_and_threads(words, dtype):
    weight = torch.randn(48, 32 // words.get("groups", 1), 3, 3, dtype=dtype)
    images = [torch.randn(n, 32, 20, 30, dtype=dtype) for n in (1, 2, 7)]
    expected = [convolve(weight.clone(), image, **words) for image in images]
    threads = torch.get_num_threads()
    try:
        for number in (1, 3, 2, 7):
            torch.set_num_threads(number)
            for image, made in zip(images, expected, strict=True):
                assert torch.equal(convolve(weight, image, **words), made)
    finally:
        torch.set_num_threads(threads)
    assert count() == 1


def test_more_tiles_than_workers_share(one_thread):
    """Blocks of tiles, each by all strips, of weights made for each, or kept by the first."""
    weight, image = torch.randn(80, 512, 3, 3), torch.randn(8, 512, 16, 16)
    expected = F.conv2d(image.double(), weight.double(), padding=1)
    sums = F.conv2d(image.double().abs(), weight.double().abs(), padding=1)
    made = convolve(weight, image)
    bound = 32 * torch.finfo(torch.float32).eps * sums.amax((2, 3), keepdim=True)
    assert ((made - expected).abs() <= bound).all()
    assert count() == 0
    assert torch.equal(convolve(weight, image), made)
    torch.set_num_threads(3)
    assert torch.equal(convolve(weight, image), made)
    assert count() == 1
    assert torch.equal(convolve(weight, image), made)
    fewer = image[:3]  # whose tiles may be cut otherwise
    assert torch.equal(convolve(weight, fewer), convolve(weight.clone(), fewer))


def test_tiles_and_directions_are_kept_apart():
    weight = new_weight()
    small = torch.randn(1, C, 2, 2)  # of smaller tiles
    for _ in range(3):
        for image in (IMAGE, small):
            for mode in ("cross_correlation", "convolution"):
                made = convolve(weight, image, mode=mode)
                assert torch.equal(made, convolve(weight.clone(), image, mode=mode))
            made = torchconv.conv_transpose2d(image, weight, padding=1)
            assert torch.equal(made, torchconv.conv_transpose2d(image, weight.clone(), padding=1))
    assert count() == 6


def test_strides_are_kept_apart():
    """By 3 and by 4 one weight of 6 taps has the same tiles, of other taps."""
    weight = torch.randn(C, C, 6, 6)
    for _ in range(3):
        for stride in (3, 4):
            made = convolve(weight, stride=stride)
            assert torch.equal(made, convolve(weight.clone(), stride=stride))
    assert count() == 2


def test_what_is_left_of_dropped_taps_is_kept_apart():
    image, weight = IMAGE[:, :, :2], torch.randn(C, C, 5, 3)  # three of the five taps see it
    for _ in range(3):
        for rows in ((2, 2), (3, 1), (1, 3)):
            padding = (rows, (1, 1))
            made = torchconv.conv2d(image, weight, padding=padding)
            assert torch.equal(made, torchconv.conv2d(image, weight.clone(), padding=padding))
            torch.testing.assert_close(
                made, F.conv2d(F.pad(image, (1, 1, *rows)), weight), atol=1e-4, rtol=1e-4
            )
    assert count() == 3
    assert torchconv.explain(image, weight, padding=((3, 1), (1, 1))).weight_is_kept


def test_training_is_the_same_with_and_without():
    def train(limit: int) -> list[Tensor]:
        torchconv.set_kept_weights(limit)
        torch.manual_seed(3)
        model = torch.nn.Sequential(
            torchconv.Conv2d(C, C, 3, padding=1), torch.nn.ReLU(), torchconv.Conv2d(C, C, 3)
        )
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        for _ in range(4):
            for _ in range(3):  # micro-batches, between which weights stay
                model(IMAGE.clone().requires_grad_()).square().mean().backward()
            with torch.no_grad():
                model(IMAGE)
            optimizer.step()
            optimizer.zero_grad()
        return [p.detach() for p in model.parameters()]

    with testing.algorithm(""):  # which needs one for the gradient by weight, too
        for kept, plain in zip(train(2**28), train(0), strict=True):
            assert torch.equal(kept, plain)


# When it is worth it


def test_a_weight_used_once_is_not_copied():
    for _ in range(5):
        convolve(new_weight())
    weight = new_weight()
    convolve(weight)
    assert count() == 0
    convolve(weight)
    assert count() == 1


def test_one_use_a_step_keeps_nothing():
    weight = torch.nn.Parameter(new_weight())
    optimizer = torch.optim.SGD([weight], 0.01)
    for _ in range(6):
        image = IMAGE.clone().requires_grad_()
        convolve(weight, image).backward(torch.ones(2, C, 9, 11), inputs=[image])
        assert count() == 0
        weight.grad = torch.ones_like(weight)
        optimizer.step()


def test_several_uses_a_step_prepare_in_the_first():
    weight = new_weight()
    for number in range(4):
        convolve(weight)
        assert count() == (number > 0)
        convolve(weight)
        convolve(weight)
        weight.add_(1)


def test_versions_that_do_not_tell_are_soon_distrusted():
    weight = new_weight()
    prepared = 0
    for _ in range(128):
        convolve(weight)
        prepared += count()
        weight.data.add_(1)
    assert 1 <= prepared <= 8


def test_small_weights_and_other_algorithms_keep_nothing():
    small = torch.randn(8, 8, 3, 3)
    for _ in range(4):
        convolve(small, torch.randn(1, 8, 9, 9))
    with testing.algorithm("reference"):
        for _ in range(4):
            convolve(small, torch.randn(1, 8, 9, 9))
    assert count() == 0


# Bounds


def bytes_of_one() -> int:
    plan = torchconv.explain(IMAGE, new_weight(), padding=1)
    return next(c.kept_bytes for c in plan.candidates if c.name == "winograd")


def test_memory_is_what_is_stated():
    one = bytes_of_one()
    weight = new_weight()
    copy_bytes = weight.nbytes
    assert one > 4 * copy_bytes  # 36 numbers of nine, and the copy
    first, second, third = (extra_bytes(lambda: convolve(weight)) for _ in range(3))
    assert torchconv.get_kept_weights().bytes == one
    assert first == third  # the scratch
    assert one <= second - first <= one + 128


def test_memory_stays_below_the_limit_and_some_stay():
    one = bytes_of_one()
    torchconv.set_kept_weights(2 * one + 10)
    weights = [new_weight() for _ in range(5)]
    for _ in range(6):
        for weight in weights:
            assert_right(weight)
            assert torchconv.get_kept_weights().bytes <= 2 * one
    assert count() == 2
    kept = [weight for weight in weights if is_kept(weight)]
    for weight in weights:
        assert_right(weight)
    assert len(kept) == 2 and all(is_kept(weight) for weight in kept)


def test_weights_no_longer_used_make_room():
    one = bytes_of_one()
    torchconv.set_kept_weights(2 * one)
    old, new = [new_weight() for _ in range(2)], [new_weight() for _ in range(2)]
    for weights in (old, new):
        for weight in weights:
            keep_among(weight)
    assert [is_kept(w) for w in old + new] == [False, False, True, True]
    torchconv.set_kept_weights(one - 1)
    for _ in range(3):
        assert_right(new[0])
    assert count() == 0


def keep_among(weight: Tensor) -> None:
    for _ in range(3):
        assert_right(weight)
    assert is_kept(weight)


def test_a_weight_that_dies_is_forgotten():
    weight = new_weight()
    keep(weight)
    view = weight[0]
    del weight
    assert count() == 1  # its memory is still there
    del view
    gc.collect()
    assert torchconv.get_kept_weights()[1:] == (0, 0)


def test_a_weight_that_dies_is_freed_by_the_next_call():
    weight = new_weight()
    keep(weight)
    other = new_weight()
    convolve(other)
    before = torchconv.get_kept_weights().bytes
    del weight
    convolve(other)
    assert torchconv.get_kept_weights().bytes == before  # one freed, one kept


def test_many_weights_are_met_in_bounded_memory():
    weights = [new_weight() for _ in range(4)]
    for weight in weights:
        keep(weight)
    image = torch.randn(1, C, 3, 3)
    for _ in range(1500):
        convolve(new_weight(), image)
    assert count() == 4 and all(is_kept(w) for w in weights)


# The switch


def test_the_switch():
    weight = new_weight()
    keep(weight)
    torchconv.set_kept_weights(False)
    assert torchconv.get_kept_weights() == (0, 0, 0)
    for _ in range(4):
        assert_right(weight)
    assert count() == 0 and not is_kept(weight)
    torchconv.set_kept_weights(10 * 2**20)
    assert torchconv.get_kept_weights() == (10 * 2**20, 0, 0)
    keep(weight)


@pytest.mark.parametrize("limit, error", [(-1, ValueError), (2**63, ValueError), (1.5, TypeError)])
def test_a_bad_limit(limit, error):
    with pytest.raises(error, match="set_kept_weights: limit must be"):
        torchconv.set_kept_weights(limit)


def test_explain_says_what_is_kept():
    weight = new_weight()
    plan = torchconv.explain(IMAGE, weight, padding=1)
    assert not plan.weight_is_kept and "weight is kept" not in str(plan)
    keep(weight)
    plan = torchconv.explain(IMAGE, weight, padding=1)
    assert plan.weight_is_kept and "chosen: forced; weight is kept" in str(plan)
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert copy.copy(plan).weight_is_kept
    other = torchconv.explain(IMAGE, weight, padding=1, result="input")
    assert not other.weight_is_kept
    by_weight = torchconv.explain(torch.zeros(1, 4, 5, 5), torch.zeros(4, 4, 1, 1)).candidates
    assert all(c.kept_bytes == 0 for c in by_weight if c.refusal)


# Threads and processes


def test_several_threads_and_one_weight():
    weights = [new_weight() for _ in range(3)]
    torchconv.set_kept_weights(2 * bytes_of_one())  # so that they push each other out, too
    failures: list[str] = []
    gate = threading.Barrier(4)

    def work() -> None:
        torch.set_num_threads(1)
        for _ in range(4):
            gate.wait()
            expected = [convolve(w.clone()) for w in weights]
            for number in range(30):
                which = number % len(weights)
                if not torch.equal(convolve(weights[which]), expected[which]):
                    failures.append(f"weight {which}, call {number}")
            if gate.wait() == 0:
                for weight in weights:
                    weight.data.add_(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures
    assert torchconv.get_kept_weights().bytes <= 2 * bytes_of_one()


def test_a_forked_process_goes_on(one_thread):
    """Whatever another thread of its parent was doing when it was forked."""
    weight, other = new_weight(), new_weight()
    fresh = [new_weight() for _ in range(20)]
    keep(weight)
    expected = convolve(weight)
    stop = threading.Event()

    def hammer() -> None:
        torch.set_num_threads(1)
        while not stop.is_set():
            for each in fresh:
                convolve(each, IMAGE[:1])
                each.data.neg_()

    def work() -> bool:
        if not (is_kept(weight) and torch.equal(convolve(weight), expected)):
            return False
        for _ in range(3):
            convolve(other)
        return is_kept(other)

    hammering = threading.Thread(target=hammer)
    hammering.start()
    try:
        assert [in_child(work) for _ in range(8)] == [0] * 8
    finally:
        stop.set()
        hammering.join()
