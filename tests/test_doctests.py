"""The examples in the docstrings, each of which can be checked by hand."""

import doctest
import importlib
import pkgutil

import pytest

import torchconv

MODULES = [
    name
    for _, name, _ in pkgutil.iter_modules(torchconv.__path__, "torchconv.")
    if name not in ("torchconv._C", "torchconv.tools")
] + ["torchconv.tools.features"]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0


PUBLIC = {name: getattr(torchconv, name) for name in torchconv.__all__ if name != "kernels"}
DETECTORS = {
    name: item for name, item in vars(torchconv.kernels).items()
    if getattr(item, "__module__", "") == "torchconv.kernels" and not name.startswith("_")
}  # fmt: skip


@pytest.mark.parametrize("name", [*PUBLIC, *DETECTORS])
def test_everything_public_says_what_it_does(name: str) -> None:
    text = (PUBLIC | DETECTORS)[name].__doc__
    assert ">>>" in text and "{" not in text.split(">>>")[0]
    for part in ("Args:", "Returns:", "Raises:"):
        assert part in text or (part == "Returns:" and "Shape:" in text) or name == "patch"
