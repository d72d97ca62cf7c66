"""What every classifier must keep, whatever form it has on disk."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mien import bundle
from mien.classifiers import Classifier, load_classifier, probabilities
from mien.errors import BundleError, DataError
from mien.exporting.onnx import check_parity
from tests.training.tiny import tiny_data


def crops_for(classifier: Classifier, n: int):
    side, channels = classifier.preprocess.size_px, classifier.preprocess.channels
    return np.random.default_rng(0).integers(0, 256, (n, side, side, channels), np.uint8)


def test_protocol_and_shapes(classifier):
    assert isinstance(classifier, Classifier)
    logits, k = classifier.logits(crops_for(classifier, 11)), len(classifier.id.labels)
    assert (logits.shape, logits.dtype) == ((11, k), np.float32)
    np.testing.assert_allclose(probabilities(logits).sum(axis=1), 1, rtol=1e-5)


def test_no_crops_give_no_rows(classifier):
    found = classifier.logits(crops_for(classifier, 0))
    assert (found.shape, found.dtype) == ((0, len(classifier.id.labels)), np.float32)


def test_a_crop_does_not_depend_on_its_batch(classifier):
    crops = crops_for(classifier, 523)  # more than one batch of each runtime
    whole = classifier.logits(crops)
    for rows in (slice(0, 1), slice(254, 258), slice(517, 523)):
        np.testing.assert_allclose(classifier.logits(crops[rows]), whole[rows], atol=2e-3)


def test_crops_are_left_as_they_are(classifier):
    crops = crops_for(classifier, 5)
    before = crops.copy()
    strided = np.repeat(crops, 2, axis=0)[::2]
    np.testing.assert_array_equal(classifier.logits(strided), classifier.logits(crops))
    np.testing.assert_array_equal(crops, before)


BAD = {
    "floats from 0 to 1": (lambda crops: crops / 255, "float64 .*: multiply by 255 and convert to uint8"),
    "signed integers": (lambda crops: crops.astype(int), "int64 .*: convert to uint8"),
    "no channels": (lambda crops: crops[..., 0], r"add the axis of channels, crops\[\.\.\., None\]"),
    "one image": (lambda crops: crops[0], r"add the axis of images, crops\[None\]"),
    "one grey image": (lambda crops: crops[0, ..., 0], r"add the axes of images and channels"),
    "another side": (lambda crops: crops[:, 2:, 2:], "use classifier.preprocess.fit on each image"),
    "too many channels": (lambda crops: np.repeat(crops, 3, axis=3), "use classifier.preprocess.fit on each"),
    "a list": (list, "a list: join them with np.stack"),
    "nothing": (lambda crops: None, "a NoneType: convert it to a NumPy array"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_what_is_refused(classifier, change, message):
    side, channels = classifier.preprocess.size_px, classifier.preprocess.channels
    wanted = rf"^expected crops as uint8 \[n, {side}, {side}, {channels}\], got .*{message}"
    with pytest.raises(DataError, match=wanted) as caught:
        classifier.logits(change(crops_for(classifier, 4)))
    assert "\n" not in str(caught.value)


def test_several_threads_at_once(classifier):
    crops = crops_for(classifier, 40)
    parts = [crops[start : start + 5] for start in range(0, 40, 5)]
    expected = classifier.logits(crops)
    with ThreadPoolExecutor(4) as pool:
        found = np.concatenate(list(pool.map(classifier.logits, parts * 3)))
    np.testing.assert_allclose(found, np.concatenate([expected] * 3), atol=2e-3)


def test_backends_agree(tiny_bundle):
    crops = tiny_data().images
    onnx, torch = (
        probabilities(load_classifier(tiny_bundle, backend=b).logits(crops)) for b in ("onnx", "torch")
    )
    assert np.abs(onnx - torch).max() <= 1e-4


def test_a_graph_that_differs_is_not_kept(tiny_bundle):
    torch_one, onnx_one = (load_classifier(tiny_bundle, backend=b) for b in ("torch", "onnx"))
    torch_one.network[-1].bias.data[0] += 0.01
    graph = bundle.load(tiny_bundle).read("model.onnx")
    with pytest.raises(BundleError, match=r"ONNX Runtime differs from torch by 0\.\d+ .* more than 0\.0001"):
        check_parity(torch_one.network, graph, onnx_one.id, onnx_one.preprocess, tiny_data().images)


def test_softmax_stays_finite():
    probs = probabilities(np.array([[1e4, 0, -1e4], [3, 3, 3]], np.float32))
    np.testing.assert_allclose(probs, [[1, 0, 0], [1 / 3] * 3], atol=1e-6)
