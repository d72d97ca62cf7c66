"""The report as a reader finds it: whole, equal in every form, and drawn in the odd cases too."""

from __future__ import annotations

import csv
import html.parser
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mien.cli.evaluate import _print_report
from mien.data.dataset import FaceDataset, one_hot
from mien.errors import DataError, OutputError
from mien.evaluation.evaluate import evaluate
from mien.evaluation.figures import coverage
from mien.evaluation.report import judge, write_report
from tests.fakes import ConstantClassifier
from tests.training.tiny import tiny_data

FIGURES = ("confusion", "precision_recall", "roc", "reliability", "coverage", "mistakes", "uncertain_hits")


class Fixed(ConstantClassifier):
    """Gives the logits it was made with, row by row."""

    def __init__(self, labels, rows):
        super().__init__((0.0,) * len(labels), labels, size_px=8)
        self._rows = np.float32(rows)

    def logits(self, crops):
        return self._rows[: len(crops)]


def data(labels, truth) -> FaceDataset:
    n = len(truth)
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 1), np.uint8)
    ids = tuple(f"test/{row}.png" for row in range(n))
    return FaceDataset(
        images, one_hot(np.array(truth), len(labels)), ids, np.full(n, "test"), labels, "memory"
    )


def noisy(k, n, skill=1.5):
    truth = np.arange(n) % k
    return truth, np.random.default_rng(1).normal(size=(n, k)) + skill * np.eye(k)[truth]


class Page(html.parser.HTMLParser):
    """Collects what a page refers to."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.alts, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.sources += [attrs[key] for key in ("src", "href") if key in attrs and attrs[key][0] != "#"]
        if tag == "img":
            self.alts.append(attrs["alt"])
        if tag not in ("img", "meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_form_says_the_same(tmp_path):
    labels = ("angry", "happy & <glad>", "sad")
    truth, logits = noisy(3, 73)
    report = judge(Fixed(labels, logits), data(labels, truth), "test")
    page = write_report(report, tmp_path / "out")
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert document["schema"] == "mien.report/1"
    accuracy = float((logits.argmax(axis=1) == truth).mean())
    assert document["accuracy"] == document["headline"]["accuracy"]["value"] == pytest.approx(accuracy)
    assert document["macro_f1"] == pytest.approx(document["headline"]["macro_f1"]["value"])
    assert document["balanced_accuracy"] == pytest.approx(document["headline"]["balanced_accuracy"]["value"])
    assert document["top_k_accuracy"]["2"] == pytest.approx(document["headline"]["top_2_accuracy"]["value"])
    answers = rows_of(tmp_path / "out" / "predictions.csv")
    assert [row["id"] for row in answers] == [f"test/{row}.png" for row in range(73)]
    assert np.mean([row["truth"] == row["prediction"] for row in answers]) == pytest.approx(accuracy)
    assert all(sum(float(row[label]) for label in labels) == pytest.approx(1, abs=1e-4) for row in answers)
    per_class = {row["class"]: row for row in rows_of(tmp_path / "out" / "per_class.csv")}
    for label in labels:
        kept = document["per_class"][label]
        assert float(per_class[label]["f1"]) == pytest.approx(kept["f1"], rel=1e-4)
        assert kept["support"] == int(per_class[label]["support"])
    cells = rows_of(tmp_path / "out" / "figures" / "confusion.csv")
    assert sum(int(row["images"]) for row in cells if row["truth"] == row["answered"]) == round(73 * accuracy)
    parsed = Page(page.read_text())
    assert parsed.open == []
    assert all(source.startswith("data:image/png;base64,") for source in parsed.sources), "no network"
    text = page.read_text()
    assert text.count('role="img" aria-label="') == len(FIGURES) - 3, "matrix and galleries are HTML"
    assert len(parsed.alts) == min(24, round(73 * (1 - accuracy))) + 24, "mistakes and uncertain hits"
    assert 'fill: #ffffff"' not in text.split("<svg", 1)[1].split("</svg>")[0], "no white ground in dark mode"
    assert (tmp_path / "out" / "per_class.tex").read_text().count(r"\\") == 4
    assert f"{100 * accuracy:.1f} %" in page.read_text()
    assert "<glad>" not in page.read_text(), "a label is not markup"
    for name in FIGURES:
        with Image.open(tmp_path / "out" / "figures" / f"{name}.png") as drawn:
            assert min(drawn.size) > 100
        assert (tmp_path / "out" / "figures" / f"{name}.svg").read_text().startswith("<?xml")


def test_curves_come_from_scores_and_keep_a_rare_classs_steps(tmp_path):
    """Three of 1,000 images are of the rare class: its curve has three steps, all at the very start."""
    truth = np.zeros(1000, int)
    truth[[0, 400, 800]] = 1
    logits = np.zeros((1000, 2))
    logits[:, 1] = -np.arange(1000) / 100  # image 0 scores highest, 400 is the 401st, 800 the 801st
    write_report(judge(Fixed(("a", "rare"), logits), data(("a", "rare"), truth), "test"), tmp_path)
    rows = [row for row in rows_of(tmp_path / "figures" / "precision_recall.csv") if row["class"] == "rare"]
    found = {(round(float(row["recall"]), 3), round(float(row["precision"]), 3)) for row in rows}
    assert (0.333, 1.0) in found
    assert max(precision for recall, precision in found if recall == 1) == pytest.approx(3 / 801, abs=0.001)


@pytest.mark.parametrize("case", ["two", "eight", "never answered", "perfect", "fifteen pictures"])
def test_odd_cases_are_drawn(case, tmp_path):
    k = {"two": 2, "eight": 8}.get(case, 3)
    truth, logits = noisy(k, 41)
    if case == "never answered":
        logits[:, 2] = -9
    elif case == "perfect":
        logits = 9 * np.eye(3)[truth]
    elif case == "fifteen pictures":
        truth, logits = truth[:15], logits[:15]
    labels = tuple(f"quite a long name of a class {label}" for label in range(k))
    labels = ("costs $x_{$ or so", *labels[1:]) if case == "two" else labels
    report = judge(Fixed(labels, logits), data(labels, truth), "test")
    page = write_report(report, tmp_path, dpi=50).read_text()
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == set(FIGURES)
    assert ("Never predicted: quite a long name of a class 2." in page) == (case == "never answered")
    if case == "perfect":
        assert "without a mistake" in report.to_dict()["figures"]["confusion"]


def test_the_same_report_has_the_same_bytes(tmp_path):
    truth, logits = noisy(3, 41)
    for name in ("a", "b"):
        report = judge(Fixed(("x", "y", "z"), logits), data(("x", "y", "z"), truth), "test")
        write_report(report, tmp_path / name)
    for path in sorted((tmp_path / "a").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), (
            path.name
        )


def test_coverage_does_not_depend_on_the_order_of_the_rows():
    """Of equal confidences, too: sorted by class, the first half of these would be all right."""
    truth, probs = np.repeat([0, 1], 20), np.full((40, 2), [0.6, 0.4])
    assert coverage(probs, truth).rows == [(1, 0.5, 0.6)]
    truth, logits = noisy(3, 73)
    drawn = coverage(logits, truth)
    assert drawn.rows == coverage(logits[::-1], truth[::-1]).rows
    assert len(drawn.rows) == 73


def test_what_is_refused(tmp_path):
    labels, (truth, logits) = ("x", "y", "z"), noisy(3, 41)
    unlabelled = data(labels, truth)
    unlabelled.targets[5] = 0
    with pytest.raises(DataError, match="images without a label in memory: 1, the first is test/5.png"):
        judge(Fixed(labels, logits), unlabelled, "test")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write .*file"):
        write_report(judge(Fixed(labels, logits), data(labels, truth), "test"), tmp_path / "file" / "out")


def test_the_terminal_shows_no_number_for_what_cannot_be_computed(capsys):
    """No image is sad or fear; sad is never answered, fear is, wrongly."""
    data = tiny_data(7)
    happy = replace(
        data, targets=np.eye(3, dtype=np.float32)[[0] * len(data)], labels=("happy", "sad", "fear")
    )

    class Answers(ConstantClassifier):
        def logits(self, crops):
            return np.eye(3, dtype=np.float32)[np.arange(len(crops)) % 2 * 2]

    model = Answers(logits=(1.0, 0.0, 0.0), labels=("happy", "sad", "fear"))
    _print_report(evaluate(model, happy, "train"))
    table = capsys.readouterr().out.partition("true label")[2].partition("Confusion matrix")[0]
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()[1:4]}
    assert rows["sad"] == ["-", "-", "-", "-", "0"]
    assert (rows["fear"][0], rows["fear"][-3:]) == ("0.0%", ["0.0%", "-", "0"])
