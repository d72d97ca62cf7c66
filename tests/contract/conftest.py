"""Every detector of the catalog and every form of a classifier, for the tests of what all of them must keep."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest

from mien import bundle
from mien.classifiers import Classifier, load_classifier
from mien.classifiers.combine import with_tta
from mien.detectors import CATALOG, Auto, FaceDetector, open_detector
from mien.vision import images
from tests.classifiers.peers import SPEC, peer, spec, write
from tests.training.tiny import tiny_data


@pytest.fixture(
    params=["auto of haar", "auto of yunet", *CATALOG],
    scope="module",
)
def detector(request) -> FaceDetector:
    name = request.param.split()[-1]
    entry = CATALOG[name]
    if entry.extra and not importlib.util.find_spec(name):
        if os.environ.get("CI"):
            pytest.fail(f"CI must have {name}")
        pytest.skip(f"{name} is not installed")
    weights = request.getfixturevalue("yunet_weights") if entry.weights else None
    return Auto(name, weights) if request.param.startswith("auto") else open_detector(name, weights)


@pytest.fixture(scope="module")
def photo(shared):
    return images.read(shared / "photos" / "multi_face.jpg")


@pytest.fixture(scope="session")
def every_graph(tiny_bundle, tmp_path_factory):
    """The tiny bundle with its graph in INT8 and FP16 as well."""
    from mien.exporting.half import halve
    from mien.exporting.quantise import quantise

    loaded, pictures = bundle.load(tiny_bundle), tiny_data().images
    graph, labels, preprocess = loaded.graph("onnx"), loaded.id.labels, loaded.preprocess
    eight, _ = quantise(graph, labels, preprocess, pictures[:16], pictures[16:23], methods=["minmax"])
    out = tmp_path_factory.mktemp("graphs") / "graphs"
    contents = {name: loaded.read(name) for name in (bundle.WEIGHTS, bundle.GRAPH, "README.md")}
    contents |= {bundle.GRAPHS["int8"]: eight, bundle.GRAPHS["fp16"]: halve(graph, labels, preprocess)}
    bundle.save(out, loaded.card, contents)
    return out


PEERS = {
    "peer, nhwc and probabilities": (peer(), SPEC),
    "peer, logits": (peer(layout="nchw", softmax=False), spec(layout=None, output="logits")),
    "peer, fp16": (peer(dtype=np.float16), SPEC),
    "peer, fixed batch": (peer(batch=3), SPEC),
    "peer, named output": (peer(extra=["features"]), spec(output_name="predictions")),
}
FORMS = [
    "onnx",
    "int8",
    "fp16",
    "torch",
    "torch, one thread",
    "single graph",
    "ensemble",
    "flip",
    "ten_crops",
    *PEERS,
]


@pytest.fixture(params=FORMS, scope="module")
def classifier(request, every_graph, tiny_ensemble, tmp_path_factory) -> Classifier:
    form = request.param
    if form in PEERS:
        return load_classifier(write(tmp_path_factory.mktemp("peer"), *PEERS[form]))
    if form in ("flip", "ten_crops"):
        return with_tta(load_classifier(every_graph), form)
    if form == "torch, one thread":
        return load_classifier(every_graph, backend="torch", threads=1)
    if form == "single graph":
        return load_classifier(every_graph / bundle.GRAPH)
    if form == "ensemble":
        return load_classifier(tiny_ensemble)
    return load_classifier(every_graph, backend=form)
