"""The plan: every source becomes the same images as `mien.frames` makes of it, in shards."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from mien.errors import ConfigError
from mien.pipeline import Pipeline
from mien.scale.rows import Rows
from mien.scale.shards import Plan, described
from mien.scale.storage import shown
from mien.vision.frames import frames
from tests.pictures import png, tree, write_tree, write_zip

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def folder(tmp_path):
    """Seven images in two folders, one of them broken, and files that are none; `a` sorts before `a.png`."""
    files = {f"a/{number}.png": png(number) for number in range(4)}
    files |= {
        "a.png": png(7),
        "b/x.png": png(8),
        "b/broken.png": b"no",
        "b/notes.txt": b"text",
        ".hidden.png": png(),
    }
    return write_tree(tmp_path / "photos", files)


def names(plan: Plan) -> list[list[str]]:
    return [[frame.source for frame in shard.frames()] for shard in plan]


def write_rows(path, values, group, column="image"):
    pq.write_table(pa.table({"label": ["x"] * len(values), column: values}), path, row_group_size=group)
    return path


def test_a_folder_is_cut_into_shards_in_the_order_of_the_one_process(folder):
    plan = Plan(str(folder), 3)
    whole = [frame.source for frame in frames(str(folder))]
    assert names(plan) == [whole[:3], whole[3:6], whole[6:]]
    assert plan.skipped == {"text": 1}


def test_a_uri_gives_the_images_of_the_folder_in_the_same_order(folder):
    plan = Plan(f"file://{folder}", 100)
    (shard,) = plan
    shard = pickle.loads(pickle.dumps(shard))
    assert [frame.source for frame in shard.frames()] == [
        f"file://{frame.source}" for frame in frames(str(folder))
    ]
    assert plan.skipped == {"text": 1}
    for here, there in zip(frames(str(folder)), shard.frames(), strict=True):
        assert (here.error is None) == (there.error is None)
        assert here.error or (here.image_rgb_u8 == there.image_rgb_u8).all()


def test_a_list_names_files_uris_and_zips(folder, tmp_path):
    write_zip(tmp_path / "more.zip", tree(each=1))
    lines = [
        str(folder / "a.png"),
        "",
        f"file://{folder}/b/x.png",
        str(tmp_path / "more.zip"),
        "/no/such.png",
    ]
    (tmp_path / "all.txt").write_text("\n".join(lines) + "\n", "utf-8")
    (shard,) = Plan([str(tmp_path / "all.txt")], 100)
    zipped = [f"{tmp_path}/more.zip/{name}" for name in sorted(tree(each=1))]
    assert [frame.source for frame in shard.frames()] == [lines[0], lines[2], *zipped, "/no/such.png"]
    assert [frame.error is not None for frame in shard.frames()] == [False] * 6 + [True]


def test_a_dataset_is_its_images(tmp_path):
    from tests.training.tiny import tiny_data

    data = tiny_data(7, 7)
    shards = list(Plan(data, 5))
    assert [frame.source for shard in shards for frame in shard.frames()] == list(data.ids)
    assert (next(shards[1].frames()).image_rgb_u8[..., 0] == data.images[5, ..., 0]).all()


@pytest.mark.parametrize(
    ("group", "size", "counts"),
    [
        (3, 7, [6, 5]),  # two groups together, then a group and the short last one
        (11, 4, [4, 4, 3]),  # a group in three pieces
        (5, 2, [2, 2, 1, 2, 2, 1, 1]),
    ],
)
def test_rows_of_parquet_come_once_each_and_in_order(tmp_path, group, size, counts):
    images = [png(seed) for seed in range(11)]
    path = write_rows(tmp_path / "set.parquet", images, group)
    shards = [pickle.loads(pickle.dumps(shard)) for shard in Plan(str(path), size)]
    assert [len(shard) for shard in shards] == counts
    got = [frame for shard in shards for frame in shard.frames()]
    assert [frame.source for frame in got] == [f"{path}/{row}" for row in range(11)]
    wanted = list(frames(images))
    assert all((a.image_rgb_u8 == b.image_rgb_u8).all() for a, b in zip(got, wanted, strict=True))
    halves = shards[0].halves()
    assert [frame.source for half in halves for frame in half.frames()] == [
        f.source for f in shards[0].frames()
    ]


def test_tables_among_images_and_the_cells_of_hubs(tmp_path):
    write_tree(tmp_path / "set", {"0.png": png(1), "z.png": png(2)})
    cells = [{"bytes": png(3), "path": "x"}, {"bytes": None, "path": "y"}]
    write_rows(tmp_path / "set" / "a.parquet", cells, 9)
    write_rows(tmp_path / "set" / "labels.parquet", ["happy"], 9, "label2")
    for source in (str(tmp_path / "set"), f"file://{tmp_path}/set"):
        plan = Plan(source, 100)
        shards = list(plan)
        assert [type(shard.content) for shard in shards] == [tuple, Rows, tuple]
        assert plan.skipped == {"table": 1}
        assert [frame.error for frame in shards[1].frames()] == [
            None,
            "no image in this row: its cell has no bytes",
        ]


def test_rows_of_a_file_that_is_cut_off_are_errors(tmp_path):
    path = write_rows(tmp_path / "set.parquet", [bytes([n]) * 9000 for n in range(6)], 6)
    (shard,) = Plan(str(path), 100)
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(1000) + content[1004:])
    errors = [frame.error for frame in shard.frames()]
    assert len(errors) == 6
    assert errors[0].startswith("the Parquet file cannot be read from here on:")


def test_what_a_shard_claims_follows_its_images(folder, tmp_path):
    digests = {shard.digest for shard in Plan(str(folder), 3)}
    assert len(digests) == 3
    (folder / "a" / "1b.png").write_bytes(png())
    assert len(digests & {shard.digest for shard in Plan(str(folder), 3)}) == 0
    path = write_rows(tmp_path / "set.parquet", [png(1)], 9)
    (before,) = Plan(str(path), 3)
    write_rows(path, [png(2) + b"0"], 9)
    (after,) = Plan(str(path), 3)
    assert before.digest != after.digest


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("nowhere://bucket/x", "cannot read nowhere://bucket/x: Unrecognized filesystem type in URI"),
        ("file:///no/such/folder", "nothing is at file:///no/such/folder: expected a file or a folder"),
        ("empty", "no images in the source: expected images or Parquet files, found 1 text"),
        ("bad.parquet", "cannot read the Parquet file .*bad.parquet: "),
        (
            "labels.parquet",
            "labels.parquet: expected a column of encoded images named image, got label, label2",
        ),
        ("list.txt", "list.txt is no list of paths, one a line, in UTF-8: "),
        ("film.gif", "film.gif is a video: its frames are followed in order; leave out engine"),
    ],
)
def test_bad_sources(tmp_path, source, text):
    from PIL import Image

    write_tree(tmp_path, {"empty/notes.txt": b"x", "bad.parquet": b"PAR1 no", "list.txt": b"\xff\xfe"})
    write_rows(tmp_path / "labels.parquet", ["happy"], 9, "label2")
    film = [Image.new("L", (9, 9), grey) for grey in (0, 9)]
    film[0].save(tmp_path / "film.gif", save_all=True, append_images=film[1:])
    place = source if "://" in source else str(tmp_path / source)
    with pytest.raises(ConfigError, match=text):
        list(Plan(place, 3))


def test_links_of_this_machine_below_a_uri(tmp_path):
    """A link to a folder above made the images come again and again; one that leads nowhere was no row at all."""
    write_tree(tmp_path, {"in/a.png": png(1)})
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "z.jpg").symlink_to(tmp_path / "gone.jpg")
    (shard,) = Plan(f"file://{tmp_path}/in", 100)
    found = {frame.source.rpartition("/")[2]: frame.error for frame in shard.frames()}
    assert found["a.png"] is None
    assert found["z.jpg"].startswith("cannot read")
    assert len(found) == 2


def test_a_list_with_a_byte_order_mark(folder, tmp_path):
    paths = [frame.source for frame in frames(str(folder))][:2]
    (tmp_path / "list.txt").write_text("\n".join(paths), encoding="utf-8-sig")
    assert names(Plan(str(tmp_path / "list.txt"), 9)) == [paths]


def test_a_list_that_names_itself(tmp_path):
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'list.txt'}\n")
    with pytest.raises(ConfigError, match="list.txt is a list that names itself"):
        list(Plan(str(tmp_path / "list.txt"), 3))


def test_no_password_is_shown():
    uri = "s3://key:secret@bucket/photos?endpoint_override=127.0.0.1:9000"
    assert shown(uri) == "s3://bucket/photos"
    assert described([uri, "photos", np.zeros(3)]) == ["s3://bucket/photos", "photos", "ndarray"]
    with pytest.raises(ConfigError) as caught:
        list(Plan("s4://key:secret@bucket/photos?x=1", 3))
    assert "secret" not in str(caught.value)


def test_a_pipeline_takes_the_frames_of_a_shard(folder):
    (shard,) = Plan(str(folder), 100)
    pipeline = Pipeline(detector="whole")
    one = [result.to_rows() for result in pipeline.stream(str(folder), workers=1)]
    assert [result.to_rows() for result in pipeline.stream(shard.frames(), workers=1)] == one
