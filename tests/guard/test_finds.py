"""What `make fuzz` has found, as the smallest inputs that show it: each is one line now."""

from __future__ import annotations

import json
from contextlib import ExitStack

import onnx
import pytest

from mien import bundle, files
from mien.classifiers.onnx_runtime import open_graph
from mien.cropping.record import JOURNAL, Journal
from mien.errors import BundleError, ConfigError
from mien.exporting.temperature import read_prior
from mien.saliency.explain import pipeline_for
from mien.saliency.written import Written
from mien.sinks.tables import Table
from mien.vision.frames import frames
from tests.fakes import ConstantClassifier, FixedDetector

FACTS = {
    "model": {"name": "m", "sha256": "0" * 64, "labels": ["happy", "sad"]},
    "views": 1,
    "detector": "haar",
    "uncertain_below": 0.0,
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.parquet", b"PAR1 and no more PAR1"),
        ("x.jsonl", b"[1]\n"),
        ("x.jsonl", b'{"index": 0, "error": null}\n'),
        ("x.jsonl", b'{"source": [], "index": 0, "error": null}\n'),
        ("x.jsonl", b"[" * 100_000 + b"\n"),
        ("x.csv", b"source,face\na.png,1\n"),
    ],
)
def test_a_table_to_go_on_with_that_is_none(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name} is no table of results \(.*write to another file"):
        Table(path, FACTS, resume=True)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [b'{"faces": []}', b'{"photo": [], "faces": []}', b'{"photo": "a", "faces": [{"file": "x"}]}', b"\xff"],
)
def test_a_journal_of_crops_that_is_none(tmp_path, line):
    (tmp_path / JOURNAL).write_bytes(b'{"size_px": 8}\n' + line + b"\n")
    with (
        ExitStack() as stack,
        pytest.raises(ConfigError, match=r"crop.jsonl is damaged .*: choose another folder"),
    ):
        Journal(tmp_path, {"size_px": 8}, stack, resume=True)


@pytest.mark.parametrize(
    "line", [b"\xff", b"[1]", b'{"source": "a"}', b'{"source": [], "index": 0}', b"[" * 100_000]
)
def test_explanations_to_go_on_with_are_kept_up_to_a_line_that_is_none(tmp_path, line):
    pipeline = pipeline_for(model=ConstantClassifier(size_px=8), detector=FixedDetector())
    same = {"model": pipeline.facts["model"]["sha256"], "finder": "FixedDetector", "asked": None}
    good = json.dumps({"source": "a.png", "index": 0} | same).encode()
    (tmp_path / "explanations.jsonl").write_bytes(good + b"\n" + line + b"\n")
    with Written(tmp_path, pipeline, None, resume=True) as written:
        assert written.done == {("a.png", 0)}
    assert (tmp_path / "explanations.jsonl").read_bytes() == good + b"\n"


def test_a_prior_that_nests_without_end(tmp_path):
    files.write(tmp_path / "prior.json", "[" * 100_000)
    with pytest.raises(
        ConfigError,
        match='a JSON file with a number for each label, such as {"angry": 1, "disg.*"surprise": 1}',
    ):
        read_prior(bundle.load("default"), str(tmp_path / "prior.json"))


def test_a_webp_that_ends_after_its_first_words(tmp_path):
    (tmp_path / "x.webp").write_bytes(b"RIFF\x08\0\0\0WEBPVP8X")
    (frame,) = frames(str(tmp_path / "x.webp"))
    assert "x.webp" in frame.source
    assert frame.error


def test_a_graph_whose_text_is_not_utf_8_is_one_line_and_prints_nothing(capfd):
    given = bundle.load("mien_nano")
    graph = onnx.load_model_from_string(given.graph("onnx"))
    onnx.helper.set_model_props(graph, {"mien.labels": json.dumps(["@@@@@@@@"])})
    broken = graph.SerializeToString().replace(b"@@@@@@@@", b"\xff\xfe\x1b[2J\x80\x81")
    with pytest.raises(BundleError, match=r"model mien_nano.*: (ONNX Runtime|its graph holds text)"):
        open_graph(given.id, given.preprocess, broken, threads=1)
    assert capfd.readouterr() == ("", "")
