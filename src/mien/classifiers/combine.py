"""Classifiers made of classifiers: behaviour grows by wrapping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.classifiers import Classifier, probabilities
from mien.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from jaxtyping import Float32, UInt8

TTA = ("none", "flip")


class FlipAverage:
    """Mean of the probabilities for a picture and its mirror image."""

    def __init__(self, inner: Classifier) -> None:
        self.id, self.preprocess, self._inner = inner.id, inner.preprocess, inner

    def logits(self, crops: UInt8[np.ndarray, "n s s c"]) -> Float32[np.ndarray, "n k"]:
        """Return the logarithm of the mean probabilities."""
        views = (crops, np.ascontiguousarray(crops[:, :, ::-1]))
        mean = sum(probabilities(self._inner.logits(view)) for view in views) / 2
        return np.log(np.maximum(mean, np.finfo(np.float32).tiny))


def with_tta(classifier: Classifier, tta: str) -> Classifier:
    """Wrap a classifier in the test-time augmentation of that name.

    Raises:
        ConfigError: there is no such name.
    """
    if tta not in TTA:
        raise ConfigError(
            f"unknown test-time augmentation {tta!r}: expected {' or '.join(TTA)}{did_you_mean(tta, TTA)}"
        )
    return FlipAverage(classifier) if tta == "flip" else classifier
