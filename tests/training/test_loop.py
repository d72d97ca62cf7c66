"""Training: it learns, it resumes bit for bit, it refuses what it must."""

from __future__ import annotations

import csv
import errno
import functools
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from mien import bundle
from mien.card import Calibration
from mien.classifiers import load_classifier
from mien.classifiers.onnx_runtime import open_graph
from mien.config import Recipe, read_recipe
from mien.data.synthetic import draw_dataset
from mien.errors import ConfigError, DataError, OutputError, TrainingError
from mien.evaluation.calibration import calibrate
from mien.evaluation.protocol import READ_BY_RUN
from mien.exporting.temperature import without_temperature
from mien.preprocess import Preprocess
from mien.training import fit, loop
from mien.training.loop import check, train
from mien.training.summary import summary
from tests.training.tiny import TINY, tiny_data


@pytest.fixture(autouse=True)
def a_checkpoint_after_every_epoch(monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_FRACTION", 1.0)


BEST_ON_TEST = ("validation.split=test", "validation.keep=best")


def recipe(*settings: str) -> Recipe:
    """A network with dropout and BatchNorm, and everything random switched on."""
    return read_recipe(TINY, ["network=mynet_v1", "epochs=4", "batch_size=16", *BEST_ON_TEST, *settings])


def weights(out) -> bytes:
    return (out / bundle.WEIGHTS).read_bytes()


class Stop(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_a_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(tmp_path, monkeypatch, optimizer):
    by_optimizer = functools.partial(recipe, f"optim.name={optimizer}")
    monkeypatch.setattr(fit, "REPORT_SECONDS", 0)
    data, rows = tiny_data(), []
    train(by_optimizer(), data, tmp_path / "whole", device="cpu", on_epoch=rows.append)

    def stop(step):  # a crash in the middle of the third epoch
        if (step.epoch, step.step) == (3, 2):
            raise Stop

    with pytest.raises(Stop):
        train(by_optimizer(), data, tmp_path / "broken", device="cpu", on_step=stop)
    assert not (tmp_path / "broken" / bundle.CONFIG).exists()
    resumed = []
    train(by_optimizer(), data, tmp_path / "broken", device="cpu", resume=True, on_epoch=resumed.append)

    assert [row.epoch for row in resumed] == [3, 4]
    assert weights(tmp_path / "whole") == weights(tmp_path / "broken")
    assert (tmp_path / "whole" / bundle.GRAPH).read_bytes() == (
        tmp_path / "broken" / bundle.GRAPH
    ).read_bytes()
    for a, b in zip(rows[2:], resumed, strict=True):
        assert (a.train_loss, a.val_loss, a.val_accuracy) == (b.train_loss, b.val_loss, b.val_accuracy)

    def differs(row):  # the comparison can fail
        assert row.train_loss != rows[0].train_loss
        raise Stop

    with pytest.raises(Stop):
        train(by_optimizer("seed=1"), data, tmp_path / "seed", device="cpu", on_epoch=differs)


def test_it_learns(tmp_path):
    """Drawn faces: ten epochs bring the validation accuracy far above chance, and the loss down."""
    rows = []
    settings = ["epochs=10", "batch_size=32", "network=lenet", "ema.decay=0.9"]
    train(recipe(*settings), tiny_data(420, 105), tmp_path / "run", device="cpu", on_epoch=rows.append)
    assert rows[-1].train_loss < rows[0].train_loss - 0.3
    assert max(row.val_accuracy for row in rows) > 0.6
    card = bundle.load(tmp_path / "run").card
    assert card.training.kept_val_accuracy == max(row.val_accuracy for row in rows)
    kept = rows[card.training.kept_epoch - 1]
    assert card.training.kept_train_accuracy == kept.train_accuracy
    assert [(s.split, s.tta) for s in card.scores] == [("test", "none"), ("test", "flip")]
    assert card.scores[0].accuracy == pytest.approx(card.training.kept_val_accuracy, abs=0.011)
    with (tmp_path / "run" / "run" / "history.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(1, 11))
    assert (tmp_path / "run" / "run" / "history.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "run" / "run" / "checkpoint.pt").exists()


def test_the_training_images_never_choose():
    with pytest.raises(ConfigError, match="validation.split must differ from train_split"):
        recipe("train_split=test")


def test_it_stops_early_and_keeps_the_best():
    """At a rate that is no rate, nothing gets better: the first epoch is the best, two more are waited for."""
    still = ["epochs=9", "optim.peak_lr=1e-12", "ema.decay=0", "network=lenet", "optim.schedule=constant"]
    ended = fit.fit(recipe(*still, "validation.patience_epochs=2"), tiny_data(), device="cpu")
    assert [row.epoch for row in ended.history] == [1, 2, 3]
    assert ended.kept.epoch == 1


def same_rate(*settings: str) -> Recipe:
    return recipe("network=lenet", "ema.decay=0", "optim.schedule=constant", "optim.peak_lr=0.01", *settings)


@pytest.fixture(scope="module")
def after_one_epoch() -> dict[str, torch.Tensor]:
    """Weights with which a run of one epoch ends."""
    return fit.fit(same_rate("epochs=1"), tiny_data(), device="cpu").network.state_dict()


@pytest.mark.parametrize(
    ("monitor", "judged"),
    [
        ("accuracy", [(1.0, 0.9, 0.7), (0.9, 0.8, 0.8), (0.8, 0.7, 0.9)]),
        ("macro_f1", [(1.0, 0.7, 0.9), (0.9, 0.8, 0.8), (0.8, 0.9, 0.7)]),
        ("loss", [(0.8, 0.7, 0.7), (0.9, 0.8, 0.8), (1.0, 0.9, 0.9)]),
    ],
)
def test_the_weights_of_the_best_epoch_are_kept(after_one_epoch, monkeypatch, monitor, judged):
    """The first of three epochs is called the best: what is kept is what a run of one epoch ends with."""
    called = iter(judged)
    monkeypatch.setattr(fit._Run, "judge", lambda _: next(called))
    ended = fit.fit(same_rate("epochs=3", f"validation.monitor={monitor}"), tiny_data(), device="cpu")
    kept = ended.network.state_dict()
    assert all(torch.equal(kept[name], after_one_epoch[name]) for name in kept)
    assert ended.kept.epoch == 1


def test_colour_at_another_size_through_to_a_bundle(tmp_path):
    settings = ["network=timm/resnet10t", "input.channels=3", "input.size_px=96", "input.mean=[0.4,0.5,0.6]",
                "input.std=[0.2,0.3,0.4]", "augment.cutmix_probability=1", "epochs=1", "batch_size=7"]  # fmt: skip
    seen = recipe(*settings)
    grey = draw_dataset(seen.input, {"train": 7, "test": 7})
    data = replace(grey, images=(grey.images * [0.3, 0.6, 0.9]).astype(np.uint8))
    train(seen, data, tmp_path / "run", device="cpu")
    crops = data.images[:5]
    ours, theirs = (
        load_classifier(tmp_path / "run", backend=name).logits(crops) for name in ("torch", "onnx")
    )
    assert crops.shape == (5, 96, 96, 3)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    assert not np.allclose(
        theirs, load_classifier(tmp_path / "run").logits(crops[..., ::-1].copy()), atol=1e-3
    )


def test_the_batch_size_of_validation_changes_no_figure():
    figures = []
    for size in (3, 512):
        settings = ["epochs=1", f"validation.batch_size={size}", "precision=32-true"]
        row = fit.fit(recipe(*settings), tiny_data(), device="cpu").kept
        figures.append((row.val_loss, row.val_accuracy))
    assert figures[0] == pytest.approx(figures[1], abs=1e-6)


def test_network_options_reach_the_network_and_the_bundle(tmp_path):
    settings = ["network=mish_cnn", "epochs=1", "network_options.activation=leaky_relu"]
    train(recipe(*settings), tiny_data(), tmp_path / "run", device="cpu")
    classifier = load_classifier(tmp_path / "run", backend="torch")
    kinds = {type(module).__name__ for module in classifier.network.modules()}
    assert "LeakyReLU" in kinds
    assert "Mish" not in kinds


def test_a_holdout_chooses_and_the_test_split_is_read_once(tmp_path):
    settings = [
        "epochs=1",
        "network=lenet",
        "validation.split=auto",
        "validation.keep=last",
        "validation.holdout_fraction=0.2",
    ]
    train(recipe(*settings), tiny_data(), tmp_path / "run", device="cpu")
    card = bundle.load(tmp_path / "run").card
    assert {s.split: (s.n, s.protocol) for s in card.scores} == {
        "test": (35, READ_BY_RUN),
        "holdout": (14, "judged after every epoch; nothing was chosen on it, the last epoch was kept"),
    }
    assert sum(card.data.counts["train"].values()) == 56


def test_a_test_split_without_labels_is_left_unjudged(tmp_path):
    data = tiny_data(70, 70)
    split, targets = data.split.copy(), data.targets.copy()
    split[105:], targets[105:] = "contest", 0
    data = replace(data, split=split, targets=targets)
    train(recipe("epochs=1", "network=lenet"), data, tmp_path / "run", device="cpu")
    card = bundle.load(tmp_path / "run").card
    assert {score.split for score in card.scores} == {"test"}
    assert set(card.data.counts) == {"train", "test"}


def test_val_chooses_where_there_is_one(tmp_path):
    data = tiny_data(70, 70)
    split = data.split.copy()
    split[105:] = "val"
    one = recipe("epochs=1", "network=mien_nano", "validation.split=auto")
    train(one, replace(data, split=split), tmp_path / "run", device="cpu")
    card = bundle.load(tmp_path / "run").card
    judged = next(score for score in card.scores if score.split == "val")
    assert judged.macro_f1 == pytest.approx(card.training.kept_val_macro_f1, abs=0.02)
    assert judged.macro_f1 < judged.accuracy - 0.05, "after one epoch it names few classes"
    assert {score.split: score.protocol for score in card.scores} == {
        "val": "the epoch was chosen on this split; temperature and class biases were fitted to it",
        "test": READ_BY_RUN,
    }


def test_a_trained_model_is_calibrated_on_the_images_that_judged_it(tmp_path):
    """Graph, weights and card agree; the calibration is the one that `calibrate` fits to the network's own logits."""
    own = ["epochs=3", "validation.split=holdout", "validation.holdout_fraction=0.4", "validation.keep=last"]
    run, data = recipe(*own, "network=mien_nano", "batch_size=8"), tiny_data(105)
    folder = train(run, data, tmp_path / "run", device="cpu")
    made = bundle.load(folder)
    facts, held = made.card.calibration, fit.with_judges(run, data)[0].select("holdout")
    plain = without_temperature(made.read(bundle.GRAPH))
    found = calibrate(open_graph(made.id, made.preprocess, plain).logits(held.images), held.truth)
    assert (facts.split, facts.n, facts.data) == ("holdout", len(held), "synthetic")
    assert facts.temperature == pytest.approx(found.temperature)
    assert facts.bias == facts.own_bias == pytest.approx(found.bias)
    assert any(facts.bias)
    onnx, torch_one = (
        load_classifier(folder, backend=name).logits(data.images) for name in ("onnx", "torch")
    )
    np.testing.assert_allclose(onnx, torch_one, atol=1e-4)
    assert not np.allclose(onnx, open_graph(made.id, made.preprocess, plain).logits(data.images), atol=0.01)
    judged = {score.split: score.protocol for score in made.card.scores}
    assert judged["holdout"].endswith("; temperature and class biases were fitted to it")
    assert judged["test"] == READ_BY_RUN
    assert f"fitted to {len(held)} images of `holdout`" in (folder / "README.md").read_text()
    assert f"calibrated on {len(held)} images of holdout: calibration error" in "\n".join(
        summary(made.card, [], folder, ["d"])
    )


def test_what_a_recipe_does_for_rare_classes_and_what_it_was_chosen_on_is_minded(tmp_path):
    """No bias takes back the first; the card repeats the second."""
    own = ["epochs=1", "validation.split=holdout", "validation.holdout_fraction=0.4", "batch_size=8"]
    run = recipe(
        *own, "network=lenet", "loss.logit_adjustment_tau=1", "options_chosen_on=old images: dropout"
    )
    made = bundle.load(train(run, tiny_data(105), tmp_path / "run", device="cpu")).card
    assert made.calibration.split == "holdout"
    assert made.calibration.bias == made.calibration.own_bias == ()
    judged = {score.split: score.protocol for score in made.scores}
    assert judged["holdout"].endswith("; a temperature was fitted to it")
    assert judged["test"].startswith(READ_BY_RUN)
    assert (
        "these options were chosen before, on old images: dropout."
        in (tmp_path / "run" / "README.md").read_text()
    )


def test_nothing_is_fitted_to_test_or_to_a_class_without_images(tmp_path):
    """A recipe that judges on test, as authors do, and judges that never show a class: the card says why."""
    run = train(recipe("epochs=1", "network=lenet"), tiny_data(test=70), tmp_path / "run", device="cpu")
    assert bundle.load(run).card.calibration == Calibration(
        unfitted="every epoch was judged on test, to which nothing may be fitted"
    )
    page = (run / "README.md").read_text()
    assert "Probabilities are not calibrated: every epoch was judged on test" in page
    data = tiny_data(70, 70)
    lacks = data.take(np.flatnonzero((data.split == "train") | (data.truth != 1)))
    lacks = replace(lacks, split=np.where(lacks.split == "test", "val", lacks.split))
    own = recipe("epochs=1", "network=lenet", "validation.split=val")
    card = bundle.load(train(own, lacks, tmp_path / "lacks", device="cpu")).card
    assert card.calibration.unfitted == f"no image of val shows {data.labels[1]}"
    assert "probabilities are not calibrated: no image of val" in "\n".join(summary(card, [], run, ["d"]))


def test_a_finished_model_is_neither_overwritten_nor_mistaken(tiny_bundle):
    card = bundle.load(tiny_bundle).card
    same, before = Recipe.model_validate(card.recipe), (tiny_bundle / bundle.CONFIG).read_bytes()
    with pytest.raises(ConfigError, match="already holds a finished model: choose another --out"):
        train(same, tiny_data(), tiny_bundle, device="cpu")
    assert train(same, tiny_data(), tiny_bundle, device="cpu", resume=True) == tiny_bundle
    auto = same.model_copy(update={"validation": same.validation.model_copy(update={"split": "auto"})})
    for one in (same, auto):
        check(one, tiny_bundle, device="cpu", resume=True)
    with pytest.raises(
        ConfigError,
        match=r"another recipe \(network was mien_nano, is mynet_v1; .*; epochs was 2, is 4; .*transfer.weights=",
    ):
        train(recipe(), tiny_data(), tiny_bundle, device="cpu", resume=True)
    with pytest.raises(ConfigError, match="holds a model finished with another dataset"):
        train(same, tiny_data(77), tiny_bundle, device="cpu", resume=True)
    assert (tiny_bundle / bundle.CONFIG).read_bytes() == before


def test_a_full_disk_during_training_is_one_line_and_keeps_the_last_epoch(tmp_path, monkeypatch):
    real, saved = os.fsync, []

    def full(handle):
        saved.append(handle)
        if len(saved) == 3:  # checkpoint, history, then the second checkpoint
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"cannot write .*checkpoint\.pt: No space left on device"):
        train(recipe(), tiny_data(), tmp_path / "run", device="cpu")
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / "run" / "run").iterdir()) == [
        "checkpoint.pt",
        "history.csv",
    ]
    rows = []

    def stop(row):
        rows.append(row.epoch)
        raise Stop

    with pytest.raises(Stop):
        train(recipe(), tiny_data(), tmp_path / "run", device="cpu", resume=True, on_epoch=stop)
    assert rows == [2]


def test_what_can_be_refused_leaves_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="unknown device"):
        train(recipe(), tiny_data(), tmp_path / "run", device="gpu")
    with pytest.raises(ConfigError, match=r"expected a file, a bundle or hub; got 'nowhere\.pth'"):
        train(recipe("transfer.weights=nowhere.pth"), tiny_data(), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_resume_with_another_recipe_or_dataset_is_refused(tmp_path):
    def stop(row):
        raise Stop

    with pytest.raises(Stop):
        train(recipe(), tiny_data(), tmp_path / "run", device="cpu", on_epoch=stop)
    with pytest.raises(ConfigError, match="already holds an unfinished run: add --resume"):
        train(recipe(), tiny_data(), tmp_path / "run", device="cpu")
    with pytest.raises(ConfigError, match="was begun with another recipe: resume with the same one"):
        train(recipe("optim.peak_lr=0.2"), tiny_data(), tmp_path / "run", device="cpu", resume=True)
    with pytest.raises(ConfigError, match="was begun with another dataset"):
        train(recipe(), tiny_data(77), tmp_path / "run", device="cpu", resume=True)
    saved = tmp_path / "run" / "run" / "checkpoint.pt"
    content = torch.load(saved, weights_only=True)
    del content["history"][0]["val_macro_f1"]
    torch.save(content, saved)
    with pytest.raises(
        ConfigError, match=r"checkpoint\.pt was written by another version of mien: go on with"
    ):
        train(recipe(), tiny_data(), tmp_path / "run", device="cpu", resume=True)
    saved.write_bytes(b"damaged")
    with pytest.raises(ConfigError, match=r"checkpoint\.pt is damaged: remove .* to start anew"):
        train(recipe(), tiny_data(), tmp_path / "run", device="cpu", resume=True)


@pytest.mark.parametrize(
    ("settings", "device", "error", "message"),
    [
        (["network=mynet_v3"], "cpu", ConfigError, r"unknown network 'mynet_v3'; did you mean mynet_v"),
        (
            ["validation.split=hold-out"],
            "cpu",
            DataError,
            r"no split 'hold-out' in synthetic: expected one of train, test, holdout; did you mean holdout\?",
        ),
        (["batch_size=71"], "cpu", DataError, "70 training images do not fill a batch of 71"),
        (
            ["input.size_px=32"],
            "cpu",
            DataError,
            r"synthetic: expected images of \[32, 32, 1\], as the recipe's input says, got \[48, 48, 1\]",
        ),
        ([], "tpu", ConfigError, "unknown device 'tpu': expected one of auto, cpu, cuda, mps"),
        (
            ["optim.peak_lr=1e30"],
            "cpu",
            TrainingError,
            r"the loss is (nan|inf) in epoch 1: lower optim\.peak_lr",
        ),
    ],
)
def test_what_is_refused(tmp_path, settings, device, error, message):
    with pytest.raises(error, match=message):
        train(recipe(*settings), tiny_data(), tmp_path / "runs" / "one", device=device)
    assert not list(tmp_path.iterdir())


def test_a_network_that_is_too_large_for_the_images_is_refused(tmp_path):
    small = draw_dataset(Preprocess(size_px=8), {"train": 70, "test": 35})
    with pytest.raises(ConfigError, match="blog_cnn_4 cannot be built for 8 pixels .* too small"):
        train(recipe("network=blog_cnn_4", "input.size_px=8"), small, tmp_path / "run", device="cpu")


def test_a_wrong_word_for_the_score_is_refused_at_once(tmp_path):
    with pytest.raises(ConfigError, match="score"):
        train(recipe(), tiny_data(), tmp_path / "run", device="cpu", score="tset")
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="no cuda device on this machine: use --device auto or cpu"):
        train(recipe(), tiny_data(), tmp_path / "run", device="cuda")


def test_an_out_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write .*file"):
        train(recipe(), tiny_data(), tmp_path / "file" / "run", device="cpu")
