import os
from collections.abc import Iterator

import pytest
import torch

# The planner's costs as they are stated: the same choices on every run, here and in what a test
# starts.
os.environ["TORCHCONV_PACE_FILE"] = ""


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
