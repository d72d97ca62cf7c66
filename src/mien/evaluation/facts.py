"""What a bundle says about the data it was made with and how it fared there."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien import __version__
from mien.evaluation.evaluate import evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mien.classifiers import Classifier
    from mien.data.dataset import FaceDataset

CHOSEN = "the epoch was chosen on this split"
READ_ONCE = "read once; nothing was chosen on it"
_TTA = ("none", "flip")
_VERSIONED = ("torch", "lightning", "onnx", "onnxruntime", "numpy", "opencv-python-headless")
_KEPT = (
    "split",
    "tta",
    "n",
    "accuracy",
    "top_k_accuracy",
    "macro_f1",
    "balanced_accuracy",
    "per_class",
    "confusion",
)


def labelled_splits(data: FaceDataset) -> list[str]:
    """Return the splits that can be judged: a contest's test images have no labels."""
    return [split for split in data.splits if data.targets[data.rows(split)].any(axis=1).all()]


def data_facts(data: FaceDataset, fingerprint: str) -> dict[str, Any]:
    """Return name, fingerprint, counts and what was left out."""
    counts = {
        split: {data.labels[k]: n for k, n in sorted(Counter(data.truth[data.rows(split)].tolist()).items())}
        for split in labelled_splits(data)
    }
    name, skipped = Path(data.source).name, list(data.skipped)
    return {"name": name, "fingerprint": fingerprint, "counts": counts, "skipped": skipped}


def scores(classifier: Classifier, data: FaceDataset, protocols: Mapping[str, str]) -> list[dict[str, Any]]:
    """Judge on these splits, without and with flip averaging; each row says by which protocol."""
    rows = []
    for split, protocol in protocols.items():
        for tta in _TTA:
            report = evaluate(classifier, data, split, tta=tta).to_dict()
            rows.append({"protocol": protocol, **{name: report[name] for name in _KEPT}})
    return rows


def versions() -> dict[str, str]:
    """Return the versions of what made the bundle."""
    return {"mien": __version__, **{name: _version(name) for name in _VERSIONED}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # installed under another name, such as a distribution's own OpenCV
        return "unknown"
