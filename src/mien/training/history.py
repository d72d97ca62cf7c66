"""A run's history, epoch by epoch: as CSV and as a plot."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from mien import files
from mien.errors import DataError, needs
from mien.palette import SERIES_HEX

with needs("report"):
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mien.config import Validation


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


def best_epoch(history: Sequence[EpochRow], monitor: str = "accuracy") -> EpochRow:
    """Return the epoch of highest accuracy or macro-F1, of equal ones the one of lower loss; or of lowest loss."""
    if monitor == "loss":
        return min(history, key=lambda row: row.val_loss)
    return max(history, key=lambda row: (getattr(row, f"val_{monitor}"), -row.val_loss))


def out_of_patience(history: Sequence[EpochRow], rule: Validation) -> bool:
    """Say whether the last `patience_epochs` brought no better epoch."""
    if not rule.patience_epochs or not history:
        return False
    return len(history) - best_epoch(history, rule.monitor).epoch >= rule.patience_epochs


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


def write_plot(path: Path, history: Sequence[EpochRow], best: EpochRow, title: str) -> None:
    """Draw loss and accuracy of both splits against the epoch; the kept epoch is marked."""
    epochs = [row.epoch for row in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name, unit in zip(figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), strict=True):
        for split, colour in zip(("train", "val"), SERIES_HEX, strict=False):
            values = [unit * getattr(row, f"{split}_{name}") for row in history]
            label = {"train": "training, augmented", "val": "validation"}[split]
            axes.plot(epochs, values, colour, label=label, marker="." if len(epochs) < 15 else None)
        axes.axvline(best.epoch, color="0.6", linestyle=":", linewidth=1)
        axes.set(xlabel="epoch", ylabel="accuracy, %" if unit == 100 else "cross-entropy")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.axes[1].set_title(f"kept: epoch {best.epoch}, {best.val_accuracy:.1%}", fontsize=10)
    figure.axes[0].legend(frameon=False)
    figure.suptitle(title, fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    files.write(path, buffer.getvalue())
