"""A quick model, trained in folds in seconds, that judges each image without having learnt it or its duplicates.

Its features are histograms of oriented gradients (HOG, Dalal & Triggs 2005), averaged over image and mirror image.
A ridge regression predicts the labels, and a logistic regression turns its scores into probabilities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from mien.data.splits import folds
from mien.errors import needs
from mien.preprocess import Preprocess

with needs("report"):
    from sklearn.linear_model import LogisticRegression

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Bool, Float32, Int, UInt8

    from mien.auditing.measure import Step

FOLDS = 5
FEWEST = 20
"""Least number of images of a class that the model can judge."""
SIDE_PX = 48
RIDGE = 0.03
"""Penalty of the ridge regression, relative to the mean square of the features. 0.01 to 0.1 gave equal results."""
_CELL_PX, _BLOCK_PX, _BINS = 8, 16, 9


def can_judge(
    truth: Int[np.ndarray, " n"], groups: Int[np.ndarray, " n"], labelled: Bool[np.ndarray, " n"], k: int
) -> Bool[np.ndarray, " n"]:
    """Say which rows the model can judge: labelled ones of classes with enough images, in enough groups."""
    judged = labelled.copy()
    for label in range(k):
        of = labelled & (truth == label)
        if of.sum() < FEWEST or len(np.unique(groups[of])) < FOLDS:
            judged &= truth != label
    return judged if len(np.unique(truth[judged])) > 1 else np.zeros_like(judged)


def out_of_fold(
    images: UInt8[np.ndarray, "n h w c"],
    truth: Int[np.ndarray, " n"],
    groups: Int[np.ndarray, " n"],
    k: int,
    step: Step,
    *,
    seed: int = 0,
) -> Float32[np.ndarray, "n k"]:
    """Return probabilities of each class; each row is judged by a model that was fitted to the other folds.

    Args:
        images: fitted crops.
        truth: class of each row.
        groups: rows with the same number stay in one fold.
        k: number of classes; a class without an image gets the probability 0.
        step: called with the progress.
        seed: seed of the folds.
    """
    features = _features(images, step)
    fold = folds(truth, groups, FOLDS, seed)
    wanted = np.eye(k, dtype=np.float32)[truth]
    parts = [np.flatnonzero(fold == number) for number in range(FOLDS)]
    squares = [features[rows].T @ features[rows] for rows in parts]
    products = [features[rows].T @ wanted[rows] for rows in parts]
    scores = np.zeros((len(images), k), np.float32)
    for number, rows in enumerate(parts):
        step("judging labels", number, FOLDS)
        square, product = sum(squares) - squares[number], sum(products) - products[number]
        square[np.diag_indices(len(square))] += RIDGE * np.trace(square) / len(square) + 1e-6
        scores[rows] = features[rows] @ np.linalg.solve(square, product)
    return _probabilities(scores, truth, parts, k)


def _probabilities(
    scores: Float32[np.ndarray, "n k"],
    truth: Int[np.ndarray, " n"],
    parts: Sequence[Int[np.ndarray, " _"]],
    k: int,
) -> Float32[np.ndarray, "n k"]:
    """Return the probabilities of each fold's rows by a regression that was fitted to the other folds' scores."""
    probs = np.zeros((len(scores), k), np.float32)
    for number, rows in enumerate(parts):
        if not len(rows):  # few groups leave a fold empty
            continue
        others = np.concatenate([one for place, one in enumerate(parts) if place != number])
        model = LogisticRegression(max_iter=500).fit(scores[others], truth[others])
        probs[np.ix_(rows, model.classes_)] = model.predict_proba(scores[rows])
    return probs


def _features(images: UInt8[np.ndarray, "n h w c"], step: Step) -> Float32[np.ndarray, "n d"]:
    """Return the features of each image, with mean 0 and variance 1 each, and a column of ones."""
    fit = Preprocess(size_px=SIDE_PX).fit
    block = (_BLOCK_PX, _BLOCK_PX)
    hog = cv2.HOGDescriptor((SIDE_PX, SIDE_PX), block, (_CELL_PX,) * 2, (_CELL_PX,) * 2, _BINS)
    features = np.ones((len(images), hog.getDescriptorSize() + 1), np.float32)
    for row, image in enumerate(images):
        step("judging labels", row, len(images))
        grey = fit(image)
        both = [np.ravel(hog.compute(np.ascontiguousarray(one))) for one in (grey, grey[:, ::-1])]
        features[row, :-1] = np.sqrt(both).mean(axis=0)
    features[:, :-1] -= features[:, :-1].mean(axis=0)
    features[:, :-1] /= np.maximum(features[:, :-1].std(axis=0), 1e-6)
    return features
