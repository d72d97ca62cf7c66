"""Classifiers that wrap another one: averages over several views of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from mien.classifiers import Classifier, log_probabilities, probabilities
from mien.classifiers.inputs import check_crops
from mien.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float32

    from mien.classifiers import Crops

CROP_FRACTION = 11 / 12
"""Side of each of ten crops: of 46, 44, 42 and 40 pixels of 48 the built-in model did best with 44."""


class ViewAverage:
    """Mean of the probabilities over several views of a picture."""

    def __init__(self, inner: Classifier, views: Callable[[Crops], Iterator[Crops]]) -> None:
        self.id, self.preprocess, self._inner, self._views = inner.id, inner.preprocess, inner, views

    def logits(self, crops: Crops) -> Float32[np.ndarray, "n k"]:
        """Return the logarithm of the mean probabilities.

        Raises:
            DataError: not crops of `preprocess`.
        """
        check_crops(crops, self.preprocess)
        seen = [probabilities(self._inner.logits(view)) for view in self._views(crops)]
        return log_probabilities(np.mean(seen, axis=0))


def flip(crops: Crops) -> Iterator[Crops]:
    """Yield the pictures and their mirror images."""
    yield crops
    yield np.ascontiguousarray(crops[:, :, ::-1])


def ten_crops(crops: Crops) -> Iterator[Crops]:
    """Yield the four corners and the centre, enlarged to the full side, and their mirror images.

    After Krizhevsky et al. 2012, who cut what was larger than the input; here the cut is enlarged to it.
    """
    side = crops.shape[1]
    cut = round(CROP_FRACTION * side)
    rest = side - cut
    for top, left in ((0, 0), (0, rest), (rest, 0), (rest, rest), (rest // 2, rest // 2)):
        enlarged = np.empty_like(crops)
        for row, picture in enumerate(crops):
            part = picture[top : top + cut, left : left + cut]
            enlarged[row] = cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR).reshape(
                picture.shape
            )
        yield from flip(enlarged)


VIEWS = {"flip": flip, "ten_crops": ten_crops}
TTA = ("none", *VIEWS)


def with_tta(classifier: Classifier, tta: str) -> Classifier:
    """Wrap a classifier in the test-time augmentation of that name.

    Raises:
        ConfigError: there is no such name.
    """
    if tta not in TTA:
        raise ConfigError(
            f"unknown test-time augmentation {tta!r}: expected {' or '.join(TTA)}{did_you_mean(tta, TTA)}"
        )
    return ViewAverage(classifier, VIEWS[tta]) if tta in VIEWS else classifier
