"""Shards into a folder of results: equal to one process, resumed, refused. Without Ray: work is done in place."""

from __future__ import annotations

import errno
import json

import pytest

from mien import files
from mien.errors import ConfigError, OutputError
from mien.options import Outputs
from mien.pipeline import Pipeline
from mien.scale import ledger as ledgers
from mien.scale.ledger import MANIFEST, opened
from mien.scale.options import ScaleOptions
from mien.scale.run import recorded
from mien.scale.shards import Plan, described
from mien.scale.work import Scorer, fatal, joined
from mien.sinks import Sinks
from tests.pictures import png, write_tree

pq = pytest.importorskip("pyarrow.parquet")
FACTS = {"model": "constant"}


@pytest.fixture(scope="module")
def scorer():
    return Scorer({"detector": "whole"})


@pytest.fixture
def photos(tmp_path):
    return write_tree(tmp_path / "photos", {f"{n}.png": png(n) if n != 5 else b"no" for n in range(8)})


def run(scorer, source, out, *, resume=False, head=FACTS, stop_after=None, size=3):
    """Score in this process; `stop_after` so many shards as a kill would."""
    done = []

    def results(shards):
        for number, shard in enumerate(shards):
            if number == stop_after:
                raise KeyboardInterrupt
            done.append(shard.number)
            yield scorer.score(shard)

    with opened(out, head, resume=resume) as ledger:
        shards, before = recorded(ledger, iter(Plan(str(source), size, skip=out)), results)
        totals = ledger.finish(shards)
    return done, before, totals


def test_the_rows_are_those_of_one_process(scorer, photos, tmp_path):
    done, before, totals = run(scorer, photos, tmp_path / "out")
    assert (done, before) == ([0, 1, 2], 0)
    assert totals == {"images": 8, "rows": 8, "faces": 7, "without": 0, "errors": 1}
    pipeline, table = Pipeline(detector="whole"), tmp_path / "one.parquet"
    with Sinks(Outputs(parquet=table), pipeline.facts) as sinks:
        for result in pipeline.stream(str(photos), workers=1):
            sinks.add(result)
    assert pq.read_table(tmp_path / "out").equals(pq.read_table(table))


def test_a_stopped_run_goes_on_with_every_image_once(scorer, photos, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(scorer, photos, out, stop_after=2)
    whole = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
    assert [line.get("shard") for line in whole] == [None, 0, 1]
    with (out / MANIFEST).open("a") as manifest:  # killed while it wrote the next line, after the file
        manifest.write('{"shard": 2, "fi')
    (out / "part-000002.parquet").write_bytes(b"PAR1")
    (out / "part-000000.parquet").unlink()  # lost since: it is scored again
    done, before, totals = run(scorer, photos, out, resume=True)
    assert (done, before, totals["images"]) == ([0, 2], 3, 8)
    names = pq.read_table(out)["source"].to_pylist()
    assert names == [f"{photos}/{n}.png" for n in range(8)]
    assert run(scorer, photos, out, resume=True)[:2] == ([], 8)


def test_names_that_are_not_utf_8(scorer, photos, tmp_path):
    out = tmp_path / "out"
    place = photos.rename(tmp_path / "photos\udce9")
    (place / "3.png").rename(place / "3\udce9.png")
    assert described(place) == [rf"{tmp_path}/photos\xe9"]
    assert run(scorer, place, out)[2]["errors"] == 1
    assert pq.read_table(out)["source"].to_pylist()[3] == rf"{tmp_path}/photos\xe9/3\xe9.png"
    assert run(scorer, place, out, resume=True)[:2] == ([], 8)


def test_other_results_are_not_mixed_in(scorer, photos, tmp_path):
    out = tmp_path / "out"
    run(scorer, photos, out)
    with pytest.raises(ConfigError, match="out holds results of an earlier run: add resume to go on with it"):
        run(scorer, photos, out)
    with pytest.raises(
        ConfigError, match=r"begun with another model \(constant, this run has other\): resume with"
    ):
        run(scorer, photos, out, resume=True, head={"model": "other"})
    (photos / "0b.png").write_bytes(png())
    with pytest.raises(
        ConfigError, match=r"the source has changed since .*: shard 0 is now .*0.png to .*1.png"
    ):
        run(scorer, photos, out, resume=True)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "x.parquet").touch()
    with pytest.raises(ConfigError, match="theirs holds Parquet files of something else"):
        run(scorer, photos, tmp_path / "theirs")
    whole = (out / MANIFEST).read_text()
    for damaged in ("[]\n", whole.replace('"digest"', '"other"'), whole.replace('"faces"', '"other"')):
        (out / MANIFEST).write_text(damaged)
        with pytest.raises(ConfigError, match="_manifest.jsonl is damaged"):
            run(scorer, photos, out, resume=True)
    with files.locked(tmp_path / "busy"), pytest.raises(OutputError, match="another command is writing into"):
        run(scorer, photos, tmp_path / "busy")


def test_a_source_that_has_shrunk_is_refused_as_one_that_has_changed(scorer, photos, tmp_path):
    out = tmp_path / "out"
    run(scorer, photos, out)
    for gone in (6, 7):
        (photos / f"{gone}.png").unlink()
    with pytest.raises(
        ConfigError,
        match=r"the source has changed since .*: it has 2 shards, and 3 are done; score what is new",
    ):
        run(scorer, photos, out, resume=True)


def test_a_run_that_ended_before_its_first_shard_is_begun_anew(scorer, photos, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(scorer, photos, tmp_path / "out", stop_after=0)
    assert run(scorer, photos, tmp_path / "out", head={"model": "other"})[0] == [0, 1, 2]


def test_a_file_that_was_written_before_its_line_does_not_stay(scorer, photos, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(scorer, photos, tmp_path / "out", stop_after=0)
    (tmp_path / "out" / "part-000009.parquet").write_bytes(b"of a run that was killed")
    run(scorer, photos, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").glob("*.parquet"))
    assert names == [f"part-{number:06}.parquet" for number in range(3)]


def test_a_full_disk_loses_no_whole_shard(scorer, photos, tmp_path, monkeypatch):
    write, out = files.write, tmp_path / "out"

    def full(path, content):
        if path.name == "part-000001.parquet":
            with files.as_output_error(path):
                raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(ledgers.files, "write", full)
    with pytest.raises(OutputError, match=r"cannot write .*part-000001.parquet: No space left on device"):
        run(scorer, photos, out)
    monkeypatch.undo()
    assert run(scorer, photos, out, resume=True)[0] == [1, 2]


def test_parts_of_a_shard_are_joined_in_order(scorer, photos, tmp_path):
    (shard,) = Plan(str(photos), 100)
    whole, (first, second) = scorer.score(shard), shard.halves()
    one, rest = second.halves()[0].halves()
    facts = scorer.pipeline.facts
    parts = [scorer.score(first), fatal(one, facts), scorer.score(rest), scorer.score(second.halves()[1])]
    done = joined(shard, parts, facts)
    (tmp_path / "whole").write_bytes(whole.parquet)
    (tmp_path / "joined").write_bytes(done.parquet)
    a, b = (pq.read_table(tmp_path / name).to_pylist() for name in ("whole", "joined"))
    assert [row["source"] for row in a] == [row["source"] for row in b]
    assert [n for n in range(8) if a[n] != b[n]] == [4]
    assert b[4]["error"] == "a worker process died on this image, again and again: it is left out"
    assert (whole.counts["errors"], done.counts["errors"]) == (1, 2)
    assert done.digest == whole.digest


def test_a_worker_that_differs_is_refused(scorer, tmp_path):
    facts = scorer.pipeline.facts
    assert scorer.refusal(facts, None) == ""
    other = {**facts, "model": {**facts["model"], "sha256": "0" * 64}}
    assert scorer.refusal(other, None) == (
        f"has the model mien_trio@{facts['model']['sha256'][:12]}, this machine has mien_trio@000000000000"
    )
    assert (
        scorer.refusal({**facts, "detector": "yunet"}, None)
        == "has the detector whole, this machine has yunet"
    )
    assert scorer.refusal(facts, "/no/such.png").startswith(
        "does not see /no/such.png: keep the images where"
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"shard_size": 0}, "shard_size must be from 1 to 1,000,000, got 0"),
        ({"worker_cpus": 0}, "worker_cpus must be at least 1, got 0"),
        ({"worker_gpus": -1.0}, "worker_gpus must be from 0 to 64, got -1"),
        (
            {"address": "ray://head:10001"},
            "address must be auto or host:port, as `ray start --head` prints it",
        ),
        ({"engine": "spark"}, "unknown engine 'spark': expected local, ray"),
    ],
)
def test_bad_options(given, text):
    with pytest.raises(ConfigError, match=text):
        ScaleOptions(**given)


def test_what_a_worker_takes():
    assert ScaleOptions().resources("cpu") == {"num_cpus": 1, "num_gpus": 0.0}
    assert ScaleOptions(worker_cpus=3).resources("cuda") == {"num_cpus": 3, "num_gpus": 1.0}
    assert ScaleOptions(worker_gpus=0.25).resources("cuda")["num_gpus"] == 0.25
