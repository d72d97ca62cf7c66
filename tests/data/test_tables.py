"""Pixel tables and lists of files: every variant people have on disk, and the text of every refusal."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import cv2
import numpy as np
import pytest

from mien.data.read import convert, opened, read_dataset
from mien.data.reading import ReadOptions
from mien.errors import DataError
from mien.labels import EMOTIONS_7, FER2013_CSV_ORDER
from mien.preprocess import Preprocess
from tests.pictures import png, write_tree

SMALL = Preprocess(size_px=12)
USAGES = ("Training", "PublicTest", "PrivateTest")


def pixel_rows(classes: int = 7, side: int = 12) -> list[tuple[int, np.ndarray, str]]:
    """Return (class, pixels, usage) rows: every class in every usage."""
    rng = np.random.default_rng(0)
    return [(k, rng.integers(0, 256, side * side), usage) for usage in USAGES for k in range(classes)]


def table(header: str = "emotion,pixels,Usage", rows=None, line="{0},{1},{2}") -> str:
    rows = pixel_rows() if rows is None else rows
    lines = [line.format(k, " ".join(map(str, pixels)), usage) for k, pixels, usage in rows]
    return "\n".join([header, *lines]) + "\n"


def read(path, content: str | bytes, **options):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_dataset(path, SMALL, options=ReadOptions(**options))


def test_the_numbers_mean_what_fer2013_csv_means_by_them(tmp_path):
    data = read(tmp_path / "fer2013.csv", table())
    assert data.splits == ("train", "val", "test")
    for row, (k, pixels, _) in enumerate(pixel_rows()):
        assert data.labels[data.truth[row]] == FER2013_CSV_ORDER[k]
        assert (data.images[row].ravel() == pixels).all()


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("emotion, Usage, pixels", "{0}, {2}, {1}"),  # icml_face_data.csv
        ('"emotion","pixels","Usage"', '{0},"{1}",{2}'),
        ("Usage;emotion;pixels", "{2};{0};{1}"),
        ("\ufeffemotion,pixels,usage", "{0},{1},{2}"),
    ],
)
def test_variants_of_the_table(tmp_path, header, line):
    want = read(tmp_path / "plain.csv", table())
    got = read(tmp_path / "variant.csv", table(header, line=line))
    assert got.fingerprint() == want.fingerprint()


def test_names_instead_of_numbers(tmp_path):
    named = [(FER2013_CSV_ORDER[k].title(), pixels, usage) for k, pixels, usage in pixel_rows()]
    assert read(tmp_path / "a.csv", table(rows=named)).fingerprint() == (
        read(tmp_path / "b.csv", table()).fingerprint()
    )


def test_packed_in_every_usual_way(tmp_path):
    text = table().encode()
    want = read(tmp_path / "fer2013.csv", text).fingerprint()
    assert read(tmp_path / "fer2013.csv.gz", gzip.compress(text)).fingerprint() == want

    def tar() -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            inside = {"README.txt": b"hello", "._fer2013.csv": b"\0\5\x16\7 macOS", "fer2013.csv": text}
            for name, content in inside.items():
                info = tarfile.TarInfo(f"./fer2013/{name}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    assert read(tmp_path / "fer2013.tar.gz", tar()).fingerprint() == want
    for number, members in enumerate(
        (
            {"fer2013.csv": text},
            {"a/fer2013.csv": text, "a/example_submission.csv": b"x"},
            {"a/faces.csv": text, "a/._faces.csv": b"x", "__MACOSX/a/faces.csv": b"x"},
            {"fer2013.tar.gz": tar()},
        )
    ):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        assert read_dataset(tmp_path / f"{number}.zip", SMALL).fingerprint() == want


def test_an_archive_of_several_tables_asks_which(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.csv", table())
        archive.writestr("b.csv", table())
    with pytest.raises(
        DataError, match=r"holds 2 tables \(a\.csv, b\.csv\): unpack it and name the one you mean"
    ):
        read_dataset(tmp_path / "set.zip")


def test_a_test_file_without_labels(tmp_path):
    data = read(tmp_path / "test.csv", table("pixels", line="{1}"))
    assert data.labels == ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
    assert not data.targets.any()
    assert len(data) == 21


def test_a_subset_of_the_classes(tmp_path):
    """Whether 0-4 are FER2013's or a contest's own cannot be told: they stay numbers until they are named."""
    rows = [row for row in pixel_rows() if row[0] in (0, 1, 2, 3, 4)]
    data = read(tmp_path / "set.csv", table(rows=rows))
    assert data.labels == ("0", "1", "2", "3", "4")
    assert "the class numbers stay numbers" in data.notes[0]
    named = read(tmp_path / "set.csv", table(rows=rows), labels="angry,happy,neutral,sad,surprise")
    assert [named.labels[k] for k in named.truth[:5]] == ["angry", "happy", "neutral", "sad", "surprise"]


def test_numbers_above_six_are_named_by_labels(tmp_path):
    names = (*FER2013_CSV_ORDER, "contempt")
    choice = ",".join(f"{name}={number}" for number, name in enumerate(names))
    data = read(tmp_path / "ck.csv", table(rows=pixel_rows(classes=8)), labels=choice)
    assert [data.labels[k] for k in data.truth[:8]] == list(names)


def changed(row: int, pixels: str) -> str:
    lines = table().splitlines()
    emotion, _, usage = lines[row].split(",")
    return "\n".join([*lines[:row], f"{emotion},{pixels},{usage}", *lines[row + 1 :]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(5, "1 2 3"), r"line 6 has 3 numbers, expected 144 as in the first row"),
        (changed(5, " ".join(["300"] * 144)), r"pixel 0 of line 6 is 300: expected a whole number, 0-255"),
        (changed(5, " ".join(["7"] * 143 + ["-1"])), r"pixel 143 of line 6 is -1: expected a whole number, 0-255"),
        (changed(5, " ".join(["nan"] * 144)), r"pixel 0 of line 6 is nan: expected a whole number, 0-255"),
        (changed(5, " ".join(["0.5"] * 144)), r"pixel 0 of line 6 is 0.5: expected a whole number, 0-255"),
        (changed(5, "a b c"), r"line 6 holds something else than numbers: 'a b c'"),
        (table(rows=[(0, np.arange(143), "Training")]), "143 values are no square image: expected 2304 for 48x48"),
        (table(rows=[*pixel_rows(), (7, np.zeros(144, int), "Training")]), "val has no images of the class '7'"),
        ("\n" + table().replace("0,", "\n\n0,", 1) + "1,2\n", "line 26 has 2 cells, expected 3 as in the header"),
        (table(rows=[*pixel_rows(), (3, np.zeros(144, int), "")]), "row/0000021 has no split, others have"),
        (table(rows=[row for row in pixel_rows() if row[::2] != (1, "PublicTest")]),
         "val has no images of the class 'disgust'"),
        (table() + "1,2\n", "line 23 has 2 cells, expected 3 as in the header"),
        ("emotion,pixels,Usage\n", "has a header and no rows"),
        ("", "is empty: expected a table with a header"),
        (table().encode("utf-16"), "is UTF-16 text, as Excel writes it: save it as CSV UTF-8"),
        (table() .encode() + "3,\u00e9,Training\n".encode("latin-1"), r"is not UTF-8 text \(byte 0xe9 in line 23\)"),
    ],
)  # fmt: skip
def test_pixel_tables_that_are_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path / "fer2013.csv", content)


def test_a_bomb_is_refused_before_it_fills_the_memory(tmp_path):
    rows = b"0," + b" ".join([b"0"] * 144) + b",Training\n"
    with pytest.raises(DataError, match="unpacks to more than 100 times its size: is this a bomb"):
        read(tmp_path / "bomb.csv.gz", gzip.compress(b"emotion,pixels,Usage\n" + rows * 60_000))


def test_a_cut_off_archive(tmp_path):
    with pytest.raises(DataError, match="is damaged or cannot be read"):
        read(tmp_path / "cut.csv.gz", gzip.compress(table().encode())[:-300])


def listed(header: str, lines: list[str]) -> str:
    return "\n".join([header, *lines]) + "\n"


def test_a_list_of_files(tmp_path):
    names = [f"faces/{label}{i}.png" for label in ("joy", "sad") for i in range(4)]
    write_tree(tmp_path, {name: png(i, (9, 7)) for i, name in enumerate(names)})
    lines = [
        f"{name},{'joy' if 'joy' in name else 'sad'},{'train' if i % 2 else 'test'}"
        for i, name in enumerate(names)
    ]
    data = read(tmp_path / "list.csv", listed("path,label,split", lines))
    assert data.labels == ("happy", "sad")
    assert data.ids == tuple(names)
    assert data.images.shape == (8, 12, 12, 1)
    assert data.truth.tolist() == [0] * 4 + [1] * 4
    assert data.split.tolist() == ["test", "train"] * 4


def test_the_affectnet_layout_with_numbered_classes(tmp_path):
    write_tree(tmp_path, {f"images/{i % 2}/{i}.png": png(i) for i in range(20)})
    lines = [f"{i % 2}/{i}.png,5,5,40,40,{i % 2}" for i in range(20)]
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,expression"
    data = read(tmp_path / "training.csv", listed(header, lines), labels="neutral,happy")
    assert data.labels == ("neutral", "happy")
    assert data.truth.tolist() == [0, 1] * 10
    with pytest.raises(DataError, match="expected at least two different labels"):
        read(tmp_path / "training.csv", listed(header, lines), labels="a")


def test_the_raf_db_layout(tmp_path):
    names = [f"{split}_{i:05d}" for split in ("train", "test") for i in range(1, 8)]
    write_tree(tmp_path, {f"basic/Image/aligned/{name}_aligned.jpg": png(i) for i, name in enumerate(names)})
    path = tmp_path / "basic" / "EmoLabel" / "list_patition_label.txt"
    path.parent.mkdir()
    data = read(path, "".join(f"{name}.jpg {i % 7 + 1}\n" for i, name in enumerate(names)))
    order = ["surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"]
    assert [data.labels[k] for k in data.truth] == order * 2
    assert data.splits == ("train", "test")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (listed("path,label", ["a.png,happy", "nowhere.png,sad"]), r"names nowhere\.png, which is not there"),
        (listed("path,label", ["a.png,happy", "a.png,sad"]), r"names a\.png 2 times: which one counts"),
        (
            listed("shape,label", ["round,happy"]),
            "has no column of image files, such as path, but shape, label",
        ),
    ],
)
def test_lists_that_are_refused(tmp_path, content, message):
    write_tree(tmp_path, {"a.png": png(), "b.png": png()})
    with pytest.raises(DataError, match=message):
        read(tmp_path / "list.csv", content)


def test_absolute_paths_and_spellings_of_one_class(tmp_path):
    write_tree(tmp_path / "elsewhere", {f"{i}.png": png(i) for i in range(30)})
    names = ["Joy", "happy", "SAD"]
    lines = [f"{tmp_path / 'elsewhere'}/{i}.png,{names[i % 3]}\r" for i in range(30)]
    with pytest.raises(
        DataError, match="'Joy' and 'happy' both mean 'happy': rename one, or merge them with labels"
    ):
        read(tmp_path / "list.csv", listed("path,label\r", lines))
    data = read(tmp_path / "list.csv", listed("path,label\r", lines), labels="happy,sad")
    assert np.bincount(data.truth).tolist() == [20, 10]


def test_a_list_without_labels(tmp_path):
    write_tree(tmp_path, {f"{i}.png": png(i) for i in range(20)})
    data = read(tmp_path / "list.csv", listed("path,label", [f"{i}.png," for i in range(20)]))
    assert not data.targets.any()


def test_a_class_number_of_many_digits(tmp_path):
    rows = [*pixel_rows(), ("9" * 5000, np.zeros(144, int), "Training")]
    with pytest.raises(DataError, match="val has no images of the class '9999"):
        read(tmp_path / "set.csv", table(rows=rows))


def test_a_folder_that_holds_the_table(tmp_path):
    read(tmp_path / "fer2013.csv", table())
    with pytest.raises(
        DataError, match=r"holds tables and no images: name the table you mean, such as .*fer2013\.csv"
    ):
        read_dataset(tmp_path)


def test_a_form_that_is_forced_says_what_it_misses(tmp_path):
    with pytest.raises(
        DataError, match="expected a column named pixels .or image_column=NAME., got path, label"
    ):
        read(tmp_path / "list.csv", "path,label\na.png,happy\n", format="pixels")
    with pytest.raises(DataError, match="expected columns such as path and label, got emotion, pixels"):
        read(tmp_path / "set.csv", table(), format="list")


def test_other_columns_of_a_list_stay_with_their_pictures(tmp_path):
    write_tree(tmp_path, {f"{i}.png": png(i) for i in range(8)})
    lines = [
        f"{i}.png,{'ab'[i % 2]},{'train' if i < 4 else 'test'},camera {i % 3},{30 + i}" for i in range(8)
    ]
    data = read(tmp_path / "list.csv", listed("path,label,split,Camera,age", lines))
    assert list(data.columns) == ["camera", "age"]
    assert data.select("test").columns["camera"].tolist() == [f"camera {i % 3}" for i in range(4, 8)]
    assert data.joined(data.images[:1], np.array([5])).columns["age"].tolist()[-1] == "35"
    convert(tmp_path / "list.csv", tmp_path / "packed.npz", SMALL)
    packed = read_dataset(tmp_path / "packed.npz", SMALL)
    assert {name: kept.tolist() for name, kept in packed.columns.items()} == {
        name: kept.tolist() for name, kept in data.columns.items()
    }


def test_a_list_with_boxes_has_a_row_for_each_face(tmp_path):
    scene = np.zeros((40, 60), np.uint8)
    scene[5:17, 7:19], scene[20:32, 41:53] = 200, 100
    write_tree(tmp_path, {"a.png": cv2.imencode(".png", scene)[1].tobytes(), "b.png": png(1, (40, 60))})
    lines = ["a.png,happy,7,5,19,17", "a.png,sad,41,20,53,32", "b.png,happy,-4,0,50,40", "b.png,sad,1,1,9,9"]
    text = listed("path,label,x0,y0,x1,y1", lines)
    data = read(tmp_path / "faces.csv", text, val_fraction=0.5)
    assert data.ids == ("a.png", "a.png#2", "b.png", "b.png#2")
    assert set(data.images[0].ravel().tolist()) == {200}
    assert set(data.images[1].ravel().tolist()) == {100}
    assert data.columns["photo"].tolist() == ["a.png", "a.png", "b.png", "b.png"]
    with opened(tmp_path / "faces.csv", "val", ReadOptions(val_fraction=0.5)) as reading:
        assert reading.picture(0).shape == (40, 60, 1), "whole photos, for a detector to look at"
        assert reading.boxes.shape == (2, 4)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("9,5,3,17", r"line 2 has the box 9 5 3 17: expected x0 < x1 and y0 < y1, in pixels"),
        ("9,5,,17", r"line 2 has the box 9 5  17: expected x0 < x1"),
        ("1,1,inf,9", r"line 2 has the box 1 1 inf 9: expected x0 < x1"),
        ("70,5,80,17", r"corrupt .* a\.png: its box 70 5 80 17 lies outside its 48 x 48 pixels"),
    ],
)
def test_boxes_that_are_none(tmp_path, box, message):
    write_tree(tmp_path, {"a.png": png(), "b.png": png(1)})
    lines = [f"a.png,happy,{box}", "b.png,sad,0,0,9,9", "a.png,sad,0,0,9,9", "b.png,happy,0,0,9,9"]
    with pytest.raises(DataError, match=message):
        read(tmp_path / "faces.csv", listed("path,label,x0,y0,x1,y1", lines), val_fraction=0.5)


def test_class_numbers_that_pandas_wrote_as_floats(tmp_path):
    """It does where a cell of the column is empty, as those of unlabelled test rows are."""
    want = read(tmp_path / "plain.csv", table())
    assert read(tmp_path / "floats.csv", table(line="{0}.0,{1},{2}")).labels == want.labels == EMOTIONS_7
    rows = "".join(f"{number}.0,{row % 7}" + ",90" * 63 + "\n" for row, number in enumerate((3, 5) * 9))
    header = "label," + ",".join(f"pixel{n}" for n in range(64))
    assert read(tmp_path / "columns.csv", f"{header}\n{rows}").labels == ("3", "5")


@pytest.mark.parametrize("by", ["list", "names"])
def test_an_image_outside_the_splits_is_refused_and_the_splits_stay(tmp_path, by):
    """They were dropped in silence, and test images came into train."""
    names = [f"{split}/{('happy', 'sad')[n % 2]}_{n}.png" for split in ("train", "test") for n in range(6)]
    rows = [f"{name},{name.split('/')[1].split('_')[0]}" for name in names]
    write_tree(tmp_path, {name: png(n, (12, 12)) for n, name in enumerate((*names, "more/happy_9.png"))})
    table = tmp_path / "list.csv"
    place = table if by == "list" else tmp_path
    options = {"format": by}
    if by == "list":
        table.write_text("\n".join(["path,label", *rows]))
        assert read_dataset(place, SMALL, options=ReadOptions(**options)).splits == ("train", "test")
        table.write_text("\n".join(["path,label", *rows, "more/happy_9.png,happy"]))
    with pytest.raises(DataError, match="more/happy_9.png has no split, others have: name one for each row"):
        read_dataset(place, SMALL, options=ReadOptions(**options))
