"""A contest's CSV: every row, in the order of the input, with the numbering of the label set in use."""

from __future__ import annotations

import csv
import shutil

import cv2
import numpy as np
import pytest

from mien.classifiers import load_classifier
from mien.data.read import read_dataset
from mien.errors import ConfigError, DataError
from mien.evaluation.submission import read_rows, write_submission
from mien.preprocess import Preprocess
from tests.fakes import ConstantClassifier
from tests.pictures import png, write_tree
from tests.training.tiny import tiny_data


def written(path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def crops():
    return tiny_data(35, 36).images[::-1].copy()  # 71 rows, not sorted by class


@pytest.mark.parametrize("form", ["npy", "flat", "csv", "pixels"])
def test_row_by_row(form, crops, tiny_bundle, tmp_path):
    flat = crops.reshape(len(crops), -1)
    source = tmp_path / ("test.npy" if form in ("npy", "flat") else "test.csv")
    if form == "npy":
        np.save(source, crops[..., 0])
    elif form == "flat":
        np.save(source, flat.astype(np.float32) / 255)
    elif form == "csv":
        np.savetxt(source, flat, fmt="%d", delimiter=",")
    else:
        source.write_text("pixels\n" + "".join(" ".join(map(str, row)) + "\n" for row in flat.tolist()))
    classifier = load_classifier(tiny_bundle)
    ids, read = read_rows(str(source), classifier.preprocess)
    np.testing.assert_array_equal(read, crops)
    expected = classifier.logits(crops).argmax(axis=1)
    assert len(set(expected.tolist())) > 1, "one answer to everything would prove no order"
    write_submission(tmp_path / "numbers.csv", ids, read, classifier, numbers=True)
    assert written(tmp_path / "numbers.csv") == [
        ["Id", "Category"], *([str(row), str(best)] for row, best in enumerate(expected.tolist())),
    ]  # fmt: skip
    write_submission(tmp_path / "names.csv", ids, read, classifier, columns=("row", "emotion"))
    assert written(tmp_path / "names.csv") == [
        ["row", "emotion"], *([str(row), classifier.id.labels[best]] for row, best in enumerate(expected.tolist())),
    ]  # fmt: skip


@pytest.mark.parametrize("form", ["pixels", "numbered", "list"])
def test_a_tables_own_ids(form, crops, tmp_path):
    """Ids that are no count, a label here and there, a class in one split only: none of it is training's affair."""
    flat, few = crops.reshape(len(crops), -1)[:4], crops[:4]
    name = {"pixels": "pixels", "list": "path"}.get(form, ",".join(f"pixel{n}" for n in range(flat.shape[1])))
    rows = [" ".join(map(str, row)) if form == "pixels" else ",".join(map(str, row)) for row in flat.tolist()]
    if form == "list":
        write_tree(
            tmp_path, {f"{n}.png": cv2.imencode(".png", crop)[1].tobytes() for n, crop in enumerate(few)}
        )
        rows = [f"{n}.png" for n in range(4)]
    usages, labels = ("Training", "Training", "PublicTest", ""), ("3", "0", "3", "")
    for header, ids in (("ID", ["70", "9", "70", "x"]), ("other", ["0", "1", "2", "3"])):
        lines = [
            ",".join(cells) + "\n" for cells in zip(("70", "9", "70", "x"), labels, usages, rows, strict=True)
        ]
        (tmp_path / "t.csv").write_text(f"{header},emotion,Usage,{name}\n" + "".join(lines))
        found, read = read_rows(str(tmp_path / "t.csv"), Preprocess())
        assert found == (ids if header == "ID" or form != "list" else rows)
        np.testing.assert_array_equal(read, few)


def test_a_list_needs_no_labels(tmp_path):
    write_tree(tmp_path, {"b.png": png(1), "a.png": png(2)})
    (tmp_path / "t.csv").write_text("image\nb.png\na.png\nb.png\n")
    ids, read = read_rows(str(tmp_path / "t.csv"), Preprocess())
    assert ids == ["b.png", "a.png", "b.png"]
    np.testing.assert_array_equal(read[0], read[2])
    with pytest.raises(DataError, match="names b.png 2 times"):
        read_dataset(tmp_path / "t.csv")


def test_numbers_are_places_in_the_models_own_order(tmp_path):
    task_d = ConstantClassifier((0.0, 0.0, 1.0), ("angry", "happy", "neutral"))
    write_submission(tmp_path / "s.csv", ["7"], np.zeros((1, 48, 48, 1), np.uint8), task_d, numbers=True)
    assert written(tmp_path / "s.csv") == [["Id", "Category"], ["7", "2"]]


@pytest.mark.parametrize("zipped", [False, True])
def test_pictures_without_classes(tmp_path, zipped):
    """In a folder or a zip, flat or not; a notes table or an empty folder beside them changes nothing."""
    faces = tmp_path / "faces"
    write_tree(
        faces, {"b.png": png(1), "a/10.png": png(2), "a/9.png": png(3), ".hidden.png": png(4), "n.csv": b"x"}
    )
    (faces / "empty").mkdir()
    source = shutil.make_archive(str(faces), "zip", faces) if zipped else str(faces)
    ids, read = read_rows(source, Preprocess())
    assert ids == ["a/10.png", "a/9.png", "b.png"]
    np.testing.assert_array_equal(read[2, ..., 0], cv2.imdecode(np.frombuffer(png(1), np.uint8), 0))
    with pytest.raises(DataError, match="1 of 3 images lie in no class folder, first b.png"):
        read_dataset(source)


def test_a_single_picture(tmp_path):
    write_tree(tmp_path, {"b.png": png(1)})
    assert read_rows(str(tmp_path / "b.png"), Preprocess())[0] == ["b.png"]


def test_what_is_refused(tmp_path):
    write_tree(tmp_path / "faces", {"a.png": png(1), "b.png": b"nonsense"})
    with pytest.raises(DataError, match=r"1 corrupt of 2 images .*first b\.png: .*; replace them$"):
        read_rows(str(tmp_path / "faces"), Preprocess())
    (tmp_path / "t.csv").write_text("path\nfaces/b.png\n")
    with pytest.raises(DataError, match=r"faces/b\.png.*; replace them$"):
        read_rows(str(tmp_path / "t.csv"), Preprocess())
    with pytest.raises(DataError, match="no dataset at"):
        read_rows(str(tmp_path / "nowhere.npy"), Preprocess())
    with pytest.raises(ConfigError, match="a submission needs two columns, both are named 'x'"):
        write_submission(
            tmp_path / "s.csv",
            [],
            np.zeros((0, 48, 48, 1), np.uint8),
            ConstantClassifier(),
            columns=("x", "x"),
        )
    assert not (tmp_path / "s.csv").exists()
