"""Judge the labels of a dataset by given probabilities, by a classifier, or by a quick model trained in folds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.auditing.doubt import Doubts, doubts
from mien.classifiers import probabilities
from mien.data.duplicates import are_duplicates
from mien.errors import DataError
from mien.statistics import check_probabilities

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, Num, UInt8

    from mien.auditing.measure import Measured, Step
    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset

QUICK = "a quick model"


def judge_labels(
    measured: Measured,
    groups: Int[np.ndarray, " n"],
    shows: Bool[np.ndarray, " n"],
    step: Step,
    *,
    classifier: Classifier | None = None,
    probs: Num[np.ndarray, "m c"] | None = None,
    learnt: Int[np.ndarray, " m"] | None = None,
) -> tuple[Doubts | None, str, list[str]]:
    """Return what a model says of the labels, the name of the model, and what a reader must know of it.

    If `probs` are given, they judge; else the `classifier`; else the quick model, whose folds divide none of the
    `groups`. Only rows that have a label and are not blank (`shows`) are judged; of `probs`, only rows that are not
    all zero.

    Raises:
        DataError: `probs` do not fit the data, or are no probabilities.
    """
    data = measured.data
    labelled = data.targets.any(axis=1) & shows
    if probs is not None:
        if probs.shape != data.targets.shape:
            raise DataError(
                f"`probs` has the shape {probs.shape}: expected {data.targets.shape}, a row for each image that can "
                f"be decoded and a column for each of {', '.join(data.labels)}"
            )
        judged = labelled & probs.any(axis=1)
        check_probabilities(probs, judged)
        given = "the probabilities that were given"
        if not judged.any():
            return None, given, ["labels were not judged: the probabilities of all labelled images are zero"]
        return doubts(probs, data.truth, judged), given, []
    if classifier is not None:
        answers, known, crops = _answers(classifier, measured, step)
        judged = labelled & known[data.truth] & (known.sum() > 1)  # one class among itself is always right
        said = _unknown(classifier, data, known) + _learnt(classifier, crops, learnt)
        if known.sum() == 1:
            said.append(f"labels were not judged: {classifier.id.name} knows one of the classes alone")
        return (doubts(answers, data.truth, judged) if judged.any() else None), classifier.id.name, said
    from mien.auditing.quick import can_judge, out_of_fold

    judged = can_judge(data.truth, groups, labelled, len(data.labels))
    if not judged.any():
        return None, QUICK, ["labels were not judged: the classes have too few images for the quick model"]
    rows = np.flatnonzero(judged)
    answers = np.zeros(data.targets.shape, np.float32)
    answers[rows] = out_of_fold(
        data.images[rows], data.truth[rows], groups[rows], len(data.labels), step
    )  # fmt: skip
    left = [
        name for number, name in enumerate(data.labels) if not judged[labelled & (data.truth == number)].all()
    ]
    said = (
        [f"labels of {', '.join(left)} were not judged: too few images for the quick model"] if left else []
    )
    return doubts(answers, data.truth, judged), QUICK, said


_BATCH = 256


def _answers(
    classifier: Classifier, measured: Measured, step: Step
) -> tuple[Num[np.ndarray, "n k"], Bool[np.ndarray, " k"], UInt8[np.ndarray, "n s s c"]]:
    """Return probabilities among the labels of the data, which of these the classifier knows, and its crops."""
    data, names = measured.data, classifier.id.labels
    known = np.array([label in names for label in data.labels])
    columns = [names.index(label) for label, is_known in zip(data.labels, known, strict=True) if is_known]
    crops = measured.fitted(classifier.preprocess, step)
    answers = np.zeros(data.targets.shape, np.float32)
    for start in range(0, len(data) if known.any() else 0, _BATCH):
        step(f"judging labels with {classifier.id.name}", start, len(data))
        batch = np.ascontiguousarray(crops[start : start + _BATCH])
        among = probabilities(classifier.logits(batch))[:, columns]
        answers[start : start + _BATCH, known] = among / np.maximum(among.sum(axis=1, keepdims=True), 1e-12)
    return answers, known, crops


def _unknown(classifier: Classifier, data: FaceDataset, known: Bool[np.ndarray, " k"]) -> list[str]:
    names = [label for label, is_known in zip(data.labels, known, strict=True) if not is_known]
    return (
        [f"labels of {', '.join(names)} were not judged: {classifier.id.name} does not know them"]
        if names
        else []
    )


def _learnt(
    classifier: Classifier, crops: UInt8[np.ndarray, "n s s c"], learnt: Int[np.ndarray, " m"] | None
) -> list[str]:
    count = 0 if learnt is None else int(are_duplicates(crops, learnt).sum())
    if not count:
        return []
    return [
        f"{classifier.id.name} was trained on {count:,} of these {len(crops):,} images with the labels it judges "
        f"here: it has learnt some wrong labels by heart, and doubts them less"
    ]
