"""Proof of equality: it passes where runtimes agree, and fails where one does not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mien import bundle
from mien.classifiers.onnx_runtime import OnnxClassifier
from mien.errors import BundleError
from mien.exporting import verify as module
from mien.exporting.half import halve
from mien.exporting.verify import verify, ways_in
from mien.pipeline import Pipeline
from tests.fakes import ConstantClassifier
from tests.training.tiny import tiny_data


def rows(proof):
    return {row.runtime: row for row in proof.rows}


def with_graph(folder, out, backend, graph):
    loaded = bundle.load(folder)
    bundle.save(out, loaded.card, {bundle.GRAPHS[backend]: graph}, base=loaded)
    return out


def test_everything_agrees_on_real_labels(tiny_bundle, tmp_path):
    loaded = bundle.load(tiny_bundle)
    graph = halve(loaded.graph("onnx"), loaded.id.labels, loaded.preprocess)
    path = with_graph(tiny_bundle, tmp_path / "half", "fp16", graph)
    proof = verify(path, tiny_data(), "test")
    found = rows(proof)
    assert list(found) == ["onnx", "torch", "pipeline", "fp16"]
    assert set(proof.left_out) == {"int8"}
    assert found["torch"].agreement.max_probability_difference < 1e-4
    assert found["pipeline"].agreement.equal_labels == 1
    low, high = found["torch"].agreement.change_interval_95
    assert -0.06 < low == -high < 0  # no change among 70 images leaves room for one elsewhere
    assert found["onnx"].breaches == found["torch"].breaches == found["pipeline"].breaches == ()
    assert proof.inputs == {"bytes": 0, "base64": 0, "array": 0}
    json.dumps(proof.to_dict(), allow_nan=False)


def test_drawn_faces_judge_only_what_must_be_exact(tiny_bundle, tmp_path):
    loaded = bundle.load(tiny_bundle)
    path = with_graph(tiny_bundle, tmp_path / "copy", "int8", loaded.graph("onnx"))
    proof = verify(path)
    assert (proof.split, proof.n, proof.passed) == ("drawn", 350, True)
    assert rows(proof)["int8"].bound is None
    assert rows(proof)["torch"].bound is not None


def test_a_graph_that_answers_otherwise_fails(tiny_bundle, tiny_members, tmp_path):
    other = bundle.load(tiny_members[1]).graph("onnx")  # another network of the same labels and preprocessing
    proof = verify(with_graph(tiny_bundle, tmp_path / "mixed", "int8", other), tiny_data(), "test")
    assert not proof.passed
    assert "equal labels, the limit is 98.0%" in rows(proof)["int8"].breaches[0]
    assert rows(proof)["torch"].breaches == ()


def test_a_graph_that_cannot_be_loaded_is_not_left_out(tiny_bundle, tmp_path):
    path = with_graph(tiny_bundle, tmp_path / "broken", "fp16", b"nonsense")
    with pytest.raises(BundleError):
        verify(path, tiny_data(), "test")


def test_a_pipeline_that_prepares_otherwise_fails(tiny_bundle, monkeypatch):
    class Brighter(OnnxClassifier):
        def logits(self, crops):
            return super().logits(crops + 1 if len(crops) == 1 else crops)  # the pipeline asks face by face

    monkeypatch.setattr("mien.classifiers.onnx_runtime.OnnxClassifier", Brighter)
    proof = verify(tiny_bundle, tiny_data(), "test")
    assert not proof.passed
    found = rows(proof)["pipeline"].breaches  # on some processors a label changes, too
    assert any("probabilities differ by up to" in breach for breach in found)


def test_an_ensemble_has_no_torch_and_says_so(tiny_ensemble):
    proof = verify(tiny_ensemble, tiny_data(), "test")
    assert proof.left_out["torch"] == (
        "model joined is an ensemble, so it runs in ONNX Runtime only: where torch is needed, name one of its "
        "members instead (tiny, lenet, ranged)"
    )
    assert proof.passed


def test_a_photo_gives_the_same_by_every_way_in():
    class Mean(ConstantClassifier):
        def logits(self, crops):
            means = crops.mean(axis=(1, 2, 3), dtype=np.float32) / 100
            return np.stack([means, -means], axis=1)

    pipeline = Pipeline(Mean(), "haar")
    assert ways_in(pipeline) == {"bytes": 0, "base64": 0, "array": 0}
    assert module._difference([[1.0]], []) == float("inf")
    assert module._difference([[1.0, 2.0]], [[1.0, 2.5]]) == pytest.approx(0.5)
