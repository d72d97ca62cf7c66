"""Parts of a report: duplicates, slices, and photos with missed faces, each by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mien.errors import ConfigError, DataError
from mien.evaluation import metrics
from mien.evaluation.metrics import headline
from mien.evaluation.report import judge, write_report
from mien.evaluation.sections import check_columns, check_found, duplicates, end_to_end, slices
from tests.evaluation.test_report import Fixed, data, noisy, rows_of

LABELS = ("x", "y", "z")


def certain(answers) -> np.ndarray:
    return np.eye(3)[answers] * 0.8 + np.full((len(answers), 3), 0.2 / 3)


def test_duplicates_apart_from_the_rest():
    rows = data(LABELS, [0, 1, 2, 0, 1, 2, 0])
    duplicate = np.array([True, True, False, False, False, False, False])
    section = duplicates(certain([0, 1, 2, 2, 2, 2, 1]), rows, duplicate)
    table = {row[0]: row for row in section.rows}
    assert [table[name][1] for name in ("all", "without duplicates", "duplicates alone")] == [7, 5, 2]
    assert [table[name][2].value for name in ("all", "without duplicates", "duplicates alone")] == [
        4 / 7,
        2 / 5,
        1,
    ]
    assert "2 of these 7 images" in section.text
    assert section.to_dict()["ids"] == ["test/0.png", "test/1.png"]
    none = duplicates(certain([0] * 7), rows, np.zeros(7, bool))
    assert none.text.startswith("None of these images")
    assert none.rows[2][1:] == (0, None, None, None, None)


def test_slices_have_the_figures_of_the_report_and_compute_no_others(monkeypatch):
    truth, logits = noisy(3, 60)
    probs, places = certain(logits.argmax(axis=1)), np.array(["in", "out", "in"] * 20)
    wanted = [headline(probs[places == place], truth[places == place]) for place in ("in", "out")]
    monkeypatch.setattr(metrics, "calibration_error", lambda *_: pytest.fail("not asked for"))
    section = slices(probs, replace(data(LABELS, truth), columns={"place": places}), "place")
    assert [row[2:] for row in section.rows] == [(one["accuracy"], one["macro_f1"]) for one in wanted]


def test_slices_and_their_gap():
    truth = [0, 1, 2] * 21
    places = np.array(["in"] * 30 + ["out"] * 30 + [""] * 3)
    rows = replace(data(LABELS, truth), columns={"place": places})
    answers = np.array(truth)
    answers[:15], answers[60:] = 0, 0  # 10 of 30 wrong inside, none outside, 2 of 3 without a place
    section = slices(certain(answers), rows, "place")
    assert [(row[0], row[1]) for row in section.rows] == [("(none)", 3), ("in", 30), ("out", 30)]
    assert section.rows[1][2].value == pytest.approx(20 / 30)
    gap = section.facts["gap"]
    assert (gap["best"], gap["worst"]) == ("out", "in"), "three images are not compared"
    assert gap["value"] == pytest.approx(10 / 30)
    assert 0.1 < gap["low"] < 10 / 30 < gap["high"] < 0.55
    assert "33.3 points of accuracy apart" in section.text


def test_a_group_whose_faces_are_missed_does_not_look_good():
    rows = replace(data(LABELS, [0, 1, 2] * 14), columns={"group": np.array(["a"] * 21 + ["b"] * 21)})
    answers = np.array([0, 1, 2] * 14)
    answers[:3] = 1  # two of a are wrong
    lost = replace(data(LABELS, [0] * 33), columns={"group": np.array(["b"] * 9 + ["c"] * 24)})
    section = slices(certain(answers), rows, "group", lost)
    assert section.header == (
        "group",
        "faces",
        "accuracy end to end",
        "missed",
        "accuracy of the found",
        "macro-F1",
    )
    a, b, c = section.rows
    assert (a[:2], a[2].value, a[3], a[4].value) == (("a", 21), 19 / 21, 0, 19 / 21)
    assert (b[:2], b[2].value, b[3], b[4].value) == (("b", 30), 21 / 30, 9, 1)
    assert (c[:2], c[2].value, c[3:]) == (("c", 24), 0, (24, None, None))
    assert (section.facts["gap"]["best"], section.facts["gap"]["worst"]) == ("a", "c")
    assert "A missed face counts as an error" in section.text


def test_slices_that_are_equal_have_no_best():
    rows = replace(data(LABELS, [0, 1, 2] * 20), columns={"place": np.array(["a"] * 30 + ["b"] * 30)})
    section = slices(certain([0, 1, 2] * 20), rows, "place")
    assert section.facts["gap"] is None
    assert section.text == "Accuracy by place: all values with 20 images or more have the same."


def test_one_slice_large_enough_has_no_gap():
    rows = replace(data(LABELS, [0, 1, 2] * 9), columns={"place": np.array(["a"] * 25 + ["b"] * 2)})
    assert slices(certain([0] * 27), rows, "place").facts["gap"] is None


@pytest.mark.parametrize(
    ("wanted", "columns", "message"),
    [
        (
            "plase",
            {"place": np.array(["a"])},
            "no column 'plase' in here: expected one of place; did you mean place",
        ),
        ("place", {}, "no column 'place' in here: only a list of files can have some"),
        ("id", {"id": np.arange(51).astype(str)}, "'id' of here has 51 values: expected at most 50 groups"),
    ],
)
def test_columns_that_are_refused(wanted, columns, message):
    with pytest.raises(ConfigError, match=message):
        check_columns([wanted], columns, "here")


def test_missed_faces_are_errors():
    found, missed = data(LABELS, [0, 0, 1, 1]), data(LABELS, [0, 2])
    section = end_to_end(certain([0, 1, 1, 1]), found, missed, photos=5, extra=3)
    table = {row[0]: row[1:] for row in section.rows}
    n, lost, seen, of_found, end = table["all"]
    assert (n, lost, seen.value, of_found.value, end.value) == (6, 2, 4 / 6, 3 / 4, 3 / 6)
    assert table["x"][4].value == pytest.approx(1 / 3)
    assert table["z"][:2] == (1, 1)
    assert table["z"][3] is None
    assert section.to_dict()["missed_ids"] == ["test/0.png", "test/1.png"]
    assert "with the missed faces counted as errors, 50.0%." in section.text
    assert section.text.endswith("Faces that it found and that have no label count neither way: 3.")
    with pytest.raises(DataError, match="found none of the labelled faces of memory: are these photos"):
        check_found(data(LABELS, [0]).take(np.array([], int)), "memory")


def test_sections_are_written_in_every_form(tmp_path):
    truth, logits = noisy(3, 60)
    rows = replace(data(LABELS, truth), columns={"place": np.array(["in <b>", "out"] * 30)})
    from mien.data.duplicates import picture_keys

    seen = picture_keys(rows.images[:7])
    report = judge(Fixed(LABELS, logits), rows, "test", trained_on=seen, slice_by=["place"])
    page = write_report(report, tmp_path).read_text()
    assert "Duplicates of training images" in page
    assert "7 of these 60 images" in page
    assert "in <b>" not in page
    lines = rows_of(tmp_path / "duplicates.csv")
    assert [line["images"] for line in lines] == ["60", "53", "7"]
    assert float(lines[0]["accuracy low"]) < float(lines[0]["accuracy"]) < float(lines[0]["accuracy high"])
    assert (tmp_path / "figures" / "slices_place.png").stat().st_size > 1000
    assert len(rows_of(tmp_path / "slices_place.csv")) == 2


def test_fewer_images_than_bins():
    truth, logits = noisy(3, 14)
    with pytest.raises(DataError, match="14 images of test in memory are fewer than the 15 bins"):
        judge(Fixed(LABELS, logits), data(LABELS, truth), "test")
