"""A cleaned copy of a dataset: a packed set, or a list of the files that stay. The source is never changed."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mien.data.listed import write_list
from mien.data.packed import write_packed
from mien.data.splits import drawn
from mien.errors import ConfigError, DataError
from mien.escapes import encodable

if TYPE_CHECKING:
    from pathlib import Path

    from mien.auditing.audit import Audit
    from mien.data.dataset import FaceDataset

PACKED, LIST = ".npz", ".csv"


def check_target(out: Path, source: str) -> None:
    """Refuse a cleaned set that would replace its source, or that has no known ending.

    Raises:
        ConfigError: says which names are possible.
    """
    if out.suffix.lower() not in (PACKED, LIST):
        raise ConfigError(
            f"`fix` expects a name that ends in {PACKED} (a packed set) or {LIST} (a list), got {out.name}"
        )
    if encodable(os.path.realpath(out)) == encodable(os.path.realpath(source)):
        raise ConfigError(f"`fix` would replace {source}, which is the source: give another name")


def cleaned(audit: Audit) -> FaceDataset:
    """Return the rows that stay.

    Raises:
        DataError: nothing would be left of a split that had images.
    """
    kept = np.flatnonzero([not reason for reason in audit.dropped])
    data = audit.data.take(kept)
    for split in audit.data.splits:
        if split not in data.splits:
            raise DataError(
                f"a cleaned set of {audit.source} would have no image left in {split}: all of them are also in "
                f"another split, blank, or have conflicting labels; make the splits anew with `mien data split`"
            )
    return data


def write_cleaned(audit: Audit, out: Path) -> FaceDataset:
    """Write the rows that stay: a packed set where `out` ends in ``.npz``, a list where it ends in ``.csv``.

    Returns them.

    Raises:
        ConfigError: `out` has another ending, or is the source.
        DataError: nothing would be left of a split, or a list cannot name the images.
        OutputError: it cannot be written.
    """
    check_target(out, audit.source)
    data = cleaned(audit)
    if out.suffix.lower() == LIST:
        boxes = None if audit.boxes is None else audit.boxes[[not reason for reason in audit.dropped]]
        said = write_list(out, data, boxes=boxes, with_splits=audit.names_splits)
        return replace(data, notes=(*data.notes, said)) if said else data
    if not audit.names_splits:
        data = _divided(audit, data)
    write_packed(out, data)
    return data


def _divided(audit: Audit, data: FaceDataset) -> FaceDataset:
    """Draw the split val, as reading the source would."""
    fraction, seed = audit.divide
    kept = np.flatnonzero([not reason for reason in audit.dropped])
    truth = data.given
    held = drawn(truth, audit.copies.together[kept], fraction, seed)
    for label in np.unique(truth[truth >= 0] if (truth >= 0).any() else truth):
        if held[truth == label].all() or not held[truth == label].any():
            name = data.labels[label] if label >= 0 else "(no label)"
            raise DataError(
                f"{audit.source} names no splits, and {fraction:g} of the {(truth == label).sum()} images of "
                f"{name!r} that stay would leave train or val without one: change `val_fraction`, or write "
                f"a list ({LIST})"
            )
    return replace(data, split=np.where(held, "val", "train"))
