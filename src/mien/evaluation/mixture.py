"""Evaluate several classifiers as an ensemble: mean, weighted mean, vote. It works on arrays of probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.evaluation.folds import folds

if TYPE_CHECKING:
    from jaxtyping import Float32, Int, Num

RULES = ("mean", "weighted", "vote")
_STEPS, _CLOSE = 1000, 1e-9
NEGLIGIBLE = 0.001
"""Weights below this fraction of the largest become zero: such a model costs time and changes nothing visible."""
TIE_BREAK = 0.01
"""Weight of the mean in a vote: with fewer than a hundred members it only decides ties."""


@dataclass(frozen=True)
class MixtureReport:
    """Accuracies of an ensemble and its members on the split on which it is chosen, as fractions."""

    members: tuple[float, ...]
    mean: float
    vote: float
    weighted: float
    """With weights fitted to the same images, so it is optimistic."""
    weighted_cross_validated: float
    """Each fifth of the images is evaluated with weights fitted to the other four."""
    gain: float
    """Accuracy with cross-validated weights minus that of the plain mean."""
    gain_standard_error: float
    """Standard error of this paired difference."""
    weights: tuple[float, ...]

    def accuracy(self, rule: str) -> float:
        """Return the accuracy by one of `RULES`, of fitted weights the cross-validated one."""
        return {"mean": self.mean, "weighted": self.weighted_cross_validated, "vote": self.vote}[rule]

    def is_worse(self, rule: str) -> bool:
        """Return whether the best member alone is better."""
        return self.accuracy(rule) < max(self.members)


def combine(
    probs: Float32[np.ndarray, "m n k"], rule: str, weights: Num[np.ndarray, " m"]
) -> Num[np.ndarray, "n k"]:
    """Return an ensemble's probabilities from those of its members, by one of `RULES`.

    `weights` sum to one; they are equal unless the rule is ``weighted``, and they decide ties of a vote.
    """
    mean = np.einsum("mnk,m->nk", probs, weights)
    if rule != "vote":
        return mean
    votes = np.eye(probs.shape[2])[probs.argmax(axis=2)].mean(axis=0)
    return (1 - TIE_BREAK) * votes + TIE_BREAK * mean


def fit_weights(probs: Float32[np.ndarray, "m n k"], truth: Int[np.ndarray, " n"]) -> Num[np.ndarray, " m"]:
    """Return the weights, summing to one, under which the truth is most likely.

    Expectation-maximisation for the weights of a mixture (Dempster et al. 1977). The log-likelihood is concave, so
    the fixed point is its maximum. Likelihood is used instead of accuracy because it overfits less. A weight below
    `NEGLIGIBLE` of the largest becomes zero.
    """
    given = probs[:, np.arange(len(truth)), truth].astype(np.float64).clip(min=1e-12)
    weights = np.full(len(probs), 1 / len(probs))
    for _ in range(_STEPS):
        shares = weights[:, None] * given
        updated = (shares / shares.sum(axis=0)).mean(axis=1)
        if np.abs(updated - weights).max() < _CLOSE:
            break
        weights = updated
    weights[weights < NEGLIGIBLE * weights.max()] = 0
    return weights / weights.sum()


def judge_mixture(probs: Float32[np.ndarray, "m n k"], truth: Int[np.ndarray, " n"]) -> MixtureReport:
    """Evaluate every rule.

    Raises:
        DataError: fewer images of some class than folds.
    """
    fitted_weights = fit_weights(probs, truth)
    hits = {
        rule: combine(probs, rule, weights_of(rule, fitted_weights)).argmax(axis=1) == truth for rule in RULES
    }
    held = np.empty(len(truth), bool)
    for fitted, judged in folds(truth):
        fold = fit_weights(probs[:, fitted], truth[fitted])
        held[judged] = combine(probs[:, judged], "weighted", fold).argmax(axis=1) == truth[judged]
    difference = held.astype(float) - hits["mean"]
    return MixtureReport(
        members=tuple((row.argmax(axis=1) == truth).mean().item() for row in probs),
        mean=hits["mean"].mean().item(),
        vote=hits["vote"].mean().item(),
        weighted=hits["weighted"].mean().item(),
        weighted_cross_validated=held.mean().item(),
        gain=difference.mean().item(),
        gain_standard_error=float(difference.std(ddof=1) / np.sqrt(len(truth))),
        weights=tuple(fitted_weights.tolist()),
    )


def weights_of(rule: str, fitted: Num[np.ndarray, " m"]) -> Num[np.ndarray, " m"]:
    """Return the weights by which a rule joins its members: the fitted ones, or equal ones."""
    return fitted if rule == "weighted" else np.full(len(fitted), 1 / len(fitted))
