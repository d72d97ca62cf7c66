"""Calibrate probabilities: a temperature, a bias of each class, another class prior. It works on arrays only.

Calibrated logits are ``logits / temperature + bias`` (Guo et al. 2017, arXiv:1706.04599, call the one with a bias for
each class vector scaling, here with one scale for all).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import DataError, needs
from mien.evaluation.folds import folds
from mien.statistics import BINS, Estimate, calibration_error

with needs("report"):
    from scipy.optimize import minimize
    from scipy.special import log_softmax, softmax

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Num

RANGE = (0.05, 20.0)
"""Lowest and highest possible temperature."""
RIDGE = 4.0
"""Weight of the squared biases against the summed log-loss: a class with few images keeps a bias near zero."""
_STEPS, _CLOSE = 10_000, 1e-8


@dataclass(frozen=True)
class Calibration:
    """The parameters fitted to a split, and figures for images that they were not fitted to."""

    temperature: float
    bias: tuple[float, ...]
    """Bias of each class, added to the divided logits; they sum to zero. Empty if none was fitted."""
    n: int
    log_loss: float
    """Before the calibration, with the natural logarithm; so are `ece`, the calibration error, and `accuracy`."""
    ece: float
    accuracy: float
    log_loss_calibrated: float
    """After the calibration: each fifth of the images is evaluated with parameters fitted to the other four."""
    ece_calibrated: float
    accuracy_calibrated: float
    ece_calibrated_95: tuple[float, float]
    """The interval of `ece_calibrated`."""

    def to_dict(self) -> dict[str, Any]:
        """Return every number."""
        return asdict(self)


def fit(
    logits: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"], *, biases: bool = True
) -> tuple[float, Float[np.ndarray, " k"]]:
    """Return the temperature in `RANGE` and the biases at which the truth is most likely; without `biases`, zeros.

    The loss is convex in the inverse temperature and the biases, so there is one best solution. One image is added
    whose target is the same for all classes: if all of n predictions are correct, the mean confidence becomes about
    n / (n + 1), not 1 (Laplace's rule of succession).
    """
    n, k = logits.shape
    given, target = logits.astype(np.float64), (n * np.eye(k)[truth] + 1 / k) / (n + 1)

    def loss(parameters: Float[np.ndarray, " p"]) -> tuple[float, Float[np.ndarray, " p"]]:
        scale, bias = parameters[0], parameters[1:]
        moved = scale * given + bias
        wrong = softmax(moved, axis=1) - target
        value = -float((target * log_softmax(moved, axis=1)).sum()) + RIDGE * float(bias @ bias)
        return value / n, np.concatenate([[(wrong * given).sum()], wrong.sum(axis=0) + 2 * RIDGE * bias]) / n

    bounds = [(1 / RANGE[1], 1 / RANGE[0]), *[(None, None) if biases else (0, 0)] * k]
    found = minimize(loss, np.array([1.0, *np.zeros(k)]), jac=True, bounds=bounds, method="L-BFGS-B")
    return float(1 / found.x[0]), found.x[1:] - found.x[1:].mean()


def log_loss(logits: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> float:
    """Return the mean negative log-likelihood of the truth."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(truth)), truth]).mean())


def calibrate(
    logits: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"], *, biases: bool = True
) -> Calibration:
    """Fit temperature and biases, and evaluate them on images that they were not fitted to.

    Without `biases` only the temperature is fitted. Then a label can change only where the
    probabilities of several views are averaged.

    Raises:
        DataError: fewer images than bins of the calibration error, or than folds in some class.
    """
    if len(truth) < BINS:
        raise DataError(f"{len(truth)} images are too few to calibrate on: expected at least {BINS}")
    held = np.empty(logits.shape, np.float64)
    for fitted, judged in folds(truth):
        temperature, bias = fit(logits[fitted], truth[fitted], biases=biases)
        held[judged] = logits[judged] / temperature + bias
    temperature, bias = fit(logits, truth, biases=biases)
    before, after = _judged(logits.astype(np.float64), truth), _judged(held, truth)
    kept = tuple(bias.tolist()) if biases else ()
    interval = (after[1].low, after[1].high)
    return Calibration(
        temperature, kept, len(truth), before[0], before[1].value, before[2],
        after[0], after[1].value, after[2], interval,
    )  # fmt: skip


def _judged(logits: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> tuple[float, Estimate, float]:
    """Return log-loss, calibration error and accuracy."""
    probs = softmax(logits, axis=1)
    hits = probs.argmax(axis=1) == truth
    return log_loss(logits, truth), calibration_error(probs.max(axis=1), hits), float(hits.mean())


def estimate_prior(probs: Num[np.ndarray, "n k"], prior: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Return how frequent each class is among unlabelled images (Saerens, Latinne & Decaestecker 2002).

    Expectation-maximisation (doi:10.1162/089976602753284446). `probs` are calibrated for images of which each class
    has the fraction `prior`.
    """
    found = prior.astype(np.float64)
    for _ in range(_STEPS):
        moved = probs * (found / prior)
        updated = (moved / moved.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(updated - found).max() < _CLOSE:
            break
        found = updated
    return found
