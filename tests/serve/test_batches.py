"""Sharing of batches, the queue, and what happens when it is full."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mien.errors import ConfigError
from mien.serve.batches import Batcher
from mien.serve.gate import Gate
from mien.serve.guard import read_keys
from mien.serve.options import LimitOptions, ServeOptions
from mien.serve.problems import Problem
from tests.fakes import ConstantClassifier
from tests.pictures import jpeg, photo, png
from tests.serve.conftest import fake_pipeline
from tests.serve.test_api import JPEG, uri


def crops(n: int, value: int) -> np.ndarray:
    return np.full((n, 1, 5, 5, 1), value, np.uint8)


def means(batch: np.ndarray) -> np.ndarray:
    return batch.reshape(len(batch), -1)[:, :1].astype(np.float32)


def batcher(work, coming=9, **options) -> tuple[Batcher, list[int]]:
    sizes: list[int] = []
    settings = {"max_batch": 7, "max_wait_s": 0.2, **options}
    return Batcher(work, coming=lambda: coming, seen=lambda n, _: sizes.append(n), **settings), sizes


def test_jobs_share_a_batch_and_each_gets_its_own_rows():
    shared, sizes = batcher(means)
    jobs = [shared.submit(crops(n, value)) for n, value in ((2, 11), (1, 13), (4, 17))]
    assert [job.result(5)[:, 0].tolist() for job in jobs] == [[11, 11], [13], [17] * 4]
    assert sizes == [7]
    shared.close()


def test_a_full_batch_does_not_wait_and_a_large_job_is_not_divided():
    shared, sizes = batcher(means, max_wait_s=60)
    assert len(shared.submit(crops(23, 5)).result(5)) == 23
    assert sizes == [23]
    shared.close()


def test_a_lone_request_does_not_wait():
    shared, _ = batcher(means, coming=0, max_wait_s=60)
    shared.submit(crops(1, 3)).result(5)
    shared.close()


def test_a_lone_request_of_several_pictures_does_not_wait(service):
    client = service(max_wait_ms=20_000, timeout_s=10)
    for address, more in (("/v1/classify", [uri(b"no picture")]), ("/v1/predict", [])):
        image = uri(png(size=(210, 330)))  # the fake's face lies in it
        answer = client.post(address, json={"images": [image, image, *more]})
        assert answer.status_code == 200


def test_an_error_reaches_everyone_in_the_batch_and_the_thread_goes_on():
    def work(batch):
        if batch.max() == 99:
            raise ValueError("broken")
        return means(batch)

    shared, _ = batcher(work)
    jobs = [shared.submit(crops(1, 99)), shared.submit(crops(1, 1))]
    for job in jobs:
        with pytest.raises(ValueError, match="broken"):
            job.result(5)
    assert shared.submit(crops(7, 1)).result(5).shape == (7, 1)
    shared.close()


def test_what_was_given_up_is_not_worked_on():
    going, sizes = threading.Event(), []

    def work(batch):
        going.wait(5)
        return means(batch)

    shared = Batcher(work, max_batch=1, max_wait_s=0, coming=lambda: 1, seen=lambda n, _: sizes.append(n))
    first, second, third = (shared.submit(crops(n, n)) for n in (1, 2, 3))
    time.sleep(0.05)
    assert second.cancel()
    going.set()
    assert len(third.result(5)) == 3
    assert first.result(5).shape == (1, 1)
    assert sizes == [1, 3]
    shared.close()


def test_the_gate_counts_pictures_and_bytes():
    gate = Gate(3, 10)
    with gate.admit(2):
        gate.knock()
        with pytest.raises(Problem, match="busy"), gate.admit(2):
            pass
        with gate.admit(1), pytest.raises(Problem):
            gate.knock()
    assert gate.pictures == 0
    with gate.body() as count, pytest.raises(Problem, match="busy"):
        for _ in range(9):
            count(5)
    assert gate.bytes == 0


def test_retry_after_follows_the_time_that_pictures_take():
    gate = Gate(100, 1)
    gate.pictures = 40
    for _ in range(200):
        gate.took(0.25)
    assert gate.retry_after_s == 10
    for _ in range(200):
        gate.took(100)
    assert gate.retry_after_s == 30


class Slow(ConstantClassifier):
    """Waits until it is told to go on."""

    def __init__(self):
        super().__init__()
        self.going, self.begun = threading.Event(), threading.Event()

    def logits(self, crops):
        self.begun.set()
        self.going.wait(10)
        return super().logits(crops)


def test_beyond_the_queue_requests_are_told_when_to_come_again(service):
    slow = Slow()
    client = service(fake_pipeline(slow), queue=1, max_pictures=1)
    data = jpeg(photo())
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/predict", content=data, headers=JPEG)
        assert slow.begun.wait(5)
        refused = client.post("/v1/predict", content=data, headers=JPEG)
        slow.going.set()
        assert first.result(5).status_code == 200
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert client.post("/v1/predict", content=data, headers=JPEG).status_code == 200
    assert 'mien_rejected_total{reason="429"} 1.0' in client.get("/metrics").text


def test_a_request_that_takes_too_long_is_given_up_and_frees_its_place(service):
    slow = Slow()
    client = service(fake_pipeline(slow), queue=1, max_pictures=1, timeout_s=0.2)
    answer = client.post("/v1/predict", content=jpeg(photo()), headers=JPEG)
    slow.going.set()
    assert answer.status_code == 503
    assert "took too long" in answer.json()["detail"]
    assert client.post("/v1/predict", content=jpeg(photo()), headers=JPEG).status_code == 200


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LimitOptions(queue=5, max_pictures=6), "max_pictures (6) is more than queue (5)"),
        (
            lambda: LimitOptions(max_faces=0),
            "max_faces must be a positive number up to 1,000,000,000,000, got 0",
        ),
        (lambda: LimitOptions(max_wait_ms=-1), "max_wait_ms must be 0 or a positive number up to"),
        (lambda: LimitOptions(timeout_s=float("nan")), "timeout_s must be a positive number"),
        (lambda: LimitOptions(max_body_mb=1e305), "max_body_mb must be a positive number up to"),
        (lambda: ServeOptions(port=70_000), "port must be from 0 to 65535, got 70000"),
        (lambda: ServeOptions(processes=0), "processes must be at least 1"),
        (lambda: ServeOptions(cors_origin="*"), "cors_origin expects origins such as https://example.org"),
        (lambda: ServeOptions(cors_origin="https://a/b"), "cors_origin expects origins"),
    ],
)
def test_options_are_checked(make, message):
    with pytest.raises(ConfigError) as caught:
        make()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# none\n", "holds no key"),
        (b"short\n", "fewer than 16 characters"),
        (b"\xff\xfe", "not UTF-8"),
        (None, "No such file"),
    ],
)
def test_files_of_keys_are_checked(tmp_path, content, message):
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_keys(path)
