"""A temperature that makes probabilities mean what they say (Guo et al. 2017, arXiv:1706.04599)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.classifiers import probabilities
from mien.errors import DataError, needs
from mien.evaluation.folds import folds
from mien.statistics import BINS, calibration_error

with needs("report"):
    from scipy.optimize import minimize_scalar

if TYPE_CHECKING:
    from jaxtyping import Int, Num

RANGE = (0.05, 20.0)
"""Where a temperature is looked for."""


@dataclass(frozen=True)
class Calibration:
    """What a temperature does for probabilities on the split it was fitted to."""

    temperature: float
    n: int
    log_loss: float
    """Before, in natural units; so is `ece`, the expected calibration error, a fraction."""
    ece: float
    log_loss_calibrated: float
    """Each fifth of the images judged with a temperature fitted to the other four."""
    ece_calibrated: float

    def to_dict(self) -> dict[str, Any]:
        """Return every number."""
        return asdict(self)


def fit_temperature(logits: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> float:
    """Return the temperature in `RANGE` at which the truth is most likely; the log-loss has one minimum."""
    low, high = np.log(RANGE)
    found = minimize_scalar(lambda log_t: log_loss(logits / np.exp(log_t), truth), bounds=(low, high),
                            method="bounded", options={"xatol": 1e-5})  # fmt: skip
    return float(np.exp(found.x))


def log_loss(logits: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> float:
    """Return the mean negative log-likelihood of the truth."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return float((np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(truth)), truth]).mean())


def calibrate(logits: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> Calibration:
    """Fit a temperature and say what it is worth on images it was not fitted to.

    Raises:
        DataError: fewer images than bins of the calibration error, or than folds in some class.
    """
    if len(truth) < BINS:
        raise DataError(f"{len(truth)} images are too few to calibrate on: expected at least {BINS}")
    held = np.empty(logits.shape, np.float64)
    for fitted, judged in folds(truth):
        held[judged] = logits[judged] / fit_temperature(logits[fitted], truth[fitted])
    before, after = probabilities(logits), probabilities(held.astype(np.float32))
    return Calibration(
        temperature=fit_temperature(logits, truth),
        n=len(truth),
        log_loss=log_loss(logits, truth),
        ece=_error(before, truth),
        log_loss_calibrated=log_loss(held, truth),
        ece_calibrated=_error(after, truth),
    )


def _error(probs: Num[np.ndarray, "n k"], truth: Int[np.ndarray, " n"]) -> float:
    return calibration_error(probs.max(axis=1), probs.argmax(axis=1) == truth).value
