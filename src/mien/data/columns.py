"""What the columns of tables are called: labels, splits, paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.data.reading import SPLIT_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Shaped

LABEL = ("emotion", "label", "expression", "class", "target")
PATH = (
    *("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "image_name"),
    *("img", "img_path", "img_name", "pth", "subdirectory_filepath", "name"),
)


def taken(
    header: Sequence[str], cells: list[list[str]]
) -> tuple[list[str], list[str], dict[str, Shaped[np.ndarray, " n"]]]:
    """Return the labels, the splits (empty where there are none) and all other columns by name."""
    label, split = column(header, LABEL), column(header, SPLIT_COLUMNS)
    names, splits = (["" if place is None else row[place] for row in cells] for place in (label, split))
    others = {
        name: np.array([row[place] for row in cells], str)
        for place, name in enumerate(header)
        if place not in (label, split)
    }
    return names, splits, others


def column(header: Sequence[str], known: Sequence[str]) -> int | None:
    """Return the place of the first known name in a header."""
    return next((header.index(name) for name in known if name in header), None)
