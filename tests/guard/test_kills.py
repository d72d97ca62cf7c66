"""Killed at every file operation, then repeated: the same files, and nothing half-written is left."""

from __future__ import annotations

import os
import signal
import zipfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from mien import bundle
from mien.cropping import crop_photos
from mien.cropping.record import JOURNAL
from mien.data.read import convert
from mien.errors import ConfigError, OutputError
from mien.exporting import ship
from mien.exporting.web.write import write
from mien.options import CropOptions, Outputs
from mien.pipeline import Pipeline
from mien.preprocess import Preprocess
from mien.saliency.explain import pipeline_for
from mien.saliency.written import Written
from mien.sinks import Sinks, recorded
from mien.vision.frames import frames
from tests.fakes import ConstantClassifier, FixedDetector
from tests.pictures import tree, write_tree

BOX = (5.0, 6.5, 41.0, 42.25)
OPERATIONS = ("fsync", "rename", "replace", "unlink")


def killed_at(moment: int, work) -> bool:
    """Run `work` in a process that kills itself just before its n-th file operation; False: it came to its end."""
    child = os.fork()
    if child:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (0, -signal.SIGKILL)
        return status != 0
    seen = 0

    def counted(real):
        def call(*given, **named):
            nonlocal seen
            seen += 1
            if seen == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **named)

        return call

    try:
        for name in OPERATIONS:
            setattr(os, name, counted(getattr(os, name)))
        work()
        os._exit(0)
    finally:
        os._exit(1)


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files; those of a model as it reads them, as a finished one may be killed before it is tidy."""
    found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    if (folder / "model" / "config.json").exists():
        assert not [path for path in found if path.name.startswith(".tmp-")]
        model = bundle.load(folder / "model")
        return {name: model.read(name) for name in model.sha256}
    return {str(path.relative_to(folder)): content for path, content in found.items()}


def pack(source: Path, out: Path) -> None:
    convert(source, out / "set.npz", Preprocess(size_px=8))


def predict(source: Path, out: Path) -> None:
    there = (out / "x.jsonl").exists()
    used = Pipeline(ConstantClassifier(size_px=8), FixedDetector(BOX), views=1)
    outputs = Outputs(out=out / "drawn", csv=out / "x.csv", jsonl=out / "x.jsonl", resume=there)
    with Sinks(outputs, used.facts) as sinks:
        for _ in recorded(used, frames(source), sinks, workers=1):
            pass


def export(_: Path, out: Path) -> None:
    with suppress(ConfigError):  # it is finished: only tidying was left
        ship.ship(bundle.load("default"), "hub", out / "model")


def page(_: Path, out: Path) -> None:
    with suppress(OutputError):  # it is finished: only tidying was left
        write({"index.html": b"page", "site.js": b"js", "a/b.wasm": b"x"}, out / "page")


def crop(source: Path, out: Path) -> None:
    options = CropOptions(resume=(out / "faces" / JOURNAL).exists(), workers=1)
    crop_photos(source, out / "faces", options, detector=FixedDetector(BOX))


def explain(source: Path, out: Path) -> None:
    used = pipeline_for(model=ConstantClassifier(size_px=8), detector=FixedDetector(BOX))
    with Written(out / "why", used, None, resume=(out / "why").exists()) as written:
        for _ in written.explain(frames(source / "train" / "sad")):
            pass


@pytest.mark.parametrize("command", [pack, predict, export, page, crop, explain])
def test_killed_at_every_file_operation_and_repeated(tmp_path, command, monkeypatch):
    clock = SimpleNamespace(time=lambda: 0, localtime=lambda _: (2026, 1, 1, 0, 0, 0))
    monkeypatch.setattr(zipfile, "time", clock)  # a packed set states when it was made
    source = write_tree(tmp_path / "source", tree(each=1))
    command(source, tmp_path / "clean")
    expected = contents(tmp_path / "clean")
    moment = 1
    while killed_at(moment, lambda: command(source, tmp_path / str(moment))):  # noqa: B023 - called at once
        command(source, tmp_path / str(moment))
        assert contents(tmp_path / str(moment)) == expected, moment
        moment += 1
    assert moment > 2
