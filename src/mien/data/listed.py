"""A dataset as a list: a table that names its files, with label, split, boxes, votes and other columns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien import files
from mien.data.columns import without_meaning
from mien.data.groups import PHOTO_COLUMN
from mien.errors import DataError
from mien.escapes import csv_lines
from mien.labels import FERPLUS_VOTE_ORDER

if TYPE_CHECKING:
    from jaxtyping import Float32

    from mien.data.dataset import FaceDataset

_BOX = ("x0", "y0", "x1", "y1")


def write_list(
    out: Path,
    data: FaceDataset,
    *,
    boxes: Float32[np.ndarray, "n 4"] | None = None,
    with_splits: bool = True,
    place: Path | None = None,
) -> str:
    """Write a table that names the same images, unchanged in their files; paths are relative to the table.

    Returns a note if columns have another name in it: it is to be read as the source was, where an option may have
    said which column is the label, and that there are no boxes.

    Args:
        out: the table, a CSV.
        data: a folder of images or a list of some, as it was read.
        boxes: boxes of the faces in their photos (x0, y0, x1, y1 in pixels), if the source has some.
        with_splits: whether the splits are written.
        place: the folder of the table in the end, if it is not the folder of `out`.

    Raises:
        DataError: the images are not files on disk, or one has several labels.
        OutputError: the table cannot be written.
    """
    root = Path(data.source)
    root = root if root.is_dir() else root.parent
    names = list(data.ids) if boxes is None else data.columns[PHOTO_COLUMN].tolist()
    missing = next((name for name in names if not (root / name).is_file()), None)
    if missing is not None:
        raise DataError(
            f"a list names files, and {missing} of {data.source} is no file in {root}: write a packed set (.npz)"
        )
    if (np.count_nonzero(data.targets, axis=1) > 1).any():
        raise DataError(
            f"a list has one label for each image, and images of {data.source} have several: write a "
            f"packed set (.npz)"
        )
    here = (place or out.parent).resolve()
    columns = {
        "image": [os.path.relpath((root / name).resolve(), here).replace(os.sep, "/") for name in names]
    }
    columns["label"] = data.given_names.tolist()
    if with_splits:
        columns["split"] = data.split.tolist()
    if boxes is not None:
        columns |= {name: [f"{side:g}" for side in boxes[:, place]] for place, name in enumerate(_BOX)}
    others = {name: values.tolist() for name, values in data.columns.items() if name != PHOTO_COLUMN}
    columns |= {without_meaning(name): values for name, values in others.items()}
    if data.votes is not None:
        columns |= {
            name: [f"{count:g}" for count in data.votes[:, place]]
            for place, name in enumerate(FERPLUS_VOTE_ORDER)
        }
    files.write(out, csv_lines([columns, *zip(*columns.values(), strict=True)]))
    changed = [name for name in others if without_meaning(name) != name]
    return (
        f"the columns {', '.join(changed)} of the source are called source_... in the list" if changed else ""
    )
