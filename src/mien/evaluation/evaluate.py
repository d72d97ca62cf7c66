"""One classifier judged on one split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.classifiers.combine import with_tta
from mien.errors import needs
from mien.evaluation.metrics import TOP_K
from mien.results import ClassScores, EvalReport, ModelId

with needs("report"):
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, top_k_accuracy_score

if TYPE_CHECKING:
    from jaxtyping import Float32, Int

    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset


def evaluate(classifier: Classifier, data: FaceDataset, split: str, *, tta: str = "none") -> EvalReport:
    """Judge `classifier` on one split of `data`, the images in the order of the source.

    Raises:
        DataError: no such split, a picture without a label, or labels the classifier does not know.
        ConfigError: no such test-time augmentation.
    """
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
    """Count hits and misses.

    Macro-F1 and balanced accuracy average over the classes that occur in `truth` or `predicted`
    (for balanced accuracy: in `truth`), as scikit-learn does.
    """
    every, predicted = np.arange(len(model.labels)), logits.argmax(axis=1)
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=every, zero_division=0
    )
    counts = confusion_matrix(truth, predicted, labels=every)
    occurs = (support > 0) | (counts.sum(axis=0) > 0)
    scores = zip(precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True)
    return EvalReport(
        model=model,
        data=data.source,
        data_fingerprint=data.fingerprint(),
        split=split,
        tta=tta,
        n=len(truth),
        accuracy=float((truth == predicted).mean()),
        top_k_accuracy={
            str(k): float(top_k_accuracy_score(truth, logits, k=k, labels=every))
            for k in TOP_K
            if k < len(every)
        },
        macro_f1=float(f1[occurs].mean()),
        balanced_accuracy=float(recall[support > 0].mean()),
        per_class={label: ClassScores(*row) for label, row in zip(model.labels, scores, strict=True)},
        confusion=tuple(tuple(row) for row in counts.tolist()),
        skipped=data.skipped,
    )
