"""The limits that docs/security.md names: each is there, has the value it says, and stops what is over it."""

from __future__ import annotations

import re
import urllib.request
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from mien.data import finding, text
from mien.data.read import read_dataset
from mien.detectors import weights
from mien.errors import DataError, FetchError
from mien.exporting.web import runtime
from mien.preprocess import Preprocess
from tests.conftest import REPOSITORY
from tests.pictures import png, write_tree

ROWS = re.findall(
    r"^\| (.+?) \| (.+?) \| (.*`.+?) \| (.+?) \|$", Path(REPOSITORY, "docs/security.md").read_text(), re.M
)
UNITS = {"MiB": 2**20, "million": 10**6}


def named(cell: str) -> list[object]:
    """Return the values of the constants in a cell such as `SIZE_LIMIT_BYTES` in `detectors.weights`."""
    words = re.findall(r"`([\w.]+)`", cell)
    if " in `" in cell:
        words = [f"{module}.{words[0]}" for module in words[1:]]
    return [
        getattr(import_module(f"mien.{word.rpartition('.')[0]}"), word.rpartition(".")[2]) for word in words
    ]


@pytest.mark.parametrize("row", [row for row in ROWS if "." in row[2]], ids=lambda row: row[0])
def test_a_limit_has_the_value_that_the_page_says(row):
    _, said, constants, tests = row
    numbers = re.findall(r"(\d[\d,]*)(?: (MiB|million))?", said)
    given = {int(number.replace(",", "")) * UNITS.get(unit, 1) for number, unit in numbers}
    assert {value for value in named(constants) if isinstance(value, int)} <= given
    for path, name in re.findall(r"`(\S+?\.py)(?:::(\w+))?`", tests):
        assert f"def {name}" in Path(REPOSITORY, "tests", path).read_text()


def test_a_table_whose_pictures_lie_beyond_the_limit(tmp_path, monkeypatch):
    table = "path,label,split\n" + "".join(
        f"{n}.png,{('happy', 'sad')[n % 2]},{('train', 'test')[n // 2]}\n" for n in range(4)
    )
    write_tree(tmp_path, {"a/list.csv": table.encode()} | {f"b/{n}.png": png(n) for n in range(4)})
    monkeypatch.setattr(finding, "_WALK_LIMIT", 5)
    assert len(read_dataset(tmp_path / "a" / "list.csv", Preprocess())) == 4
    monkeypatch.setattr(finding, "_WALK_LIMIT", 4)
    with pytest.raises(
        DataError, match=r"which is not there: .*; only the first 4 files there were looked at"
    ):
        read_dataset(tmp_path / "a" / "list.csv", Preprocess())


def test_a_line_of_a_table_beyond_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "LINE_LIMIT_BYTES", 100)
    write_tree(tmp_path, {"x.csv": b"emotion,pixels\n0," + b"1 " * 64})
    with pytest.raises(DataError, match="line 2 is longer than 100 bytes: is this a table"):
        read_dataset(tmp_path / "x.csv", Preprocess(size_px=8))


@pytest.mark.parametrize("module", [weights, runtime])
def test_a_download_ends_at_its_limit(module, monkeypatch):
    asked = []
    answer = SimpleNamespace(read=lambda most: asked.append(most) or bytes(most))
    monkeypatch.setattr(module, "SIZE_LIMIT_BYTES", 100)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: nullcontext(answer))
    fetch = (lambda: weights.fetch(weights.YUNET, "http://localhost/x")) if module is weights else (
        lambda: runtime.fetch("http://localhost/x")
    )  # fmt: skip
    with pytest.raises(FetchError, match="brought 101 bytes"):
        fetch()
    assert asked == [101]
