"""Every state in which a kill could leave a folder: all old, all new, or without the file that says it is whole.

A kill leaves what is on disk just before one of the process's file operations. So one run that notes the folder
before each of them shows the states of all kills; `test_kills.py` kills for real.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mien import files
from mien.data.folding import write_folds
from mien.data.read import convert
from mien.detectors import bundle as detector_bundle
from mien.errors import OutputError
from mien.evaluation import render
from mien.evaluation.across import across
from mien.evaluation.across_report import write_across
from mien.evaluation.comparison_report import write_comparison
from mien.evaluation.report import judge, write_report
from mien.exporting.web.write import write as write_page
from mien.preprocess import Preprocess
from tests.evaluation import test_across, test_compare
from tests.evaluation.test_report import Fixed, data, noisy
from tests.pictures import tree, write_tree

OPERATIONS = ("fsync", "rename", "replace", "unlink", "rmdir")


READ: dict[tuple[int, int, int], bytes] = {}
"""By inode, size and time of change: a file that was moved into place is a new one."""


def read(path: Path) -> bytes:
    """Read a file once."""
    state = path.stat()
    key = state.st_ino, state.st_size, state.st_mtime_ns
    return READ.setdefault(key, READ.get(key) or path.read_bytes())


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files that are not debris."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        str(name): read(path)
        for name, path in found.items()
        if files.TEMPORARY not in str(name) and name.name != ".lock"
    }


def states(folder: Path, work) -> list[dict[str, bytes]]:
    """Run `work` and return the files of `folder` before each file operation."""
    seen: list[dict[str, bytes]] = []

    def noted(real):
        def call(*given, **named):
            seen.append(contents(folder))
            return real(*given, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in OPERATIONS:
            patch.setattr(os, name, noted(getattr(os, name)))
        work()
    return seen


def report(folder, number):
    labels, (truth, logits) = ("angry", "sad"), noisy(2, 23, skill=number)
    write_report(judge(Fixed(labels, logits), data(labels, truth), "test"), folder, dpi=50)


def table_across(folder, number):
    write_across(across(test_across.Reader(), test_across.two()[:: 3 - 2 * number]), folder)


def comparison(folder, number):
    truth, first = noisy(3, 23, skill=number)
    _, second = noisy(3, 23, skill=0.5)
    two = [
        test_compare.model(name, test_compare.ABC, rows) for name, rows in (("one", first), ("two", second))
    ]
    write_comparison(test_compare.compared(test_compare.ABC, truth, *two), folder)


def detector(folder, number):
    facts = detector_bundle.Facts(
        name="d", parameters=number, threshold=0.5, gain=1, bias=0, training={}, material=(), checked={}
    )
    detector_bundle.save(folder, facts, {"onnx": b"%d" % number, "int8": b"8%d" % number})
    assert detector_bundle.read(folder)[0].parameters == number


def folds(folder, number):
    source = folder.parent / f"{folder.name}-source-{number}"
    write_folds(write_tree(source, tree(each=4 + number)), folder, 2, preprocess=Preprocess(size_px=8))


def page(folder, number):
    if folder.exists():
        (folder / "index.html").unlink()
    write_page({"index.html": b"%d" % number, "site.js": b"js %d" % number, "a/b.wasm": b"x"}, folder)


def packed(folder, number):
    source = write_tree(folder.parent / f"{folder.name}-source-{number}", tree(each=number))
    convert(source, folder / "set.npz", Preprocess(size_px=8))


COMMANDS = {
    "evaluate": (report, "report.html"),
    "evaluate, several datasets": (table_across, "across.html"),
    "compare": (comparison, "compare.html"),
    "detector": (detector, detector_bundle.CONFIG),
    "data split": (folds, "folds.csv"),
    "data convert": (packed, "set.npz"),
    "export --to web": (page, "index.html"),
}  # fmt: skip


def check(folder: Path, work, last: str) -> None:
    """Write over an earlier run, and look at each state in between: where `last` is, all is of one run."""
    work(folder, 1)
    old = contents(folder)
    seen = states(folder, lambda: work(folder, 2))
    new = contents(folder)
    assert old[last] != new[last]
    assert len(seen) > len(new), "each file is synced"
    for state in seen:
        assert last not in state or state in (old, new)
        assert all(content in (old.get(name), new.get(name)) for name, content in state.items())
    assert not [path for path in folder.rglob("*") if path.name.startswith((".tmp-", ".lock"))]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_kill_leaves_the_old_files_the_new_ones_or_no_page(tmp_path, command, monkeypatch):
    monkeypatch.setattr(render, "rendered", lambda *_: b"<svg></svg>")  # drawing takes seconds
    check(tmp_path / "out", *COMMANDS[command])


def test_debris_of_a_killed_run_goes_with_the_next_one(tmp_path):
    """A folder that a killed run filled is no one's; that of a run that goes on is locked."""
    debris = tmp_path / ".tmp-0123456789abcdef"
    write_tree(debris, {"figures/a.png": b"half", "report.json": b"half"})
    with files.together(tmp_path, "last") as stage:
        assert not debris.exists()
        files.write(stage / "last", b"x")
        files.make_folder(tmp_path)
        assert stage.exists(), "the folder that is being filled stays"
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_a_full_disk_leaves_the_old_files_and_names_the_folder(tmp_path, monkeypatch):
    write_tree(tmp_path, {"a": b"old", "last": b"old"})

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(
            OutputError, match=rf"cannot write {tmp_path}/a: No space left on device; nothing was changed"
        ),
        files.together(tmp_path, "last") as stage,
    ):
        files.write(stage / "a", b"new")
    assert contents(tmp_path) == {"a": b"old", "last": b"old"}


def test_a_folder_in_the_way_of_a_file_is_one_line(tmp_path):
    (tmp_path / "a").mkdir()
    with (
        pytest.raises(
            OutputError, match=rf"cannot write {tmp_path}/a: Is a directory; without last, files there may"
        ),
        files.together(tmp_path, "last") as stage,
    ):
        files.write(stage / "a", b"new")
        files.write(stage / "last", b"new")
