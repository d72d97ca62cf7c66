"""The headline figures of an evaluation from truth and probabilities, each with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.errors import needs
from mien.evaluation.evaluate import TOP_K
from mien.statistics import (
    Estimate,
    balanced_accuracy,
    bootstrap,
    calibration_error,
    check_probabilities,
    class_figures,
    class_intervals,
    confusion,
    interval,
    macro_f1,
    mean_of,
    ranks,
    resampled_confusion,
    widest,
    wilson,
    wilson_of,
)

with needs("report"):
    from sklearn.metrics import average_precision_score

if TYPE_CHECKING:
    from jaxtyping import Int, Num


def headline(
    probs: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"], *, seed: int = 0
) -> dict[str, Estimate]:
    """Return every headline figure with its interval.

    Figures are fractions, except ``log_loss`` (natural logarithm), ``brier`` (sum over classes, 0 to 2) and ``kappa``
    (-1 to 1). Macro averages are over the classes that occur, as in scikit-learn.

    Raises:
        DataError: `check_probabilities`.
    """
    check_probabilities(probs)
    n, k = probs.shape
    probs = probs.astype(np.float64)
    predicted, confidence, own = probs.argmax(axis=1), probs.max(axis=1), probs[np.arange(n), truth]
    rank = ranks(probs, truth)
    brier = ((probs - np.eye(k)[truth]) ** 2).sum(axis=1)
    losses = bootstrap(np.column_stack([-np.log(own.clip(min=1e-15)), brier]), seed=seed) / n
    counts = resampled_confusion(confusion(truth, predicted, k), seed=seed)
    return {
        "accuracy": wilson(predicted == truth),
        "macro_f1": macro_f1(counts),
        "balanced_accuracy": balanced_accuracy(counts),
        **{f"top_{top}_accuracy": wilson(rank < top) for top in TOP_K if top < k},
        "weighted_f1": _weighted_f1(counts),
        "kappa": _kappa(counts),
        "log_loss": interval(losses[:, 0]),
        "brier": interval(losses[:, 1]),
        "ece": calibration_error(confidence, predicted == truth),
    }


def _weighted_f1(counts: Num[np.ndarray, "r k k"]) -> Estimate:
    classes = class_figures(counts)
    draws = np.nansum(classes.f1 * classes.support, axis=1) / classes.support.sum(axis=1)
    told = [
        (one, n) for one, n in zip(class_intervals(counts[0])["f1"], classes.support[0], strict=True) if one
    ]
    return widest(interval(draws), mean_of([one for one, _ in told], [n for _, n in told]))


def _kappa(counts: Num[np.ndarray, "r k k"]) -> Estimate:
    """Return Cohen's kappa; its interval is that of the accuracy, at the chance agreement of these predictions."""
    n = counts.sum(axis=(1, 2))
    right = np.trace(counts, axis1=1, axis2=2)
    chance = (counts.sum(axis=2) * counts.sum(axis=1)).sum(axis=1) / n**2
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = np.where(chance < 1, (right / n - chance) / (1 - chance), 0.0)
    if chance[0] == 1:
        return interval(draws)
    hits = wilson_of(int(right[0]), int(n[0]))
    return widest(interval(draws), Estimate(*((bound - chance[0]) / (1 - chance[0]) for bound in hits)))


def average_precisions(probs: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> list[float | None]:
    """Return each class's area under its precision-recall curve, against all other classes; None without images."""
    return [
        float(average_precision_score(truth == label, probs[:, label])) if (truth == label).any() else None
        for label in range(probs.shape[1])
    ]
