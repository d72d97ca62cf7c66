"""A row for each epoch of a training run, and the table that keeps them: ``run/history.csv`` of a bundle."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from mien import files
from mien.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True)
class EpochRow:
    """One epoch. Accuracies are fractions; training figures are of augmented pictures, as trained on."""

    epoch: int
    learning_rate: float
    """At the epoch's end."""
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    """Of the weights that would ship: the moving average where there is one."""
    val_macro_f1: float
    """Mean over the classes, so that a rare one counts as much as any."""
    seconds: float


def write_csv(path: Path, history: Sequence[EpochRow]) -> None:
    """Write one line an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in asdict(row).items()} for row in history)
    files.write(path, text.getvalue())


def read_csv(path: Path) -> list[EpochRow]:
    """Read what `write_csv` wrote.

    Raises:
        DataError: another header, or a cell that is no number.
    """
    names = [field.name for field in fields(EpochRow)]
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = csv.DictReader(file)
        if lines.fieldnames != names:
            raise DataError(
                f"{path} is no history of a run of this version: expected the columns {', '.join(names)}; move the "
                f"file away to go on without a history"
            )
        try:
            return [
                EpochRow(int(line["epoch"]), *(float(line[name]) for name in names[1:])) for line in lines
            ]
        except (ValueError, TypeError) as error:
            raise DataError(
                f"{path}, line {lines.line_num}: expected {len(names)} numbers ({error}): copy the run again, or "
                f"move the file away to go on without a history"
            ) from error
