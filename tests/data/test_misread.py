"""Datasets that once were misread in silence: each is read as it is meant, or refused with its reason."""

from __future__ import annotations

import io
import os
import tarfile

import numpy as np
import pytest

from mien.data.read import read_dataset, read_split
from mien.errors import DataError
from mien.options import ReadOptions
from mien.preprocess import Preprocess
from tests.data.layouts import face
from tests.pictures import png, write_tree, write_zip


def read(path, **options):
    return read_split(path, Preprocess(), "all", ReadOptions(**options))


def labelled(data) -> dict[str, str]:
    return dict(zip(data.ids, data.given_names.tolist(), strict=True))


def test_kdef_with_its_wrong_names(tmp_path):
    names = [
        f"A{sex}{person:02}{code}S.JPG"
        for sex in "FM"
        for person in range(1, 5)
        for code in ("HA", "SA", "AN")
    ]
    files = {f"{name[:4]}/{name}": png(row) for row, name in enumerate(names)}
    data = read(write_tree(tmp_path, files | {"AF03/AF03V.JPG": png(99)}))
    assert data.labels == ("angry", "happy", "sad")
    assert len(data) == 24
    assert [note for note in data.notes if note.startswith("left out")] == [
        "left out 1 image whose name is not as KDEF's are: AF03V.JPG"
    ]


def raf_db(*, annotated: bool) -> dict[str, bytes]:
    emotions = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
    rows = [(split, i, 1 + i % 7) for split in ("train", "test") for i in range(1, 15)]
    files = {}
    for split, i, label in rows:
        stem = f"{split}_{i:05}"
        files[f"basic/Image/aligned/{stem}_aligned.jpg"] = face(emotions[label - 1], i, ".jpg")
        files[f"basic/Image/original/{stem}.jpg"] = png(i)
        if annotated:
            files |= {
                f"basic/Annotation/{kind}/{stem}_{kind}_attri.txt": b"1.5\t2.5\n" * 5
                for kind in ("auto", "manual")
            }
    lines = [f"{split}_{i:05}.jpg {label}" for split, i, label in rows]
    return files | {"basic/EmoLabel/list_patition_label.txt": "\n".join(lines).encode()}


@pytest.mark.parametrize("annotated", [False, True])
def test_raf_db_with_all_of_its_folders(tmp_path, annotated, monkeypatch):
    """Its landmarks are more tables than are looked at; of the photos and their crops, the crops are faces."""
    monkeypatch.setattr("mien.data.beside._TABLE_LIMIT", 20)
    data = read_dataset(write_tree(tmp_path, raf_db(annotated=annotated)))
    assert set(data.labels) == {"angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"}
    assert len(data) == 28
    assert all(name.endswith("_aligned.jpg") for name in data.ids)
    assert set(data.splits) == {"train", "test"}
    assert any("only 20 tables are looked at" in note for note in data.notes) == annotated


def test_a_quotation_mark_inside_a_cell(tmp_path):
    """An inch, for example: it began a quoted cell that ate the lines behind it."""
    lines = [
        "path\tlabel\tnote",
        '0.png\thappy\ta 6" doll',
        "1.png\tsad\t",
        '2.png\thappy\t"two\twords"',
        '3.png\tsad\t7"',
    ]
    lines += ['4.png\thappy\tsize, "6 in', "5.png\tsad\tx"]
    write_tree(tmp_path, {f"{i}.png": png(i) for i in range(6)} | {"list.tsv": "\n".join(lines).encode()})
    data = read(tmp_path / "list.tsv")
    assert data.given_names.tolist() == ["happy", "sad"] * 3
    assert data.columns["note"].tolist() == ['a 6" doll', "", "two\twords", '7"', 'size, "6 in', "x"]


def test_another_image_does_not_stand_in_for_one_that_is_missing(tmp_path):
    files = {f"clip{c}/000{i}.png": png(10 * c + i) for c in (1, 2) for i in range(3)}
    del files["clip1/0000.png"]
    rows = [
        "path,label",
        "clip1/0000.png,happy",
        "clip1/0001.png,sad",
        "clip1/0002.png,happy",
        "clip2/0001.png,sad",
    ]
    root = write_tree(tmp_path / "set", files | {"list.csv": "\n".join(rows).encode()})
    for place in (root, root / "list.csv"):
        with pytest.raises(
            DataError, match=r"names clip1/0000\.png, which is not there; .*clip2/0000\.png is in an"
        ):
            read(place)


def test_paths_of_another_machine_are_found_by_their_names(tmp_path):
    files = {f"photos/{i}.png": png(i) for i in range(4)}
    rows = ["path,label", *(f"/home/anna/old/{i}.png,{('happy', 'sad')[i % 2]}" for i in range(4))]
    root = write_tree(tmp_path / "set", files | {"list.csv": "\n".join(rows).encode()})
    assert read(root).given_names.tolist() == ["happy", "sad"] * 2


def test_paths_of_another_machine_where_some_images_lie_in_a_folder(tmp_path):
    files = {f"{'sub/' if i > 1 else ''}{i}.png": png(i) for i in range(4)}
    rows = ["path,label", *(f"/home/anna/imgs/{i}.png,{('happy', 'sad')[i % 2]}" for i in range(4))]
    root = write_tree(tmp_path / "set", files | {"list.csv": "\n".join(rows).encode()})
    for place in (root, root / "list.csv"):
        assert len(read(place)) == 4


@pytest.mark.parametrize("above", ["B_Original/NI/Dark/P00{}", "a/{}", "{}/morning/left"])
def test_expressions_deep_below_other_folders(tmp_path, above):
    files = {
        f"{above.format(p)}/{e}/{i}.png": png(i)
        for p in (1, 2)
        for e in ("Anger", "Happiness", "Sadness")
        for i in range(2)
    }
    data = read(write_tree(tmp_path, files))
    assert data.labels == ("angry", "happy", "sad")
    assert any(note.startswith("the classes are the folders inside") for note in data.notes)


def test_the_advice_about_persons_below_other_folders_names_the_persons(tmp_path):
    files = {
        f"{light}/Dark/P{p}/{e}/{i}.png": png(i) for light in ("NI", "VL") for p in (1, 2) for e in ("happy", "sad")
        for i in range(2)
    }  # fmt: skip
    data = read(write_tree(tmp_path, files))
    (note,) = [note for note in data.notes if "group_by" in note]
    pattern = note.rpartition("to '")[2].removesuffix("'")
    grouped = read(tmp_path, group_by=pattern)
    assert set(grouped.columns["split_group"]) == {"P1", "P2"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_class_folder_that_cannot_be_read(tmp_path):
    write_tree(tmp_path, {f"{e}/{i}.png": png(i) for e in ("fear", "happy", "sad") for i in range(3)})
    (tmp_path / "fear").chmod(0)
    with pytest.raises(DataError, match="cannot read the folder .*fear: Permission denied"):
        read(tmp_path)


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    """The same where the tests run as root."""
    write_tree(tmp_path, {f"{e}/{i}.png": png(i) for e in ("fear", "happy", "sad") for i in range(3)})
    real = os.scandir

    def scandir(place):
        if str(place).endswith("fear"):
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match="cannot read the folder .*fear: Permission denied"):
        read(tmp_path)


def add_images(archive: tarfile.TarFile) -> None:
    """Add four images of two classes."""
    for i in range(4):
        info, content = tarfile.TarInfo(f"set/{('happy', 'sad')[i % 2]}/{i}.png"), png(i)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))


def test_links_in_a_tar_are_the_files_that_they_name(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        add_images(archive)
        for name, kind, target in (
            ("set/sad/hard.png", tarfile.LNKTYPE, "set/happy/0.png"),
            ("set/happy/soft.png", tarfile.SYMTYPE, "../sad/1.png"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    data = read(tmp_path / "set.tar")
    found = dict(zip(data.ids, data.images, strict=True))
    assert len(data) == 6
    np.testing.assert_array_equal(found["sad/hard.png"], found["happy/0.png"])
    np.testing.assert_array_equal(found["happy/soft.png"], found["sad/1.png"])


def test_a_link_in_a_tar_that_leads_nowhere_is_an_image_that_cannot_be_read(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        add_images(archive)
        info = tarfile.TarInfo("set/happy/soft.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/elsewhere/1.png"
        archive.addfile(info)
    with pytest.raises(DataError, match=r"soft\.png is a link to .*, which is not in the archive"):
        read(tmp_path / "set.tar")
    assert len(read(tmp_path / "set.tar", skip_corrupt=True).skipped) == 1


def test_links_to_links_in_a_tar(tmp_path):
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        for name, target in (("set/happy/a.png", "b.png"), ("set/happy/b.png", "0.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
        add_images(archive)
    data = read(tmp_path / "set.tar")
    found = dict(zip(data.ids, data.images, strict=True))
    assert len(data) == 6
    np.testing.assert_array_equal(found["happy/a.png"], found["happy/0.png"])


def test_the_label_of_ckplus_goes_to_the_image_of_its_sequence(tmp_path):
    files = {}
    for person in ("S010", "S011"):
        for number, label in (("001", 3), ("002", 5)):
            stem = f"{person}_{number}_00000014"
            files[f"cohn-kanade-images/{person}/{number}/{stem}.png"] = png(label)
            files[f"zz_overlays/{person}/{number}/{stem}.png"] = png(90)
            files[f"Emotion/{person}/{number}/{stem}_emotion.txt"] = f"   {label}.0000000e+00\n".encode()
    data = read(write_tree(tmp_path, files))
    assert all(name.startswith("cohn-kanade-images/") for name in data.ids)
    twice = {name.replace("cohn-kanade-images", "mine"): content for name, content in files.items()}
    with pytest.raises(DataError, match=r"could label mine/.* or zz_overlays/.*: keep one of them"):
        read(write_tree(tmp_path / "twice", twice))


def test_columns_of_pixels_in_the_order_of_names(tmp_path):
    """pixel10 comes before pixel2 where names are sorted as text."""
    order = sorted(range(64), key=str)
    rows = [",".join(["label", *(f"pixel{i}" for i in order)])]
    rows += [
        ",".join([("happy", "sad")[row % 2], *(str((7 * i + row) % 256) for i in order)]) for row in range(4)
    ]
    (tmp_path / "pixels.csv").write_text("\n".join(rows))
    data = read_split(tmp_path / "pixels.csv", Preprocess(size_px=8), "all")
    np.testing.assert_array_equal(data.images[1].ravel(), [(7 * i + 1) % 256 for i in range(64)])


def test_flat_rows_with_an_axis_for_the_channel(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 144), np.uint8)
    np.savez(tmp_path / "set.npz", images=images[..., None], labels=np.arange(6) % 2)
    data = read_split(tmp_path / "set.npz", Preprocess(size_px=12), "all")
    np.testing.assert_array_equal(data.images.reshape(6, 144), images)


def test_a_coordinate_is_no_label(tmp_path):
    rows = [
        "image,x,y,emotion_class_name",
        *(f"{i}.png,{i},{10 + i},{('happy', 'sad')[i % 2]}" for i in range(4)),
    ]
    files = {f"{i}.png": png(i) for i in range(4)} | {"list.csv": "\n".join(rows).encode()}
    write_tree(tmp_path, files)
    with pytest.raises(DataError, match="no column has the name of a label"):
        read(tmp_path / "list.csv")
    named = read(tmp_path / "list.csv", label_column="emotion_class_name")
    assert named.labels == ("happy", "sad")
    pairs = ["x,y", *(f"{i}.png,{('happy', 'sad')[i % 2]}" for i in range(4))]
    (tmp_path / "pairs.csv").write_text("\n".join(pairs))
    assert read(tmp_path / "pairs.csv", image_column="x").labels == ("happy", "sad"), "here y is the label"


def test_a_large_table_beside_the_images_of_a_zip(tmp_path, monkeypatch):
    monkeypatch.setattr("mien.data.archives.MEMBER_LIMIT_BYTES", 40_000)
    noise = np.random.default_rng(0).integers(33, 126, 60_000, np.uint8).tobytes()
    files = {f"{e}/{i}.png": png(i) for e in ("happy", "sad") for i in range(3)}
    assert len(read(write_zip(tmp_path / "set.zip", files | {"landmarks.dat": noise}))) == 6


def test_json_lines_with_a_byte_order_mark(tmp_path):
    rows = [f'{{"path": "{i}.png", "label": "{("happy", "sad")[i % 2]}"}}' for i in range(4)]
    files = {f"{i}.png": png(i) for i in range(4)}
    write_tree(tmp_path, files | {"list.jsonl": ("\ufeff" + "\n".join(rows)).encode()})
    assert len(read(tmp_path / "list.jsonl")) == 4


def linked(root, **links):
    """Make links to folders: name and target."""
    for name, target in links.items():
        (root / name.replace("__", "/")).symlink_to(target)
    return root


@pytest.mark.parametrize(
    ("link", "target"), [("test__sad", "../train/sad"), ("val", "train"), ("a_val", "train")]
)
def test_a_link_to_a_folder_of_another_split(tmp_path, link, target):
    files = {f"train/{e}/{i}.png": png(i) for e in ("happy", "sad") for i in range(3)}
    root = linked(write_tree(tmp_path / "set", files | {"test/happy/9.png": png(9)}), **{link: target})
    name = link.replace("__", "/")
    with pytest.raises(
        DataError, match=f"{name} and train.* are the same folder, by a link, .*: remove the link"
    ):
        read(root)
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(root, "set")
    with pytest.raises(DataError, match=f"{name} and set/train.* are the same folder, by a link"):
        read(tmp_path / "set.tar")


def test_a_linked_folder_is_read_at_its_own_path_and_counted(tmp_path):
    """The link came first, so its class folder was read and the real one was empty."""
    files = {f"set/{e}/{i}.png": png(i) for e in ("happy", "sad") for i in range(3)}
    root = linked(write_tree(tmp_path / "top", files), another="set", angry="set/sad")
    data = read(root)
    assert set(data.ids) == {name.removeprefix("set/") for name in files}
    assert "left out 2 links to folders that are read under another path" in data.notes
    with tarfile.open(tmp_path / "set.tar", "w") as archive:
        archive.add(root, "top")
    assert read(tmp_path / "set.tar").notes == data.notes


def test_two_links_to_one_folder_outside(tmp_path):
    write_tree(tmp_path / "else", {f"{i}.png": png(i) for i in range(3)})
    files = {f"{split}/happy/{split}{i}.png": png(i) for split in ("train", "test") for i in range(3)}
    root = write_tree(tmp_path / "set", files)
    linked(root, train__sad=tmp_path / "else", train__glum=tmp_path / "else")
    assert any("left out 1 link to folders that are" in note for note in read(root).notes)
    linked(root, test__sad=tmp_path / "else")
    with pytest.raises(DataError, match=r"train/\w+ and test/sad are the same folder, by a link"):
        read(root)


def in_two(first, second, *, renamed="") -> dict[str, bytes]:
    """Return the same images, divided into train and test in two ways."""
    files = {}
    for i in range(8):
        rest = f"{('happy', 'sad')[i % 2]}/{i}"
        files[f"{first}/{('train', 'test')[i // 4]}/{rest}.png"] = png(i)
        files[f"{second}/{('test', 'train')[i // 4]}/{rest}{renamed}.png"] = png(i)
    return files


@pytest.mark.parametrize(
    ("first", "second"),
    [("fold1", "fold2"), ("cv/Fold_0", "cv/Fold_1"), ("split_a", "split_b"), ("1st/run1", "2nd/run2")],
)
@pytest.mark.parametrize("renamed", ["", "_x"])
def test_folds_are_not_joined(tmp_path, first, second, renamed):
    files = in_two(first, second, renamed=renamed)
    root = write_tree(tmp_path / "set", files)
    message = f"{first} and {second} are folds, .* an image may be in train of one and in test of the other"
    with pytest.raises(DataError, match=f"{message}: give one of them, such as {root}/{first}"):
        read(root)
    assert set(read(root / first).splits) == {"all"}
    assert len(read(root / first)) == 8
    with pytest.raises(DataError, match=f"{message}: unpack it and give one"):
        read(write_zip(tmp_path / "set.zip", files))


def test_splits_of_several_folders_are_joined_and_said(tmp_path):
    files = {
        f"{kind}/{split}/{e}/{i}{kind}.png": png(i)
        for kind in ("original", "cropped") for split in ("train", "test") for e in ("happy", "sad") for i in range(3)
    }  # fmt: skip
    data = read_dataset(write_tree(tmp_path / "set", files))
    assert len(data) == 24
    assert "the splits of cropped, original are read together" in data.notes
    files = {name.removeprefix("original/"): content for name, content in files.items()}
    data = read_dataset(write_tree(tmp_path / "beside", files))
    assert any("the splits of cropped, the folder itself are read together" in note for note in data.notes)


def test_two_images_of_several_folders_that_get_one_name(tmp_path):
    """The message named a path that is not there."""
    files = {f"{kind}/{split}/{e}/{i}.png": png(i) for kind in ("full", "small") for split in ("train", "test")
             for e in ("happy", "sad") for i in range(3)}  # fmt: skip
    with pytest.raises(
        DataError,
        match=r"full/test/happy/0\.png and small/test/happy/0\.png are both read as test/happy/0\.png: which",
    ):
        read(write_tree(tmp_path / "set", files))


def test_folders_of_one_split_each_are_no_folds(tmp_path):
    files = {f"run{n}/{split}/{e}/{i}.png": png(i) for n, split in ((1, "train"), (2, "test"))
             for e in ("happy", "sad") for i in range(3)}  # fmt: skip
    data = read_dataset(write_tree(tmp_path / "set", files))
    assert (len(data), data.notes) == (12, ())
