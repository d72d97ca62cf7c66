"""A real Ray cluster of two machines on this one: workers, machines and drivers that die lose no image."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mien.errors import ConfigError
from mien.pipeline import Pipeline
from mien.scale.options import ScaleOptions
from tests.scale.deadly import Deadly, frames

pytest.importorskip("pyarrow")
ray = pytest.importorskip("ray", exc_type=ImportError)

from mien.scale import cluster, score  # noqa: E402

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def machines():
    """Two machines with a core each; the second one may be taken away."""
    before = dict(os.environ)
    paths = [str(REPOSITORY), str(REPOSITORY / "src"), *filter(None, [before.get("PYTHONPATH")])]
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(paths),
    }
    made = two_machines()
    yield made
    ray.shutdown()
    made.shutdown()
    os.environ.clear()
    os.environ |= before


def two_machines(tries: int = 3):
    """Start them; on a busy computer again, as Ray gives a machine 30 seconds to start."""
    from ray.cluster_utils import Cluster

    made = Cluster()
    try:
        made.add_node(num_cpus=1, include_dashboard=False)
        made.second = made.add_node(num_cpus=1)
    except Exception as error:
        if tries == 1 or "timed out during startup" not in str(error):
            raise
        if made.head_node:
            made.shutdown()
        return two_machines(tries - 1)
    return made


def here(machines, **options) -> ScaleOptions:
    return ScaleOptions(engine="ray", address=machines.address, **options)


def rows_of(folder) -> list[dict]:
    import pyarrow.parquet as pq

    return pq.read_table(folder).to_pylist()


def one_process(count: int) -> list[dict]:
    pipeline = Pipeline(detector="whole")
    return [row for result in pipeline.stream(frames(count), workers=1) for row in result.to_rows()]


def same(row: dict, other: dict) -> bool:
    return all(row[name] == value for name, value in other.items())


def test_dead_workers_lose_nothing_and_a_deadly_image_is_a_row(machines, tmp_path):
    """The first worker dies once; image 16 kills every worker that decodes it."""
    source, notes = frames(23), []
    pixels = source[4].load.pixels
    source[4] = frames(5, {4: Deadly(pixels, tmp_path / "died")})[4]
    source[16] = frames(17, {16: Deadly(pixels, None)})[16]
    scored = score(
        source, tmp_path / "out", options=here(machines, shard_size=5), on_note=notes.append, detector="whole"
    )
    assert (scored.shards, scored.images, scored.faces, scored.errors) == (5, 23, 22, 1)
    assert "a worker died; it had images image0 to image4, which are scored again" in notes
    rows, wanted = rows_of(tmp_path / "out"), one_process(23)
    assert [row["source"] for row in rows] == [row["source"] for row in wanted]
    assert [n for n in range(23) if not same(rows[n], wanted[n])] == [16]
    assert rows[16]["error"] == "a worker process died on this image, again and again: it is left out"


DRIVER = """
import sys
from mien.scale import score
from mien.scale.options import ScaleOptions
from tests.scale.deadly import frames

options = ScaleOptions(engine="ray", address=sys.argv[1], shard_size=3)
score(frames(31, slow_s=0.05), sys.argv[2], options=options, detector="whole")
"""


def test_a_killed_driver_and_a_lost_machine_lose_no_whole_shard(machines, tmp_path):
    manifest = tmp_path / "out" / "_manifest.jsonl"
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, machines.address, str(tmp_path / "out")])
    deadline = time.monotonic() + 120
    while not manifest.exists() or manifest.read_text().count('"shard"') < 2:
        assert time.monotonic() < deadline, "the driver does not get on"
        assert driver.poll() is None
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = manifest.read_text().count('"digest"')
    assert 2 <= done < 11

    def lose_a_machine(_: int) -> None:
        if machines.second:
            lost, machines.second = machines.second, None
            machines.remove_node(lost, allow_graceful=False)

    calls = []

    def on_images(count: int) -> None:
        calls.append(count)
        if len(calls) == done + 1:
            lose_a_machine(count)

    options = here(machines, shard_size=3)
    scored = score(
        frames(31), tmp_path / "out", resume=True, options=options, on_images=on_images, detector="whole"
    )
    assert machines.second is None
    assert scored.done_before == 3 * done
    rows, wanted = rows_of(tmp_path / "out"), one_process(31)
    assert len(rows) == 31
    assert all(map(same, rows, wanted))
    last = json.loads(manifest.read_text().splitlines()[-1])
    assert (last["finished"], last["images"]) == (11, 31)


def test_a_worker_with_another_version_is_refused(machines, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "__version__", "9.9")
    with pytest.raises(
        ConfigError, match=r"the worker on .* has mien .*, this machine has 9.9: install the same"
    ):
        score(frames(3), tmp_path / "out", options=here(machines), workers=1, detector="whole")


def test_nobody_has_room_for_a_worker(machines, tmp_path):
    with pytest.raises(
        ConfigError, match="no machine of the Ray cluster has room for a worker, which takes 64 CPUS"
    ):
        score(frames(3), tmp_path / "out", options=here(machines, worker_cpus=64), detector="whole")


def test_no_cluster_at_an_address(tmp_path):
    options = ScaleOptions(engine="ray", address="127.0.0.1:1")
    with pytest.raises(
        ConfigError, match=r"no Ray cluster answers at 127.0.0.1:1 \(.*\): start one with ray start"
    ):
        score(frames(3), tmp_path / "out", options=options, detector="whole")


def test_a_machine_without_the_extra_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    worker = cluster.worker_class()()
    refusal = worker.ready(cluster.__version__, {}, None, {})
    assert refusal.endswith(" has no pyarrow.parquet: install mien with the extra scale there")
