"""Evaluate one classifier on several datasets: one table, and the changes from the first dataset to the others.

Only classes that the dataset and the model both have are evaluated. Images of a class that the model does not know
are left out and counted. The model may predict all of its labels, as in use: a label that a dataset lacks is a
mistake there, as in `mien evaluate`. The table also has the accuracy with only the dataset's own classes allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import ConfigError, DataError, number_of
from mien.evaluation.compare import letter
from mien.evaluation.evaluate import answers, report
from mien.results import ACROSS_SCHEMA
from mien.statistics import (
    Estimate,
    balanced_accuracy,
    class_intervals,
    difference,
    resampled_confusion,
    wilson,
    wilson_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Int, Num

    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset
    from mien.results import EvalReport, ModelId


@dataclass(frozen=True)
class OnDataset:
    """One dataset of the table."""

    letter: str
    report: EvalReport
    classes: tuple[str, ...]
    """The classes of its images, in the model's order."""
    accuracy: Estimate
    balanced_accuracy: Estimate
    """Mean recall of its classes."""
    shared_balanced_accuracy: Estimate | None
    """Mean recall of the classes that every dataset has, which can be compared; None if there are none."""
    limited_accuracy: Estimate
    """Accuracy if only the dataset's own classes may be predicted."""
    recall: dict[str, Estimate]
    moved: dict[str, Estimate]
    """Recall of each class minus that on the first dataset, for classes that both have."""
    left_out: dict[str, int]
    """Number of images of each class that the model does not know."""
    notes: tuple[str, ...]
    """Sentences about how it was read and evaluated."""

    def to_dict(self) -> dict[str, Any]:
        """Return every number."""
        figures = ("accuracy", "balanced_accuracy", "shared_balanced_accuracy", "limited_accuracy")
        return {
            "letter": self.letter,
            "data": Path(self.report.data).name,  # not the folders of this machine
            **{name: getattr(self.report, name) for name in ("split", "split_fingerprint", "n")},
            "classes": list(self.classes),
            **{name: (one := getattr(self, name)) and one._asdict() for name in figures},
            "recall": {label: one._asdict() for label, one in self.recall.items()},
            "moved": {label: one._asdict() for label, one in self.moved.items()},
            "confusion": [list(row) for row in self.report.confusion],
            "left_out": self.left_out,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Across:
    """One classifier on several datasets."""

    model: ModelId
    tta: str
    shared: tuple[str, ...]
    """Classes that every dataset has."""
    datasets: tuple[OnDataset, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return every number as a dictionary for JSON, with the name of its schema."""
        return {
            "schema": ACROSS_SCHEMA,
            "model": self.model.to_dict(),
            "tta": self.tta,
            "shared": list(self.shared),
            "datasets": [one.to_dict() for one in self.datasets],
        }

    def summary(self) -> list[str]:
        """Return sentences about the changes from the first dataset to each other one."""
        first, *others = self.datasets
        return [_moved(first, one, len(self.shared)) for one in others]


def across(
    classifier: Classifier, datasets: Sequence[tuple[FaceDataset, str]], *, tta: str = "none"
) -> Across:
    """Evaluate a classifier on one split of each dataset.

    Raises:
        ConfigError: fewer than two datasets, or no such test-time augmentation.
        DataError: no such split, an image without a label, or fewer than two classes that the model knows.
    """
    if len(datasets) < 2:
        raise ConfigError(f"a table across datasets needs two or more, got {len(datasets)}")
    labels = classifier.id.labels
    judged: list[tuple[EvalReport, Estimate, dict[str, int], tuple[str, ...]]] = []
    for data, split in datasets:
        rows, left_out = known_to(classifier, data.select(split))
        asked, logits = answers(classifier, rows, split, tta=tta)
        counted = report(asked.truth, logits, model=classifier.id, data=asked, split=split, tta=tta)
        limited = wilson(_limited(logits, asked.truth) == asked.truth)
        judged.append((counted, limited, left_out, (*data.notes, *_notes(counted, left_out))))
    counts = [np.array(counted.confusion) for counted, *_ in judged]
    in_all = np.all([one.sum(axis=1) > 0 for one in counts], axis=0)
    first = _recall(counts[0], labels)
    made = []
    for place, ((counted, limited, left_out, notes), own) in enumerate(zip(judged, counts, strict=True)):
        recall = _recall(own, labels)
        moved = (
            {name: difference(recall[name], first[name]) for name in recall if name in first} if place else {}
        )
        shared = _balanced(np.where(in_all[:, None], own, 0)) if in_all.any() else None
        accuracy = wilson_of(int(np.trace(own)), counted.n)
        made.append(OnDataset(
            letter(place), counted, tuple(recall), accuracy, _balanced(own), shared, limited, recall, moved,
            left_out, notes,
        ))  # fmt: skip
    names = tuple(name for name, there in zip(labels, in_all, strict=True) if there)
    return Across(classifier.id, tta, names, tuple(made))


def known_to(classifier: Classifier, rows: FaceDataset) -> tuple[FaceDataset, dict[str, int]]:
    """Return the rows whose class the classifier knows, and how many rows of each other class were left out.

    Raises:
        DataError: it knows fewer than two of the classes.
    """
    rows.check_labelled(np.arange(len(rows)))
    known = [name in classifier.id.labels for name in rows.labels]
    labels = tuple(name for name, is_known in zip(rows.labels, known, strict=True) if is_known)
    if len(labels) < 2:
        raise DataError(
            f"{classifier.id.name} knows {len(labels)} of the classes {', '.join(rows.labels)} of {rows.source}: "
            f"expected at least two of {', '.join(classifier.id.labels)}; rename or merge classes with `labels_of`"
        )
    if all(known):
        return rows, {}
    truth = rows.truth
    kept = rows.take(np.flatnonzero(np.array(known)[truth]))
    if not len(kept):
        raise DataError(
            f"no image of {rows.source} has a class that {classifier.id.name} knows: expected some of "
            f"{', '.join(labels)}"
        )
    targets = kept.targets[:, known]
    left_out = {name: int((truth == number).sum())
                for number, name in enumerate(rows.labels) if not known[number]}  # fmt: skip
    return replace(kept, targets=targets / targets.sum(axis=1, keepdims=True), labels=labels), {
        name: count for name, count in left_out.items() if count
    }


def _limited(logits: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return the predictions if only classes that occur in `truth` may be predicted."""
    allowed = np.zeros(logits.shape[1], bool)
    allowed[truth] = True
    return np.where(allowed, logits, -np.inf).argmax(axis=1)


def _notes(counted: EvalReport, left_out: dict[str, int]) -> list[str]:
    labels = counted.model.labels
    missing = [name for name in labels if not counted.per_class[name].support]
    answered = int(np.array(counted.confusion)[:, [labels.index(name) for name in missing]].sum())
    notes = [
        f"left out {number_of(count, 'image')} of {name}: the model has no such label"
        for name, count in left_out.items()
    ]
    if missing:
        notes.append(
            f"has no images of {', '.join(missing)}: such an answer counts as a mistake ({answered:,} of "
            f"{counted.n:,} images)"
        )
    return notes


def _recall(counts: Int[np.ndarray, "k k"], labels: Sequence[str]) -> dict[str, Estimate]:
    recall = class_intervals(counts)["recall"]
    return {name: one for name, one in zip(labels, recall, strict=True) if one}


def _balanced(counts: Int[np.ndarray, "k k"]) -> Estimate:
    return balanced_accuracy(resampled_confusion(counts))


def is_clear(moved: Estimate) -> bool:
    """Return whether the interval of a difference does not contain zero."""
    return moved.low > 0 or moved.high < 0


def _moved(first: OnDataset, other: OnDataset, shared: int) -> str:
    clear = {label: one for label, one in other.moved.items() if is_clear(one)}
    names = [
        f"{label} {100 * one.value:+.0f}"
        for label, one in sorted(clear.items(), key=lambda item: item[1].value)
    ]
    a, b = first.shared_balanced_accuracy, other.shared_balanced_accuracy
    if a is None or b is None:
        return f"From {first.letter} to {other.letter}: no class that all datasets have."
    change = difference(b, a)
    recall = (
        f"recall moved clearly for {', '.join(names)} points" if names else "no class's recall moved clearly"
    )
    return (
        f"From {first.letter} to {other.letter}: balanced accuracy on the {shared} shared classes moves by "
        f"{100 * change.value:+.1f} points ({100 * change.low:+.1f} to {100 * change.high:+.1f}); {recall}."
    )
