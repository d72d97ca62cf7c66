"""A device or a graph that is asked for is used, or refused in one line; never replaced."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
import torch

from mien.classifiers import load_classifier
from mien.classifiers.torch_module import TorchClassifier
from mien.errors import BundleError, ConfigError
from mien.preprocess import Preprocess
from mien.results import ModelId

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
REAL_SESSION = onnxruntime.InferenceSession


class NoGpu(REAL_SESSION):
    """A runtime built for GPUs on a machine without one: it goes on with the processor, as the real one does."""

    def __init__(self, graph, options, providers, **_):
        super().__init__(graph, options, providers=[CPU])


@pytest.fixture
def gpu_build(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", NoGpu)


def test_cuda_that_is_not_there(tiny_bundle, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(ConfigError, match=f"no cuda in this ONNX Runtime, which has {CPU}: install"):
        load_classifier(tiny_bundle, device="cuda")
    assert load_classifier(tiny_bundle, device="auto").device == "cpu"


def test_cuda_that_does_not_start(tiny_bundle, gpu_build):
    with pytest.raises(ConfigError, match=f"it did not start and {CPU} took its place: check driver"):
        load_classifier(tiny_bundle, device="cuda")
    assert load_classifier(tiny_bundle, device="auto").device == "cpu"


def test_torch_without_cuda(tiny_bundle, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no CUDA device"):
        load_classifier(tiny_bundle, backend="torch", device="cuda")
    load_classifier(tiny_bundle, backend="torch", device="auto")


def test_threads_of_torch_are_bounded_for_one_call(tiny_bundle, monkeypatch):
    seen = []
    one = load_classifier(tiny_bundle, backend="torch", threads=1)
    real = one.network.forward
    monkeypatch.setattr(one.network, "forward", lambda x: seen.append(torch.get_num_threads()) or real(x))
    torch.set_num_threads(2)
    try:
        one.logits(np.zeros((1, 48, 48, 1), np.uint8))
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(1)


def test_torchs_threads_are_right_after_calls_that_overlap():
    """The second call begins while the first runs, and ends after it: without a lock its number would stay."""
    second_runs, first_is_done = threading.Event(), threading.Event()

    class First(torch.nn.Flatten):
        def forward(self, x):
            seen.append(torch.get_num_threads())
            second_runs.wait(0.2)
            return super().forward(x)

    class Second(torch.nn.Flatten):
        def forward(self, x):
            second_runs.set()
            first_is_done.wait(2)
            seen.append(torch.get_num_threads())
            return super().forward(x)

    def run(layer, number):
        network = torch.nn.Sequential(layer(), torch.nn.Linear(64, 2))
        one = TorchClassifier(
            ModelId("slow", "", ("sad", "happy")), Preprocess(size_px=8), network, threads=number
        )
        return one.logits(np.zeros((3, 8, 8, 1), np.uint8))

    seen: list[int] = []
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(run, First, 1)
            time.sleep(0.02)
            second = pool.submit(run, Second, 2)
            first.result()
            first_is_done.set()
            second.result()
        with ThreadPoolExecutor(1) as new_thread:  # a thread that has used torch before keeps its own number
            assert new_thread.submit(torch.get_num_threads).result() == 3
        assert (seen, torch.get_num_threads()) == ([1, 2], 3)
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "onxx"}, r"unknown backend 'onxx': expected onnx, int8, fp16, torch; did you mean onnx\?"),
        ({"device": "gpu"}, "unknown device 'gpu': expected cpu, cuda, auto"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_what_is_refused(tiny_bundle, options, message):
    with pytest.raises(ConfigError, match=message):
        load_classifier(tiny_bundle, **options)


def test_a_graph_that_was_not_made(tiny_bundle):
    with pytest.raises(
        BundleError, match=r"tiny has no model\.int8\.onnx: `mien export` makes it, with --to int8"
    ):
        load_classifier(tiny_bundle, backend="int8")
