"""Training, resuming and finishing a detector on a few drawn scenes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from mien.detectors import bundle
from mien.errors import ConfigError, DataError, TrainingError
from mien.faces import finish, run
from mien.faces.fit import Plan, Sources, fit, learning_rate, mine, mirrored
from mien.faces.material import _heads
from mien.faces.network import Detector, loss
from mien.faces.targets import targets
from tests.faces.test_scenes import archives, material, scene_with  # noqa: F401 - fixtures
from tests.pictures import jpeg, photo

PLAN = Plan(steps=4, batch=2, chunk_steps=2, warm_up_steps=1)


def test_the_learning_rate_rises_stays_and_falls():
    plan = Plan(steps=100, warm_up_steps=10, decay=0.5, peak_lr=1.0)
    assert [learning_rate(plan, step) for step in (0, 9, 49, 75, 99)] == pytest.approx([0.1, 1, 1, 0.5, 0.02])


def test_a_batch_in_a_mirror_has_its_answers_mirrored_and_keeps_what_is_outside():
    scene = scene_with((62, 24, 32))
    image = np.full((1, 1, 128, 128), 128, np.uint8)
    image[0, 0, 5, 7] = 200
    same = mirrored((image, targets(scene)[None]), np.random.default_rng(0))
    expected = targets(scene_with((128 - 62, 24, 32)))
    assert same[1][0] == pytest.approx(expected, abs=1e-5)
    assert same[0][0, 0, 5, 120] not in {128, 200}
    assert (same[0] != 128).sum() == 1


def test_the_loss_falls_on_one_batch():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 255, (2, 1, 128, 128)).astype(np.float32))
    wanted = torch.from_numpy(np.stack([targets(scene_with((62, 24, 32)))] * 2))
    network = Detector()
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    values = []
    for _ in range(12):
        value = loss(network(images), wanted)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(float(value.detach()))
    assert values[-1] < 0.5 * values[0]


def test_hard_negatives_are_places_in_the_background_itself():
    class Sees(Detector):
        def forward(self, grey):
            found = torch.full((1, 4, grey.shape[2] // 8, grey.shape[3] // 8), -9.0)
            found[0, 0, 1, 2] = 9
            return found

    (spot,) = mine(Sees(), [np.zeros((160, 240), np.uint8)], np.random.default_rng(0), 1)
    # cell (1, 2) is at x 20, y 12 of the image as it was searched
    assert spot.background == 0
    assert (spot.x * spot.scale, spot.y * spot.scale) == pytest.approx((20, 12), rel=0.15)


def test_a_resumed_run_ends_as_one_that_never_stopped(tmp_path, archives):  # noqa: F811
    sources, told = Sources(**archives), []
    straight = fit(sources, tmp_path / "a", PLAN, resume=False, tell=told.append)
    assert [line.split("  ")[0] for line in told] == ["step 2/4", "step 4/4"]
    fit(sources, tmp_path / "b", replace(PLAN, steps=2, decay=0.01), resume=False, tell=told.append)
    kept = torch.load(tmp_path / "b" / "checkpoint.pt", weights_only=True)
    kept["plan"] |= {"decay": PLAN.decay, "steps": PLAN.steps}  # as if it had been stopped in the middle
    torch.save(kept, tmp_path / "b" / "checkpoint.pt")
    resumed = fit(sources, tmp_path / "b", PLAN, resume=True, tell=told.append)
    for one, two in zip(straight.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(TrainingError, match="give resume=True to continue it"):
        fit(sources, tmp_path / "b", PLAN, resume=False, tell=told.append)
    with pytest.raises(TrainingError, match="a run with other settings"):
        fit(sources, tmp_path / "b", replace(PLAN, seed=1), resume=True, tell=told.append)
    with pytest.raises(TrainingError, match="learning rate has begun to fall .*: it cannot be made longer"):
        fit(sources, tmp_path / "b", replace(PLAN, steps=8), resume=True, tell=told.append)
    (tmp_path / "b" / "checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(TrainingError, match="cannot read the checkpoint"):
        fit(sources, tmp_path / "b", PLAN, resume=True, tell=told.append)


def test_too_few_backgrounds_are_an_error_before_training(tmp_path, archives):  # noqa: F811
    few = tmp_path / "few.zip"
    with zipfile.ZipFile(archives["backgrounds"]) as all_of_them, zipfile.ZipFile(few, "w") as archive:
        for name in all_of_them.namelist()[:26]:
            archive.writestr(name, all_of_them.read(name))
    sources = Sources(**archives | {"backgrounds": few})
    with pytest.raises(DataError, match=r"few\.zip holds 23 images for training, .*: expected at least 24"):
        fit(sources, tmp_path / "out", PLAN, resume=False, tell=print)


def test_too_few_heads_are_an_error_before_training(tmp_path, archives):  # noqa: F811
    """A head with two boxes or none is no head; of seven, none would be held out."""
    few = tmp_path / "few.zip"
    with zipfile.ZipFile(archives["heads"]) as all_of_them, zipfile.ZipFile(few, "w") as archive:
        boxes = json.loads(all_of_them.read("yunet_boxes_xyxy.json"))
        boxes["0.jpg"] *= 2
        boxes["1.jpg"] = []
        archive.writestr("yunet_boxes_xyxy.json", json.dumps(boxes))
        for name in all_of_them.namelist()[:9]:
            archive.writestr(name, all_of_them.read(name))
    sources = Sources(**archives | {"heads": few})
    with pytest.raises(DataError, match=r"few\.zip holds 7 images with one box: expected at least 8"):
        fit(sources, tmp_path / "out", PLAN, resume=False, tell=print)


def changed(archives, tmp_path, name, change):  # noqa: F811
    """Return the sources with one archive changed: `change` gets the name and content of each file."""
    other = tmp_path / f"other_{name}.zip"
    with zipfile.ZipFile(archives[name]) as old, zipfile.ZipFile(other, "w") as new:
        for one in old.namelist():
            new.writestr(one, change(one, old.read(one)))
    return Sources(**archives | {name: other})


@pytest.mark.parametrize("broken", ["train/happy/2.jpg", "test/happy/2.jpg"])
@pytest.mark.parametrize("content", [b"", b"no image"])
def test_an_image_that_cannot_be_read_is_an_error_before_training(tmp_path, archives, broken, content):  # noqa: F811
    """The process that draws scenes meets it first; the last ones were met hours later."""
    sources = changed(archives, tmp_path, "faces", lambda name, old: content if name == broken else old)
    with pytest.raises(DataError, match=f"other_faces.zip: {broken} is no image that can be read"):
        fit(sources, tmp_path / "out", PLAN, resume=False, tell=pytest.fail)


def test_a_run_goes_on_with_the_same_archives_and_not_with_fewer_steps(tmp_path, archives):  # noqa: F811
    short = replace(PLAN, steps=2)
    fit(Sources(**archives), tmp_path / "out", short, resume=False, tell=len)
    other = changed(archives, tmp_path, "backgrounds", lambda name, old: old + b" ")
    with pytest.raises(
        TrainingError, match="a run with other backgrounds: give the same archives, or choose"
    ):
        fit(other, tmp_path / "out", short, resume=True, tell=len)
    with pytest.raises(TrainingError, match="a run of 2 steps: give steps at least as many"):
        fit(Sources(**archives), tmp_path / "out", replace(PLAN, steps=1), resume=True, tell=len)


def test_the_worker_ends_with_a_killed_run():
    code = (
        "import os, signal\nfrom mien.faces import fit\n"
        "if __name__ == '__main__':\n"
        "    print(fit.pool_of(fit.end_with_parent).submit(os.getpid).result(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        worker = int(run.stdout.readline())
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker goes on without its run")


def test_a_trained_network_becomes_a_folder_that_finds_the_same(tmp_path, archives, monkeypatch):  # noqa: F811
    monkeypatch.setattr(finish, "N_SCENES", 12)
    monkeypatch.setattr(finish, "N_ROUNDED", 3)
    torch.manual_seed(0)
    folder = run.write(Detector(), Sources(**archives), tmp_path / "found", PLAN)
    facts, graphs = bundle.read(folder)
    assert set(graphs) == {"onnx", "int8"}
    assert facts.material == ("Heads: heads.zip", "Faces: faces.zip", "Backgrounds: backgrounds.zip")
    assert not any("142 heads" in note for note in facts.notes), "these are others"
    given = "--heads heads.zip --faces faces.zip --backgrounds backgrounds.zip --steps 4"
    assert facts.command == f"mien detector {given}"
    assert facts.parameters == sum(one.numel() for one in Detector().parameters())
    assert facts.checked["largest difference of ONNX Runtime from torch"] <= finish.MAX_DIFFERENCE
    assert json.loads((folder / "detector.json").read_text())["format"] == "mien.detector/2"
    for kind in ("onnx", "int8", None):
        assert bundle.open_bundle(folder, kind).detect(np.zeros((50, 70, 3), np.uint8)) == []


def test_probabilities_are_fitted_to_right_and_wrong_candidates():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 4000)
    right = rng.random(4000) < 1 / (1 + np.exp(-(1.7 * logits - 0.6)))
    assert finish._logistic(logits, right.astype(float)) == pytest.approx((1.7, -0.6), abs=0.15)


def test_no_steps_are_refused(tmp_path, archives):  # noqa: F811
    with pytest.raises(ConfigError, match="steps must be at least 1, got 0"):
        run.train_detector(Sources(**archives), tmp_path, replace(PLAN, steps=0), resume=False, tell=print)


def test_a_missing_archive_leaves_no_folder(tmp_path):
    out, gone = tmp_path / "out", tmp_path / "gone.zip"
    with pytest.raises(DataError, match=r"cannot read .*gone\.zip: expected a zip of \.jpg images"):
        run.train_detector(Sources(gone, gone, gone), out, PLAN, resume=False, tell=print)
    assert not out.exists()


@pytest.mark.parametrize(
    "boxes", [[1], {"a.jpg": 5}, {"a.jpg": [[1, 2]]}, {"a.jpg": [[5, 5, 5, 9]]}, {"a.jpg": [[1, 2, "x", 9]]}]
)
def test_boxes_of_another_form_are_refused(tmp_path, boxes):
    with zipfile.ZipFile(tmp_path / "heads.zip", "w") as archive:
        archive.writestr("yunet_boxes_xyxy.json", json.dumps(boxes))
        archive.writestr("a.jpg", jpeg(photo()))
    with pytest.raises(DataError, match=r"heads\.zip: .*boxes"):
        list(_heads(tmp_path / "heads.zip"))
