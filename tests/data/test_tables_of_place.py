"""Tables beside images: what they add to class folders, what they contradict, and which of them are not read."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyarrow import parquet

from mien.data.read import read_dataset
from mien.errors import ConfigError, DataError
from mien.options import ReadOptions
from tests.data.test_tables import listed
from tests.pictures import png, write_tree

CLASSES = ("happy", "sad")
FOLDERS = [f"{CLASSES[i % 2]}/{i}.png" for i in range(20)]
FLAT = [f"{i}.png" for i in range(20)]
SPLITS = ("train", "test")


def read(path, **options):
    return read_dataset(path, options=ReadOptions(**options))


def place(root, names, **tables: str):
    """Write images of these names, and tables: `list_csv` is ``list.csv``."""
    files = {name: png(i) for i, name in enumerate(names)}
    texts = {
        name.replace("__", "/").replace("_csv", ".csv").replace("_txt", ".txt"): t
        for name, t in tables.items()
    }
    return write_tree(root, files | {name: text.encode() for name, text in texts.items()})


def label_of(name: str) -> str:
    return CLASSES[int(name.rpartition("/")[2].split(".")[0]) % 2]


def table(names, header="file,label", cells=lambda name: label_of(name)) -> str:
    return listed(header, [f"{name},{cells(name)}" for name in names])


def splits_of(data) -> dict[str, str]:
    return {name.rpartition("/")[2]: split for name, split in zip(data.ids, data.split.tolist(), strict=True)}


def check_labels(data) -> None:
    assert data.given_names.tolist() == [label_of(name) for name in data.ids]


OFFICIAL = {f"{i}.png": "train" if i < 14 else "test" for i in range(20)}


# what tables without labels add to class folders


@pytest.mark.parametrize("form", ["auto", "folders"])
@pytest.mark.parametrize(
    "tables",
    [
        {"splits_csv": table(FOLDERS, "file,split", lambda name: OFFICIAL[name.split("/")[1]])},
        {"splits_txt": table(FOLDERS, "", lambda name: OFFICIAL[name.split("/")[1]])},
        {"train_txt": "\n".join(FOLDERS[:14]), "test_txt": "\n".join(FOLDERS[14:])},
        {
            "lists__train_csv": "file\n" + "\n".join(FOLDERS[:14]),
            "lists__test_csv": "file\n" + "\n".join(FOLDERS[14:]),
        },
    ],
)
def test_tables_give_the_split_of_class_folders(tmp_path, tables, form):
    data = read(place(tmp_path, FOLDERS, **tables), format=form)
    assert splits_of(data) == OFFICIAL
    check_labels(data)
    assert data.ids == tuple(sorted(FOLDERS))
    for name in tables:
        said = name.replace("__", "/").replace("_", ".")
        assert any(
            note.startswith("the split of ") and note.endswith(f"read from {said}") for note in data.notes
        )
    assert not any("left out" in note for note in data.notes)


def test_a_table_gives_the_persons_of_class_folders(tmp_path):
    persons = table(FOLDERS, "file,person", lambda name: f"p{int(name.split('/')[1][:-4]) // 4}")
    data = read(place(tmp_path, FOLDERS, persons_csv=persons), group_column="person", val_fraction=0.4)
    sides = {(person, side) for person, side in zip(data.columns["person"], data.split, strict=True)}
    assert len(sides) == 5, "each person is in one split"
    assert any("person of 20 images read from persons.csv" in note for note in data.notes)


def test_several_tables_add_to_class_folders(tmp_path):
    splits = table(FOLDERS, "file,split", lambda name: OFFICIAL[name.split("/")[1]])
    persons = table(FOLDERS[:6], "file,person", lambda _: "anna")
    data = read(place(tmp_path, FOLDERS, splits_csv=splits, persons_csv=persons))
    assert splits_of(data) == OFFICIAL
    assert sorted(data.columns["person"]) == [""] * 14 + ["anna"] * 6


def test_class_folders_of_numbers_keep_their_labels_beside_a_table_of_splits(tmp_path):
    names = [name.replace("happy", "3").replace("sad", "4") for name in FOLDERS]
    splits = table(names, "file,split", lambda name: OFFICIAL[name.split("/")[1]])
    data = read(place(tmp_path, names, splits_csv=splits))
    assert data.labels == ("3", "4")
    assert splits_of(data) == OFFICIAL


def test_a_table_of_some_splits_is_named_for_the_others(tmp_path):
    root = place(tmp_path, FOLDERS, test_txt="\n".join(FOLDERS[14:]))
    with pytest.raises(
        DataError, match=r"happy/0\.png has no split, others have \(from test\.txt\): name one"
    ):
        read(root)


def test_a_table_of_splits_that_names_a_missing_image_is_refused(tmp_path):
    splits = table([*FOLDERS, "sad/99.png"], "file,split", lambda _: "train")
    root = place(tmp_path, FOLDERS, splits_csv=splits)
    with pytest.raises(DataError, match=r"splits\.csv names sad/99\.png, which is not there"):
        read(root)
    assert any("not read: " in note and "sad/99.png" in note for note in read(root, format="folders").notes)


def test_other_tables_beside_class_folders_are_no_hindrance(tmp_path):
    """Landmarks have several rows for each image; a box may be that of the photo from which a face was cut."""
    landmarks = listed("file,px,py", [f"{name},{i},{i}" for name in FOLDERS for i in range(3)])
    boxes = table(FOLDERS, "file,left,top,right,bottom", lambda _: "5,5,20,20")
    features = table(FOLDERS, "file," + ",".join(f"f{i}" for i in range(50)), lambda _: ",".join("7" * 50))
    data = read(place(tmp_path, FOLDERS, landmarks_csv=landmarks, box_csv=boxes, features_csv=features))
    plain = read(place(tmp_path / "plain", FOLDERS))
    assert (data.images == plain.images).all(), "whole images"
    assert any("landmarks.csv says several things about happy/0.png and is not read" in n for n in data.notes)
    assert any(
        "the face boxes of box.csv (left, top, right, bottom) are not used" in note for note in data.notes
    )
    assert any("features.csv: its 50 columns are not read" in note for note in data.notes)


def test_a_table_that_names_the_split_twice_is_refused(tmp_path):
    splits = table(FOLDERS, "file,split", lambda _: "train") + "sad/1.png,test\n"
    with pytest.raises(
        DataError, match=r"splits\.csv says several things about sad/1\.png: which one counts"
    ):
        read(place(tmp_path, FOLDERS, splits_csv=splits))


def test_columns_that_contradict_each_other_are_said(tmp_path):
    ages = {
        "a_csv": table(FOLDERS, "file,age", lambda _: "30"),
        "b_csv": table(FOLDERS, "file,age", lambda _: "40"),
    }
    data = read(place(tmp_path, FOLDERS, **ages))
    assert set(data.columns["age"]) == {"30"}
    assert any(
        "b.csv: its column age is not read: another column age says something else" in n for n in data.notes
    )


def test_a_table_without_labels_adds_to_one_with_labels(tmp_path):
    root = place(
        tmp_path, FLAT, labels_csv=table(FLAT), train_txt="\n".join(FLAT[:14]), test_txt="\n".join(FLAT[14:]),
        persons_csv=table(FLAT, "file,person", lambda name: f"p{int(name[:-4]) // 4}"),
    )  # fmt: skip
    data = read(root)
    check_labels(data)
    assert splits_of(data) == OFFICIAL
    assert data.columns["person"][4] == "p1"


def test_the_split_column_of_class_folders_can_be_named(tmp_path):
    parts = table(FOLDERS, "file,teil", lambda name: "ab"[int(name.split("/")[1][:-4]) > 13])
    root = place(
        tmp_path, FOLDERS, parts_csv=parts, persons_csv=table(FOLDERS, "file,person", lambda _: "anna")
    )
    data = read(root, split_column="teil")
    assert {split: len(data.select(split)) for split in data.splits} == {"a": 14, "b": 6}
    assert not any(read(root, val_fraction=0.3).columns["teil"] == "")
    with pytest.raises(ConfigError, match="split_column=tiel has no effect here: no table beside the images"):
        read(root, split_column="tiel")


# splits that contradict each other


@pytest.mark.parametrize("kind", ["list", "file", "names", "folders", "folders by name"])
def test_a_table_and_folders_that_call_an_image_train_and_test(tmp_path, kind):
    names = [f"{OFFICIAL[name]}/{label_of(name)}{'/' if 'folders' in kind else '_'}{name}" for name in FLAT]
    if kind == "folders by name":
        tables = {"train_txt": "\n".join(names[:15]), "test_txt": "\n".join(names[15:])}
    elif kind == "folders":
        tables = {"list_csv": table(names, "file,split", lambda name: "train")}
    elif kind == "names":
        parts = {"train_csv": names[:15], "test_csv": names[15:]}
        tables = {name: listed("file,label", [f"{one},sad" for one in part]) for name, part in parts.items()}
    else:
        tables = {"list_csv": listed("file,label,split", [f"{one},{one[-6:-5]},Training" for one in names])}
    root = place(tmp_path, names, **tables)
    said = (
        r"says that test/\w+.14\.png is in train, and its .* says test \(\d images? so\): correct one of them"
    )
    with pytest.raises(DataError, match=said):
        read(root / "list.csv" if kind == "file" else root)
    if kind in ("list", "folders"):
        data = read(root, split_column="split")
        assert data.splits == ("train",)
        assert any("(6 images so): the table counts" in note for note in data.notes)


def test_a_table_that_divides_the_images_of_one_folder(tmp_path):
    names = [f"train/{name}" for name in FLAT]
    lines = [f"{name},{label_of(name)},{OFFICIAL[name[6:]]}" for name in names]
    data = read(place(tmp_path, [*names, "test/a.png"], list_csv=listed("file,label,split", lines)))
    assert splits_of(data) == OFFICIAL
    assert any(
        "says that train/14.png is in test, and its path says train (6 images so)" in n for n in data.notes
    )


def test_a_table_that_takes_val_from_train(tmp_path):
    names = [f"{OFFICIAL[name.split('/')[1]]}/{name}" for name in FOLDERS]
    tables = {"train_txt": "\n".join(names[:9]), "val_txt": "\n".join(names[9:14])}
    data = read(place(tmp_path, names, **tables))
    assert {split: len(data.select(split)) for split in data.splits} == {"test": 6, "train": 9, "val": 5}
    check_labels(data)
    said = "is in val, and its folder or another table says train (5 images so)"
    assert any(said in note for note in data.notes)


# class folders and tables that each label some of the images


def test_folders_label_what_a_table_does_not(tmp_path):
    """The test images lie flat, as in a contest; their labels came later."""
    train = [f"train/{name}" for name in FOLDERS]
    test = [f"test/{100 + i}.png" for i in range(6)]
    labels = table([name.removeprefix("test/") for name in test])
    data = read(place(tmp_path, [*train, *test], test__labels_csv=labels))
    assert splits_of(data) == {name.rpartition("/")[2]: name.split("/")[0] for name in [*train, *test]}
    check_labels(data)
    said = "test/labels.csv, and those of 20 other images from class folders"
    assert any(note.startswith("labels are read from ") and note.endswith(said) for note in data.notes)


def test_an_empty_label_is_no_statement(tmp_path):
    labels = table(FOLDERS, cells=lambda name: {"3.png": "", "4.png": "NaN"}.get(name[-5:], label_of(name)))
    data = read(place(tmp_path, FOLDERS, labels_csv=labels))
    assert sorted(data.ids) == sorted(FOLDERS)
    check_labels(data)


def test_folders_give_what_an_agreeing_table_leaves_out(tmp_path):
    names = [f"{split}/{name}" for split in ("train", "test") for name in FOLDERS]
    root = place(tmp_path, names, test_labels_csv=table(names[20:]))
    data = read(root)
    assert len(data) == 40
    assert {split: len(data.select(split)) for split in data.splits} == {"test": 20, "train": 20}
    check_labels(data)
    assert len(read(root, format="list")) == 20
    assert any("left out 20 images that no table names" in note for note in read(root, format="list").notes)


def test_a_table_that_chooses_images_and_their_split_stays_alone(tmp_path):
    chosen = table(
        FOLDERS[4:12],
        "file,label,split",
        lambda name: f"{label_of(name)},{'train' if len(name) % 2 else 'test'}",
    )
    data = read(place(tmp_path, FOLDERS, chosen_csv=chosen))
    assert len(data) == 8
    assert any("left out 12 images that no table names" in note for note in data.notes)


def test_classes_of_a_table_that_are_none_of_the_folders(tmp_path):
    train, test = [f"train/{name}" for name in FOLDERS], [f"test/{100 + i}.png" for i in range(6)]
    labels = table(
        [name.removeprefix("test/") for name in test], cells=lambda name: "3" if len(name) % 2 else "4"
    )
    with pytest.raises(DataError, match=r"class folders and test/labels\.csv, which gives other labels"):
        read(place(tmp_path, [*train, *test], test__labels_csv=labels))


def test_folders_of_persons_give_no_labels(tmp_path):
    names = [f"p{i // 5}/{i}.png" for i in range(20)]
    data = read(place(tmp_path, names, list_csv=table(names[:16])))
    assert data.labels == CLASSES
    assert len(data) == 16


# tables that are not read


@pytest.mark.parametrize("tables", [["train_csv"], ["train_csv", "test_csv"]])
@pytest.mark.parametrize(
    "name", ["sample_submission_csv", "sampleSubmission_csv", "test_predictions_csv", "preds_csv"]
)
def test_made_up_answers_are_no_labels(tmp_path, name, tables):
    train, test = [f"train/{i}.png" for i in range(20)], [f"test/{100 + i}.png" for i in range(6)]
    texts = {
        "train_csv": table([name[6:] for name in train]),
        "test_csv": listed("id", [name[5:] for name in test]),
        name: table([name[5:] for name in test], cells=lambda _: "happy"),
    }
    root = place(tmp_path, [*train, *test], **{key: texts[key] for key in (*tables, name)})
    data = read(root)
    check_labels(data.select("train"))
    assert "test" not in data.splits or not data.select("test").targets.any()
    (note,) = [note for note in data.notes if note.startswith("labels are read from ")]
    assert note.endswith(":train.csv, not from folders"), "only the table that has some"
    said = f"not read: {name.replace('_csv', '.csv')}, which by its name holds answers and not labels"
    assert any(note.startswith(said) for note in data.notes)


def test_answers_beside_class_folders_are_no_other_labels(tmp_path):
    answers = table(FOLDERS, "file,label,score", lambda name: "sad,0.9")
    data = read(place(tmp_path, FOLDERS, predictions_csv=answers))
    check_labels(data)
    assert any("predictions.csv, which by its name holds answers" in note for note in data.notes)


def test_answers_alone_are_named(tmp_path):
    root = place(tmp_path, FLAT, predictions_csv=table(FLAT))
    with pytest.raises(DataError, match=r"predictions\.csv, which by its name holds answers and not labels"):
        read(root)
    check_labels(read(root / "predictions.csv"))


@pytest.mark.parametrize("folder", ["p{0}", "{1}"])
def test_a_table_whose_first_images_are_missing(tmp_path, folder):
    """As after a download that stopped: its labels count, and the folders are no way around it."""
    names = [f"{folder.format(i // 5, CLASSES[i % 2])}/{i}.png" for i in range(20, 50)]
    missing = [f"{folder.format(i // 5, CLASSES[i % 2])}/{i}.png" for i in range(20)]
    root = place(tmp_path, names, list_csv=table([*missing, *names], cells=lambda _: "sad"))
    with pytest.raises(DataError, match=r"list\.csv names \w+/0\.png, which is not there"):
        read(root)
    if folder == "{1}":
        with pytest.raises(DataError, match="`?format=folders`? reads the class folders without it"):
            read(root)
        check_labels(read(root, format="folders"))


@pytest.mark.parametrize("label", ["fröhlich", "happy"])
def test_why_a_table_beside_class_folders_is_not_read(tmp_path, label):
    names = FOLDERS if label == "fröhlich" else [f"other/{i}.jpeg" for i in range(30)]
    root = place(tmp_path, FOLDERS)
    (root / "list.csv").write_text(table(names, cells=lambda _: label), "latin-1")
    (root / "classes.csv").write_text("id,name\n0,happy\n1,sad\n")
    (root / "notes.txt").write_text(
        "the names of all files\nare those of the photos, caf\u00e9 and bar\n", "latin-1"
    )
    why = "is not UTF-8 text" if label == "fröhlich" else "names other/0.jpeg, and no image is called so"
    (note,) = [note for note in read(root).notes if note.startswith("not read")]
    assert f"list.csv {why}" in note


# columns of 0 and 1 that say the split


def flagged(header: str, cells) -> str:
    return listed(
        f"file,label,{header}", [f"{name},{label_of(name)},{cells(i)}" for i, name in enumerate(FLAT)]
    )


@pytest.mark.parametrize(
    ("header", "cells", "said"),
    [
        (
            "train",
            lambda i: int(i < 14),
            "the column train is read as the split: 1 in train is train, 0 is test",
        ),
        ("is_training_image", lambda i: i < 14, "1 in is_training_image is train, 0 is test"),
        ("istrain", lambda i: int(i < 14), "1 in istrain is train, 0 is test"),
        ("Test", lambda i: int(i >= 14), "1 in test is test, 0 is train"),
        ("in_test_set", lambda i: i >= 14, "1 in in_test_set is test, 0 is train"),
        ("testing", lambda i: f"{int(i >= 14)}.0", "1 in testing is test, 0 is train"),
        (
            "is_train,is_test",
            lambda i: f"{int(i < 14)},{int(i >= 14)}",
            "the column is_train and is_test is read",
        ),
    ],
)
def test_columns_of_0_and_1_that_say_the_split(tmp_path, header, cells, said):
    data = read(place(tmp_path, FLAT, list_csv=flagged(header, cells)))
    assert splits_of(data) == OFFICIAL
    check_labels(data)
    assert any(said in note for note in data.notes)


def test_three_columns_of_splits_beside_class_folders(tmp_path):
    lines = [
        f"{name},{','.join(str(int(i % 5 == k)) for k in range(3))}"
        for i, name in enumerate(FOLDERS)
        if i % 5 < 3
    ]
    names = [line.split(",")[0] for line in lines]
    data = read(place(tmp_path, names, list_csv=listed("file,train,val,test", lines)))
    check_labels(data)
    assert splits_of(data) == {f"{i}.png": ("train", "val", "test")[i % 5] for i in range(20) if i % 5 < 3}


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("valid", lambda i: int(i != 3)),  # whether the image can be used
        ("train", lambda i: 1),
        ("train,test", lambda i: f"{int(i < 10)},{int(i > 14)}"),
    ],
)
def test_columns_of_0_and_1_that_may_say_the_split_are_said(tmp_path, header, cells):
    data = read(place(tmp_path, FLAT, list_csv=flagged(header, cells)), val_fraction=0.3)
    check_labels(data)
    said = f"the column {header.replace(',', ' and ')} is not read as the split: add a column named split"
    assert any(said in note for note in data.notes)


def test_a_column_of_0_and_1_is_the_split_if_the_user_names_it(tmp_path):
    text = flagged("train,split", lambda i: f"{int(i < 14)},{('train', 'val')[i < 4]}")
    root = place(tmp_path, FLAT, list_csv=text)
    assert set(read(root).splits) == {"train", "val"}
    assert splits_of(read(root, split_column="train")) == OFFICIAL


# splits in the names of files


@pytest.mark.parametrize(
    ("name", "words", "owner"),
    [
        ("{word}_{i}.png", ("Training", "PublicTest", "PrivateTest"), "FER2013's"),
        ("{word}_{i:05}_aligned.jpg", ("train", "test"), "RAF-DB's"),
        ("{word}_{i:05}.jpg", ("train", "test"), "RAF-DB's"),
    ],
)
@pytest.mark.parametrize("form", ["folders", "list", "file"])
def test_official_splits_in_the_names_of_files(tmp_path, name, words, owner, form):
    names = [name.format(word=word, i=i) for word in words for i in range(8)]
    above = "{}/" if form == "folders" else ""
    names = [f"{above.format(CLASSES[i % 2])}{one}" for i, one in enumerate(names)]
    lines = [f"{one},{CLASSES[i % 2]}" for i, one in enumerate(names)]
    tables = {} if form == "folders" else {"list_csv": listed("file,label", lines)}
    root = place(tmp_path, names, **tables)
    data = read(root / "list.csv" if form == "file" else root)
    official = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
    words_of = {one.rpartition("/")[2]: one.rpartition("/")[2].split("_")[0] for one in names}
    assert splits_of(data) == {one: official.get(word, word) for one, word in words_of.items()}
    assert f"the splits are read from the names of the files, which are {owner}" in data.notes


def test_raf_db_in_its_class_folders(tmp_path):
    names = [
        f"{k}/{word}_{10 * k + i:05}_aligned.jpg" for k in (1, 4, 5) for word in SPLITS for i in range(3)
    ]
    data = read(place(tmp_path, names))
    assert data.labels == ("happy", "sad", "surprise")
    assert all(split in name for name, split in zip(data.ids, data.split, strict=True))


@pytest.mark.parametrize("form", ["folders", "list", "names"])
def test_other_names_that_begin_with_splits_are_said(tmp_path, form):
    above = "{1}/{0}_{2}.png" if form == "folders" else "{0}_{1}_{2}.png"
    names = [above.format(word, label, i) for word in SPLITS for label in CLASSES for i in range(8)]
    lines = [f"{name},{'happy' if 'happy' in name else 'sad'}" for name in names]
    tables = {"list_csv": listed("file,label", lines)} if form == "list" else {}
    data = read(
        place(tmp_path, [*names, f"{'sad/' if form == 'folders' else ''}sad.png"], **tables), format=form
    )
    assert set(data.splits) == {"train", "val"}
    assert any("names of files begin with a split's word, as " in note for note in data.notes)


def test_names_that_begin_with_one_split_are_no_splits(tmp_path):
    data = read(place(tmp_path, [f"{CLASSES[i % 2]}/test_{i}.png" for i in range(20)]))
    assert not any("begin with a split's word" in note for note in data.notes)


# smaller ones


def test_a_second_table_without_splits_is_named(tmp_path):
    first = table(FLAT[:14], "file,label,split", lambda name: f"{label_of(name)},train")
    root = place(tmp_path, FLAT, a_csv=first, b_csv=table(FLAT[14:]))
    with pytest.raises(
        DataError, match=r"14\.png has no split, others have \(from .*a\.csv; .*b\.csv has none\)"
    ):
        read(root)


@pytest.mark.parametrize("word", ["NaN", "N/A", ""])
def test_a_word_for_an_empty_cell_is_no_split(tmp_path, word):
    text = table(FLAT, "file,label,split", lambda name: f"{label_of(name)},{'train' if name < '3' else word}")
    with pytest.raises(DataError, match=r"3\.png has no split, others have: name one for each row"):
        read(place(tmp_path, FLAT, list_csv=text))
    text = table(FLAT, "file,label,split", lambda name: f"{label_of(name)},{word}")
    assert set(read(place(tmp_path, FLAT, list_csv=text), val_fraction=0.3).splits) == {"train", "val"}


@pytest.mark.parametrize(
    "names", [FOLDERS, [name.replace("happy", "0").replace("sad", "1") for name in FOLDERS]]
)
def test_a_parquet_file_beside_class_folders(tmp_path, names):
    root = place(tmp_path, names)
    parquet.write_table(pa.table({"file": names, "age": [3] * 20}), root / "meta.parquet")
    data = read(root)
    assert len(data) == 20
    assert any("left out 1 file not read as images: .parquet 1" in note for note in data.notes)


def test_an_image_beside_parquet_files_is_no_class_folder(tmp_path):
    root = place(tmp_path, ["preview.png"])
    rows = {"image": [png(i) for i in range(20)], "label": [*CLASSES] * 10}
    parquet.write_table(pa.table(rows), root / "train.parquet")
    assert len(read(root)) == 20


@pytest.mark.parametrize("test", ["test/images", "test/test", "Test", "data/test/test"])
def test_test_images_that_lie_flat_in_other_folders(tmp_path, test):
    above = test.replace("images", "").replace("test", "train").replace("Test", "train").rstrip("/")
    train = [f"{above}/{name}" for name in FOLDERS]
    data = read(place(tmp_path, [*train, *(f"{test}/{100 + i}.png" for i in range(4))]))
    assert data.labels == CLASSES
    assert not data.select("test").targets.any()
    assert len(data.select("test")) == 4


def test_a_folder_test_among_the_classes_of_train_is_refused(tmp_path):
    names = [f"{split}/{name}" for split in SPLITS for name in FOLDERS]
    with pytest.raises(DataError, match="images lie directly in test, which are splits and no classes"):
        read(place(tmp_path, [*names, "train/test/1.png"]))


def test_four_numbers_without_a_header_look_like_a_box(tmp_path):
    text = "\n".join(f"{name},0,0,40,4{i % 3},{label_of(name)}" for i, name in enumerate(FLAT))
    root = place(tmp_path, FLAT, list_csv=text)
    said = "these columns look like a face box: column2, column3, column4, column5"
    assert any(said in note for note in read(root).notes)
    check_labels(read(root, box_columns="wh:column2,column3,column4,column5"))
    assert not any(said in note for note in read(root, box_columns="none").notes)


@pytest.mark.parametrize(
    "before",
    [
        "sep=;\r\n",
        '"sep=;"\n',
        "\ufeffsep=;\n",
        "# made by me\n",
        "\ufeff# mine\n\n# made; twice; or so\n",
        "#",
    ],
)
@pytest.mark.parametrize("headed", [True, False])
def test_lines_before_the_header(tmp_path, before, headed):
    lines = [f"{name};{label_of(name)}" for name in FLAT]
    text = before + "\n".join(["file;label", *lines] if headed or before == "#" else lines)
    data = read(place(tmp_path, FLAT, list_csv=text))
    assert len(data) == 20
    check_labels(data)


def test_a_row_of_empty_cells_is_an_empty_line(tmp_path):
    check_labels(read(place(tmp_path, FLAT, list_csv=table(FLAT) + " ,\n,\n")))


def test_two_columns_of_one_name_that_differ_are_said(tmp_path):
    text = table(FLAT, "file,label,label", lambda name: f"{label_of(name)},happy")
    data = read(place(tmp_path, FLAT, list_csv=text))
    check_labels(data)
    assert any(
        "labels are read from the column label; label says something else" in note for note in data.notes
    )
