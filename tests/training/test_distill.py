"""Teachers: their answers in the targets, by hand; other number ranges; what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mien import bundle
from mien.card import Origin
from mien.classifiers import load_classifier, probabilities
from mien.config import Recipe, read_recipe
from mien.data.dataset import FaceDataset, one_hot
from mien.errors import BundleError, ConfigError, DataError
from mien.exporting.temperature import save_prior
from mien.labels import FERPLUS_VOTE_ORDER
from mien.training.batches import Batches, ToInput
from mien.training.distill import Teachers, load_teachers, taught_by_votes
from mien.training.loop import train
from tests.training.tiny import TINY, tiny_data

EQUAL = np.ones(7, int)
"""The tiny teachers have learnt as many images of each class."""


def recipe(*teachers, settings=()) -> Recipe:
    names = ", ".join(f'"{name}"' for name in teachers)
    common = ["epochs=2", "batch_size=16", "precision=32-true", f"distillation.teachers=[{names}]"]
    return read_recipe(TINY, [*common, "validation.split=test", "validation.keep=best", *settings])


def test_the_mean_of_what_each_would_answer_itself(tiny_members):
    """The third teacher was trained on another number range, and must be shown it."""
    plan, data = recipe(*tiny_members), tiny_data()
    teach = Teachers(load_teachers(plan), plan, data.labels, EQUAL)
    pictures = torch.from_numpy(data.images[:11]).permute(0, 3, 1, 2).float()
    answers = teach(ToInput(plan.input, torch.device("cpu"))(pictures))
    alone = [probabilities(load_classifier(path).logits(data.images[:11])) for path in tiny_members]
    np.testing.assert_allclose(answers.numpy(), np.mean(alone, axis=0), atol=1e-5)
    assert not answers.requires_grad


def test_a_teacher_that_knows_more_answers_as_if_there_were_no_other_labels(tiny_bundle):
    plan, data = recipe(tiny_bundle), tiny_data()
    some = (data.labels[4], data.labels[1])
    teach = Teachers(load_teachers(plan), plan, some, EQUAL[:2])
    pictures = torch.from_numpy(data.images[:11]).permute(0, 3, 1, 2).float()
    answers = teach(ToInput(plan.input, torch.device("cpu"))(pictures))
    whole = probabilities(load_classifier(tiny_bundle).logits(data.images[:11]))[:, [4, 1]]
    np.testing.assert_allclose(answers.numpy(), whole / whole.sum(axis=1, keepdims=True), atol=1e-5)


def test_rare_classes_are_not_favoured_twice(tiny_bundle, tmp_path):
    """Whatever class frequencies a teacher expects, it answers with those of the images that the student sees."""
    plan, data = recipe(tiny_bundle), tiny_data()
    pictures = torch.from_numpy(data.images[:11]).permute(0, 3, 1, 2).float()
    x = ToInput(plan.input, torch.device("cpu"))(pictures)
    drawn = np.array([10, 1, 5, 30, 10, 10, 10])

    def answers(teacher, of=drawn):
        return Teachers([teacher], plan, data.labels, of)(x).numpy()

    plain = bundle.load(tiny_bundle)
    whole = probabilities(load_classifier(tiny_bundle).logits(data.images[:11])) * drawn
    np.testing.assert_allclose(answers(plain), whole / whole.sum(axis=1, keepdims=True), atol=1e-5)
    save_prior(
        plain, {label: 1.0 + row for row, label in enumerate(data.labels)}, "moved", tmp_path / "moved"
    )
    np.testing.assert_allclose(answers(bundle.load(tmp_path / "moved")), answers(plain), atol=1e-5)
    counts = {"train": dict(zip(data.labels, drawn.tolist(), strict=True))}
    facts = plain.card.model_copy(update={"data": plain.card.data.model_copy(update={"counts": counts})})
    rare = replace(
        plain, card=facts.model_copy(update={"recipe": {**facts.recipe, "loss": {"logit_adjustment_tau": 1}}})
    )
    np.testing.assert_allclose(answers(replace(plain, card=facts)), answers(plain, EQUAL), atol=1e-5)
    np.testing.assert_allclose(answers(rare), answers(plain), atol=1e-5)


def test_smaller_pictures_are_enlarged_for_the_teachers(tiny_bundle):
    """They then answer nearly as for the whole pictures, which they would not for small ones."""
    plan, data = recipe(tiny_bundle, settings=["resizing.early_size_px=24"]), tiny_data()
    teachers = load_teachers(plan)
    teach = Teachers(teachers, plan, data.labels, EQUAL)
    pictures = torch.from_numpy(data.images[:23]).permute(0, 3, 1, 2).float()
    smooth = torch.nn.functional.avg_pool2d(pictures, 9, stride=1, padding=4)
    x = ToInput(plan.input, torch.device("cpu"))(smooth)
    small = torch.nn.functional.avg_pool2d(x, 2)
    whole = teach(x)
    assert (teach(small) - whole).abs().mean() < 0.2 * (
        teach.networks[0](small).softmax(1) - whole
    ).abs().mean()


class Stop(Exception):
    pass


def test_the_share_decides(tiny_bundle, tmp_path):
    """With no share a teacher changes nothing; with all of it the labels do not matter."""

    def losses(name, data, *settings, teachers=(tiny_bundle,)):
        """Both epochs' losses; no bundle is made."""
        found = []

        def stop(row):
            found.append((row.train_loss, row.val_loss))
            if row.epoch == 2:
                raise Stop

        with pytest.raises(Stop):
            train(recipe(*teachers, settings=settings), data, tmp_path / name, device="cpu", on_epoch=stop)
        return np.array(found)

    data, shuffled = tiny_data(), tiny_data()
    rows = data.rows("train")
    shuffled.targets[rows] = shuffled.targets[np.random.default_rng(0).permutation(rows)]
    alone = losses("alone", data, teachers=())
    np.testing.assert_array_equal(losses("none", data, "distillation.share=0.0"), alone)
    assert (losses("half", data) != alone).all()
    all_of_it = losses("all", data, "distillation.share=1.0")
    np.testing.assert_allclose(losses("labels", shuffled, "distillation.share=1.0"), all_of_it, rtol=1e-4)
    assert abs(losses("their own", shuffled, teachers=()) / alone - 1).max() > 5e-3  # shuffling shows


def test_a_card_names_the_teachers(tiny_bundle, tmp_path):
    train(recipe(tiny_bundle, settings=["epochs=1"]), tiny_data(), tmp_path / "run", device="cpu")
    card = bundle.load(tmp_path / "run").card
    assert card.training.teachers == (Origin(name="tiny", sha256=bundle.load(tiny_bundle).id.sha256),)
    assert "From scratch, taught by `tiny` (SHA-256 `" in (tmp_path / "run" / "README.md").read_text()


def test_what_is_refused(tiny_bundle, tiny_ensemble, tmp_path):
    data = tiny_data()
    out = tmp_path / "run"
    with pytest.raises(BundleError, match="no model 'nowhere'"):
        train(recipe("nowhere"), data, out, device="cpu")
    with pytest.raises(
        BundleError, match="is an ensemble, so it runs in ONNX Runtime only: .* members instead"
    ):
        train(recipe(tiny_ensemble), data, out, device="cpu")
    whole, bare = bundle.load(tiny_bundle), tmp_path / "bare"
    bundle.save(bare, whole.card, {bundle.GRAPH: whole.graph("onnx")})
    for plan in (recipe(bare), recipe(settings=[f"transfer.weights={bare}"])):
        with pytest.raises(
            (BundleError, ConfigError), match="tiny came without model.safetensors, so it runs in"
        ):
            train(plan, data, out, device="cpu")
    with pytest.raises(
        ConfigError, match="teacher tiny takes other pictures than the recipe: size_px = 48, here 40"
    ):
        train(recipe(tiny_bundle, settings=["input.size_px=40"]), data, out, device="cpu")
    assert not out.exists()
    other = data.relabel((*data.labels, "contempt"))
    with pytest.raises(ConfigError, match="teacher tiny answers angry, .*; the data has angry, .*, contempt"):
        train(recipe(tiny_bundle), other, out, device="cpu")


def voted(votes_of_happy: int) -> FaceDataset:
    """Two classes; 40 training pictures with votes, one without, 7 of test."""
    n = 48
    truth = np.arange(n) % 2
    votes = np.zeros((n, 10), np.float32)
    happy, sad = FERPLUS_VOTE_ORDER.index("happy"), FERPLUS_VOTE_ORDER.index("sad")
    votes[truth == 0, happy], votes[truth == 0, sad] = votes_of_happy, 10 - votes_of_happy
    votes[truth == 1, happy], votes[truth == 1, sad] = 10 - votes_of_happy, votes_of_happy
    votes[40] = 0
    split = np.array(["train"] * 41 + ["test"] * 7)
    images = np.zeros((n, 4, 4, 1), np.uint8)
    ids = tuple(map(str, range(n)))
    return FaceDataset(images, one_hot(truth, 2), ids, split, ("happy", "sad"), "memory", (), votes)


def test_votes_teach_what_they_say_of_the_label():
    data = voted(10)
    rows = data.rows("train")
    taught = taught_by_votes(data, rows, 0.5)
    own = taught.targets[np.arange(40), data.truth[:40]]
    assert (own > 0.9).all(), "votes that always go with one label predict it"
    np.testing.assert_array_equal(taught.targets[40:], data.targets[40:])  # no votes, and test rows
    np.testing.assert_allclose(taught.targets.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(data.targets, one_hot(data.truth, 2))


def test_votes_that_say_nothing_teach_how_frequent_the_labels_are():
    data = voted(5)
    half = taught_by_votes(data, data.rows("train"), 0.5)
    np.testing.assert_allclose(half.targets[0], [0.75, 0.25], atol=0.01)
    all_of_it = taught_by_votes(data, data.rows("train"), 1.0)
    np.testing.assert_allclose(all_of_it.targets[1], [0.5, 0.5], atol=0.01)


def test_batches_serve_what_votes_teach_and_judge_by_the_label():
    data = voted(5)
    plan = read_recipe(
        TINY,
        ["batch_size=4", "distillation.votes_share=0.5", "input.size_px=8", "balance.sampler=weighted"],
    )
    data = replace(data, images=np.zeros((48, 8, 8, 1), np.uint8))
    batches = Batches(data, plan, torch.device("cpu"))
    _, targets = next(batches.epoch(0))
    taught = targets.max(dim=1).values
    assert ((taught - 0.75).abs() < 0.01).logical_or(taught == 1).all()
    assert torch.equal(batches.targets[41:], torch.from_numpy(data.targets[41:]))


def test_votes_that_did_not_come_along():
    data = tiny_data()
    with pytest.raises(
        DataError, match="needs votes, and synthetic came without: add --votes FILE --vote-rule beside"
    ):
        taught_by_votes(data, data.rows("train"), 0.5)


@pytest.mark.parametrize(
    ("voted_rows", "came"),
    [(np.zeros(48, bool), "those with votes are none"), (np.arange(48) % 2 == 1, "all of the class 'sad'")],
)
def test_votes_on_images_of_one_class_teach_nothing(voted_rows, came):
    data = voted(10)
    data = replace(data, votes=np.where(voted_rows[:, None], data.votes, np.float32(0)))
    with pytest.raises(
        DataError, match=f"of the 41 training images of memory, .*{came}: check --votes, or set"
    ):
        taught_by_votes(data, data.rows("train"), 0.5)
