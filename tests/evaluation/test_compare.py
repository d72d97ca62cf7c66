"""A comparison as a reader finds it: the same rows for all, equal in every form, and drawn in the odd cases too."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import mien
from mien import bundle
from mien.data.dataset import FaceDataset, one_hot
from mien.data.synthetic import draw_dataset
from mien.errors import BundleError, ConfigError, DataError, OutputError
from mien.evaluation.compare import judge, letter
from mien.evaluation.comparison_figures import Series, accuracy_bars, learning_curves, shortened
from mien.evaluation.comparison_report import write_comparison
from mien.evaluation.contenders import Contender, Past, distinct_names, enter
from mien.evaluation.latency import ROUNDS, latencies_ms
from mien.evaluation.report import judge as report
from mien.history import EpochRow
from tests.evaluation.test_report import Fixed, Page, noisy, rows_of
from tests.fakes import ConstantClassifier
from tests.training.tiny import tiny_data

FIGURES = {
    "accuracy", "differences", "agreement", "accuracy_parameters", "accuracy_latency_ms", "per_class",
    "disagreements",
}  # fmt: skip
HISTORY = (EpochRow(1, 0.1, 2, 0.25, 2, 0.375, 0.25, 1), EpochRow(2, 0.1, 1, 0.5, 1, 0.625, 0.5, 1))


def data(labels, truth, *, side=8, channels=1, ids="test/{}.png") -> FaceDataset:
    n = len(truth)
    images = np.random.default_rng(0).integers(0, 256, (n, side, side, channels), np.uint8)
    targets = one_hot(np.array(truth), len(labels))
    return FaceDataset(
        images,
        targets,
        tuple(ids.format(row) for row in range(n)),
        np.full(n, "test"),
        tuple(labels),
        "x/memory",
    )


def model(name, labels, rows, *, parameters=1000, past=None, **preprocess) -> Contender:
    fixed = Fixed(labels, rows)
    if preprocess:
        fixed.preprocess = fixed.preprocess.model_copy(update=preprocess)
    return Contender(name, fixed, fixed, "fake", parameters, past or Past())


def ticking():
    """Return a clock that goes on by a second a look: no machine is timed in a test."""
    return itertools.count().__next__


def compared(labels, truth, *contenders, **options):
    dataset = data(labels, truth)
    return judge(contenders, lambda _: dataset, "test", clock=ticking(), **options)


def answering(labels, answers, *, sure=2.0):
    """Return logits that give these answers."""
    return sure * np.eye(len(labels))[np.array(answers)]


ABC = ("angry", "happy & <glad>", "sad")


def test_a_comparison_by_hand():
    truth = [0, 0, 1, 2, 2]
    one = model("one", ABC, answering(ABC, [0, 0, 1, 2, 0]), parameters=900)
    other = model("other", ABC, answering(ABC, [0, 1, 2, 2, 2]), parameters=500)
    found = compared(ABC, truth, one, other)
    assert [m.accuracy.value for m in found.models] == pytest.approx([0.8, 0.6])
    assert [m.letter for m in found.models] == ["A", "B"]
    assert found.together == {"all_right": 2, "any_right": 5, "none_right": 0, "disputed": 3}
    assert sorted(found.disputed.tolist()) == [1, 2, 4]
    assert found.fronts["parameters"] == ("other", "one")
    assert found.fronts["latency_ms"] == ("one",), "as fast as the other, and better"
    (pair,) = found.pairs
    assert (pair.first, pair.second, pair.only_first, pair.only_second) == ("one", "other", 2, 1)
    assert found.models[0].per_class["sad"].recall.value == pytest.approx(0.5)
    assert found.models[1].per_class["sad"].f1.value == pytest.approx(4 / 5)


def test_intervals_are_those_of_a_report():
    """A reader finds one interval for one figure, also where a model has its labels in another order."""
    truth, logits = noisy(3, 73)
    models = (model("one", ABC, logits), model("turned", ABC[::-1], logits[:, ::-1]))
    found = compared(ABC, truth, *models).models
    reported = [report(one.classifier, data(one.classifier.id.labels[::step], truth), "test").headline
                for one, step in zip(models, (1, -1), strict=True)]  # fmt: skip
    for one, figures in zip(found, reported, strict=True):
        assert (one.accuracy, one.macro_f1) == (figures["accuracy"], figures["macro_f1"])


def test_every_form_says_the_same(tmp_path):
    truth, first = noisy(3, 73)
    _, second = noisy(3, 73, skill=0.5)
    past = Past("memory", None, ("train",), ("val",), 0.5, "val", 0.625, HISTORY)
    contenders = (model("one <b>", ABC, first, past=past), model("two", ABC, second))
    found = compared(ABC, truth, *contenders)
    page = write_comparison(found, tmp_path / "out")
    document = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert document == json.loads(json.dumps(found.to_dict()))
    assert document["schema"] == "mien.comparison/1"
    accuracies = [float((logits.argmax(axis=1) == truth).mean()) for logits in (first, second)]
    paper = (tmp_path / "out" / "models.tex").read_text().splitlines()
    assert len([line for line in paper if line.endswith(r"\\")]) == 1 + len(found.models)
    listed = rows_of(tmp_path / "out" / "models.csv")
    for place, accuracy in enumerate(accuracies):
        assert document["models"][place]["accuracy"]["value"] == pytest.approx(accuracy)
        assert float(listed[place]["accuracy"]) == pytest.approx(accuracy, rel=1e-4)
        assert f"{100 * accuracy:.1f} %" in page.read_text()
    assert [row["train_accuracy"] for row in listed] == ["0.5", ""]
    answers = rows_of(tmp_path / "out" / "answers.csv")
    assert [row["id"] for row in answers] == [f"test/{row}.png" for row in range(73)]
    assert np.mean([row["truth"] == row["two"] for row in answers]) == pytest.approx(accuracies[1])
    (pair,) = rows_of(tmp_path / "out" / "pairs.csv")
    assert float(pair["p_exact"]) == pytest.approx(document["pairs"][0]["p_exact"], rel=1e-4)
    f1 = {row["class"]: row for row in rows_of(tmp_path / "out" / "per_class.csv") if row["figure"] == "f1"}
    assert float(f1["sad"]["two"]) == pytest.approx(
        document["models"][1]["per_class"]["sad"]["f1"]["value"], rel=1e-4
    )
    curve = rows_of(tmp_path / "out" / "figures" / "learning_curves.csv")
    assert [(row["model"], row["epoch"], row["val_accuracy"]) for row in curve] == [
        ("one <b>", "1", "0.375"), ("one <b>", "2", "0.625")
    ]  # fmt: skip
    parsed = Page(page.read_text())
    assert parsed.open == []
    assert not parsed.sources, "figures are inline SVG"
    assert page.read_text().count('role="img" aria-label="') == len(FIGURES) + 1
    assert all(len(alt) > 15 for alt in parsed.alts)
    assert "not known" in page.read_text()
    assert "one <b>" not in page.read_text(), "a name is not markup"
    assert (
        found.pairs[0].meaning.replace("<", "&lt;").replace(">", "&gt;").replace("'", "&#39;")
        in page.read_text()
    )
    for name in FIGURES | {"learning_curves"}:
        with Image.open(tmp_path / "out" / "figures" / f"{name}.png") as drawn:
            assert min(drawn.size) > 100
        assert (tmp_path / "out" / "figures" / f"{name}.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("case", ["two", "eight", "identical", "perfect", "one picture", "nine models"])
def test_odd_cases_are_drawn(case, tmp_path):
    k = {"two": 2, "eight": 8}.get(case, 3)
    labels = tuple(f"quite a long name of a class {label}" for label in range(k))
    truth, logits = noisy(k, 41)
    _, others = noisy(k, 41, skill=0.7)
    if case == "identical":
        others = logits
    elif case == "perfect":
        logits = 9 * np.eye(k)[truth]
    elif case == "one picture":
        truth, logits, others = truth[:1], logits[:1], others[:1]
    many = [model(f"a model with a name as long as a folder may have, number {n}", labels, np.roll(logits, n, axis=0))
            for n in range(7 if case == "nine models" else 0)]  # fmt: skip
    found = compared(labels, truth, model("one", labels, logits), model("two", labels, others), *many)
    write_comparison(found, tmp_path)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == FIGURES
    if case == "identical":
        assert found.pairs[0].meaning == "one and two give the same answer to every image."
        assert len(found.disputed) == 0
    if case == "perfect":
        assert found.models[0].accuracy == pytest.approx((1, 0.914, 1), abs=1e-3)


def test_the_same_comparison_has_the_same_bytes(tmp_path):
    truth, logits = noisy(3, 41)
    for name in ("a", "b"):
        found = compared(ABC, truth, model("one", ABC, logits), model("two", ABC, logits[::-1]))
        write_comparison(found, tmp_path / name)
    for path in sorted((tmp_path / "a").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), (
            path.name
        )


def test_data_is_read_once_for_each_look_and_order_of_labels_does_not_matter():
    """Three looks: 8 pixels grey twice (the number range is no look), 11 pixels, and colour."""
    truth, read = [0, 1, 2, 2], []
    turned = ("sad", "angry", "happy & <glad>")
    contenders = [
        model("plain", ABC, answering(ABC, truth)),
        model("larger", ABC, answering(ABC, [0, 0, 0, 0]), size_px=11),
        model("range", turned, answering(turned, [1, 2, 0, 0]), mean=(0.1,)),
        model("colour", ABC, answering(ABC, [1, 1, 1, 1]), channels=3),
    ]

    def reader(preprocess):
        read.append((preprocess.size_px, preprocess.channels))
        return data(ABC, truth, side=preprocess.size_px, channels=preprocess.channels)

    told = []
    found = judge(contenders, reader, "test", clock=ticking(), announce=told.append)
    assert read == [(8, 1), (11, 1), (8, 3)]
    assert told == ["plain", "range", "larger", "colour"]
    assert [m.name for m in found.models] == ["plain", "larger", "range", "colour"]
    assert [m.accuracy.value for m in found.models] == pytest.approx([1, 0.25, 1, 0.25])
    assert found.pairs[1].meaning == "plain and range give the same answer to every image."


def test_other_rows_for_another_look_are_refused():
    contenders = [model("a", ABC, np.eye(3)), model("b", ABC, np.eye(3), size_px=11)]
    for changed in ({"ids": "new/{}.png"}, {"truth": [2, 1, 0]}):
        with pytest.raises(
            DataError, match="x/memory gave other rows when it was read again .* the same 3 images"
        ):
            judge(
                contenders,
                lambda p, changed=changed: data(
                    ABC, **{"truth": [0, 1, 2], **(changed if p.size_px == 11 else {})}
                ),
                "test",
            )


def test_labels_that_do_not_fit_are_refused_with_the_map_that_makes_them_fit():
    seven = ("angry", "fear", "happy", "sad")
    three = ("happy", "sad", "angry")
    merged = ("good", "bad")
    whole, some = model("whole", seven, np.eye(4)), model("some", three, np.eye(3))
    with pytest.raises(DataError, match=r"label 'fear' of x/memory is unknown to some, which knows happy, sad, "
                       r"angry: add labels=angry,happy,sad, which all of them know"):  # fmt: skip
        compared(seven, [0, 1, 2, 3], whole, some)
    option = Past(labels_option="good=happy,bad=angry+fear+sad")
    merging = [model(name, merged, np.eye(2), past=option) for name in "ab"]
    with pytest.raises(
        DataError, match=r"add labels=good=happy,bad=angry\+fear\+sad, which all of them were trained"
    ):
        compared(seven, [0, 1, 2, 3], *merging)
    with pytest.raises(DataError, match="no labels fits them all; compare models of one label set"):
        compared(seven, [0, 1, 2, 3], whole, merging[0])


def test_a_model_that_knows_more_is_told_of():
    four = ("angry", "sad", "happy & <glad>", "contempt")
    found = compared(ABC, [0, 1, 2], model("a", ABC, np.eye(3)), model("b", four, answering(four, [3, 2, 1])))
    assert found.labels == (*ABC, "contempt")
    assert found.models[1].accuracy.value == pytest.approx(2 / 3)
    assert found.models[1].caveats == (
        "also knows contempt, which no image here shows: such an answer is a mistake",
    )
    assert found.models[0].per_class["contempt"] == (None, None)
    assert found.models[1].per_class["contempt"].f1.value == 0


def test_what_flatters_a_model_is_said():
    truth, logits = noisy(3, 11)
    trained = model("a", ABC, logits, past=Past("memory", trained_on=("test",), chosen_on=("val",)))
    chosen = model("b", ABC, logits, past=Past("memory", trained_on=("train",), chosen_on=("val", "test")))
    other = model("c", ABC, logits, past=Past("elsewhere", trained_on=("test",), chosen_on=("test",)))
    caveats = [m.caveats for m in compared(ABC, truth, trained, chosen, other).models]
    assert caveats == [
        ("was trained on test of a dataset of this name: its figures say nothing here",),
        ("was chosen on test of a dataset of this name: its figures are optimistic",),
        (),
    ]


def test_what_a_model_has_learnt_is_told_by_its_keys(tiny_bundle, tmp_path):
    """By the pictures themselves: a renamed file does not hide them, a file of the same name is no reproach."""
    trained = tiny_data()
    shutil.copytree(tiny_bundle, tmp_path / "twin")
    pair = enter([str(tiny_bundle), str(tmp_path / "twin")])
    found = judge(pair, lambda _: replace(trained, source="x/renamed.zip"), "train")
    assert found.to_dict()["data"] == "renamed.zip"
    assert found.models[0].caveats == ("has learnt 100% of these images: its figures say nothing here",)
    rows, fresh = trained.rows("train"), trained.images.copy()
    for share, caveats in (
        (0.2, ("has learnt 20% of these images: its figures are optimistic",)),
        (0.1, ()),
    ):
        changed = rows[round(share * len(rows)) :]
        fresh[changed] = 255 - trained.images[changed]
        seen = replace(trained, images=fresh)
        found = judge(pair, lambda _, seen=seen: seen, "train")
        assert found.models[0].caveats == caveats


def test_disputed_pictures_take_turns_by_class():
    """Rows 1 and 3 are of one class and both surer than row 2: the other class still comes second."""
    truth = [0, 0, 1, 0]
    logits = answering(ABC, [0, 0, 1, 0]) * np.array([[1], [4], [1], [3]])
    found = compared(ABC, truth, model("a", ABC, logits), model("b", ABC, answering(ABC, [0, 2, 2, 2])))
    assert found.disputed.tolist() == [1, 2, 3]


def test_what_is_refused(tmp_path):
    truth, logits = noisy(3, 41)
    pair = model("a", ABC, logits), model("b", ABC, logits)
    with pytest.raises(ConfigError, match="unknown test-time augmentation 'flop'.*did you mean flip"):
        compared(ABC, truth, *pair, tta="flop")
    with pytest.raises(DataError, match="no split 'val' in x/memory: expected one of test"):
        judge(pair, lambda _: data(ABC, truth), "val")
    bare = data(ABC, truth)
    bare.targets[5] = 0
    with pytest.raises(DataError, match="images without a label in x/memory: 1, the first is test/5.png"):
        judge(pair, lambda _: bare, "test")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write .*file"):
        write_comparison(compared(ABC, truth, *pair), tmp_path / "file" / "out")


def test_who_may_enter(tmp_path, tiny_members, monkeypatch):
    tiny, lenet, _ = tiny_members
    entered = enter([str(tiny), str(lenet), "mien_nano"])
    assert [one.name for one in entered] == ["tiny", "lenet", "mien_nano"]
    kept = bundle.load(tiny).card.training.kept_epoch
    past = entered[0].past
    assert [row.epoch for row in past.history] == [1, 2]
    assert past.train_accuracy == past.history[kept - 1].train_accuracy
    assert (past.validation_split, past.validation_accuracy) == ("test", past.history[kept - 1].val_accuracy)
    built_in = entered[2].past
    assert (built_in.history, built_in.validation_split) == ((), "holdout")
    with pytest.raises(
        ConfigError, match="needs two models or more, got 1: name another; `mien evaluate` judges"
    ):
        enter([str(tiny)])
    monkeypatch.chdir(tiny)
    with pytest.raises(ConfigError, match=r"tiny and \. are one model, named 2 times: name each once"):
        enter([str(tiny), "."])
    with pytest.raises(ConfigError, match="mien_trio and default are one model, named 2 times"):
        enter(["mien_trio", "default"])
    (tmp_path / "begun" / "run").mkdir(parents=True)
    with pytest.raises(BundleError, match="begun holds an unfinished training run, .* and --resume"):
        enter([str(tiny), str(tmp_path / "begun")])


def test_an_ensemble_enters_without_a_history(tiny_ensemble):
    joined = enter([str(tiny_ensemble), "mien_nano"])[0].past
    assert (joined.history, joined.train_accuracy, joined.validation_split) == ((), None, "test")
    assert (joined.trained_on, joined.chosen_on) == (("train",), ("test",))
    assert joined.validation_accuracy == bundle.load(tiny_ensemble).card.training.mean


def test_names_that_collide_get_the_folder_that_tells_them_apart(tmp_path):
    card = bundle.load("mien_nano").card
    shipped = bundle.find("mien_nano").resolve()
    folders = [tmp_path / "a" / "x" / "run", tmp_path / "b" / "x" / "run", tmp_path / "b" / "other", shipped]
    cards = [card, card, card.model_copy(update={"name": "other"}), card]
    assert distinct_names(cards, folders) == [
        "mien_nano (a/x/run)", "mien_nano (b/x/run)", "other", "mien_nano (built-in)"
    ]  # fmt: skip
    assert distinct_names(cards[1:3], folders[1:3]) == ["mien_nano", "other"]


def test_latency_by_a_clock_of_our_own():
    """Calls take 30 and 2 ms, but for a hiccup in one round, which the median forgives."""
    now, calls = [0.0], {"slow": [], "fast": []}

    class Slow(ConstantClassifier):
        def __init__(self, name, seconds):
            super().__init__(size_px=8)
            self.name, self.seconds = name, seconds

        def logits(self, crops):
            calls[self.name].append(crops.shape)
            now[0] += self.seconds + (9 if len(calls[self.name]) == 6 else 0)
            return super().logits(crops)

    crops = np.zeros((3, 8, 8, 1), np.uint8)
    models = [Slow("slow", 0.03), Slow("fast", 0.002)]
    assert latencies_ms(models, [crops, crops[:1]], clock=lambda: now[0]) == pytest.approx([30, 2])
    assert set(calls["slow"] + calls["fast"]) == {(1, 8, 8, 1)}, "one face at a time"
    assert len(calls["slow"]) == 4 + ROUNDS * 3
    assert len(calls["fast"]) in (4 + ROUNDS * 49, 4 + ROUNDS * 50)
    assert latencies_ms(models[:1], [crops], clock=lambda: 0.0) == [0], (
        "a clock too coarse is no division by zero"
    )


def test_curves_join_the_epochs_that_were_judged():
    """Judged every second epoch: the others have no figure, and hide neither the curve nor its best."""
    nan = float("nan")
    some = (HISTORY[0], replace(HISTORY[1], val_loss=nan, val_accuracy=nan), replace(HISTORY[1], epoch=3))
    unjudged_first = (replace(some[1], epoch=0), *some)
    truth, logits = noisy(3, 11)
    entered = [model("run", ABC, logits, past=Past(history=unjudged_first)), model("b", ABC, logits)]
    drawing = learning_curves(compared(ABC, truth, *entered).models)
    assert drawing.alt == (
        "Accuracy over epochs. Best on its validation images: A  run 62.5%. No history: B  b."
    )
    (curve,) = drawing.figure.axes[1].lines
    assert curve.get_xydata().tolist() == [[1, 37.5], [3, 62.5]]


def test_bars_say_what_nobody_knows():
    drawn = accuracy_bars(["a", "b"], [Series("training", [0.5, None]), Series("test", [0.25, 0.75])])
    assert drawn.rows == [
        ("a", "training", 0.5),
        ("a", "test", 0.25),
        ("b", "training", None),
        ("b", "test", 0.75),
    ]
    assert drawn.alt == "Accuracy of 2 models: training; test. Highest (test): b, 75.0%."
    assert "not known" in [text.get_text() for text in drawn.figure.axes[0].texts]
    assert (
        accuracy_bars(["a"], [Series("x", [None]), Series("y", [None])]).alt == "Accuracy of 1 models: x; y."
    )


def test_names_for_figures():
    assert shortened("a" * 30) == "a" * 30
    assert shortened("begin-" + "x" * 40 + "-end", 11) == "begin…x-end"
    assert [letter(place) for place in (0, 25, 26, 53)] == ["A", "Z", "A1", "B2"]


def test_real_models_on_drawn_faces(tiny_members, tmp_path):
    contenders = enter([str(member) for member in tiny_members])
    dataset = draw_dataset(contenders[0].classifier.preprocess, {"train": 7, "test": 21})
    found = judge(contenders, lambda _: dataset, "test", tta="flip")
    assert len(found.pairs) == 3
    assert all(m.latency_ms > 0 for m in found.models)
    write_comparison(replace(found, skipped=("test/x.png",)), tmp_path)
    assert "Left out as corrupt: 1." in (tmp_path / "compare.html").read_text()


def test_strings_stand_for_models_and_data(tiny_members):
    found = mien.compare(tiny_members[:2], "synthetic", "test")
    drawn = mien.read_dataset("synthetic", mien.load_classifier(tiny_members[0]).preprocess)
    again = mien.compare([str(folder) for folder in tiny_members[:2]], drawn, "test")
    assert [row["accuracy"] for row in found.to_rows()] == [row["accuracy"] for row in again.to_rows()]
    row = found.to_rows()[1]
    assert row["name"] == "lenet"
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    assert repr(found).startswith(
        f"Comparison(test of synthetic, {len(found.truth):,} images: accuracy tiny "
    )
