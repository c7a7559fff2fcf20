"""The tutorial runs from top to bottom, prints what it shows and draws the pictures it shows."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "TUTORIAL.md").read_text(encoding="utf-8")
BLOCKS = re.findall(
    r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", TEXT, flags=re.DOTALL | re.MULTILINE
)
PICTURES = re.findall(r"\]\(docs/tutorial/(.*?)\)", TEXT)


def test_blocks_print_what_the_page_says(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    names = {}
    for code, shown in BLOCKS:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "TUTORIAL.md", "exec"), names)
        assert printed.getvalue() == shown, code
    assert PICTURES and {path.name for path in tmp_path.iterdir()} == set(PICTURES)
    assert all(path.stat().st_size > 5_000 for path in tmp_path.iterdir())


def test_every_code_block_is_run_or_shown():
    fences = re.findall(r"^```(\w*)$", TEXT, flags=re.MULTILINE)
    assert set(fences) <= {"python", "text", ""}
    assert fences.count("text") == sum(bool(shown) for _, shown in BLOCKS) > 10
