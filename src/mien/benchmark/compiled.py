"""torch's compiler around a classifier's network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.classifiers.torch_module import TorchClassifier

if TYPE_CHECKING:
    from mien.classifiers import Classifier


def compiled(classifier: Classifier) -> Classifier:
    """Return the classifier with its network compiled, anew for each batch size."""
    assert isinstance(classifier, TorchClassifier)
    classifier.network.compile(dynamic=False)
    return classifier
