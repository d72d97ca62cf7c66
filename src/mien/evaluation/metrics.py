"""Figures of merit from truth and probabilities, each with a bootstrap interval."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mien.errors import DataError, needs

with needs("report"):
    from scipy.stats import binomtest
    from sklearn.metrics import average_precision_score

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, Num

BINS = 15
"""Of the calibration error and the reliability diagram, as Guo et al. 2017 use."""
RESAMPLES = 1000
INTERVAL = 0.95
TOP_K = (2, 3)
_SUM_TOLERANCE = 1e-3
_AT_ONCE = 50
"""Resamples in one matrix product: many images need no more memory for it than their pictures do."""


class Figure(NamedTuple):
    """One figure with its 95 % interval over the images."""

    value: float
    low: float
    high: float


def interval(draws: Num[np.ndarray, " r"]) -> Figure:
    """Return the first figure with the interval that holds 95 % of the others, those of resamples."""
    tail = 100 * (1 - INTERVAL) / 2
    return Figure(float(draws[0]), *np.nanpercentile(draws[1:], (tail, 100 - tail)).tolist())


def share(hits: Bool[np.ndarray, " n"]) -> Figure:
    """Return how many of at least one image are true, with Wilson's interval.

    Of a few images that are all right, resamples are all right, too: they say nothing of the next one.
    """
    low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci(INTERVAL, "wilson")
    return Figure(float(hits.mean()), float(low), float(high))


def difference(one: Figure, other: Figure) -> Figure:
    """Return the difference of two independent shares (Newcombe 1998, method 10)."""
    value = one.value - other.value
    low = value - np.hypot(one.value - one.low, other.high - other.value)
    high = value + np.hypot(one.high - one.value, other.value - other.low)
    return Figure(value, float(low), float(high))


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
    parts, rng = _parts(probs, truth), np.random.default_rng(seed)
    totals = [parts.sum(axis=0, keepdims=True)]
    for start in range(0, RESAMPLES, _AT_ONCE):
        some = min(_AT_ONCE, RESAMPLES - start)
        drawn = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(some)])
        totals.append(drawn.astype(np.float64) @ parts)
    figures = _figures(np.concatenate(totals), n, k)
    return {name: interval(values) for name, values in figures.items()}


def _parts(probs: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> Num[np.ndarray, "n p"]:
    """Return what each image adds to every figure, so that a resample is one row of a matrix product.

    Columns: the cells of the confusion matrix; in each bin, hit less confidence; log-loss; Brier score; whether the
    truth is among the best two, the best three.
    """
    n, k = probs.shape
    probs, rows = probs.astype(np.float64), np.arange(n)
    predicted, confidence = probs.argmax(axis=1), probs.max(axis=1)
    rank = (probs > probs[rows, truth][:, None]).sum(axis=1)
    cells, bins = np.zeros((n, k * k)), np.zeros((n, BINS))
    cells[rows, truth * k + predicted] = 1
    bins[rows, confidence_bins(confidence)] = (predicted == truth) - confidence
    loss, brier = -np.log(probs[rows, truth].clip(min=1e-15)), ((probs - np.eye(k)[truth]) ** 2).sum(axis=1)
    return np.column_stack([cells, bins, loss, brier, *(rank < top for top in TOP_K)])


def _figures(totals: Num[np.ndarray, "r p"], n: int, k: int) -> dict[str, Num[np.ndarray, " r"]]:
    """Return every figure from the sums of `_parts` over n images, one value a resample."""
    cells, bins, rest = np.split(totals, (k * k, k * k + BINS), axis=1)
    counts = cells.reshape(-1, k, k)
    support, answered = counts.sum(axis=2), counts.sum(axis=1)
    right = counts.diagonal(axis1=1, axis2=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(support + answered > 0, 2 * right / (support + answered), np.nan)
        recall = np.where(support > 0, right / support, np.nan)
        accuracy, chance = right.sum(axis=1) / n, (support * answered).sum(axis=1) / n**2
        kappa = np.where(chance < 1, (accuracy - chance) / (1 - chance), 0.0)
    return {
        "accuracy": accuracy,
        **{f"top_{top}_accuracy": rest[:, 2 + place] / n for place, top in enumerate(TOP_K) if top < k},
        "macro_f1": np.nanmean(f1, axis=1),
        "weighted_f1": np.nansum(f1 * support, axis=1) / n,
        "balanced_accuracy": np.nanmean(recall, axis=1),
        "kappa": kappa,
        "log_loss": rest[:, 0] / n,
        "brier": rest[:, 1] / n,
        "ece": np.abs(bins).sum(axis=1) / n,
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
    totals = _parts(probs, truth).sum(axis=0, keepdims=True)
    return float(_figures(totals, len(truth), probs.shape[1])["ece"][0])


def average_precisions(probs: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> list[float | None]:
    """Return each class's area under precision over recall, one class against the rest; None without images."""
    return [
        float(average_precision_score(truth == label, probs[:, label])) if (truth == label).any() else None
        for label in range(probs.shape[1])
    ]
