"""Python, HTTP and a browser agree; where one does not, the proof fails and says how."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from mien import bundle
from mien.data.synthetic import draw_dataset
from mien.errors import ConfigError
from mien.exporting.web import browser as module
from mien.pipeline import Pipeline
from mien.serve import parity
from mien.serve.parity import Pictures, Seen, sample, web_rows
from tests.conftest import lacking
from tests.fakes import ConstantClassifier, FixedDetector


@pytest.fixture(scope="module")
def crops():
    return draw_dataset(bundle.load("default").preprocess, {"drawn": 11}).images


def test_all_ways_agree(crops, runtime_folder):
    if shutil.which("chromium") is None:
        lacking("no chromium: apt-get install chromium")
    rows, facts = web_rows("default", sample(crops, None), runtime_folder=runtime_folder, backends=["onnx"])
    assert {row.runtime: row.breaches for row in rows} == {
        "http": (), "http, faces of a photo": (),
        "browser": (), "browser, squares of a photo": (), "browser, faces of a photo": (),
    }  # fmt: skip
    assert [row.agreement.n for row in rows[2:]] == [11, len(parity.SQUARES) + 1, 1]
    assert "Chrom" in facts["onnx"]["agent"]


def test_other_probabilities_boxes_and_faces_break_the_promise():
    pipeline = Pipeline(ConstantClassifier(), FixedDetector((1.0, 1.0, 9.0, 9.0)))
    pictures = Pictures(np.zeros((1, 4, 4, 1), np.uint8), None, np.zeros((9, 9, 3), np.uint8))
    probs, others = np.array([[0.9, 0.1]], np.float32), np.array([[0.2, 0.8]], np.float32)
    expected = Seen(probs, [(1.0, 1.0, 9.0, 9.0)], probs, probs)
    moved = Seen(probs, [(1.0, 1.0, 9.2, 9.0)], probs, probs + 0.002)
    fewer = Seen(others, [], np.zeros((0, 2), np.float32))
    found = parity._compared(pipeline, pictures, expected, {"a": moved, "b": fewer}, "onnx")
    assert {one.runtime: " ".join(one.breaches) for one in found} == {
        "a": "",
        "a, squares of a photo": "probabilities differ by up to 0.002, the limit is 0.001",
        "a, faces of a photo": "boxes differ by up to 0.20 px, the limit is 0.05",
        "b": "0.00% equal labels, the limit is 100.0% probabilities differ by up to 0.7, the limit is 0.001",
        "b, faces of a photo": "0 faces, expected 1",
    }


def test_a_page_that_fails_or_a_browser_that_ends_is_one_line():
    told = parity._Told()
    with pytest.raises(ConfigError, match="the browser ended before it answered"):
        told.wait(lambda: False)
    told.take({"error": "no such operator"})
    with pytest.raises(ConfigError, match="the page failed in the browser: no such operator"):
        told.wait(lambda: True)


def test_what_is_missing_is_said_before_the_work(monkeypatch, tmp_path):
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(
        ConfigError, match="no browser is installed here: expected one of chromium, .*apt install"
    ):
        parity.check(tmp_path)
    monkeypatch.setattr(module.shutil, "which", lambda name: name)
    with pytest.raises(ConfigError, match="mien fetch web-runtime"):
        parity.check(tmp_path)
