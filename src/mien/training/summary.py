"""What a person is told at the end of a run: how it went, how good the model is, warnings, what to type next."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from mien.statistics import wilson_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mien.card import Calibration, Card, Score
    from mien.history import EpochRow

MOST_ANSWERS = 0.85
"""A class that takes more of the answers than this, and more than it has images, is warned of."""


def summary(card: Card, history: Sequence[EpochRow], out: Path, data: Sequence[str]) -> list[str]:
    """Return the lines, without the folder of the model. `data` are the words that name the dataset in a command."""
    run = card.training
    seconds = sum(row.seconds for row in history)
    lines = [
        f"{card.name}: {card.architecture}, {card.parameters:,} parameters, {len(card.labels)} classes: "
        f"{', '.join(card.labels)}",
        f"epoch {run.kept_epoch} of {run.epochs} kept, judged on {run.validation_split}; {duration(seconds)}, "
        f"{run.median_epoch_seconds} s an epoch (median)",
    ]
    lines += [_accuracy(score) for score in card.scores if score.tta == "none"]
    judged = next(
        (one for one in card.scores if one.split == run.validation_split and one.tta == "none"), None
    )
    lines += warnings(judged, card.labels) if judged else []
    lines += _calibration(card.calibration)
    where = shlex.quote(str(out))
    split = "test" if any(score.split == "test" for score in card.scores) else run.validation_split
    report = f"mien evaluate {where} --data {shlex.join(data)} --split {split} --out report"
    lines.append(
        f"next: mien predict PHOTO --model {where}" + (f"  or  {report}" if split != "holdout" else "")
    )
    return lines


def _accuracy(score: Score) -> str:
    hits = sum(row[number] for number, row in enumerate(score.confusion))
    _, low, high = wilson_of(hits, score.n)
    return (
        f"{score.split}: accuracy {score.accuracy:.1%} (95 % interval {low:.1%} to {high:.1%}, n = {score.n:,}), "
        f"macro-F1 {score.macro_f1:.3f}; {score.protocol}"
    )


def _calibration(facts: Calibration) -> list[str]:
    if facts.split is None or facts.ece is None or facts.ece_calibrated is None:
        return [f"probabilities are not calibrated: {facts.unfitted}"] if facts.unfitted else []
    return [
        f"calibrated on {facts.n:,} images of {facts.split}: calibration error there {facts.ece:.1%} before, "
        f"{facts.ece_calibrated:.1%} after (cross-validated); temperature {facts.temperature:.2f}"
        + (", a bias a class" if facts.own_bias else "")
    ]


def warnings(score: Score, labels: Sequence[str]) -> list[str]:
    """Return a line where one class takes nearly all answers, and one for classes that are never predicted."""
    answers = [sum(row[number] for row in score.confusion) for number in range(len(labels))]
    images = [sum(row) for row in score.confusion]
    found = []
    for label, answered, there in zip(labels, answers, images, strict=True):
        if answered > max(MOST_ANSWERS * score.n, there):
            found.append(
                f"warning: {answered / score.n:.0%} of the answers on {score.split} are {label!r}, the class of "
                f"{there / score.n:.0%} of its images: the model has learnt little else; train longer, or see "
                f"docs/imbalance.md"
            )
    if never := [label for label, answered, there in zip(labels, answers, images, strict=True)
                 if there and not answered]:  # fmt: skip
        found.append(f"warning: never predicted on {score.split}: {', '.join(never)}")
    return found


def duration(seconds: float) -> str:
    """Return ``42 s``, ``12 min`` or ``3 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
