"""What the columns, numbers and words of a table mean: read as its author meant them, or said."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from mien.data.read import read_dataset, read_split
from mien.data.survey import survey
from mien.errors import DataError
from mien.options import ReadOptions
from mien.preprocess import Preprocess
from tests.pictures import png, write_tree

NAMES = ("happy", "sad")


def read(path, **options):
    return read_split(path, Preprocess(), "all", ReadOptions(**options))


def table(tmp_path, header, row, n=8):
    """Write n images and a list with a row for each."""
    rows = "\n".join([header, *map(row, range(n))])
    pictures = {f"{i}.png": png(i) for i in range(n)}
    return write_tree(tmp_path / "set", pictures | {"list.csv": rows.encode()})


def note(data, words):
    (found,) = [one for one in data.notes if words in one]
    return found


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("file,happy,sad,fear,disgust", lambda i: f"{i}.png,{8 - i},{i},{i % 2},{1 - i % 2}"),
        ("file,happy,sad,fear,disgust", lambda i: f"{i}.png,{1 - i / 10},{i / 10},0,0"),
        ("file,happy,neutral,surprise,fear", lambda i: f"{i}.png,{i + 1},0,2,3"),
    ],
)
def test_votes_and_shares_are_no_classes_where_some_of_them_are_0_and_1(tmp_path, header, row):
    with pytest.raises(DataError, match="hold more than 0 and 1: expected 1 for the class of each image"):
        read(table(tmp_path, header, row))


def test_flags_beside_the_answers_are_no_classes(tmp_path):
    root = table(
        tmp_path, "file,answer,blurry,occluded", lambda i: f"{i}.png,{NAMES[i % 2]},{i % 2},{1 - i % 2}"
    )
    with pytest.raises(DataError, match="no column has the name of a label; it has answer, blurry, occluded"):
        read(root)
    assert read(root, label_column="answer").labels == NAMES
    words = table(tmp_path / "b", "file,blurry,occluded", lambda i: f"{i}.png,{i % 2},0")
    with pytest.raises(DataError, match="no column has the name of a label"):
        read(words)


def test_classes_in_another_language_one_column_each(tmp_path):
    root = table(tmp_path, "file,blij,verdrietig", lambda i: f"{i}.png,{i % 2},{1 - i % 2}")
    assert read(root).given_names.tolist() == ["verdrietig", "blij"] * 4


@pytest.mark.parametrize("header", ["x_0,x_1,x_2,y_0,y_1,y_2", "x0,y0,x1,y1,x2,y2", "x1,y1,x2,y2,x3,y3"])
def test_points_of_a_face_are_no_box(tmp_path, header):
    data = read(
        table(tmp_path, f"file,{header},emotion", lambda i: f"{i}.png,3,9,20,24,32,40,{NAMES[i % 2]}")
    )
    assert "photo" not in data.columns
    assert "whole images are read, though these columns look like a face box: x" in note(data, "whole images")


def test_a_box_that_is_read_is_not_said_to_be_unread(tmp_path):
    data = read(table(tmp_path, "file,x1,y1,x2,y2,label", lambda i: f"{i}.png,3,9,20,24,{NAMES[i % 2]}"))
    assert "photo" in data.columns
    assert not [one for one in data.notes if "whole images" in one]


@pytest.mark.parametrize(
    "box",
    ["100,100,900,900", "30,30,110,110", "46,0,200,200"],
    ids=["of thousandths", "of a larger image", "beside the image"],
)
def test_boxes_mostly_outside_their_images(tmp_path, box):
    root = table(tmp_path, "file,xmin,ymin,xmax,ymax,label", lambda i: f"{i}.png,{box},{NAMES[i % 2]}")
    with pytest.raises(
        DataError, match="8 corrupt of 8 images .* box .* lies outside its 48 x 48 pixels: boxes are"
    ):
        read(root)


def test_a_box_over_the_border_is_cut_as_before(tmp_path):
    root = table(tmp_path, "file,xmin,ymin,xmax,ymax,label", lambda i: f"{i}.png,-8,-8,40,40,{NAMES[i % 2]}")
    assert len(read(root)) == 8


def numbers(tmp_path, names, values, header="file,label", more=""):
    pictures = {name: png(i) for i, name in enumerate(names)}
    rows = [header, *(f"{name},{value}{more}" for name, value in zip(names, values, strict=True))]
    return write_tree(tmp_path / "set", pictures | {"list.csv": "\n".join(rows).encode()})


@pytest.mark.parametrize("form", ["train_{}.png", "train_{:05}.png"])
def test_some_numbers_of_a_contest_are_not_those_of_raf_db(tmp_path, form):
    data = read(numbers(tmp_path, [form.format(i) for i in range(8)], [1 + i % 2 for i in range(8)]))
    assert data.labels == ("1", "2")


def test_all_numbers_of_raf_db_or_its_aligned_names(tmp_path):
    data = read(numbers(tmp_path / "a", [f"train_{i:05}.png" for i in range(7)], range(1, 8)))
    assert data.given_names.tolist() == ["surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"]
    data = read(numbers(tmp_path / "b", [f"train_{i:05}_aligned.png" for i in range(4)], [4, 5, 4, 5]))
    assert data.given_names.tolist() == ["happy", "sad"] * 2


OWN = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry")


def test_a_column_that_names_the_numbers_counts_more_than_a_known_order(tmp_path):
    """The classes of three forms: a table of pixels, a list, and Parquet."""
    pixels = " ".join(["7", "200", "99", "30"] * 4)
    rows = ["label,name,pixels", *(f"{i % 7},{OWN[i % 7].title()},{pixels}" for i in range(14))]
    path = tmp_path / "pixels.csv"
    path.write_text("\n".join(rows))
    data = read(path)
    assert data.given_names.tolist() == [*OWN, *OWN]
    assert note(data, "named by the column name").endswith("5 disgust, 6 angry")

    root = table(
        tmp_path, "file,label,label_text", lambda i: f"{i}.png,{i % 2},{('Happiness', 'Sadness')[i % 2]}"
    )
    assert read(root).given_names.tolist() == ["happy", "sad"] * 4

    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {"image": [png(i) for i in range(8)], "label": [i % 2 for i in range(8)], "said": [*NAMES] * 4}
    parquet.write_table(arrow.table(columns), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").given_names.tolist() == ["happy", "sad"] * 4


def test_a_column_that_contradicts_the_numbers_names_none(tmp_path):
    root = table(tmp_path, "file,label,guess", lambda i: f"{i}.png,{i % 2},{NAMES[(i // 2) % 2]}")
    assert read(root).labels == ("0", "1")


@pytest.mark.parametrize("word", ["not_happy", "non-happy", "no happy", "without-happy"])
def test_a_denied_emotion_in_a_file_name(tmp_path, word):
    files = {f"{word}_1.png": png(1), "happy_2.png": png(2), "sad_3.png": png(3)}
    with pytest.raises(DataError, match=f"the name {word}_1.png says no emotion"):
        read(write_tree(tmp_path, files), format="names")


def boxed_parquet(path, **more):
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    picture = np.full((60, 60), 250, np.uint8)
    picture[10:40, 10:40] = 90
    columns = {"image": [cv2.imencode(".png", picture)[1].tobytes()] * 6, "label": [*NAMES] * 3, **more}
    parquet.write_table(arrow.table(columns), path)
    return path


def test_boxes_in_parquet_are_cut_or_named(tmp_path):
    corners = dict(
        zip(("xmin", "ymin", "xmax", "ymax"), ([value] * 6 for value in (10, 10, 40, 40)), strict=True)
    )
    path = boxed_parquet(tmp_path / "a.parquet", **corners)
    assert read(path).images.max() <= 92
    assert read(path, box_columns="none").images.max() == 250
    listed = boxed_parquet(tmp_path / "b.parquet", bbox=[[10, 10, 30, 30]] * 6)
    data = read(listed)
    assert data.images.max() == 250
    assert "these columns look like a face box: bbox (`box_columns`" in note(data, "whole images")
    assert read(listed, box_columns="wh:bbox").images.max() <= 92


def test_boxes_in_some_parquet_files_only(tmp_path):
    corners = dict(
        zip(("xmin", "ymin", "xmax", "ymax"), ([value] * 6 for value in (10, 10, 40, 40)), strict=True)
    )
    boxed_parquet(tmp_path / "train-0.parquet", **corners)
    boxed_parquet(tmp_path / "test-0.parquet")
    with pytest.raises(
        DataError, match=r"test-0\.parquet has no box columns, and .*train-0\.parquet has some"
    ):
        read(tmp_path)


def test_a_dataset_with_a_class_of_one_image_can_be_looked_at(tmp_path):
    files = {f"{name}/{i}.png": png(i) for name in NAMES for i in range(20)} | {"results/plot.png": png(99)}
    root = write_tree(tmp_path, files)
    report = survey(root)
    assert {label: sum(split[label] for split in report.counts.values()) for label in report.labels} == {
        "happy": 20, "results": 1, "sad": 20
    }  # fmt: skip
    words = "0.1 of the 1 image of 'results' would leave val without one: change `val_fraction`, or leave it out with"
    assert any(f"{words} `labels=happy,sad`" in one for one in report.notes)
    with pytest.raises(DataError, match="or leave it out with labels=happy,sad|`labels=happy,sad`"):
        read_dataset(root)


def test_spellings_of_one_class_are_merged_as_a_person_writes_it(tmp_path):
    words = ("happiness", "HAPPINESS", "sadness")
    root = table(tmp_path, "image,emotion", lambda i: f"{i}.png,{words[i % 3]}", n=9)
    for choice in ("happy=happiness+HAPPINESS,sad=sadness", "happy,sad"):
        assert read(root, labels=choice).counts("all").tolist() == [6, 3]


def test_floats_of_pandas_with_a_sign(tmp_path):
    root = table(tmp_path, "file,label", lambda i: f"{i}.png,{('-1.0', '0.0', '3.0')[i % 3]}", n=9)
    data = read(root)
    assert data.labels == ("0", "3")
    assert "no label: 3 images of the class '-1'" in note(data, "no label")
    assert read(root, labels="angry=0,happy=3").labels == ("angry", "happy")


def test_minus_one_and_one_are_two_classes(tmp_path):
    root = table(tmp_path, "image_id,Smiling", lambda i: f"{i}.png,{(1, -1)[i % 2]}")
    data = read(root, label_column="Smiling", labels="smiling=1,none=-1")
    assert data.given_names.tolist() == ["smiling", "none"] * 4


def test_labels_that_are_lists_in_json(tmp_path):
    def lines(label):
        return "\n".join(json.dumps({"file": f"{i}.png", "label": label(i)}) for i in range(8)).encode()

    pictures = {f"{i}.png": png(i) for i in range(8)}
    root = write_tree(tmp_path / "a", pictures | {"list.jsonl": lines(lambda i: [NAMES[i % 2]])})
    assert read(root).given_names.tolist() == ["happy", "sad"] * 4
    root = write_tree(tmp_path / "b", pictures | {"list.jsonl": lines(lambda i: {"happy": 0.5, "sad": i})})
    with pytest.raises(
        DataError, match="list.jsonl has the label .*: expected one word or number in each row"
    ):
        read(root)


def test_a_group_column_is_named_as_other_columns_are(tmp_path):
    root = table(tmp_path, "file,label,Subject ID", lambda i: f"{i}.png,{NAMES[i % 2]},p{i // 4}", n=40)
    for name in ("Subject ID", "subject_id", "subject id"):
        data = read_dataset(root, options=ReadOptions(group_column=name, val_fraction=0.3))
        person, split = data.columns["subject id"], data.split
        assert all(len(set(split[person == one].tolist())) == 1 for one in set(person.tolist()))
