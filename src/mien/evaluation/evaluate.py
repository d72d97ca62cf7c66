"""Evaluate one classifier on one split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.classifiers import load_classifier
from mien.classifiers.combine import with_tta
from mien.data.read import read_given
from mien.results import ClassScores, EvalReport, ModelId
from mien.statistics import class_figures, confusion, ranks

if TYPE_CHECKING:
    from jaxtyping import Float32, Int

    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset
    from mien.options import ReadOptions

TOP_K = (2, 3)


def evaluate(
    model: Classifier | str | Path,
    data: FaceDataset | str | Path,
    split: str,
    *,
    tta: str = "none",
    reading: ReadOptions | None = None,
) -> EvalReport:
    """Evaluate a model on one split of `data`; results are in the order of the source.

    ``mien.evaluate("default", "fer2013.zip", "test").accuracy``

    Args:
        model: a classifier, or what `mien.load_classifier` can load.
        data: a dataset, or what `mien.read_dataset` can read.
        split: the name of the split; where `data` is a path, ``all`` and ``holdout`` as `mien.data.read.read_split`
            takes them.
        tta: test-time augmentation, as `mien evaluate --tta` names it.
        reading: how `data` is read, if it is a path.

    Raises:
        BundleError: no such model.
        DataError: no such data or split, an image without a label, or labels the classifier does not know.
        ConfigError: no such test-time augmentation, or `reading` for a dataset that was read before.
    """
    classifier = load_classifier(model) if isinstance(model, str | Path) else model
    with_tta(classifier, tta)  # refuses an unknown name before an image is read
    data = read_given(data, classifier.preprocess, split, reading)
    rows, logits = answers(classifier, data, split, tta=tta)
    return report(rows.truth, logits, model=classifier.id, data=rows, split=split, tta=tta)


def answers(
    classifier: Classifier, data: FaceDataset, split: str, *, tta: str = "none"
) -> tuple[FaceDataset, Float32[np.ndarray, "n k"]]:
    """Return the rows of one split in the classifier's labels, and its logits for them.

    Raises:
        DataError, ConfigError: as `evaluate`.
    """
    rows = data.select(split).relabel(classifier.id.labels)
    rows.check_labelled(np.arange(len(rows)))
    return rows, with_tta(classifier, tta).logits(rows.images)


def report(
    truth: Int[np.ndarray, " n"],
    logits: Float32[np.ndarray, "n k"],
    *,
    model: ModelId,
    data: FaceDataset,
    split: str,
    tta: str = "none",
) -> EvalReport:
    """Return the report of predictions: accuracy, macro-F1, confusion matrix and the rest.

    Macro-F1 and balanced accuracy average over the classes that occur in `truth` or `predicted`
    (for balanced accuracy: in `truth`), as scikit-learn does.
    """
    k, predicted = len(model.labels), logits.argmax(axis=1)
    counts = confusion(truth, predicted, k)
    figures = class_figures(counts)
    rank = ranks(logits, truth)
    known = (np.nan_to_num(values).tolist() for values in (figures.precision, figures.recall, figures.f1))
    scores = zip(*known, figures.support.tolist(), strict=True)
    return EvalReport(
        model=model,
        data=data.source,
        split_fingerprint=data.fingerprint(),
        split=split,
        tta=tta,
        n=len(truth),
        accuracy=float((truth == predicted).mean()),
        top_k_accuracy={str(top): float((rank < top).mean()) for top in TOP_K if top < k},
        macro_f1=float(figures.macro_f1),
        balanced_accuracy=float(figures.balanced_accuracy),
        per_class={label: ClassScores(*row) for label, row in zip(model.labels, scores, strict=True)},
        confusion=tuple(tuple(row) for row in counts.tolist()),
        skipped=data.skipped,
    )
