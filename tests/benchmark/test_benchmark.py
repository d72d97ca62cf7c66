"""Rows measured in real processes; what cannot run is left out with its reason."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mien import bundle
from mien.benchmark import subjects as taking_part
from mien.benchmark import worker
from mien.benchmark.plot import draw
from mien.benchmark.run import benchmark, check_options
from mien.benchmark.subjects import judged, subject
from mien.benchmark.timings import machine
from mien.card import ComparedOn, Export
from mien.cli.benchmark import render
from mien.errors import BundleError, ConfigError
from tests.classifiers.peers import SPEC, peer
from tests.training.tiny import tiny_data


def only(one, *runtimes):
    return replace(one, sizes=tuple((name, size) for name, size in one.sizes if name in runtimes))


def test_a_bundle_and_a_peer_beside_each_other(tiny_bundle, tmp_path):
    (tmp_path / "peer.onnx").write_bytes(peer())
    (tmp_path / "other.toml").write_text(SPEC)
    ours = subject(str(tiny_bundle))
    theirs = subject(str(tmp_path / "peer.onnx"), tmp_path / "other.toml")
    assert dict(ours.sizes)["onnx"] == (tiny_bundle / "model.onnx").stat().st_size
    measured = benchmark([only(ours, "onnx", "torch"), theirs], batches=(3, 1), rounds=2, seconds=0.02)
    assert [(row.model, row.runtime, row.batch) for row in measured.rows] == [
        (name, runtime, batch)
        for batch in (1, 3)
        for name, runtime in (("tiny", "torch"), ("tiny", "onnx"), ("peer", "onnx"))
    ]
    for row in measured.rows:
        assert 0 < row.p50_ms <= (row.p95_ms or row.p50_ms)
        assert [row.p95_ms is None, row.p99_ms is None] == [row.n < 40, row.n < 200], "not of a few calls"
        assert row.faces_per_s == pytest.approx(1000 * row.batch / row.p50_ms, rel=0.9)
        assert row.n >= 2
        assert row.load_s > 0.01
    torch, onnx = measured.rows[0], measured.rows[1]
    assert torch.peak_mib > onnx.peak_mib > 20
    assert (onnx.accuracy, measured.rows[2].accuracy) == (
        bundle.load(tiny_bundle).card.scores[0].accuracy,
        None,
    )
    assert (
        "the bundle has no model.int8.onnx: `mien export --to int8` makes it"
        in measured.left_out["tiny, int8"]
    )
    page = render(measured)
    assert "| tiny | onnx | cpu | 1 | 1 |" in page
    assert "| 1.00x |" in page
    assert "left out: peer, int8: one graph only" in page
    json.dumps(measured.to_dict(), allow_nan=False)
    with Image.open(io.BytesIO(draw(measured))) as picture:
        assert picture.size == (900, 576)
    assert draw(replace(measured, rows=(measured.rows[2],))) is None


@pytest.mark.parametrize(
    ("cpuinfo", "named"),
    [
        ("model name\t: CPU: 3 GHz\nflags\t: avx2 avx512_vnni\n\nprocessor\t: 1\n", "CPU: 3 GHz (AVX2, AVX512-VNNI)"),
        ("model name\t: Old CPU\nflags\t\t: fpu avx2_else\n", "Old CPU,"),
        ("Features\t: fp asimddp\n", "(dot product)"),
        ("", "cores of"),
    ],
)  # fmt: skip
def test_the_machine_is_named_with_what_its_ratios_depend_on(cpuinfo, named, tmp_path):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert named in machine(tmp_path / "cpuinfo")


def test_cuda_that_is_not_there_is_left_out_with_its_reason(tiny_bundle):
    measured = benchmark([only(subject(str(tiny_bundle)), "onnx")], providers=("cuda",), batches=(1,))
    assert measured.rows == ()
    assert "no cuda in this ONNX Runtime" in measured.left_out["tiny, onnx, cuda, 1 threads"]


def test_what_breaks_at_one_batch_size_is_left_out_there(tiny_bundle):
    """No machine has the memory for so many faces."""
    measured = benchmark([only(subject(str(tiny_bundle)), "onnx")], batches=(1, 10**12))
    assert [row.batch for row in measured.rows] == [1]
    assert "allocate" in measured.left_out["tiny, onnx, cpu, 1 threads, batch 1000000000000"]
    json.dumps(measured.to_dict(), allow_nan=False)


def test_an_ensemble_has_no_torch_rows(tiny_ensemble):
    one = subject(str(tiny_ensemble))
    assert dict(one.sizes).keys() == {"onnx"}
    assert dict(one.left_out)["torch compiled"] == "an ensemble runs in ONNX Runtime only"


def test_without_torch_the_table_says_so(tiny_bundle, monkeypatch):
    monkeypatch.setattr(taking_part, "find_spec", lambda _: None)
    assert (
        dict(subject(str(tiny_bundle)).left_out)["torch"]
        == "torch is not installed; it comes with the extra train"
    )


def test_accuracies_on_ones_own_data(tiny_bundle):
    of_card = subject(str(tiny_bundle))
    assert of_card.accuracy_on.endswith(f", from the card of {bundle.load(tiny_bundle).card.name}")
    (one,) = judged([of_card], lambda _: tiny_data(), "test")
    expected = bundle.load(tiny_bundle).card.scores[0].accuracy
    assert dict(one.accuracies) == pytest.approx(
        {"onnx": expected, "torch": expected, "torch compiled": expected}
    )
    assert one.accuracy_on == "test of synthetic"


@pytest.mark.parametrize(("name", "found"), [("synthetic", 0.25), ("elsewhere.zip", None)])
def test_an_exports_accuracy_counts_where_it_is_of_the_same_pictures(tiny_bundle, tmp_path, name, found):
    whole = bundle.load(tiny_bundle)
    score = whole.card.scores[0].model_copy(update={"accuracy": 0.25})
    exports = {"int8": Export(compared_on=ComparedOn(data=name), scores=(score,))}
    bundle.save(tmp_path, whole.card.model_copy(update={"exports": exports}), {}, base=whole)
    assert dict(subject(str(tmp_path)).accuracies).get("int8") == found


def test_two_models_of_one_name_are_told_apart(tiny_bundle, tmp_path):
    shutil.copytree(tiny_bundle, tmp_path / "again", ignore=shutil.ignore_patterns("run"))
    subjects = [only(subject(str(path)), "onnx") for path in (tiny_bundle, tmp_path / "again")]
    measured = benchmark(subjects, batches=(1,), rounds=1, seconds=0.01)
    assert [row.model for row in measured.rows] == [str(tiny_bundle), str(tmp_path / "again")]


def test_the_clock():
    calls = []
    times = worker.timed(lambda: calls.append(1), 0.0, warm=True)
    assert len(times) == 1
    assert len(calls) > worker.WARM_CALLS
    assert worker.peak_mib() > 20
    np.testing.assert_array_less(0, times)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((["gpu"], [1], [1]), "unknown provider 'gpu': expected cpu, cuda"),
        (
            (["cpu"], [1], [1], ["tensorrt"]),
            "unknown runtime 'tensorrt': expected torch, torch compiled, onnx, int8, fp16",
        ),
        ((["cpu"], [0], [1]), "threads takes numbers from 1, such as 1,2; got 0"),
        ((["cpu"], [1], [8, 0]), "batch takes numbers from 1, such as 1,2; got 8,0"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        check_options(*options)


def test_a_graph_that_nobody_explains(tmp_path):
    (tmp_path / "peer.onnx").write_bytes(peer())
    with pytest.raises(
        BundleError, match=r"write them into peer\.spec\.toml beside it \(or give another file, spec=FILE\)"
    ):
        subject(str(tmp_path / "peer.onnx"))
