"""Who is blamed for a dead worker: Ray is played here, and made to lose as much as it may."""

from __future__ import annotations

import io
import types
from collections.abc import Iterator

import pytest

from mien.pipeline import Pipeline
from mien.predictions import ImageResult
from mien.scale.options import ScaleOptions
from mien.scale.shards import Shard
from mien.scale.work import done
from mien.vision.frames import Frame
from tests.scale.deadly import frames

pq = pytest.importorskip("pyarrow.parquet")
ray = pytest.importorskip("ray", exc_type=ImportError)

from mien.scale import cluster  # noqa: E402

FACTS = Pipeline(detector="whole").facts


class LostResults:
    """In Ray's place: workers in this process, where a death also loses the results that no one has fetched yet."""

    def __init__(self, deadly: set[str], killed: set[int] = frozenset()) -> None:
        self.deadly, self.killed = deadly, killed
        self.state, self.given = {}, 0

    def nodes(self) -> list[dict]:
        return [{"Alive": True, "Resources": {"CPU": 1}}]

    def remote(self, **_):
        return lambda _: types.SimpleNamespace(remote=self.actor)

    def actor(self):
        own = []

        def ready(*_) -> object:
            return self.answered(own, "")

        def score(part) -> object:
            self.given += 1
            if any(frame.source in self.deadly for frame in part.frames()) or self.given in self.killed:
                self.state.update(dict.fromkeys(own, None))
                return self.answered(own, None)
            return self.answered(own, done(part, map(result, part.frames()), FACTS))

        return types.SimpleNamespace(
            ready=types.SimpleNamespace(remote=ready), score=types.SimpleNamespace(remote=score)
        )

    def answered(self, own: list, answer: object) -> object:
        ref = object()
        own.append(ref)
        self.state[ref] = answer
        return ref

    def wait(self, refs: list, **_) -> tuple[list, list]:
        """Deaths are told before results that came first."""
        first = next((ref for ref in refs if self.state[ref] is None), refs[0])
        return [first], []

    def get(self, ref: object) -> object:
        if self.state[ref] is None:
            raise ray.exceptions.RayError("the worker died")
        return self.state[ref]

    def kill(self, _: object) -> None:
        pass


def cut(images: list[Frame], size: int) -> Iterator[Shard]:
    starts = range(0, len(images), size)
    return (Shard(number, tuple(images[start : start + size])) for number, start in enumerate(starts))


def result(frame: Frame) -> ImageResult:
    return ImageResult(frame.source, frame.index, frame.time_s)


@pytest.mark.parametrize("size", [1, 2, 5, 8])
@pytest.mark.parametrize("deadly", [set(), {"image0"}, {"image4", "image16"}, {"image21", "image22"}])
def test_a_death_that_takes_finished_results_along_blames_no_other_image(monkeypatch, size, deadly):
    monkeypatch.setattr(cluster, "ray", LostResults(deadly))
    workers = cluster.Workers(ScaleOptions(engine="ray"), 2, FACTS, {})
    found = sorted(workers.results(cut(frames(23), size)), key=lambda one: one.number)
    assert [one.number for one in found] == list(range(-(-23 // size)))
    rows = [row for one in found for row in pq.read_table(io.BytesIO(one.parquet)).to_pylist()]
    assert [row["source"] for row in rows] == [f"image{n}" for n in range(23)]
    assert {row["source"] for row in rows if row["error"]} == deadly


def test_an_image_is_not_blamed_for_a_machine_that_was_lost_once(monkeypatch):
    for time_of_loss in range(1, 40):
        monkeypatch.setattr(cluster, "ray", LostResults({"image4"}, {time_of_loss}))
        workers = cluster.Workers(ScaleOptions(engine="ray"), 1, FACTS, {})
        found = list(workers.results(cut(frames(9), 3)))
        assert sum(one.counts["errors"] for one in found) == 1, time_of_loss
        assert sum(one.counts["images"] for one in found) == 9
