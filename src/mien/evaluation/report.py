"""One evaluation as a folder: a page, every number as JSON and CSV, every figure as PNG, SVG and data."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien import files
from mien.classifiers import probabilities
from mien.classifiers.combine import with_tta
from mien.data.duplicates import are_duplicates
from mien.errors import DataError, number_of
from mien.evaluation import figures
from mien.evaluation.annotators import annotators
from mien.evaluation.evaluate import answers
from mien.evaluation.evaluate import report as count
from mien.evaluation.metrics import average_precisions, headline
from mien.evaluation.render import latex, page, png_source, spread, table, write_drawings
from mien.evaluation.robustness import robustness
from mien.evaluation.sections import check_columns, check_found, duplicates, end_to_end, slices
from mien.evaluation.why import mean_maps
from mien.palette import colours, hex_code
from mien.results import REPORT_SCHEMA
from mien.statistics import BINS, binned_calibration_error, class_intervals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Int, Num, UInt8

    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset
    from mien.evaluation.figures import Drawing
    from mien.evaluation.found import Found
    from mien.evaluation.sections import Section
    from mien.results import EvalReport
    from mien.statistics import Estimate

FEW_IMAGES = 30
MOST_PREDICTED = 0.8
PICTURES = figures.GRID[0] * figures.GRID[1]


@dataclass(frozen=True)
class FullReport:
    """Everything that a report of one classifier on one split contains, before it is written."""

    counted: EvalReport
    headline: dict[str, Estimate]
    average_precision: dict[str, float | None]
    """For each class, the area under its precision-recall curve; None without images."""
    drawings: tuple[Drawing, ...]
    ids: tuple[str, ...]
    truth: Int[np.ndarray, " n"]
    probs: Num[np.ndarray, "n k"]
    sections: tuple[Section, ...] = ()
    galleries: dict[str, list[tuple[int, UInt8[np.ndarray, "h w c"]]]] = field(default_factory=dict)
    """Rows and crops of the most confident mistakes and the least confident correct predictions."""

    @property
    def every_drawing(self) -> tuple[Drawing, ...]:
        """The drawings of the report and of its sections."""
        return (*self.drawings, *(drawing for section in self.sections for drawing in section.drawings))

    def to_dict(self) -> dict[str, Any]:
        """Return every number as a dictionary for JSON, with the name of its schema."""
        document = {
            **self.counted.to_dict(),
            "data": Path(self.counted.data).name,
        }  # no folder of this machine
        f1 = class_intervals(np.array(self.counted.confusion))["f1"]
        per_class = {
            label: {
                **row,
                "average_precision": self.average_precision[label],
                "f1_interval": one and one._asdict(),
            }
            for (label, row), one in zip(document.pop("per_class").items(), f1, strict=True)
        }
        hits = self.probs.argmax(axis=1) == self.truth
        return {
            **document,
            "schema": REPORT_SCHEMA,
            "headline": {name: figure._asdict() for name, figure in self.headline.items()},
            "ece_uncorrected": binned_calibration_error(self.probs.max(axis=1), hits),
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
    explain: bool = False,
    photos: Found | None = None,
) -> FullReport:
    """Evaluate `classifier` on one split, with everything that a report contains.

    `trained_on` are the keys (`mien.data.duplicates`) of the images that it has learnt. `slice_by` names columns of
    the data. `corruptions` adds accuracy on corrupted images, `explain` mean occlusion maps. `photos` is what a
    detector found in photos; `data` are then the faces. If the data have votes, a part of the report is about them.

    Raises:
        DataError: no such split, fewer images than bins, an image without a label, or labels that the classifier
            does not know.
        ConfigError: no such test-time augmentation or column.
    """
    if photos:
        check_found(photos.found, data.source)
    check_columns(slice_by, data.columns, data.source)
    rows, logits = answers(classifier, data, split, tta=tta)
    if len(rows) < BINS:
        raise DataError(
            f"{len(rows)} images of {split} in {data.source} are fewer than the {BINS} bins of a reliability "
            f"diagram: judge them without `out`"
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
    galleries = {name: [(int(row), np.array(rows.images[row])) for row in some]
                 for name, some in _chosen_rows(rows, probs).items()}  # fmt: skip
    sections = [sectioned for sectioned in (
        end_to_end(probs, rows, photos.missed.relabel(labels), photos=photos.photos, extra=photos.extra)
        if photos else None,
        duplicates(probs, rows, are_duplicates(rows.images, trained_on)) if trained_on is not None else None,
        annotators(probs, rows) if rows.votes is not None else None,
        *(slices(probs, rows, column, photos.missed if photos else None) for column in slice_by),
        mean_maps(classifier, rows, probs) if explain else None,
        robustness(with_tta(classifier, tta), rows, counted.accuracy) if corruptions else None,
    ) if sectioned]  # fmt: skip
    return FullReport(
        counted, figures_of, dict(zip(labels, averages, strict=True)), drawings, rows.ids, truth, probs,
        tuple(sections), galleries,
    )  # fmt: skip


def write_report(report: FullReport, out: Path, *, dpi: int = 120) -> Path:
    """Write ``report.html``, ``report.json``, tables as CSV and LaTeX, and ``figures/`` with PNGs of `dpi`.

    Returns the page.

    Raises:
        OutputError: it can't be written.
    """
    with files.together(out, PAGE, replaces=True) as stage:
        _write(report, stage, dpi)
    return out / PAGE


def _write(report: FullReport, out: Path, dpi: int) -> None:
    labels = report.counted.model.labels
    document = report.to_dict()
    files.write(out / "report.json", json.dumps(document, indent=2) + "\n")
    columns = ("precision", "recall", "f1", "support", "average_precision")
    per_class = [(label, *(row[name] for name in columns)) for label, row in document["per_class"].items()]
    files.write(out / "per_class.csv", table(("class", *columns), per_class))
    files.write(
        out / "per_class.tex", latex(("class", "precision", "recall", "F1", "images", "AP"), per_class)
    )
    rows = zip(report.ids, report.truth.tolist(), report.probs, strict=True)
    predictions = ((name, labels[true], labels[int(row.argmax())], *row.tolist()) for name, true, row in rows)
    files.write(out / "predictions.csv", table(("id", "truth", "prediction", *labels), predictions))
    shown = write_drawings(report.drawings, out / "figures", dpi=dpi)
    sections = []
    for section in report.sections:
        files.write(out / f"{section.name}.csv", table(*spread(section.header, section.rows)))
        figures_of = write_drawings(section.drawings, out / "figures", dpi=dpi)
        sections.append({**section._asdict(), "figures": figures_of})
    duplicates_of = next((section for section in report.sections if section.name == "duplicates"), None)
    facts = {
        "report": document, "names": _NAMES, "sections": sections, "name": Path(report.counted.data).name,
        "figures": [one for one in shown if one["name"] not in _AS_HTML], "summary": summary(report.counted),
        "warnings": warnings(report.counted),
        "colours": {name: hex_code(rgb) for name, rgb in colours(labels).items()},
        "duplicates": None if duplicates_of is None else len(duplicates_of.facts["ids"]),
        "mistakes": _gallery(report, "mistakes"), "uncertain": _gallery(report, "uncertain_hits"),
    }  # fmt: skip
    files.write(out / PAGE, page("report.html.j2", **facts))


def summary(counted: EvalReport) -> str:
    """Return the result in two sentences."""
    told = {label: row for label, row in counted.per_class.items() if row.support}
    best, worst = (pick(told, key=lambda label: told[label].f1) for pick in (max, min))
    text = f"{counted.accuracy:.1%} of {counted.n:,} images are predicted correctly. "
    if told[best].f1 == told[worst].f1:
        text += f"The F1 of {'every class' if len(told) > 1 else best} is {told[best].f1:.1%}."
    else:
        text += f"Best class: {best} (F1 {told[best].f1:.1%}); weakest: {worst} ({told[worst].f1:.1%})."
    counts = np.array(counted.confusion)
    off = counts - np.diag(counts.diagonal())
    if not off.any():
        return text
    true, predicted = divmod(int(off.argmax()), len(counts))
    names = counted.model.labels
    return f"{text} The most frequent mistake is {names[true]} predicted as {names[predicted]}: {off.max():,} times."


def warnings(counted: EvalReport) -> list[str]:
    """Return warnings that a reader must know before using the figures."""
    counts, found = np.array(counted.confusion), []
    predicted, support = counts.sum(axis=0), counts.sum(axis=1)
    names = counted.model.labels
    never = [name for name, n, given in zip(names, support, predicted, strict=True) if n and not given]
    absent = [name for name, n in zip(names, support, strict=True) if not n]
    few = [f"{name} ({n})" for name, n in zip(names, support, strict=True) if 0 < n < FEW_IMAGES]
    most = int(predicted.argmax())
    if predicted[most] > MOST_PREDICTED * counted.n:
        share = predicted[most] / counted.n
        found.append(f"{share:.0%} of all predictions are {names[most]}: accuracy alone says little here.")
    if never:
        found.append(f"Never predicted: {', '.join(never)}.")
    if absent:
        found.append(
            f"No images of {', '.join(absent)}: macro averages leave out what is neither true nor predicted."
        )
    if few:
        found.append(
            f"Fewer than {FEW_IMAGES} images of {', '.join(few)}: figures of these classes are rough."
        )
    if counted.skipped:
        found.append(
            f"Left out as corrupt, in the whole dataset: {number_of(len(counted.skipped), 'image')}."
        )
    return found


def _gallery(report: FullReport, name: str) -> list[dict[str, Any]]:
    labels, hues = report.counted.model.labels, colours(report.counted.model.labels)
    faces = []
    for row, image in report.galleries[name]:
        order = np.argsort(-report.probs[row], kind="stable")
        faces.append({
            "id": report.ids[row], "true": labels[report.truth[row]], "predicted": labels[order[0]],
            "confidence": float(report.probs[row].max()), "source": png_source(image),
            "probs": [(labels[k], float(report.probs[row][k]), hex_code(hues[labels[k]])) for k in order],
        })  # fmt: skip
    return faces


_AS_HTML = ("confusion", "mistakes", "uncertain_hits")
"""Drawings that the page shows as a table or a gallery; their files are written, too."""
PAGE = "report.html"
_NAMES = {
    "accuracy": ("accuracy", "%"),
    "top_2_accuracy": ("top-2 accuracy", "%"),
    "top_3_accuracy": ("top-3 accuracy", "%"),
    "macro_f1": ("macro-F1", "%"),
    "weighted_f1": ("weighted F1", "%"),
    "balanced_accuracy": ("balanced accuracy", "%"),
    "kappa": ("Cohen's kappa", ""),
    "log_loss": ("log-loss", ""),
    "brier": ("Brier score", ""),
    "ece": ("calibration error (ECE)", "%"),
}


def _chosen_rows(rows: FaceDataset, probs: Num[np.ndarray, "n k"]) -> dict[str, Int[np.ndarray, " m"]]:
    """Return the rows of the most confident mistakes and of the least confident correct predictions."""
    confidence, hit = probs.max(axis=1), probs.argmax(axis=1) == rows.truth
    mistakes, hits = np.flatnonzero(~hit), np.flatnonzero(hit)
    return {
        "mistakes": mistakes[np.argsort(-confidence[mistakes], kind="stable")][:PICTURES],
        "uncertain_hits": hits[np.argsort(confidence[hits], kind="stable")][:PICTURES],
    }


_GRID_TITLES = {
    "mistakes": "Most confident mistakes",
    "uncertain_hits": "Least confident correct predictions",
}


def _picture_grids(rows: FaceDataset, probs: Num[np.ndarray, "n k"]) -> list[Drawing]:
    confidence, predicted = probs.max(axis=1), probs.argmax(axis=1)
    grids = []
    for name, some in _chosen_rows(rows, probs).items():
        captions = [
            f"{rows.labels[rows.truth[row]]}\npredicted {rows.labels[predicted[row]]} {confidence[row]:.0%}"
            if name == "mistakes"
            else f"{rows.labels[predicted[row]]}\n{confidence[row]:.0%}"
            for row in some
        ]
        ids = [rows.ids[row] for row in some]
        grids.append(figures.pictures(name, _GRID_TITLES[name], rows.images[some], captions, ids))
    return grids
