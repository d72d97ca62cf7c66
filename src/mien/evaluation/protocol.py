"""The protocol of scores: the images that a model has learnt, was chosen on, or may be chosen on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien import bundle
from mien.card import BEFORE as BEFORE
from mien.card import Score
from mien.data.duplicates import are_duplicates, from_bytes
from mien.errors import DataError
from mien.evaluation.evaluate import evaluate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy as np
    from jaxtyping import Int

    from mien.bundle import Bundle
    from mien.card import Calibration
    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset

CHOSEN = "the epoch was chosen on this split"
READ_ONCE = "read once; nothing was chosen on it"
READ_BY_RUN = "read once by this run; what its options were chosen on stands under Training"
FITTED = "; temperature and class biases were fitted to it"
FITTED_TEMPERATURE = "; a temperature was fitted to it"
MOST_SEEN = 0.5
"""Largest fraction of learnt images in a split on which something is chosen or fitted."""
_TTA = ("none", "flip")
_KEPT = (
    "split",
    "tta",
    "n",
    "accuracy",
    "top_k_accuracy",
    "macro_f1",
    "balanced_accuracy",
    "per_class",
    "confusion",
)


def scores(classifier: Classifier, data: FaceDataset, protocols: Mapping[str, str]) -> tuple[Score, ...]:
    """Evaluate on these splits, without and with flip averaging; each score states its protocol."""
    rows = []
    for split, protocol in protocols.items():
        for tta in _TTA:
            report = evaluate(classifier, data, split, tta=tta)
            rows.append(Score(protocol=protocol, **{name: getattr(report, name) for name in _KEPT}))
    return tuple(rows)


def protocols(data: FaceDataset, trained: Collection[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the protocol of each split that was not trained on: what was `chosen` on it, or that nothing was."""
    return {split: chosen.get(split, READ_ONCE) for split in data.labelled_splits if split not in trained}


def calibrated_protocol(protocol: str, facts: Calibration, data: str, split: str) -> str:
    """Return the protocol of a score that is measured with this calibration, from that of an earlier score.

    Args:
        protocol: the earlier protocol, with whatever it says of an earlier calibration.
        facts: the calibration of the graph that is measured.
        data: name of the dataset.
        split: the split of it that is measured.
    """
    for remark in (BEFORE, FITTED, FITTED_TEMPERATURE):
        protocol = protocol.removesuffix(remark)
    if (facts.data, facts.split) != (data, split):
        return protocol
    plain = "no epoch was chosen on it" if protocol == READ_ONCE else protocol
    return plain + (FITTED if facts.own_bias else FITTED_TEMPERATURE)


def keys_learnt(model: Bundle) -> Int[np.ndarray, " m"] | None:
    """Return the keys of the images that a model, or one it came from, has learnt; None if it does not keep them."""
    return from_bytes(model.read(bundle.TRAINED_ON)) if bundle.TRAINED_ON in model.sha256 else None


def learnt_fraction(model: Bundle, rows: FaceDataset) -> float:
    """Return the fraction of images that a model has learnt; 0 if it does not keep what it learnt."""
    keys = keys_learnt(model)
    return 0.0 if keys is None else float(are_duplicates(rows.images, keys).mean())


def check_unseen(model: Bundle, rows: FaceDataset, split: str) -> None:
    """Refuse to choose or fit on images that a model has learnt; a few duplicates do no harm.

    Raises:
        DataError: it has learnt more than `MOST_SEEN` of them.
    """
    seen = learnt_fraction(model, rows)
    if seen > MOST_SEEN:
        raise DataError(
            f"{model.id.name} was trained on {seen:.0%} of the images of {split!r}, so its results there are too "
            f"good to choose anything by: give a split that it was not trained on"
        )
