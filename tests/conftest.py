from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def same_numbers_every_run() -> None:
    torch.manual_seed(0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For a great many small calls: nothing to share."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
