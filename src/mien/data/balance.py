"""Rare classes: weights in the loss, numbers of copies. It only counts, in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float, Float32, Int


def class_counts(truth: Int[np.ndarray, " n"], k: int) -> Int[np.ndarray, " k"]:
    """Return the number of images of each class."""
    return np.bincount(truth, minlength=k)


def class_weights(
    counts: Int[np.ndarray, " k"], rule: str, effective_beta: float = 0.999
) -> Float32[np.ndarray, " k"]:
    """Return the weight of each class in the loss; the mean over the images is one, a class without images has 0.

    With ``inverse_frequency`` every class counts equally. With ``effective_number`` an image counts less, the more
    images its class has (Cui et al. 2019, arXiv:1901.05555). With ``none`` every image counts equally.
    """
    size = {
        "none": np.ones(len(counts)),
        "inverse_frequency": counts.astype(float),
        "effective_number": (1 - effective_beta**counts) / (1 - effective_beta),
    }[rule]
    weights = np.divide(1.0, size, out=np.zeros(len(counts)), where=size > 0)
    return (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)


def learnt_prior(counts: Int[np.ndarray, " k"], recipe: Mapping[str, Any]) -> Float[np.ndarray, " k"]:
    """Return the class frequencies that a network takes for granted once it was trained by a recipe.

    These are the frequencies of the images shown to it, times the class weights, to the power of 1 - tau of the
    logit adjustment: with tau = 1, or with a weighted sampler, all classes are equal.

    Args:
        counts: training images of each class.
        recipe: options of the run, as a card states them; an option that is not there is off.
    """
    balance, loss = recipe.get("balance", {}), recipe.get("loss", {})
    shown = np.maximum(counts, max(1.0, balance.get("enlarge_to_ratio", 0.0) * counts.max()))
    if balance.get("sampler") == "weighted":
        shown = np.ones(len(counts))
    weights = class_weights(counts, loss.get("class_weights", "none"), loss.get("effective_beta", 0.999))
    learnt = weights * shown ** (1 - loss.get("logit_adjustment_tau", 0.0)) * (counts > 0)
    return np.asarray(learnt / learnt.sum())


def imbalance_ratio(counts: Int[np.ndarray, " k"]) -> float:
    """Return how many times larger the largest class is than the smallest one."""
    return float(counts.max() / max(1, counts.min()))


def rows_to_copy(
    truth: Int[np.ndarray, " n"], k: int, ratio: float, rng: np.random.Generator
) -> Int[np.ndarray, " m"]:
    """Return the row to copy, for every copy that enlarges the classes to `ratio` of the largest class.

    The numbers of copies of two images of a class differ by one at most.
    """
    counts = class_counts(truth, k)
    wanted = np.ceil(ratio * counts.max()).astype(int)
    rows: list[Int[np.ndarray, " _"]] = []
    for label in np.flatnonzero((counts > 0) & (counts < wanted)):
        originals = rng.permutation(np.flatnonzero(truth == label))
        rows.append(np.resize(originals, wanted - counts[label]))
    return np.concatenate(rows) if rows else np.zeros(0, int)
