"""``mien evaluate --out`` and ``mien calibrate`` as a user types them."""

from __future__ import annotations

import io
import json
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from mien.data.synthetic import draw_face
from tests.pictures import png, write_tree
from tests.typed import refused, run


def test_every_part_of_a_report_needs_no_torch(tmp_path, tiny_bundle, run_without_torch):
    labels = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    names = [f"{label}{i}.png" for label in labels for i in range(3)]
    write_tree(tmp_path, {name: png(row) for row, name in enumerate(names)})
    lines = [f"{name},{name.rstrip('.png0123456789')},test,{'ab'[row % 2]}" for row, name in enumerate(names)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split,camera", *lines]))
    votes = "file,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    (tmp_path / "votes.csv").write_text(
        "\n".join([votes, *(f"{name},5,5,0,0,0,0,0,0,0,0" for name in names)])
    )
    words = [
        "--data",
        tmp_path / "list.csv",
        "--split",
        "test",
        "--out",
        tmp_path / "out",
        "--slice",
        "camera",
    ]
    words += ["--votes", tmp_path / "votes.csv", "--vote-rule", "beside", "--corruptions", "--json", "-"]
    done = run_without_torch("evaluate", tiny_bundle, *words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report == json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(report["sections"]) == ["duplicates", "annotators", "slices_camera", "robustness"]
    assert report["sections"]["duplicates"]["rows"][2]["images"] == 0
    assert [row["images"] for row in report["sections"]["slices_camera"]["rows"]] == [11, 10]
    message = refused("evaluate", tiny_bundle, *words[:6], "--slice", "lens")
    assert "no column 'lens' in" in message
    assert "--slice belongs to the full report: say where it goes with --out FOLDER" in refused(
        "evaluate", tiny_bundle, *words[:4], "--slice", "camera"
    )


def test_photos_end_to_end(tmp_path):
    """The cascade finds drawn faces, and none where there is none."""
    for row in range(18):
        label, rng = ("happy", "sad")[row % 2], np.random.default_rng(row)
        scene = np.full((210, 330, 3), 90, np.uint8)
        if row not in (3, 4):
            scene[53:149, 101:197] = draw_face(label, rng, 96)[..., None]
        write_tree(tmp_path, {f"set/test/{label}/{row}.png": encoded(scene)})
        write_tree(tmp_path, {f"bare/test/{label}/{row}.png": encoded(np.full((96, 96, 3), row, np.uint8))})
    words = ["--split", "test", "--end-to-end", "--detector", "haar", "--out", tmp_path / "out"]
    done = run("evaluate", "mien_nano", "--data", tmp_path / "set", *words, "--json", "-")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    part = report["sections"]["end_to_end"]
    row = part["rows"][0]
    assert row["labelled"] == 18
    assert {"test/sad/3.png", "test/happy/4.png"} <= set(part["missed_ids"])
    assert report["n"] == row["labelled"] - row["missed"]
    assert row["accuracy end to end"]["value"] == pytest.approx(report["accuracy"] * report["n"] / 18)
    words[1] = "all"
    done = run("evaluate", "mien_nano", "--data", tmp_path / "set", *words, "--json", "-")
    assert (done.returncode, json.loads(done.stdout)["n"]) == (0, report["n"]), done.stderr
    assert "found none of the labelled faces of" in refused(
        "evaluate", "mien_nano", "--data", tmp_path / "bare", *words
    )


def encoded(image_rgb: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image_rgb).save(out, "PNG")
    return out.getvalue()


def test_calibrate_in_place_and_what_it_refuses(tmp_path, tiny_bundle, run_without_torch):
    import shutil

    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    words = ["--data", "synthetic", "--split", "test"]
    done = run_without_torch("calibrate", copy, *words)
    assert done.returncode == 0, done.stderr
    assert "temperature " in done.stdout
    assert "after, cross-validated" in done.stdout
    assert run("predict", "sample", "--model", copy, "--uncertain-below", "1").stdout.count("uncertain") == 1
    lost = "the class prior that was set before is gone; set it again with --prior or --adapt"
    assert lost not in done.stdout
    assert run("calibrate", copy, "--prior", "uniform").returncode == 0
    assert lost in run("calibrate", copy, *words).stdout
    assert "is part of the package: say where a calibrated copy goes" in refused(
        "calibrate", "default", *words
    )
    assert "no split 'val' in synthetic" in refused(
        "calibrate", copy, "--data", "synthetic", "--split", "val"
    )
    assert "--no-biases belongs to --data: a prior fits no biases" in refused(
        "calibrate", copy, "--prior", "uniform", "--no-biases"
    )
    assert "a probability from 0 to 1, got 2" in refused("predict", "sample", "--uncertain-below", "2")


def test_photos_that_cannot_be_read_do_not_count_in_silence(tmp_path):
    sample = resources.files("mien").joinpath("assets", "sample.jpg").read_bytes()
    write_tree(
        tmp_path / "photos", {f"{number}.jpg": sample for number in range(7)} | {"broken.jpg": b"\xff\xd8"}
    )
    done = run("calibrate", "default", "--adapt", tmp_path / "photos", "--out", tmp_path / "out")
    assert done.returncode == 1, done.stderr
    assert "could not be read, and left out: 1 of 8 photos" in done.stderr
    assert done.stderr.startswith("detector: "), "auto says what it has taken"
    assert "from 7 faces" in done.stdout
    assert (tmp_path / "out" / "model.onnx").exists()


@pytest.mark.parametrize("words", [["--end-to-end"], ["--corruptions"], ["--explain"]])
def test_parts_of_a_report_need_a_place(words, tiny_bundle):
    assert f"{words[0]} belongs to the full report" in refused(
        "evaluate", tiny_bundle, "--data", "synthetic", "--split", "test", *words
    )


def test_one_table_across_datasets(tmp_path):
    names = [f"{label}/{i}.png" for label in ("angry", "happy", "sad") for i in range(4)]
    write_tree(tmp_path, {f"few/{name}": png(row) for row, name in enumerate(names)})
    words = ["--data", "synthetic", "--split", "test", "--data", tmp_path / "few", "--split", "all"]
    done = run("evaluate", "default", *words, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert all(
        len(line) <= 80 for line in done.stdout.splitlines() if not line.startswith(("From", "note", "wrote"))
    )
    assert "B  few all" in done.stdout
    assert "note: B has no images of disgust, fear, neutral, surprise" in done.stdout
    document = json.loads((tmp_path / "out" / "across.json").read_text())
    assert [one["n"] for one in document["datasets"]] == [350, 12]
    mapped = run("evaluate", "default", *words, "--labels-of", "few:happy,sad=angry+sad", "--json", "-")
    assert [one["classes"] for one in json.loads(mapped.stdout)["datasets"]][1] == ["happy", "sad"]
    assert "--labels-of is DATA:NAMES, DATA one of synthetic, few" in refused(
        "evaluate", "default", *words, "--labels-of", "other:a,b"
    )
    assert "--explain belongs to the report on one dataset" in refused(
        "evaluate", "default", *words, "--explain", "--out", tmp_path / "why"
    )
