"""What the package returns: frozen records with `to_dict()`, one schema everywhere. They print and draw nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mien.escapes import encodable

EVALUATION_SCHEMA = "mien.evaluation/1"
REPORT_SCHEMA = "mien.report/1"
ACROSS_SCHEMA = "mien.across/1"
COMPARISON_SCHEMA = "mien.comparison/1"
DATASET_SCHEMA = "mien.dataset-info/1"
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels, counted from the left upper corner of the image."""
UNCERTAIN = "uncertain"
"""The label of a face whose probabilities are all below the bound that the user set."""


@dataclass(frozen=True)
class Face:
    """One face that a detector found."""

    box_xyxy_px: Box
    """Left, top, right, bottom; may reach beyond the image."""
    score: float | None = None
    """The detector's confidence from 0 to 1; None where it gives none."""
    detector: str = ""
    """Name of the detector that found it."""
    frame_xyxy_px: Box | None = None
    """The face frame: the square that an image of FER2013 would show of this face. A detector states it, because each
    draws its boxes differently; None stands for the square around the box."""


@dataclass(frozen=True)
class FaceResult:
    """A face with its expression."""

    box_xyxy_px: Box
    label: str
    probs: dict[str, float] = field(hash=False)
    """Probability of every label, in the model's order; they sum to one."""
    detector: str = ""
    detection_score: float | None = None
    frame_xyxy_px: Box | None = None
    """The square that was classified; None where the detector stated none."""
    track: int | None = None
    """Number of the person in a video; None in images."""
    raw_probs: dict[str, float] | None = field(default=None, hash=False)
    """In a video: the probabilities of this frame alone, where `probs` are smoothed over time."""

    @property
    def confidence(self) -> float:
        """The highest probability."""
        return max(self.probs.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the face as the predictions schema has it."""
        tracked: dict[str, Any] = {}
        if self.track is not None:
            raw = self.raw_probs or self.probs
            tracked = {
                "track": self.track,
                "raw_probs": {label: round(prob, 6) for label, prob in raw.items()},
            }
        return {
            "box_xyxy_px": [round(side, 1) for side in self.box_xyxy_px],
            "detector": self.detector,
            "detection_score": None if self.detection_score is None else round(self.detection_score, 4),
            "label": self.label,
            "probs": {label: round(prob, 6) for label, prob in self.probs.items()},
            **tracked,
        }


@dataclass(frozen=True)
class ModelId:
    """Which model gave a result."""

    name: str
    sha256: str
    """Of the weights that ran."""
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", encodable(self.name))  # of a file or folder

    def to_dict(self) -> dict[str, Any]:
        """Return name, hash and labels."""
        return {**asdict(self), "labels": list(self.labels)}


@dataclass(frozen=True)
class ClassScores:
    """How one class fared. What cannot be computed is 0: recall without images, precision without answers."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class EvalReport:
    """A classifier judged on one split of a dataset. Fractions are in [0, 1]."""

    model: ModelId
    data: str
    split_fingerprint: str
    """Of the pixels and labels of this split alone; a model card names that of the whole dataset."""
    split: str
    tta: str
    n: int
    accuracy: float
    top_k_accuracy: dict[str, float]
    """How often the truth is among the k best answers, by k; a k that all classes fill is left out."""
    macro_f1: float
    balanced_accuracy: float
    per_class: dict[str, ClassScores]
    confusion: tuple[tuple[int, ...], ...]
    """Counts: row = truth, column = prediction, in label order."""
    skipped: tuple[str, ...] = ()
    """Corrupt pictures of the dataset that were left out because the user said so."""

    def __repr__(self) -> str:
        """Return a summary."""
        return (
            f"EvalReport({self.model.name} on {self.split} of {self.data}, tta {self.tta}: {self.n:,} images, "
            f"accuracy {self.accuracy:.1%}, balanced accuracy {self.balanced_accuracy:.1%}, "
            f"macro-F1 {self.macro_f1:.1%})"
        )

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one row per class for a table: label, precision, recall, F1 and number of images."""
        return [{"label": label, **asdict(figures)} for label, figures in self.per_class.items()]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as the evaluation schema has it."""
        said = {
            "data": Path(self.data).name,
            "model": self.model.to_dict(),
        }  # not the folders of this machine
        return {"schema": EVALUATION_SCHEMA, **asdict(self), **said}


@dataclass(frozen=True)
class DatasetReport:
    """What a dataset holds."""

    source: str
    form: str
    n: int
    labels: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    """Pictures of each label in each split."""
    unlabelled: dict[str, int]
    imbalance_ratio: dict[str, float]
    """The largest class against the smallest, for each split."""
    sizes: tuple[dict[str, int], ...]
    """Height, width, channels and number of the pictures as they are stored, most frequent first."""
    left_out: int
    """Pictures whose votes gave no target."""
    skipped: tuple[str, ...]
    """Corrupt pictures that were left out."""
    fingerprint: str
    """Of pixels, targets, splits and labels, as a model card names it."""
    notes: tuple[str, ...] = ()
    """How something was read, what was left out, and what is odd: one sentence each."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as its schema has it."""
        return {"schema": DATASET_SCHEMA, **asdict(self)}
