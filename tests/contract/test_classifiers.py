"""What every classifier must keep."""

from __future__ import annotations

import numpy as np
import pytest

from mien.classifiers import Classifier, load_classifier, probabilities
from mien.classifiers.combine import with_tta
from mien.errors import BundleError
from mien.export.onnx import check_parity
from tests.training.tiny import tiny_data


@pytest.fixture(params=["onnx", "torch", "flip", "ten_crops", "ensemble"])
def classifier(request, tiny_bundle, tiny_ensemble) -> Classifier:
    if request.param in ("flip", "ten_crops"):
        return with_tta(load_classifier(tiny_bundle), request.param)
    if request.param == "ensemble":
        return load_classifier(tiny_ensemble)
    return load_classifier(tiny_bundle, backend=request.param)


def test_protocol_and_shapes(classifier):
    assert isinstance(classifier, Classifier)
    crops = tiny_data().images
    logits = classifier.logits(crops[:11])
    assert (logits.shape, logits.dtype) == ((11, 7), np.float32)
    assert classifier.logits(crops[:0]).shape == (0, 7)
    np.testing.assert_allclose(probabilities(logits).sum(axis=1), 1, rtol=1e-5)


def test_a_crop_does_not_depend_on_its_batch(classifier):
    crops = np.concatenate([tiny_data().images] * 6)  # more than one batch of the runtime
    whole = classifier.logits(crops)
    np.testing.assert_allclose(classifier.logits(crops[600:601]), whole[600:601], atol=1e-4)


def test_backends_agree(tiny_bundle):
    crops = tiny_data().images
    onnx, torch = (
        probabilities(load_classifier(tiny_bundle, backend=b).logits(crops)) for b in ("onnx", "torch")
    )
    assert np.abs(onnx - torch).max() <= 1e-4


def test_a_graph_that_differs_is_not_kept(tiny_bundle):
    torch_one, onnx_one = (load_classifier(tiny_bundle, backend=b) for b in ("torch", "onnx"))
    from mien import bundle

    torch_one.network[-1].bias.data[0] += 0.01
    graph = bundle.load(tiny_bundle).read("model.onnx")
    with pytest.raises(BundleError, match=r"ONNX Runtime differs from torch by 0\.\d+ .* more than 0\.0001"):
        check_parity(torch_one.network, graph, onnx_one.id, onnx_one.preprocess, tiny_data().images)


def test_softmax_stays_finite():
    probs = probabilities(np.array([[1e4, 0, -1e4], [3, 3, 3]], np.float32))
    np.testing.assert_allclose(probs, [[1, 0, 0], [1 / 3] * 3], atol=1e-6)
