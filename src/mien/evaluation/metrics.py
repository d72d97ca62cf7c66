"""Figures of merit from truth and probabilities, each with a bootstrap interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mien.errors import DataError, needs

with needs("report"):
    from sklearn.metrics import average_precision_score

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, Num

BINS = 15
"""Of the calibration error and the reliability diagram, as Guo et al. 2017 use."""
RESAMPLES = 1000
INTERVAL = 0.95
_SUM_TOLERANCE = 1e-3


class Figure(NamedTuple):
    """One figure with its 95 % bootstrap interval over the images."""

    value: float
    low: float
    high: float


def check_probabilities(probs: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " m"]) -> None:
    """Refuse what are no probabilities of these images.

    Raises:
        DataError: rows that do not sum to one, values outside [0, 1], or another number of rows than labels.
    """
    if len(probs) != len(truth):
        raise DataError(f"{len(probs)} rows of probabilities for {len(truth)} images")
    wrong = np.flatnonzero(
        (np.abs(probs.sum(axis=1) - 1) > _SUM_TOLERANCE)
        | (probs < 0).any(axis=1)
        | ~np.isfinite(probs).all(axis=1)
    )
    if len(wrong):
        row = probs[wrong[0]]
        raise DataError(
            f"row {wrong[0]} of the probabilities sums to {row.sum():.4g} with values from {row.min():.3g} to "
            f"{row.max():.3g}: expected a softmax, each row summing to 1"
        )


def headline(
    probs: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"], *, seed: int = 0
) -> dict[str, Figure]:
    """Return every headline figure; the same images are drawn for all of them, `RESAMPLES` times.

    Fractions, but ``log_loss`` (natural logarithm), ``brier`` (sum over classes, 0 to 2) and ``kappa`` (-1 to 1).
    Macro averages go over the classes that occur, as scikit-learn's do.

    Raises:
        DataError: `check_probabilities`.
    """
    check_probabilities(probs, truth)
    n, k = probs.shape
    kept = _PerImage.of(probs, truth)
    rng = np.random.default_rng(seed)
    weights = (np.bincount(rng.integers(0, n, n), minlength=n).astype(float) for _ in range(RESAMPLES))
    draws = [kept.figures(np.ones(n), k), *(kept.figures(weight, k) for weight in weights)]
    tail = 100 * (1 - INTERVAL) / 2
    return {
        name: Figure(
            draws[0][name], *np.percentile([draw[name] for draw in draws[1:]], (tail, 100 - tail)).tolist()
        )
        for name in draws[0]
    }


class _PerImage(NamedTuple):
    """What a resample needs of every image, so that it is a few weighted counts."""

    cell: Int[np.ndarray, " n"]
    """Truth times k plus prediction: the cell of the confusion matrix."""
    log_loss: Num[np.ndarray, " n"]
    brier: Num[np.ndarray, " n"]
    confidence: Num[np.ndarray, " n"]
    bin: Int[np.ndarray, " n"]
    hit: Bool[np.ndarray, " n"]
    among: dict[str, Bool[np.ndarray, " n"]]

    @classmethod
    def of(cls, probs: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> _PerImage:
        k, rows = probs.shape[1], np.arange(len(truth))
        probs = probs.astype(np.float64)
        predicted, confidence = probs.argmax(axis=1), probs.max(axis=1)
        rank = (probs > probs[rows, truth][:, None]).sum(axis=1)
        return cls(
            cell=truth * k + predicted,
            log_loss=-np.log(probs[rows, truth].clip(min=1e-15)),
            brier=((probs - np.eye(k)[truth]) ** 2).sum(axis=1),
            confidence=confidence,
            bin=confidence_bins(confidence),
            hit=predicted == truth,
            among={f"top_{top}_accuracy": rank < top for top in (2, 3) if top < k},
        )

    def figures(self, weight: Num[np.ndarray, " n"], k: int) -> dict[str, float]:
        """Return every figure with each image counted `weight` times."""
        total = weight.sum()
        counts = np.bincount(self.cell, weight, k * k).reshape(k, k)
        support, answered, right = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
        with np.errstate(invalid="ignore", divide="ignore"):
            f1 = np.where(support + answered > 0, 2 * right / (support + answered), np.nan)
            recall = np.where(support > 0, right / support, np.nan)
        chance = (support * answered).sum() / total**2
        accuracy = right.sum() / total
        gap = np.bincount(self.bin, weight * (self.hit - self.confidence), BINS)
        return {
            "accuracy": float(accuracy),
            **{name: float((weight * hit).sum() / total) for name, hit in self.among.items()},
            "macro_f1": float(np.nanmean(f1)),
            "weighted_f1": float(np.nansum(f1 * support) / total),
            "balanced_accuracy": float(np.nanmean(recall)),
            "kappa": float((accuracy - chance) / (1 - chance)) if chance < 1 else 0.0,
            "log_loss": float((weight * self.log_loss).sum() / total),
            "brier": float((weight * self.brier).sum() / total),
            "ece": float(np.abs(gap).sum() / total),
        }


def confidence_bins(confidence: Num[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return each image's bin of equal width over [0, 1]; a bin holds its upper edge."""
    return np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)


def expected_calibration_error(probs: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> float:
    """Mean gap between confidence and accuracy (Guo et al. 2017, arXiv:1706.04599).

    Equal-width bins over the top-class probability. Returns a fraction in [0, 1].

    Raises:
        DataError: `check_probabilities`.
    """
    check_probabilities(probs, truth)
    return _PerImage.of(probs, truth).figures(np.ones(len(truth)), probs.shape[1])["ece"]


def average_precisions(probs: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> list[float | None]:
    """Return each class's area under precision over recall, one class against the rest; None without images."""
    return [
        float(average_precision_score(truth == label, probs[:, label])) if (truth == label).any() else None
        for label in range(probs.shape[1])
    ]
