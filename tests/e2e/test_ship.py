"""Export, proof, benchmark and run options as a user types them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import onnxruntime
import pytest

from mien import bundle
from tests.e2e.test_cli import MIEN
from tests.pictures import jpeg, photo
from tests.typed import refused, run


def test_help():
    for command in ("export", "verify", "benchmark"):
        assert "Usage: " in run(command, "--help").stdout
    for command in ("predict", "evaluate"):
        shown = run(command, "--help").stdout
        assert all(option in shown for option in ("--backend", "--device", "--threads"))


EXPORT = ["export", "default", "--out", "x", "--to"]
REFUSED = {
    "unknown target": ([*EXPORT, "int9"], "unknown --to 'int9': expected onnx, int8"),
    "nothing to calibrate on": ([*EXPORT, "int8"], "int8 needs images to calibrate with: give"),
    "a split of nothing": (
        [*EXPORT, "fp16", "--split", "test"], "--split test needs a dataset: give --data"
    ),
    "push of no hub": (
        [*EXPORT, "fp16", "--push", "me/it"], "expected --to hub, got --to fp16"
    ),
    "too few to calibrate on": (
        [*EXPORT, "int8", "--data", "{set}", "--split", "test"],
        "has 7 pictures: calibrating and judging needs 200",
    ),
    "data without a split": (["verify", "default", "--data", "synthetic"], "--data needs --split: both together"),
    "a split without data": (["benchmark", "default", "--split", "test"], "--split needs --data"),
    "numbers that are none": (["benchmark", "default", "--batch", "1,x"], "--batch takes numbers with commas"),
    "a spec of nothing": (["benchmark", "default", "--spec", "x.toml"], "--spec describes a single .onnx file"),
    "a detector of nothing": (
        ["evaluate", "default", "--data", "synthetic", "--split", "test", "--detector", "haar"],
        "--detector and --detector-weights find faces in photos: add --end-to-end",
    ),
    "no such spec": (["benchmark", "{graph}", "--spec", "gone.toml"], "cannot read the spec gone.toml"),
    "threads": (["predict", "sample", "--threads", "0"], "predict: --threads must be at least 1, got 0"),
    "a graph not there": (["predict", "sample", "--backend", "fp16"], "has no model.fp16.onnx: `mien export`"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_in_one_line(name, tmp_path):
    words, message = REFUSED[name]
    for label in ("happy", "sad"):
        (tmp_path / "set" / "test" / label).mkdir(parents=True)
        for number in range(4 if label == "happy" else 3):
            (tmp_path / "set" / "test" / label / f"{number}.jpg").write_bytes(jpeg(photo(number)))
    (tmp_path / "graph.onnx").write_bytes(bundle.load().graph("onnx"))
    words = [word.format(set=tmp_path / "set", graph=tmp_path / "graph.onnx") for word in words]
    assert message in refused(*words, cwd=tmp_path)
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this one has cuda"
)
def test_a_cuda_that_is_not_there_is_said():
    done = subprocess.run(
        [*MIEN, "predict", "sample", "--device", "cuda"], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "mien predict: no cuda in this ONNX Runtime, which has" in done.stderr
    assert "Traceback" not in done.stderr


def test_proof_and_benchmark_without_torch(tmp_path, run_without_torch):
    done = run_without_torch("verify", "default", "--json", tmp_path / "proof.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith(f"passed\nwrote {tmp_path / 'proof.json'}")
    assert "torch left out: torch is not installed; it comes with the extra train" in done.stdout
    proof = json.loads((tmp_path / "proof.json").read_text())
    assert (proof["schema"], proof["passed"]) == ("mien.verification/1", True)


def test_a_proof_that_fails_has_status_1(tiny_bundle, tiny_members, tmp_path):
    loaded, other = bundle.load(tiny_bundle), bundle.load(tiny_members[1])
    bundle.save(tmp_path / "mixed", loaded.card, {"model.int8.onnx": other.graph("onnx")}, base=loaded)
    done = run("verify", tmp_path / "mixed", "--data", "synthetic", "--split", "test")
    assert done.returncode == 1
    assert "int8: " in done.stdout
    assert done.stdout.endswith("FAILED\n")


def test_export_then_run_then_benchmark(tiny_bundle, tmp_path):
    done = run("export", tiny_bundle, "--to", "fp16", "--out", tmp_path / "half")
    assert done.returncode == 0, done.stderr
    assert "100.00% equal labels" in done.stdout
    command = bundle.load(tmp_path / "half").card.exports["fp16"].command
    assert command == "mien export tiny --to fp16 --out half"
    done = run("evaluate", tmp_path / "half", "--data", "synthetic", "--split", "test", "--backend", "fp16")
    assert "350 images" in done.stdout
    words = ["--runtimes", "torch compiled,onnx,fp16", "--batch", "1", "--rounds", "1", "--seconds", "0.05"]
    words += ["--out", tmp_path / "table"]
    shutil.copy(tmp_path / "half" / "model.onnx", tmp_path / "alone.onnx")
    done = run("benchmark", tmp_path / "half", tmp_path / "alone.onnx", *words)
    assert done.returncode == 0, done.stderr
    for runtime in ("fp16", *(["torch compiled"] if shutil.which("g++") else [])):
        assert re.search(rf"^tiny +{runtime} +cpu +1 +1 ", done.stdout, re.MULTILINE)
    page = (tmp_path / "table" / "benchmark.md").read_text()
    assert "| tiny | fp16 | cpu | 1 | 1 |" in page
    assert "| alone | onnx | cpu | 1 | 1 |" in page
    assert {path.name for path in (tmp_path / "table").glob("[!.]*")} == {
        "benchmark.json", "benchmark.md", "benchmark.png"
    }  # fmt: skip


def test_a_file_size_limit_stands_for_a_full_disk(tiny_bundle, tmp_path):
    """The kernel refuses the bytes, as on a full disk: one line, and no bundle."""
    limited = ["sh", "-c", 'ulimit -f 300; exec "$@"', "sh", *MIEN]
    words = ["export", str(tiny_bundle), "--to", "hub", "--out", str(tmp_path / "hub")]
    done = subprocess.run([*limited, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr.startswith("mien export: cannot write")
    assert not (tmp_path / "hub" / "config.json").exists()


def test_workers_change_nothing_but_the_time(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(photo(number)))
    (tmp_path / "3.jpg").write_bytes(b"broken")
    words = ["predict", tmp_path, "--detector", "haar", "--json", "-", "--workers"]
    one, three = run(*words, 1), run(*words, 3)
    assert (one.returncode, three.returncode) == (1, 1)
    assert json.loads(one.stdout) == json.loads(three.stdout)
    assert "--workers must be at least 1, got 0" in run(*words, 0).stderr
