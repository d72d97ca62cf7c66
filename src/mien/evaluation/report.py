"""One evaluation as a folder: a page, every number as JSON and CSV, every figure as PNG, SVG and data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mien import files
from mien.classifiers import probabilities
from mien.classifiers.combine import with_tta
from mien.data.twins import are_twins
from mien.errors import DataError
from mien.evaluation import figures
from mien.evaluation.annotators import annotators
from mien.evaluation.evaluate import answers
from mien.evaluation.evaluate import report as count
from mien.evaluation.metrics import average_precisions, headline
from mien.evaluation.render import page, spread, table, write_drawings
from mien.evaluation.robustness import robustness
from mien.evaluation.sections import check_columns, check_found, end_to_end, slices, twins
from mien.results import REPORT_SCHEMA
from mien.statistics import BINS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Int, Num

    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset
    from mien.evaluation.figures import Drawing
    from mien.evaluation.found import Found
    from mien.evaluation.sections import Section
    from mien.results import EvalReport
    from mien.statistics import Estimate

PICTURES = figures.GRID[0] * figures.GRID[1]


@dataclass(frozen=True)
class FullReport:
    """Everything about one classifier on one split: what is written, before it is written."""

    counted: EvalReport
    headline: dict[str, Estimate]
    average_precision: dict[str, float | None]
    """By class: area under precision over recall."""
    drawings: tuple[Drawing, ...]
    ids: tuple[str, ...]
    truth: Int[np.ndarray, " n"]
    probs: Num[np.ndarray, "n k"]
    sections: tuple[Section, ...] = ()

    @property
    def every_drawing(self) -> tuple[Drawing, ...]:
        """The drawings of the report and of its sections."""
        return (*self.drawings, *(drawing for section in self.sections for drawing in section.drawings))

    def to_dict(self) -> dict[str, Any]:
        """Return every number as the report schema has it."""
        document = self.counted.to_dict()
        per_class = {
            label: {**row, "average_precision": self.average_precision[label]}
            for label, row in document.pop("per_class").items()
        }
        return {
            **document,
            "schema": REPORT_SCHEMA,
            "headline": {name: figure._asdict() for name, figure in self.headline.items()},
            "per_class": per_class,
            "sections": {section.name: section.to_dict() for section in self.sections},
            "figures": {drawing.name: drawing.alt for drawing in self.every_drawing},
        }


def judge(
    classifier: Classifier,
    data: FaceDataset,
    split: str,
    *,
    tta: str = "none",
    trained_on: Int[np.ndarray, " m"] | None = None,
    slice_by: Sequence[str] = (),
    corruptions: bool = False,
    photos: Found | None = None,
) -> FullReport:
    """Judge `classifier` on one split in every way.

    `trained_on` are the keys (`mien.data.twins`) of the images it has seen; `slice_by` names columns of the data;
    `photos` is what a detector found, of which `data` are the faces. Votes beside the data make a part of their own.

    Raises:
        DataError: no such split, fewer images than bins, a picture without a label, or labels the classifier does
            not know.
        ConfigError: no such test-time augmentation or column.
    """
    if photos is not None:
        check_found(photos.found, data.source)
    check_columns(slice_by, data.columns, data.source)
    rows, logits = answers(classifier, data, split, tta=tta)
    if len(rows) < BINS:
        raise DataError(
            f"{len(rows)} images of {split} in {data.source} are fewer than the {BINS} bins of a reliability "
            f"diagram: judge them without --out"
        )
    probs, truth, labels = probabilities(logits), rows.truth, classifier.id.labels
    counted = count(truth, logits, model=classifier.id, data=rows, split=split, tta=tta)
    figures_of = headline(probs, truth)
    averages = average_precisions(probs, truth)
    drawings = (
        figures.confusion(np.array(counted.confusion), labels),
        figures.precision_recall(probs, truth, labels, averages),
        figures.roc(probs, truth, labels),
        figures.reliability(probs, truth, figures_of["ece"].value),
        figures.coverage(probs, truth),
        *_picture_grids(rows, probs),
    )
    sections = [sectioned for sectioned in (
        end_to_end(probs, rows, photos.missed.relabel(labels), photos=photos.photos, extra=photos.extra)
        if photos else None,
        twins(probs, rows, are_twins(rows.images, trained_on)) if trained_on is not None else None,
        annotators(probs, rows) if rows.votes is not None else None,
        *(slices(probs, rows, column) for column in slice_by),
        robustness(with_tta(classifier, tta), rows, counted.accuracy) if corruptions else None,
    ) if sectioned]  # fmt: skip
    return FullReport(
        counted, figures_of, dict(zip(labels, averages, strict=True)), drawings, rows.ids, truth, probs,
        tuple(sections),
    )  # fmt: skip


def write_report(report: FullReport, out: Path) -> Path:
    """Write ``report.html``, ``report.json``, CSVs of classes, predictions and sections, and ``figures/``.

    Returns the page.

    Raises:
        OutputError: it can't be written.
    """
    labels = report.counted.model.labels
    files.make_folder(out / "figures")
    document = report.to_dict()
    files.write(out / "report.json", json.dumps(document, indent=2) + "\n")
    columns = ("precision", "recall", "f1", "support", "average_precision")
    per_class = ((label, *(row[name] for name in columns)) for label, row in document["per_class"].items())
    files.write(out / "per_class.csv", table(("class", *columns), per_class))
    rows = zip(report.ids, report.truth.tolist(), report.probs, strict=True)
    predictions = ((name, labels[true], labels[int(row.argmax())], *row.tolist()) for name, true, row in rows)
    files.write(out / "predictions.csv", table(("id", "truth", "prediction", *labels), predictions))
    shown = write_drawings(report.drawings, out / "figures")
    sections = []
    for section in report.sections:
        files.write(out / f"{section.name}.csv", table(*spread(section.header, section.rows)))
        figures_of = write_drawings(section.drawings, out / "figures")
        sections.append({**section._asdict(), "figures": figures_of})
    facts = {"report": document, "figures": shown, "names": _NAMES, "sections": sections}
    files.write(out / "report.html", page("report.html.j2", **facts))
    return out / "report.html"


_NAMES = {
    "accuracy": ("accuracy", "%"),
    "top_2_accuracy": ("truth among the two best", "%"),
    "top_3_accuracy": ("truth among the three best", "%"),
    "macro_f1": ("macro-F1", "%"),
    "weighted_f1": ("weighted F1", "%"),
    "balanced_accuracy": ("balanced accuracy", "%"),
    "kappa": ("Cohen's kappa", ""),
    "log_loss": ("log-loss", ""),
    "brier": ("Brier score", ""),
    "ece": ("calibration error (ECE)", "%"),
}


def _picture_grids(rows: FaceDataset, probs: Num[np.ndarray, "n k"]) -> list[Drawing]:
    confidence, predicted = probs.max(axis=1), probs.argmax(axis=1)
    hit = predicted == rows.truth
    chosen = {
        ("mistakes", "Most confident mistakes"): np.flatnonzero(~hit)[
            np.argsort(-confidence[~hit], kind="stable")
        ],
        ("uncertain_hits", "Least certain hits"): np.flatnonzero(hit)[
            np.argsort(confidence[hit], kind="stable")
        ],
    }
    grids = []
    for (name, title), order in chosen.items():
        some = order[:PICTURES]
        captions = [
            f"{rows.labels[rows.truth[row]]}\nanswered {rows.labels[predicted[row]]} {confidence[row]:.0%}"
            if name == "mistakes"
            else f"{rows.labels[predicted[row]]}\n{confidence[row]:.0%}"
            for row in some
        ]
        ids = [rows.ids[row] for row in some]
        grids.append(figures.pictures(name, title, rows.images[some], captions, ids))
    return grids
