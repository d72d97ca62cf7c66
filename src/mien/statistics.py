"""Estimates with their intervals, and tests of differences: one place for every room. From arrays only.

An interval here says how far a figure would move with other images of the same kind.
`tests/test_statistics.py` draws data of which the truth is known and counts how often each interval holds it.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mien.errors import DataError, needs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Bool, Float, Int, Num

RESAMPLES = 1000
INTERVAL = 0.95
BINS = 15
"""Of the calibration error and of the reliability diagram, as in Guo et al. 2017 (arXiv:1706.04599)."""
CHANCE = 0.05
"""A corrected p-value below this is called a difference."""
_TAIL = (1 - INTERVAL) / 2
_Z = NormalDist().inv_cdf(1 - _TAIL)
_ABOVE = 2
"""Values that must lie above a percentile."""
_MEANS = 40
"""Calibration errors that are tried; those between are interpolated."""


_SUM_TOLERANCE = 1e-3


@np.errstate(invalid="ignore")  # a sum of infinite values of both signs
def check_probabilities(probs: Num[np.ndarray, "n k"], judged: Bool[np.ndarray, " n"] | None = None) -> None:
    """Check that the rows of an array, or only those that are `judged`, are probabilities.

    Raises:
        DataError: a row that does not sum to one, or with values outside [0, 1].
    """
    odd = ~(np.abs(probs.sum(axis=1) - 1) <= _SUM_TOLERANCE) | (probs < 0).any(axis=1)
    wrong = np.flatnonzero(odd if judged is None else odd & judged)
    if len(wrong):
        row = probs[wrong[0]]
        raise DataError(
            f"row {wrong[0]} of the probabilities sums to {row.sum():.4g} with values from {row.min():.3g} to "
            f"{row.max():.3g}: expected a softmax, each row summing to 1"
        )


class Estimate(NamedTuple):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


# Fractions of images


def wilson(hits: Bool[np.ndarray, " n"]) -> Estimate:
    """Return the fraction of true values, with Wilson's interval. n must be at least one.

    15 of 15 gives 80 to 100 %: all right in a small sample does not mean always right.
    """
    return wilson_of(int(hits.sum()), len(hits))


def wilson_of(count: float, n: float) -> Estimate:
    """Return `count` of `n` as a fraction with Wilson's interval (Wilson 1927)."""
    value = count / n
    centre = (value + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    reach = _Z * np.sqrt(value * (1 - value) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    low, high = max(0.0, float(centre - reach)), min(1.0, float(centre + reach))
    return Estimate(value, min(low, value), max(high, value))


def mean_of(parts: Sequence[Estimate], weights: Sequence[float] | None = None) -> Estimate:
    """Return the (weighted) mean of independent estimates; distances to the bounds add as squares (MOVER)."""
    share = np.full(len(parts), 1 / len(parts)) if weights is None else np.array(weights, float)
    share = share / share.sum()
    value, low, high = (np.array([part[place] for part in parts]) for place in range(3))
    middle = float(share @ value)
    below, above = (float(np.sqrt(share**2 @ distance**2)) for distance in (value - low, high - value))
    return Estimate(middle, middle - below, middle + above)


def difference(one: Estimate, other: Estimate) -> Estimate:
    """Return the difference of two fractions of different images (Newcombe 1998, method 10)."""
    value = one.value - other.value
    low = value - np.hypot(one.value - one.low, other.high - other.value)
    high = value + np.hypot(one.high - one.value, other.value - other.low)
    return Estimate(value, float(low), float(high))


def paired_difference(only_first: int, only_second: int, n: int) -> Estimate:
    """Return the difference of two accuracies on the same n images (Agresti & Min 2005, doi:10.1002/sim.1781).

    `only_first` counts the images that only the first gets right. Half an image is added to each of the four
    cells, so that the interval of equal answers to few images is not a point.
    """
    value = (only_first - only_second) / n
    first, second, total = only_first + 0.5, only_second + 0.5, n + 2
    middle = (first - second) / total
    reach = _Z * np.sqrt(first + second - (first - second) ** 2 / total) / total
    low, high = max(-1.0, float(middle - reach)), min(1.0, float(middle + reach))
    return Estimate(value, min(low, value), max(high, value))


# The bootstrap


def bootstrap(
    parts: Num[np.ndarray, "n p"], *, seed: int = 0, resamples: int = RESAMPLES
) -> Num[np.ndarray, "r p"]:
    """Return sums of each column: first over the images as they are, then over each resample of them.

    What each image adds to a figure is a column; the same images are drawn for all columns.
    """
    n, rng = len(parts), np.random.default_rng(seed)
    drawn = (np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(resamples))
    return np.stack([parts.sum(axis=0), *(times @ parts for times in drawn)])


def resampled_counts(counts: Int[np.ndarray, " p"], *, seed: int = 0) -> Iterator[Int[np.ndarray, " p"]]:
    """Yield how many images there are of each kind, then how many in each resample of the images.

    Images of a kind add the same to a figure, so drawing their numbers (multinomial) is drawing images.
    """
    yield counts
    n, rng = int(counts.sum()), np.random.default_rng(seed)
    for _ in range(RESAMPLES):
        yield rng.multinomial(n, counts / n)


def interval(draws: Num[np.ndarray, " r"]) -> Estimate:
    """Return the first value with the interval that holds 95 % of the others, those of resamples."""
    value = float(draws[0])
    low, high = np.nanpercentile(draws[1:], (100 * _TAIL, 100 * (1 - _TAIL))).tolist()
    return Estimate(value, min(low, value), max(high, value))


def widest(one: Estimate, other: Estimate) -> Estimate:
    """Return the first estimate with an interval that holds both.

    Used where the bootstrap alone would be certain: resamples of images that are all right are all right.
    """
    return Estimate(one.value, min(one.low, other.low), max(one.high, other.high))


# Confusion matrices and ranks


def ranks(scores: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return how many classes come before the true one in each row; 0: the true class is the answer.

    Of classes with equal scores the lower index comes first, as in `argmax`.
    """
    own = scores[np.arange(len(truth)), truth][:, None]
    before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < truth[:, None]))
    return before.sum(axis=1)


class ClassFigures(NamedTuple):
    """Precision, recall and F1 of each class; not a number where the class does not occur (in the answers)."""

    precision: Float[np.ndarray, "*r k"]
    recall: Float[np.ndarray, "*r k"]
    f1: Float[np.ndarray, "*r k"]
    support: Num[np.ndarray, "*r k"]

    @property
    def macro_f1(self) -> Float[np.ndarray, "*r"]:
        """Mean F1 over the classes that occur as truth or as prediction, as scikit-learn averages."""
        return np.nanmean(self.f1, axis=-1)

    @property
    def balanced_accuracy(self) -> Float[np.ndarray, "*r"]:
        """Mean recall over the classes that occur as truth."""
        return np.nanmean(self.recall, axis=-1)


def class_figures(counts: Num[np.ndarray, "*r k k"]) -> ClassFigures:
    """Return the figures of each class from confusion matrices: rows are true labels, columns predictions."""
    support, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall, f1 = right / predicted, right / support, 2 * right / (support + predicted)
    return ClassFigures(precision, recall, f1, support)


def confusion(
    truth: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], k: int
) -> Int[np.ndarray, "k k"]:
    """Count the images of each true label (row) and prediction (column)."""
    return np.bincount(truth * k + predicted, minlength=k * k).reshape(k, k)


def class_intervals(counts: Num[np.ndarray, "k k"]) -> dict[str, list[Estimate | None]]:
    """Return precision, recall and F1 of each class with Wilson's interval; None where it does not occur.

    F1 is 2J / (1 + J) of the fraction J of hits among the images that truth or prediction name so.
    """
    right, support, predicted = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    rows: dict[str, list[Estimate | None]] = {"precision": [], "recall": [], "f1": []}
    for hit, true, named in zip(right.tolist(), support.tolist(), predicted.tolist(), strict=True):
        rows["precision"].append(wilson_of(hit, named) if named else None)
        rows["recall"].append(wilson_of(hit, true) if true else None)
        union = true + named - hit
        jaccard = wilson_of(hit, union) if union else None
        rows["f1"].append(jaccard and Estimate(*(2 * j / (1 + j) for j in jaccard)))
    return rows


def macro_f1(counts: Num[np.ndarray, "r k k"]) -> Estimate:
    """Return the macro-F1 of a confusion matrix, followed by those of resamples."""
    exact = mean_of([one for one in class_intervals(counts[0])["f1"] if one])
    return widest(interval(class_figures(counts).macro_f1), exact)


def balanced_accuracy(counts: Num[np.ndarray, "r k k"]) -> Estimate:
    """Return the mean recall of a confusion matrix, followed by those of resamples."""
    exact = mean_of([one for one in class_intervals(counts[0])["recall"] if one])
    return widest(interval(class_figures(counts).balanced_accuracy), exact)


def resampled_confusion(counts: Int[np.ndarray, "k k"], *, seed: int = 0) -> Int[np.ndarray, "r k k"]:
    """Return a confusion matrix, followed by those of resamples of its images."""
    return np.stack(list(resampled_counts(counts.ravel(), seed=seed))).reshape(-1, *counts.shape)


# Calibration


def confidence_bins(confidence: Num[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return each image's bin of equal width over [0, 1]; a bin holds its upper edge."""
    return np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)


def binned_calibration_error(confidence: Num[np.ndarray, " n"], hits: Bool[np.ndarray, " n"]) -> float:
    """Return the calibration error as Guo et al. 2017 define it, to compare with published figures.

    It is never below zero, so that it is too large for a well calibrated model: about .02 where the truth is 0
    and n = 3,600.
    """
    gaps = np.bincount(confidence_bins(confidence), hits - confidence, BINS)
    return float(np.abs(gaps).sum() / len(hits))


def calibration_error(confidence: Num[np.ndarray, " n"], hits: Bool[np.ndarray, " n"]) -> Estimate:
    """Return the mean gap between confidence and accuracy, corrected for its bias, with an interval.

    `BINS` bins of equally many images, so that each gap is nearly normal; images of equal confidence are in one bin,
    so that the order of the rows does not matter. Noise alone makes the mean of absolute
    gaps positive (Kumar, Liang & Ma 2019, arXiv:1909.10155). So the test is inverted: of gaps with the observed
    shape, scaled to a mean of t, the noise is drawn, and t is sought for which the observed mean is the median
    (the value) or a bound of the middle 95 % (the interval). The shape lies half way between the mean of
    neighbouring bins, which is noisy, and equal gaps. Fractions, from 0.
    """
    order, n = np.argsort(confidence), len(hits)
    ordered = confidence[order].astype(np.float64)
    even = [part[0] for part in np.array_split(np.arange(n), min(BINS, max(1, n // 2)))]
    starts = np.searchsorted(ordered, np.unique(ordered[even]))
    sure, right = np.split(ordered, starts[1:]), np.split(hits[order], starts[1:])
    sizes, bins = np.array([len(part) for part in sure]), len(starts)
    gaps = np.array([a.mean() - b.mean() for a, b in zip(right, sure, strict=True)])
    accuracy = (np.array([part.sum() for part in right]) + 0.5) / (sizes + 1)
    error, weight = np.sqrt(accuracy * (1 - accuracy) / sizes), sizes / n
    observed = float(weight @ np.abs(gaps))
    shape = np.abs(np.convolve(np.pad(gaps, 1, mode="edge"), np.ones(3) / 3, "valid"))
    shape = (1 + shape / (weight @ shape)) / 2 if shape.any() else np.ones(bins)
    noise = np.random.default_rng(0).normal(size=(RESAMPLES, bins)) * error
    means = np.linspace(0, observed + 4 * np.sqrt(weight**2 @ error**2), _MEANS)
    tails = (100 * _TAIL, 50, 100 * (1 - _TAIL))
    reached = [np.percentile(np.abs(mean * shape + noise) @ weight, tails) for mean in means]
    rising = np.maximum.accumulate(np.array(reached), axis=0)
    high, value, low = (float(np.interp(observed, column, means)) for column in rising.T)
    high = high or float(rising[0, 2])  # gaps smaller than noise would make them: no proof of perfection
    return Estimate(value, min(low, value), max(high, value))


# Times


def percentile(values: Sequence[float], rank: float) -> float | None:
    """Return the value that `rank` percent of the values do not exceed; None of too few values.

    At least two must lie above it: the 95th percentile needs 40 values, the 99th 200. Of fewer it would be the
    largest value under another name.

    >>> percentile(range(201), 99), percentile([0.1, 0.2, 0.9], 99)
    (198.0, None)
    """
    if len(values) * (100 - rank) < 100 * _ABOVE:
        return None
    return float(np.percentile(values, rank))


# Tests


def mcnemar(only_first: int, only_second: int) -> tuple[float, float]:
    """Return the two-sided exact and mid-p probabilities that equally good models differ at least this much.

    Of the images that only one model gets right, each is either's with equal chance (McNemar 1947; mid-p:
    Fagerland, Lydersen & Laake 2013, doi:10.1186/1471-2288-13-91). Without such images both are 1.
    """
    with needs("report"):
        from scipy import stats
    few, total = min(only_first, only_second), only_first + only_second
    if not total:
        return 1.0, 1.0
    here = float(stats.binom.pmf(few, total, 0.5))
    if only_first == only_second:
        return 1.0, 1 - here / 2
    exact = min(1.0, 2 * float(stats.binom.cdf(few, total, 0.5)))
    return exact, exact - here


def holm(probabilities: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979): the chance of even one false alarm is kept."""
    corrected, least = [0.0] * len(probabilities), 0.0
    for rank, place in enumerate(sorted(range(len(probabilities)), key=probabilities.__getitem__)):
        least = max(least, min(1.0, (len(probabilities) - rank) * probabilities[place]))
        corrected[place] = least
    return corrected


class Recipes(NamedTuple):
    """Two recipes compared over their seeds and the images."""

    difference: Estimate
    """Accuracy of the first minus that of the second, as fractions."""
    p: float
    """How often equally good recipes would differ at least this much."""
    degrees: float
    """Degrees of freedom of the t distribution that gave both."""


def compare_recipes(first: Bool[np.ndarray, "s n"], second: Bool[np.ndarray, "r n"]) -> Recipes:
    """Compare two recipes by the hits of several seeds each on the same images; at least two seeds each.

    Other seeds and other images would both move the difference. The variance adds three parts: the images (of the
    difference of mean hits), and the seeds of each recipe; the noise that both count is taken off once. The degrees
    of freedom follow Satterthwaite 1946, so that two seeds promise little.
    """
    with needs("report"):
        from scipy import special
    n = first.shape[1]
    gained = first.mean(axis=0) - second.mean(axis=0)
    value = float(gained.mean())
    parts, freedom = [float(gained.var(ddof=1)) / n], [n - 1]
    twice = 0.0
    for hits in (first, second):
        seeds = len(hits)
        spread = hits.mean(axis=1)
        parts.append(float(spread.var(ddof=1)) / seeds)
        freedom.append(seeds - 1)
        rest = hits - hits.mean(axis=0, keepdims=True) - spread[:, None] + hits.mean()
        twice += float((rest**2).sum()) / ((seeds - 1) * (n - 1)) / (seeds * n)
    variance = max(sum(parts) - twice, *parts)
    if not variance:
        return Recipes(Estimate(value, value, value), float(value == 0), float(sum(freedom)))
    degrees = variance**2 / sum(part**2 / f for part, f in zip(parts, freedom, strict=True))
    reach = float(special.stdtrit(degrees, 1 - _TAIL)) * np.sqrt(variance)
    p = 2 * float(special.stdtr(degrees, -abs(value) / np.sqrt(variance)))
    low, high = max(-1.0, float(value - reach)), min(1.0, float(value + reach))
    return Recipes(Estimate(value, low, high), p, float(degrees))
