"""Optional parts of a report: each has a text, a table, drawings, and its numbers for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mien.errors import ConfigError, DataError, did_you_mean, number_of
from mien.evaluation import figures
from mien.evaluation.metrics import headline
from mien.statistics import (
    Estimate,
    confusion,
    difference,
    macro_f1,
    resampled_confusion,
    wilson,
    wilson_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Num, Shaped

    from mien.data.dataset import FaceDataset
    from mien.evaluation.figures import Drawing

FEW = 20
"""Slices with fewer images than this are shown but not compared."""
MOST_SLICES = 50
"""Most values of a column that divides images into groups; more would be names of single images."""


class Section(NamedTuple):
    """One part of a report."""

    name: str
    title: str
    text: str
    header: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    """Cells are words, counts (int), fractions (float), fractions with their interval (`Estimate`) or None."""
    facts: dict[str, Any]
    """Numbers that are not in the table."""
    drawings: tuple[Drawing, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return every number."""
        rows = [dict(zip(self.header, map(_plain, row), strict=True)) for row in self.rows]
        return {**self.facts, "rows": rows}


def _plain(cell: Any) -> Any:
    return cell._asdict() if isinstance(cell, Estimate) else cell


def duplicates(
    probs: Num[np.ndarray, "n k"], rows: FaceDataset, duplicate: Bool[np.ndarray, " n"]
) -> Section:
    """Give the headline figures with and without the images that the model was trained on."""
    parts = {"all": np.ones_like(duplicate), "without duplicates": ~duplicate, "duplicates alone": duplicate}
    header = ("images of", "images", "accuracy", "macro-F1", "balanced accuracy", "calibration error")
    table: list[tuple[Any, ...]] = []
    for name, part in parts.items():
        if not part.any():
            table.append((name, 0, None, None, None, None))
            continue
        of = headline(probs[part], rows.truth[part])
        shown = (of[key] for key in ("accuracy", "macro_f1", "balanced_accuracy", "ece"))
        table.append((name, int(part.sum()), *shown))
    text = (
        f"{duplicate.sum():,} of these {len(duplicate):,} images are, to the last pixel, images that the model was "
        f"trained on. "
        f"Figures without them say more about new faces."
        if duplicate.any()
        else "None of these images is, to the last pixel, one that the model was trained on."
    )
    ids = [name for name, is_one in zip(rows.ids, duplicate.tolist(), strict=True) if is_one]
    return Section("duplicates", "Duplicates of training images", text, header, table, {"ids": ids})


def slices(
    probs: Num[np.ndarray, "n k"], rows: FaceDataset, column: str, missed: FaceDataset | None = None
) -> Section:
    """Give accuracy and macro-F1 for each value of a column, and the gap between the best and the worst.

    `missed` are the labelled faces that a detector did not find. They are errors: a group whose faces are missed must
    not look good.
    """
    values, truth, predicted, k = rows.columns[column], rows.truth, probs.argmax(axis=1), probs.shape[1]
    lost = np.array([], values.dtype) if missed is None else missed.columns[column]
    table: list[tuple[Any, ...]] = []
    for value in sorted({*values.tolist(), *lost.tolist()}):
        part, gone, name = values == value, int((lost == value).sum()), value or "(none)"
        hits = (predicted == truth)[part]
        whole = wilson(np.concatenate([hits, np.zeros(gone, bool)]))
        f1 = macro_f1(resampled_confusion(confusion(truth[part], predicted[part], k))) if len(hits) else None
        if missed is None:
            table.append((name, len(hits), whole, f1))
        else:
            of_found = wilson(hits) if len(hits) else None
            table.append((name, len(hits) + gone, whole, gone, of_found, f1))
    compared = {value: accuracy for value, n, accuracy, *_ in table if n >= FEW}
    text, facts = f"Accuracy by {column}.", dict[str, Any](column=column, gap=None)
    worst, best = (pick(compared, key=lambda name: compared[name].value, default="") for pick in (min, max))
    if worst != best:
        gap = difference(compared[best], compared[worst])
        facts["gap"] = {"best": best, "worst": worst, **gap._asdict()}
        text = (
            f"Best {best}, worst {worst}: {100 * gap.value:.1f} points of accuracy apart (95 % interval "
            f"{100 * gap.low:.1f} to {100 * gap.high:.1f}). The two were chosen for being furthest apart, so the gap "
            f"leans high; values with fewer than {FEW} images are not compared."
        )
    elif len(compared) > 1:
        text = f"Accuracy by {column}: all values with {FEW} images or more have the same."
    if missed is not None:
        text += " A missed face counts as an error; macro-F1 is of the faces found."
    drawing = figures.bars_with_intervals(
        f"slices_{column}", f"Accuracy by {column}", [(row[0], row[1], row[2]) for row in table]
    )
    header: tuple[str, ...] = (column, "images", "accuracy", "macro-F1")
    if missed is not None:
        header = (column, "faces", "accuracy end to end", "missed", "accuracy of the found", "macro-F1")
    return Section(f"slices_{column}", f"By {column}", text, header, table, facts, (drawing,))


def check_columns(
    wanted: Sequence[str], columns: Mapping[str, Shaped[np.ndarray, " n"]], source: str
) -> None:
    """Refuse columns that do not exist, or that have too many values to group images.

    Raises:
        ConfigError: no such column, or a column with more than `MOST_SLICES` values.
    """
    for name in wanted:
        if name not in columns:
            there = (
                f"expected one of {', '.join(columns)}" if columns else "only a list of files can have some"
            )
            raise ConfigError(f"no column {name!r} in {source}: {there}{did_you_mean(name, columns)}")
        if (different := len(set(columns[name].tolist()))) > MOST_SLICES:
            raise ConfigError(
                f"the column {name!r} of {source} has {different:,} values: expected at most {MOST_SLICES} "
                f"groups; put ranges into a column of their own"
            )


def end_to_end(
    probs: Num[np.ndarray, "n k"], found: FaceDataset, missed: FaceDataset, *, photos: int, extra: int
) -> Section:
    """Give accuracy with missed faces as errors beside that of the faces found.

    Raises:
        DataError: no face was found at all.
    """
    missed.check_labelled(np.arange(len(missed)))
    hits = probs.argmax(axis=1) == found.truth
    n, lost = len(found) + len(missed), len(missed)
    both = np.concatenate([hits, np.zeros(lost, bool)])
    table: list[tuple[Any, ...]] = [("all", n, lost, wilson_of(len(found), n), wilson(hits), wilson(both))]
    for number, label in enumerate(found.labels):
        mine, gone = hits[found.truth == number], int((missed.truth == number).sum())
        if len(mine) + gone:
            whole = np.concatenate([mine, np.zeros(gone, bool)])
            seen = wilson_of(len(mine), len(whole))
            table.append((label, len(whole), gone, seen, wilson(mine) if len(mine) else None, wilson(whole)))
    text = (
        f"{number_of(n, 'labelled face')} in {number_of(photos, 'photo')}; the detector missed {lost:,}. "
        f"Of those it found, {hits.mean():.1%} are labelled correctly; with the missed faces counted as errors, "
        f"{both.mean():.1%}. "
        f"Faces that it found and that have no label count neither way: {extra:,}."
    )
    header = ("faces", "labelled", "missed", "found", "accuracy of the found", "accuracy end to end")
    facts = {"photos": photos, "extra": extra, "missed_ids": list(missed.ids)}
    return Section("end_to_end", "From photo to label", text, header, table, facts)


def check_found(found: FaceDataset, source: str) -> None:
    """Refuse photos in which the detector found none of the labelled faces.

    Raises:
        DataError: there are none.
    """
    if not len(found):
        raise DataError(
            f"the detector found none of the labelled faces of {source}: are these photos? Where each picture is "
            f"a face already, leave out `end_to_end`"
        )
