"""What a run's history says: the best epoch, when to stop, and the plot of it."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from mien import files
from mien.errors import needs
from mien.palette import PLOT_STYLE, SERIES_HEX

with needs("report"):
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mien.config import Validation
    from mien.history import EpochRow


def best_epoch(history: Sequence[EpochRow], monitor: str = "accuracy") -> EpochRow:
    """Return the epoch of highest accuracy or macro-F1, of equal ones the one of lower loss; or of lowest loss.

    Epochs that were not judged, whose figures are no numbers, do not count.
    """
    history = [row for row in history if not math.isnan(row.val_loss)] or list(history)
    return max(history, key=lambda row: (figure(row, monitor), -row.val_loss))


def figure(row: EpochRow, monitor: str) -> float:
    """Return what makes an epoch better, the higher the better; not a number where it was not judged."""
    value: float = getattr(row, f"val_{monitor}")
    return -value if monitor == "loss" else value


def out_of_patience(history: Sequence[EpochRow], rule: Validation) -> bool:
    """Say whether the last `patience_epochs` brought no better epoch; only an epoch that was judged ends a run."""
    if not rule.patience_epochs or not history or math.isnan(history[-1].val_loss):
        return False
    return len(history) - best_epoch(history, rule.monitor).epoch >= rule.patience_epochs


def write_plot(path: Path, history: Sequence[EpochRow], best: EpochRow, title: str) -> None:
    """Draw loss and accuracy of both splits against the epoch; the kept epoch is marked."""
    with mpl.rc_context(PLOT_STYLE):
        figure = _drawn(history, best, title)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120)
    files.write(path, buffer.getvalue())


def _drawn(history: Sequence[EpochRow], best: EpochRow, title: str) -> Figure:
    epochs = [row.epoch for row in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, name, unit in zip(figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), strict=True):
        for split, colour in zip(("train", "val"), SERIES_HEX, strict=False):
            values = [unit * getattr(row, f"{split}_{name}") for row in history]
            label = {"train": "training, augmented", "val": "validation"}[split]
            sparse = len(epochs) < 15 or any(map(math.isnan, values))
            axes.plot(epochs, values, colour, label=label, marker="." if sparse else None)
        axes.axvline(best.epoch, color="0.6", linestyle=":", linewidth=1)
        axes.set(xlabel="epoch", ylabel="accuracy, %" if unit == 100 else "cross-entropy")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
    figure.axes[1].set_title(f"kept: epoch {best.epoch}, {best.val_accuracy:.1%}", fontsize=10)
    figure.axes[0].legend()
    figure.suptitle(title, fontsize=11)
    return figure
