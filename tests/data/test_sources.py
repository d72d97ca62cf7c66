"""Readers: the forms they know, and the text of every refusal."""

from __future__ import annotations

import warnings
import zipfile

import numpy as np
import pytest

from mien.data import text
from mien.data.read import opened, read_dataset
from mien.data.reading import ReadOptions
from mien.data.survey import survey
from mien.errors import ConfigError, DataError, MienWarning
from mien.preprocess import Preprocess
from tests.pictures import jpeg, photo, png, tree, write_tree, write_zip


def test_folder_and_zip_give_the_same(tmp_path):
    files = tree(("Happiness", "sad", "angry"), each=2)
    folder = read_dataset(write_tree(tmp_path / "set", files))
    zipped = read_dataset(write_zip(tmp_path / "set.zip", files))
    assert folder.labels == zipped.labels == ("angry", "happy", "sad")
    assert folder.images.shape == (12, 48, 48, 1)
    assert folder.ids == zipped.ids
    assert folder.fingerprint() == zipped.fingerprint()
    row = folder.ids.index("train/Happiness/1.png")
    assert folder.labels[folder.truth[row]] == "happy"


def test_a_folder_above_and_files_beside_are_passed_over(tmp_path):
    files = {f"archive/fer/{name}": content for name, content in tree().items()}
    files |= {
        "archive/README.txt": b"hello",
        "__MACOSX/train/happy/._1.png": b"junk",
        "archive/.DS_Store": b"",
    }
    assert len(read_dataset(write_zip(tmp_path / "set.zip", files))) == 12


def test_pictures_of_any_size_and_colour_are_fitted(tmp_path):
    files = tree(each=1) | {"train/happy/large.jpg": jpeg(photo()), "test/sad/odd.png": png(9, (31, 77))}
    data = read_dataset(write_tree(tmp_path, files), Preprocess(size_px=13, channels=3))
    assert data.images.shape == (6, 13, 13, 3)


def test_a_name_too_long_for_the_system():
    with pytest.raises(DataError, match="cannot read aaa.*[Ff]ile name too long"):
        read_dataset("a" * 300)


def test_nothing_there(tmp_path):
    with pytest.raises(
        DataError, match=r"no dataset at .*nowhere: expected a folder or zip .* or the word synthetic"
    ):
        read_dataset(tmp_path / "nowhere")


def test_neither_folder_nor_zip(tmp_path):
    (tmp_path / "notes.bin").write_text("hello")
    with pytest.raises(
        DataError, match=r"notes\.bin is no form of dataset that is known: expected a folder or zip"
    ):
        read_dataset(tmp_path / "notes.bin")


def test_an_empty_dataset(tmp_path):
    with pytest.raises(DataError, match=r"no images in .*: expected files such as train/happy/1\.jpg"):
        read_dataset(tmp_path)
    with pytest.raises(DataError, match="no images in"):
        read_dataset(write_zip(tmp_path / "empty.zip", {"readme.txt": b""}))


def test_a_missing_class_folder(tmp_path):
    files = tree(("happy", "sad", "fear"))
    files = {name: content for name, content in files.items() if not name.startswith("test/fear")}
    with pytest.raises(DataError, match=r"test has no images of the class 'fear': every split needs every"):
        read_dataset(write_tree(tmp_path, files))


def test_a_corrupt_picture_in_a_zip_is_named(tmp_path):
    files = tree() | {"train/sad/broken.jpg": jpeg(photo())[:500]}
    with pytest.raises(
        DataError,
        match=r"1 corrupt of 13 images in .*set\.zip, first train/sad/broken\.jpg: .*skip_corrupt=True",
    ):
        read_dataset(write_zip(tmp_path / "set.zip", files))


def test_damaged_bytes_inside_a_zip_are_named(tmp_path):
    path = write_zip(tmp_path / "set.zip", tree())
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"IDAT") + 40] ^= 0xFF  # the archive's own checksum no longer fits
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"1 corrupt of 12 images in .*first train/happy/0\.png: Bad CRC-32"):
        read_dataset(path)


def test_a_cut_off_zip(tmp_path):
    path = write_zip(tmp_path / "set.zip", tree())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="is a zip that is damaged or not complete"):
        read_dataset(path)


@pytest.mark.parametrize(
    "name", ["../evil/train/happy/1.png", "/etc/train/happy/1.png", "train/../../happy/1.png"]
)
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    path = write_zip(tmp_path / "set.zip", tree() | {name: png()})
    with pytest.raises(DataError, match=r"holds the unsafe name .*: no member may leave its folder"):
        read_dataset(path)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    path = write_zip(
        tmp_path / "b.zip", tree() | {"train/sad/b.png": bytes(30_000_000)}, zipfile.ZIP_DEFLATED
    )
    with pytest.raises(
        DataError, match=r"train/sad/b\.png claims to unpack from .* to 30,000,000 bytes.*zip bomb\?"
    ):
        read_dataset(path)


def test_duplicate_names_in_a_zip(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        for name in [*tree(), "train/sad/0.png"]:
            archive.writestr(name, png())
    with pytest.raises(DataError, match=r"names train/sad/0\.png 2 times: which one counts\? Keep one"):
        read_dataset(path)


def test_one_split_alone_is_the_same_as_selected(tmp_path):
    path = write_zip(tmp_path / "set.zip", tree())
    alone, selected = read_dataset(path, split="test"), read_dataset(path).select("test")
    assert alone.fingerprint() == selected.fingerprint()
    assert alone.ids == selected.ids
    with pytest.raises(DataError, match="no split 'val' in .*: expected one of test, train"):
        read_dataset(path, split="val")


def test_what_the_splits_are_called(tmp_path):
    files = tree(splits=("Training", "PublicTest", "PrivateTest"))
    assert set(read_dataset(write_tree(tmp_path / "a", files)).splits) == {"train", "val", "test"}
    assert set(read_dataset(write_tree(tmp_path / "b", tree(splits=("train", "valid")))).splits) == {
        "train",
        "val",
    }


def test_class_folders_without_splits_are_divided_alike_for_the_same_seed(tmp_path):
    files = {
        f"{label}/{i}.png": png(100 * n + i)
        for label, n in (("happy", 20), ("sad", 10), ("zeal", 5))
        for i in range(n)
    }
    root = write_tree(tmp_path / "set", files)
    data = read_dataset(root, options=ReadOptions(val_fraction=0.2))
    assert set(data.splits) == {"train", "val"}
    assert np.bincount(data.select("val").truth).tolist() == [4, 2, 1]
    assert data.ids[0] == "happy/0.png"
    again = read_dataset(root, options=ReadOptions(val_fraction=0.2))
    other = read_dataset(root, options=ReadOptions(val_fraction=0.2, split_seed=1))
    assert again.fingerprint() == data.fingerprint() != other.fingerprint()
    alone = read_dataset(root, options=ReadOptions(val_fraction=0.2, labels="zeal,sad")).select("val")
    assert set(alone.ids) == {name for name in data.select("val").ids if not name.startswith("happy")}


def test_a_drawn_split_divides_no_duplicates_and_no_group(tmp_path):
    files = {
        f"{label}/{k}{i}.png": png(1000 * len(label) + i)
        for label in ("happy", "sad")
        for i in range(20)
        for k in "ab"
    }
    root = write_tree(tmp_path / "twice", files)
    val = read_dataset(root, split="val").ids
    assert len(val) == 8
    assert {name.replace("/a", "/b") for name in val} == {
        name.replace("/a", "/b") for name in val if "/b" in name
    }
    with opened(root, "val") as reading:
        assert tuple(reading.ids) == val

    files = {
        f"{label}/{i // 5:03d}-{i}.png": png(100 * len(label) + i)
        for label in ("happy", "sad")
        for i in range(50)
    }
    root = write_tree(tmp_path / "persons", files)
    with pytest.warns(
        MienWarning, match=r"file names of .* such as 000-0.png look as if a person or a sequence had"
    ):
        read_dataset(root)
    data = read_dataset(root, options=ReadOptions(group_by="[0-9]{3}"))
    assert data.columns["split_group"][:6].tolist() == ["000"] * 5 + ["001"]
    persons = [set(data.select(split).columns["split_group"]) for split in ("train", "val")]
    assert not persons[0] & persons[1]


def test_a_column_says_what_belongs_together(tmp_path):
    names = [f"{i}.png" for i in range(40)]
    write_tree(tmp_path, {name: png(i) for i, name in enumerate(names)})
    lines = [f"{name},{('happy', 'sad')[i % 2]},film{i // 4}" for i, name in enumerate(names)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,film", *lines]))
    data = read_dataset(tmp_path / "list.csv", options=ReadOptions(group_column="film", val_fraction=0.2))
    assert len(set(data.select("val").columns["film"])) == 2
    with pytest.raises(
        ConfigError, match="no column 'flim' for group_column in .*: expected one of film; did you mean film"
    ):
        read_dataset(tmp_path / "list.csv", options=ReadOptions(group_column="flim"))
    with pytest.raises(ConfigError, match="group_column and group_by both say what belongs together"):
        ReadOptions(group_column="film", group_by="x")


@pytest.mark.parametrize("option", [{"val_fraction": 0.2}, {"split_seed": 1}])
def test_what_has_splits_is_not_divided(tmp_path, option):
    root = write_tree(tmp_path, tree())
    with pytest.raises(ConfigError, match=r"names its splits \(test, train\): leave out val_fraction and"):
        read_dataset(root, options=ReadOptions(**option))


def test_a_split_that_would_be_empty(tmp_path):
    root = write_tree(tmp_path, {f"{label}/{i}.png": png(i) for label in ("happy", "sad") for i in range(3)})
    message = r"0\.1 of the 3 images of 'happy' would leave val without one: change val_fraction"
    with pytest.raises(DataError, match=message):
        read_dataset(root)


def test_folders_inside_a_class_and_above_the_splits(tmp_path):
    plain = read_dataset(write_tree(tmp_path / "plain", tree()))
    deeper = {name.replace("/sad/", "/sad/p1/"): content for name, content in tree().items()}
    deep = read_dataset(write_tree(tmp_path / "deep" / "archive", deeper).parent)
    assert deep.fingerprint() == plain.fingerprint()
    assert deep.ids[-1] == "train/sad/p1/2.png"
    sets = {f"{name.split('/')[0]}_set/{name.split('/', 1)[1]}": content for name, content in tree().items()}
    assert read_dataset(write_tree(tmp_path / "sets", sets)).fingerprint() == plain.fingerprint()
    upper = {name.replace("train", "TRAIN"): content for name, content in tree().items()}
    assert set(read_dataset(write_tree(tmp_path / "upper", upper)).splits) == {"train", "test"}


def test_linked_folders_are_followed_and_a_ring_of_links_ends(tmp_path):
    halves = {split: {k: v for k, v in tree().items() if k.startswith(split)} for split in ("train", "test")}
    write_tree(tmp_path / "else", {name.removeprefix("train/"): c for name, c in halves["train"].items()})
    root = write_tree(tmp_path / "set", halves["test"])
    (root / "train").symlink_to(tmp_path / "else")
    (root / "test" / "sad" / "ring").symlink_to(root)
    assert (
        read_dataset(root).fingerprint() == read_dataset(write_tree(tmp_path / "plain", tree())).fingerprint()
    )


@pytest.mark.parametrize("name", ["cover.png", "train/cover.png"])
def test_pictures_in_no_class_are_not_passed_over(tmp_path, name):
    root = write_tree(tmp_path, tree() | {name: png()})
    with pytest.raises(
        DataError, match=f"1 of 13 images lie in no class folder, first {name}: expected train/<cl"
    ):
        read_dataset(root)


def test_an_empty_class_folder(tmp_path):
    root = write_tree(tmp_path, tree(("happy", "sad")))
    for folder in ("train/fear", "test/fear"):
        (root / folder).mkdir()
        (root / folder / "readme.txt").write_text("nothing yet")
    with pytest.raises(DataError, match="the class folder test/fear holds no images: fill or remove it"):
        read_dataset(root)


def test_corrupt_pictures_are_counted_and_left_out_when_asked(tmp_path):
    files = tree() | {"train/sad/b1.jpg": b"junk", "train/sad/b2.jpg": jpeg(photo())[:500]}
    root = write_tree(tmp_path, files)
    with pytest.raises(
        DataError, match=r"2 corrupt of 14 images in .*, first train/sad/b1\.jpg: not a picture"
    ):
        read_dataset(root)
    data = read_dataset(root, options=ReadOptions(skip_corrupt=True))
    assert data.skipped == ("train/sad/b1.jpg", "train/sad/b2.jpg")
    clean = read_dataset(write_tree(tmp_path / "clean", tree()))
    assert data.fingerprint() == clean.fingerprint()


def test_a_set_of_nothing_but_corrupt_pictures(tmp_path):
    root = write_tree(tmp_path, dict.fromkeys(tree(), b"junk"))
    with pytest.raises(DataError, match="all 12 images in .* are corrupt"):
        read_dataset(root, options=ReadOptions(skip_corrupt=True))


def test_a_class_whose_pictures_are_all_corrupt_is_no_class(tmp_path):
    files = tree() | {f"test/sad/{i}.png": b"junk" for i in range(3)}
    with pytest.raises(DataError, match="test has no images of the class 'sad'"):
        read_dataset(write_tree(tmp_path, files), options=ReadOptions(skip_corrupt=True))


def test_labels_select_rename_and_merge(tmp_path):
    root = write_tree(tmp_path, tree(("angry", "happy", "neutral", "sad")))
    chosen = read_dataset(root, options=ReadOptions(labels="happy,angry"))
    assert chosen.labels == ("happy", "angry")  # the order is the user's
    assert len(chosen) == 12
    merged = read_dataset(root, options=ReadOptions(labels="negative=anger+sad,joyful=happy"))
    assert merged.labels == ("negative", "joyful")
    assert np.bincount(merged.truth).tolist() == [12, 6]
    assert {merged.labels[merged.truth[row]] for row, name in enumerate(merged.ids) if "/sad/" in name} == {
        "negative"
    }


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("hapy,sad", r"has no class 'hapy'; did you mean happy\? \(it has happy, sad\)"),
        ("happy", "expected at least two different labels"),
        ("happy,joyful=happy", "the class 'happy' is used twice"),
        ("happy,,sad", "expected names such as angry,happy or negative=angry.sad, got ''"),
        ("x=,sad", "got 'x='"),
    ],
)
def test_labels_that_do_not_fit_the_set(tmp_path, labels, message):
    with pytest.raises(DataError, match=message):
        read_dataset(write_tree(tmp_path, tree()), options=ReadOptions(labels=labels))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "cvs"}, "unknown format 'cvs': expected auto, folders, pixels"),
        ({"vote_rule": "mean"}, "unknown vote_rule 'mean': expected majority, distribution"),
        ({"split_seed": -1}, "split_seed must not be negative, got -1"),
        ({"val_fraction": 1.5}, r"val_fraction must be between 0 and 1, got 1\.5"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        ReadOptions(**options)


def test_what_is_decoded_later_cannot_be_left_out_as_corrupt(tmp_path):
    root = write_tree(tmp_path, tree())
    with (
        pytest.raises(ConfigError, match="photos are read whole"),
        opened(root, "train", ReadOptions(skip_corrupt=True)),
    ):
        pass


def test_a_survey_counts_everything(tmp_path):
    files = tree(("happy", "sad"), each=4) | {
        "train/sad/large.jpg": jpeg(photo()),
        "train/sad/bad.png": b"junk",
    }
    report = survey(write_tree(tmp_path, files), ReadOptions(skip_corrupt=True))
    assert report.counts == {"test": {"happy": 4, "sad": 4}, "train": {"happy": 4, "sad": 5}}
    assert report.imbalance_ratio == {"test": 1.0, "train": 1.25}
    assert report.sizes[0] == {"height": 48, "width": 48, "channels": 1, "n": 16}
    assert report.sizes[1] == {"height": 210, "width": 330, "channels": 3, "n": 1}
    assert (report.form, report.n, report.skipped) == ("folders", 17, ("train/sad/bad.png",))
    data = read_dataset(tmp_path, options=ReadOptions(skip_corrupt=True))
    assert report.fingerprint == data.fingerprint()
    assert report.to_dict()["schema"] == "mien.dataset-info/1"


def test_tables_read_in_threads_change_no_warning_filter(tmp_path):
    """The filters belong to the whole process: a warning of another thread became an error."""
    seen = []

    def filters(*_, **__):
        seen.append(list(warnings.filters))
        return np.zeros(64, np.int64)

    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(text.np, "fromstring", filters)
        text._parsed("7," * 64, ",")
        assert seen == [list(warnings.filters)]


@pytest.mark.parametrize("cells", ["1,,2", ",1", "1;2", "1 2,3", "a,b"])
def test_what_is_no_row_of_numbers(cells):
    assert text._parsed(cells, ",") is None


@pytest.mark.parametrize(
    ("cells", "kind"), [("0,255", np.uint8), ("0,256", np.float32), ("-1,2.5", np.float32)]
)
def test_numbers_take_the_smallest_type_that_pixels_need(cells, kind):
    values = text._parsed(cells, ",")
    assert values.dtype == kind
    assert values.tolist() == [float(cell) for cell in cells.split(",")]
