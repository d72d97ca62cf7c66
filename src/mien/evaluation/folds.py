"""Folds of the images, so that parameters fitted to four fifths are evaluated on the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.errors import DataError, needs

with needs("report"):
    from sklearn.model_selection import StratifiedKFold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Int

FOLDS = 5


def folds(truth: Int[np.ndarray, " n"]) -> Iterator[tuple[Int[np.ndarray, " f"], Int[np.ndarray, " j"]]]:
    """Yield the rows to fit to and the rows to evaluate; every row is evaluated once, each class is in every fold.

    Raises:
        DataError: fewer images of some class than folds.
    """
    counts = np.bincount(truth)
    if (least := counts[counts > 0].min(initial=len(truth))) < FOLDS:
        raise DataError(
            f"{len(truth)} images, {least} of the rarest class, are too few to judge what is fitted to them: "
            f"expected at least {FOLDS} of each class"
        )
    yield from StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(truth, truth)
