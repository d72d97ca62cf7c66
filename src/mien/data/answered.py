"""Read probabilities of images from a table that mien wrote."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import DataError
from mien.escapes import csv_text

if TYPE_CHECKING:
    from jaxtyping import Float32

    from mien.data.dataset import FaceDataset


def read_out_of_fold(path: str | Path, data: FaceDataset) -> Float32[np.ndarray, "n k"]:
    """Return the probabilities in an ``out_of_fold.csv`` (``mien train --folds``) for the rows of a dataset.

    Images and labels are in the order of `data`. Rows of images in no fold, such as those of ``test``, are zeros.

    Raises:
        DataError: no such table, another set of labels, or images that `data` does not have.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = [csv_text(name) for name in reader.fieldnames or ()]
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    known = set(lines[0]) if lines else set()
    if missing := [name for name in ("id", *data.labels) if name not in known]:
        raise DataError(
            f"{path} is no out_of_fold.csv of {data.source}: it has no column {missing[0]}; expected id and one "
            f"for each of {', '.join(data.labels)}"
        )
    places = {name: place for place, name in enumerate(data.ids)}
    probs = np.zeros((len(data), len(data.labels)), np.float32)
    for line in lines:
        name = csv_text(line["id"])
        if name not in places:
            raise DataError(f"{path} names {name}, which {data.source} does not have: is it of other data?")
        try:
            probs[places[name]] = [float(line[label]) for label in data.labels]
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}, image {name}: expected a number for each label ({error})") from error
    return probs
