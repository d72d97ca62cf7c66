"""Class folders as people name and nest them, and files that take the place of a picture."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from mien.data.read import read_dataset
from mien.errors import DataError
from mien.labels import without_numbers
from mien.options import ReadOptions
from tests.data.test_tables import listed, pixel_rows, table
from tests.pictures import png, write_tree

EMOTIONS = ("angry", "happy", "sad")


def read(path, **options):
    return read_dataset(path, options=ReadOptions(**options))


def folders(pattern: str, n: int = 12, first: int = 0) -> dict[str, bytes]:
    """Return `n` images a class; `pattern` has the places e (emotion), k (its number) and i."""
    return {
        pattern.format(e=emotion, k=k, i=i): png(first + 100 * k + i)
        for k, emotion in enumerate(EMOTIONS)
        for i in range(n)
    }


def labels_by_name(data) -> set[bool]:
    return {data.labels[k] in name.lower() for name, k in zip(data.ids, data.truth, strict=True)}


@pytest.mark.parametrize("pattern", ["fold{i}/{e}/a.png", "S0{i}/{e}/x.png", "{i}/{k}_{e}/x.png"])
def test_folders_above_the_classes_are_none(tmp_path, pattern):
    root = write_tree(tmp_path, folders(pattern))
    data = read(root)
    assert data.labels == EMOTIONS
    assert labels_by_name(data) == {True}
    assert any("which name no expression" in note and "group_by" in note for note in data.notes)
    grouped = read(root, group_by="^[^/]+")
    sides = {(name.split("/")[0], side) for name, side in zip(grouped.ids, grouped.split, strict=True)}
    assert len(sides) == 12, "each folder lies in one split"


def test_a_folder_between_split_and_class_in_one_split_alone(tmp_path):
    files = folders("Train/{e}/{i}.png") | folders("Val/Val_Faces_new/{e}/{i}.png", first=50)
    data = read(write_tree(tmp_path, files))
    assert data.labels == EMOTIONS
    assert set(data.splits) == {"train", "val"}
    assert labels_by_name(data) == {True}


@pytest.mark.parametrize("pattern", ["{k}_{e}/{i}.png", "{k}. {e}/{i}.png", "train/0{k}-{e}/{i}.png"])
def test_numbers_before_the_names_of_classes(tmp_path, pattern):
    data = read(write_tree(tmp_path, folders(pattern)))
    assert data.labels == EMOTIONS
    assert labels_by_name(data) == {True}
    assert any("is read as 'angry'" in note for note in data.notes)


def test_numbers_that_stay():
    for names in (["1_a", "2_b"], ["0_happy", "sad"], ["1_happy", "2_happy"], ["1", "2"]):
        assert without_numbers(names) == names


def test_the_test_images_of_a_contest_have_no_label(tmp_path):
    files = folders("set/train/{e}/{i}.png") | {f"set/test/{i}.png": png(900 + i) for i in range(5)}
    data = read(write_tree(tmp_path, files))
    assert data.labels == EMOTIONS
    test = data.select("test")
    assert len(test) == 5
    assert not test.targets.any()
    assert any("the images of test lie in no class folder" in note for note in data.notes)
    flat_train = {f"train/{i}.png": png(i) for i in range(5)} | folders("test/{e}/{i}.png")
    with pytest.raises(DataError, match="5 of 41 images lie in no class folder, first train/0.png"):
        read(write_tree(tmp_path / "other", flat_train))


def test_names_of_files_against_names_of_folders(tmp_path):
    root = write_tree(tmp_path, folders("{i}/{e}.png"))
    with pytest.raises(DataError, match="folders that name no expression, but the name of each file"):
        read(root)
    assert read(root, format="names").labels == EMOTIONS
    assert len(read(root, format="folders", val_fraction=0.4).labels) == 12


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a.xml", "Pascal VOC"),
        ("labels.xlsx", "a workbook"),
        ("labels.json", "JSON lines"),
        ("l.ods", "spreadsheet"),
    ],
)
def test_labels_in_other_files_are_named(tmp_path, name, what):
    files = {f"photos/{i}.png": png(i) for i in range(6)} | {name: json.dumps({"0.png": "sad"}).encode()}
    with pytest.raises(DataError, match=what):
        read(write_tree(tmp_path, files))


def test_a_table_that_cannot_be_read_is_named(tmp_path):
    text = listed("file,label", [f"photos/{i}.png,{EMOTIONS[i % 3]}" for i in range(6)])
    files = {f"photos/{i}.png": png(i) for i in range(6)} | {"list.csv": text.encode("utf-16")}
    with pytest.raises(
        DataError, match=r"list\.csv is UTF-16 text, as Excel writes it: save it as CSV UTF-8"
    ):
        read(write_tree(tmp_path, files))


def test_one_class_is_said(tmp_path):
    files = {f"happy/{i}.png": png(i) for i in range(6)}
    with pytest.raises(DataError, match="all 6 images lie in one folder, happy"):
        read(write_tree(tmp_path, files))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x1f\x8b\x08\x00abc", "packed by gzip"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"%PDF-1.4", "a PDF"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_what_takes_the_place_of_a_picture_is_named(tmp_path, content, what):
    with pytest.raises(DataError, match=f"1 corrupt of 37 .*happy/x.jpg: .*{what}"):
        read(write_tree(tmp_path, {**folders("{e}/{i}.png"), "happy/x.jpg": content}))


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP"])
def test_several_pictures_in_one_file_are_refused(tmp_path, form):
    def pages(*sizes: int) -> bytes:
        first, *rest = (Image.open(io.BytesIO(png(k, (size, size)))) for k, size in enumerate(sizes))
        out = io.BytesIO()
        first.save(out, form, save_all=True, append_images=rest)
        return out.getvalue()

    files = folders("{e}/{i}.png")
    with pytest.raises(DataError, match=rf"happy/x\.{form.lower()}: 2 pictures in one file"):
        read(write_tree(tmp_path / "film", {**files, f"happy/x.{form.lower()}": pages(40, 40)}))
    if form == "TIFF":
        assert len(read(write_tree(tmp_path / "preview", {**files, "happy/x.tiff": pages(40, 16)}))) == 37


def test_a_class_number_of_minus_one_is_no_label(tmp_path):
    rows = [(label - 1, pixels, usage) for label, pixels, usage in pixel_rows()]
    (tmp_path / "t.csv").write_text(table(rows=rows))
    data = read(tmp_path / "t.csv")
    assert data.labels == ("0", "1", "2", "3", "4", "5")
    assert (~data.targets.any(axis=1)).sum() == sum(label == -1 for label, *_ in rows)
    assert any("read as having no label: " in note and "of the class '-1'" in note for note in data.notes)


@pytest.mark.parametrize("word", ["nan", "NaN", "N/A", "null"])
def test_words_for_an_empty_cell_are_no_label(tmp_path, word):
    write_tree(tmp_path, {f"{i}.png": png(i) for i in range(30)})
    lines = [f"{i}.png,{word if i < 4 else EMOTIONS[i % 3]}" for i in range(30)]
    (tmp_path / "list.csv").write_text(listed("file,label", lines))
    data = read(tmp_path / "list.csv", val_fraction=0.2)
    assert data.labels == EMOTIONS
    assert (~data.targets.any(axis=1)).sum() == 4
    assert any(note == f"read as having no label: 4 images of the class {word!r}" for note in data.notes)


@pytest.mark.parametrize("signs", [("0", "1"), ("False", "True"), ("FALSE", "TRUE")])
def test_a_column_for_each_class(tmp_path, signs):
    write_tree(tmp_path, {f"{i}.png": png(i) for i in range(30)})
    lines = [f"{i}.png," + ",".join(signs[i % 3 == k] for k in range(3)) for i in range(30)]
    (tmp_path / "list.csv").write_text(listed("file,angry,happy,sad", lines))
    data = read(tmp_path / "list.csv")
    assert [int(name.partition(".")[0]) % 3 for name in data.ids] == data.truth.tolist()
    (tmp_path / "list.csv").write_text(
        listed("file,angry,happy,sad", [f"{i}.png,.7,.2,.1" for i in range(30)])
    )
    with pytest.raises(DataError, match="the columns angry, happy, sad hold more than 0 and 1"):
        read(tmp_path / "list.csv")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("file,label\r1.png,sad\r", "carriage returns alone"),
        ("image,label\niVBORw0KGgoAAAA,sad\n", "images as base64 text"),
        ("0," + ",".join(["7"] * 16) + "\n", "if one column is the label, give the table a header"),
        ("file,label\n" + "x" * 999 + ".png,sad\n", "names x{200}, which is not there"),
    ],
)
def test_tables_that_are_refused_by_what_they_hold(tmp_path, text, what):
    (tmp_path / "list.csv").write_text(text, newline="")
    with pytest.raises(DataError, match=what):
        read(tmp_path / "list.csv")


def test_a_table_whose_names_fit_no_image_is_named(tmp_path):
    files = {f"images/{i:05d}.png": png(i) for i in range(6)} | {"labels.csv": b"id,label\n1,sad\n2,happy\n"}
    with pytest.raises(DataError, match="labels.csv names 1, and no image is called so"):
        read(write_tree(tmp_path, files))


def test_a_column_that_asks_for_a_split(tmp_path):
    write_tree(tmp_path, {f"{i}.png": png(i) for i in range(30)})
    (tmp_path / "list.csv").write_text(
        listed("file,label,is_train", [f"{i}.png,{EMOTIONS[i % 3]},{i % 2}" for i in range(30)])
    )
    data = read(tmp_path / "list.csv")
    assert data.split.tolist() == ["test", "train"] * 15
    assert any(
        "is_train is read as the split: 1 in is_train is train, 0 is test" in note for note in data.notes
    )


def test_a_column_that_only_may_name_the_split_does_so_by_its_words(tmp_path):
    write_tree(tmp_path, {f"{i}.png": png(i) for i in range(30)})
    for words, splits in [(("rgb", "ir"), {"train", "val"}), (("training", "test"), {"train", "test"})]:
        lines = [f"{i}.png,{EMOTIONS[i % 3]},{words[i % 2]}" for i in range(30)]
        (tmp_path / "list.csv").write_text(listed("file,label,mode", lines))
        data = read(tmp_path / "list.csv")
        assert set(data.splits) == splits
        said = "mode holds words that name no split (ir, rgb) and is not read as the split"
        assert any(said in note for note in data.notes) == ("ir" in words)


def test_a_long_line_of_json_is_refused_like_one_of_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.data.text.LINE_LIMIT_BYTES", 200)
    write_tree(tmp_path, {"0.png": png()})
    (tmp_path / "list.jsonl").write_text('{"file": "0.png", "label": "' + "a" * 300 + '"}\n')
    with pytest.raises(DataError, match="line 1 is longer than 200 bytes: is this a table"):
        read(tmp_path / "list.jsonl")


def test_columns_of_a_box_and_of_folds_are_neither_label_nor_split(tmp_path):
    write_tree(tmp_path, {f"{i}.png": png(i, (60, 60)) for i in range(30)})
    lines = [f"{i}.png,5,{6 + i % 4},40,40,{i % 5},{EMOTIONS[i % 3]}" for i in range(30)]
    (tmp_path / "list.csv").write_text(listed("file,x,y,w,h,fold,answer", lines))
    data = read(tmp_path / "list.csv", label_column="answer")
    assert data.labels == EMOTIONS
    assert set(data.splits) == {"train", "val"}
    assert any("fold holds numbers and is not read as the split" in note for note in data.notes)
    with pytest.raises(DataError, match="no column has the name of a label"):
        read(tmp_path / "list.csv")
    assert np.unique(
        read(tmp_path / "list.csv", label_column="answer", split_column="fold").split
    ).tolist() == [*"01234"]


def test_new_spellings_of_class_names_are_told(tmp_path):
    names = ("Freude Lachen", "Anger", "HAPPY")
    files = {f"{split}/{name}/{n}.png": png(n) for split in ("train", "test") for n, name in enumerate(names)}
    data = read(write_tree(tmp_path / "set", files))
    assert data.labels == ("angry", "happy", "freude_lachen")
    assert (
        "class names are read in one spelling: 'Anger' as 'angry', 'Freude Lachen' as 'freude_lachen'"
        in data.notes
    )
