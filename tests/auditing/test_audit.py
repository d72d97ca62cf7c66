from __future__ import annotations

import csv
import hashlib
import json
import re
from dataclasses import replace

import numpy as np
import pytest

import mien
from mien.auditing.clean import write_cleaned
from mien.auditing.copies import find_copies
from mien.auditing.measure import measure
from mien.auditing.page import write_audit
from mien.errors import ConfigError, DataError
from mien.vision.images import encode_png
from tests.auditing.planted import CHANGES, DROPPED, FOUND, planted, texture
from tests.fakes import ConstantClassifier, FixedDetector
from tests.guard.test_states import check
from tests.pictures import write_tree

LABELS = ("happy", "sad")
UNDECIDED = ConstantClassifier(logits=(0.0, 0.0), labels=LABELS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("planted") / "faces", planted())


@pytest.fixture(scope="module")
def found(folder):
    return mien.audit(folder, model=UNDECIDED, draws=True)


def dataset(images, labels, split=None, **columns):
    """A dataset in memory: labels are 0 and 1."""
    n = len(images)
    return mien.FaceDataset(
        images=np.stack(images),
        targets=np.eye(2, dtype=np.float32)[labels],
        ids=tuple(f"{number}.png" for number in range(n)),
        split=np.array(split or ["train"] * n),
        labels=LABELS,
        source="memory",
        columns={name: np.array(values) for name, values in columns.items()},
    )


def test_every_planted_fault_is_found_and_nothing_else(found):
    assert {(one.image, one.kind, one.to_do) for one in found.findings} == FOUND


def test_groups_are_counted(found):
    assert found.groups == {
        "exact": {"groups": 3, "images": 6, "across_splits": 1, "different_labels": 1},
        "near": {"groups": 2, "images": 4, "across_splits": 1, "different_labels": 1},
    }
    assert repr(found).endswith("leak 4, conflict 2, duplicate 6, near duplicate 4, corrupt 1, blank 1, almost blank 1, "  # noqa: E501
                                "size 1, light or colour 2)")  # fmt: skip


def test_findings_say_what_and_why(found):
    details = {(one.image, one.kind): one for one in found.findings}
    assert (
        details["train/sad/conflict.png", "conflict"].detail
        == "labels of the identical images: happy 1, sad 1"
    )
    assert details["train/sad/leak.png", "leak"].detail == "as test/sad/leak.png"
    assert details["train/sad/leak.png", "leak"].group == details["test/sad/leak.png", "duplicate"].group
    assert details["train/sad/wide.png", "size"].detail == "101x48 pixels: narrow for a face"
    assert details["train/happy/colour.png", "light or colour"].detail.startswith("in colour, where 98")
    broken = details["train/sad/broken.png", "corrupt"]
    assert (broken.split, broken.label) == ("train", "sad")
    assert broken.detail


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_a_near_duplicate(change):
    from contextlib import ExitStack

    images = [texture(seed) for seed in range(29)]
    others = [CHANGES[change](texture(5))] if change != "half the size" else []
    data = dataset([*images, *others], [0] * (len(images) + len(others)))
    with ExitStack() as stack:
        measured = measure(data, mien.ReadOptions(), None, stack, lambda *_: None)
        if change == "half the size":  # images of one array have one size
            from mien.data.groups import thumbnail

            measured.thumbs[17] = thumbnail(CHANGES[change](texture(5)))
        copies = find_copies(measured)
    assert [rows.tolist() for rows in copies.near.rows] == [[5, 17 if change == "half the size" else 29]]
    assert len(copies.exact) == 0


def test_the_source_stays_and_the_packed_set_has_all_but_what_is_dropped(folder, found, tmp_path):
    before = {file: hashlib.sha256(file.read_bytes()).digest() for file in sorted(folder.rglob("*.png"))}
    write_cleaned(found, tmp_path / "clean.npz")
    data = mien.read_dataset(tmp_path / "clean.npz")
    assert set(data.ids) == set(planted()) - DROPPED
    assert [data.labels[k] for k in data.truth] == [name.split("/")[1] for name in data.ids]
    assert data.split.tolist() == [name.split("/")[0] for name in data.ids]
    assert before == {
        file: hashlib.sha256(file.read_bytes()).digest() for file in sorted(folder.rglob("*.png"))
    }
    again = mien.audit(tmp_path / "clean.npz", model=UNDECIDED)
    assert not {"leak", "conflict", "duplicate", "blank", "corrupt"} & set(again.found)


def test_a_cleaned_list_reads_as_the_same_images(folder, found, tmp_path):
    write_cleaned(found, tmp_path / "deep" / "clean.csv")
    data = mien.read_dataset(tmp_path / "deep" / "clean.csv")
    kept = found.data.take(np.flatnonzero([not why for why in found.dropped]))
    assert len(data) == len(planted()) - len(DROPPED)
    assert (data.images == kept.images).all()
    assert data.truth.tolist() == kept.truth.tolist()
    assert data.split.tolist() == kept.split.tolist()


def test_what_is_left_out_is_told_in_one_line(found):
    assert found.told == (
        "left out 7 of 68 images; corrupt: 1; blank images: 1 (train 1); identical images with different labels, all "
        "of them: 2 (train 2); copies of images in another split, or of the same photo or group (test stays, then "
        "val, then train): 2 (train 2); identical images in one split, all but the first: 1 (train 1)"
    )


def test_a_kill_leaves_one_audit_or_none(found, tmp_path):
    other = replace(found, notes=("another note",))
    check(
        tmp_path / "out", lambda folder, number: write_audit((found, other)[number - 1], folder), "audit.html"
    )


def test_page_and_table(found, tmp_path):
    page = write_audit(found, tmp_path).read_text()
    assert "identical, across splits</span><b>1</b>" in page
    assert "1 group of identical images with different labels (2 images)" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)  # nothing is loaded from elsewhere
    with (tmp_path / "findings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows == found.to_rows()
    json.dumps(found.to_dict())


def test_what_was_not_looked_for_is_not_counted_as_none(found, tmp_path):
    assert found.unchecked == {"no face": "no detector was named", "votes": "there are no votes"}
    page = write_audit(found, tmp_path).read_text()
    assert page.count("not checked: ") == 2
    alone = dataset([texture(1), texture(2)], [0, 1])
    looked = mien.audit(alone, probs=np.full((2, 2), 0.5), detector=FixedDetector())
    assert looked.unchecked == {"leak": "there is one split only", "votes": "there are no votes"}


def test_names_from_strangers_are_escaped(tmp_path):
    data = dataset([texture(1), texture(1), texture(2)], [0, 1, 0])
    evil = mien.FaceDataset(
        **{**vars(data), "labels": ("<script>alert(1)</script>", "sad"), "ids": ("<b>", "b", "c")}
    )
    page = write_audit(mien.audit(evil, probs=np.full((3, 2), 0.5)), tmp_path).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_faces_of_one_photo_and_the_users_groups_leak():
    images = [texture(seed) for seed in range(5)]
    data = dataset(images, [0, 1, 0, 1, 0], ["train", "test", "val", "train", "test"],
                   photo=["a", "a", "b", "c", "d"], split_group=["x", "y", "x", "z", "w"])  # fmt: skip
    found = mien.audit(data, probs=np.full((5, 2), 0.5))
    assert [(one.image, one.group, one.to_do) for one in found.findings if one.kind == "leak"] == [
        ("0.png", "photo a", "drop"), ("1.png", "photo a", "keep"), ("0.png", "group x", "drop"),
        ("2.png", "group x", "keep"),
    ]  # fmt: skip


def test_of_three_splits_test_stays_then_val():
    data = dataset([texture(1)] * 3 + [texture(2)] * 2, [0] * 5, ["train", "val", "test", "train", "val"])
    assert mien.audit(data, probs=np.full((5, 2), 0.5)).dropped == ("leak", "leak", "", "leak", "")


def test_an_unlabelled_copy_gives_way_to_a_labelled_one():
    data = dataset([texture(1)] * 2, [0, 0])
    data.targets[0] = 0
    assert mien.audit(data, probs=np.full((2, 2), 0.5)).dropped == ("duplicate", "")


def test_labels_against_the_votes_are_found_and_shown_beside_doubts(tmp_path):
    votes = np.zeros((4, 10), np.float32)
    votes[0, 1] = 10  # happy, as the label
    votes[1, 1], votes[1, 3] = 8, 2  # two people agree with the label: not listed
    votes[2, 1], votes[2, 3] = 9, 1  # a single vote is none
    votes[3, 9] = 10  # no face
    data = dataset([texture(seed) for seed in range(4)], [0, 1, 1, 0])
    data = mien.FaceDataset(**{**vars(data), "votes": votes})
    found = mien.audit(data, probs=np.array([[0.9, 0.1], [0.1, 0.9], [0.8, 0.2], [0.9, 0.1]]))
    said = [(one.image, one.detail, one.to_do) for one in found.findings if one.kind == "votes"]
    assert said == [
        ("2.png", "happy 9, sad 1", "check: happy?"),
        ("3.png", "not_a_face 10", "check: not_a_face?"),
    ]


def test_an_image_without_a_face_is_found_by_the_detector():
    data = dataset([texture(1), texture(2), np.zeros((48, 48, 1), np.uint8)], [0, 1, 0])
    nothing = mien.audit(data, probs=np.full((3, 2), 0.5), detector=FixedDetector())
    assert [one.image for one in nothing.findings if one.kind == "no face"] == [
        "0.png",
        "1.png",
    ]  # not the blank one
    always = mien.audit(data, probs=np.full((3, 2), 0.5), detector=FixedDetector((1, 1, 9, 9)))
    assert "no face" not in always.found


def test_a_detector_sees_small_images_enlarged_with_a_margin_and_in_three_channels():
    seen = []

    class Watching:
        def detect(self, image_rgb_u8):
            seen.append(image_rgb_u8.shape)
            return []

    mien.audit(dataset([texture(1), texture(2)], [0, 1]), probs=np.full((2, 2), 0.5), detector=Watching())
    assert seen == [(288, 288, 3)] * 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"skip_corrupt": True},
            "skip_corrupt has no effect here: an audit lists corrupt images and goes on; leave it out",
        ),
        ({"val_fraction": 0.2}, "val_fraction has no effect here: an audit draws no split; leave it out"),
        ({"split_seed": 3}, "split_seed has no effect here: an audit draws no split; leave it out"),
        (
            {"votes": "x.csv", "vote_rule": "majority"},
            "vote_rule and vote_unknown have no effect here: an audit keeps the labels and shows the votes beside "
            "them; leave them out",
        ),
    ],
)  # fmt: skip
def test_options_without_effect_are_refused(folder, options, said):
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}$"):
        mien.audit(folder, reading=mien.ReadOptions(**options))


def test_probabilities_of_another_shape_are_refused(folder):
    with pytest.raises(
        DataError, match=r"`?probs`? has the shape \(3, 2\): expected \(67, 2\), a row for each image"
    ):
        mien.audit(folder, probs=np.full((3, 2), 0.5))


@pytest.mark.parametrize("row", [[3.0, -1.5], [np.nan, np.nan], [np.nan, 1.0]], ids=str)
def test_only_probabilities_judge_and_only_rows_that_are_judged_count(row):
    data = dataset([texture(number) for number in range(4)], [0, 1, 0, 1])
    probs = np.array([[0.5, 0.5], [0.2, 0.8], row, [0.0, 0.0]])
    with pytest.raises(
        DataError, match=r"row 2 of the probabilities sums to .*: expected a softmax, each row summing to 1"
    ):
        mien.audit(data, probs=probs)
    bare = replace(data, targets=data.targets * np.array([[1], [1], [0], [1]], np.float32))
    assert mien.audit(bare, probs=probs).doubts.judged.tolist() == [True, True, False, False]


def test_a_cleaned_set_has_a_name_of_its_own(found, folder, tmp_path):
    with pytest.raises(
        ConfigError, match=r"fix expects a name that ends in \.npz .* or \.csv .*, got clean\.zip"
    ):
        write_cleaned(found, tmp_path / "clean.zip")
    write_cleaned(found, tmp_path / "one.npz")
    again = mien.audit(tmp_path / "one.npz", model=UNDECIDED)
    with pytest.raises(ConfigError, match=r"one\.npz, which is the source: give another name"):
        write_cleaned(again, tmp_path / "one.npz")
    with pytest.raises(DataError, match=r"a list names files, and .*\.png of .*one\.npz is no file"):
        write_cleaned(again, tmp_path / "two.csv")


def test_a_set_of_which_nothing_would_be_left_is_refused(tmp_path):
    data = dataset([texture(1)] * 2, [0, 0], ["train", "test"])
    with pytest.raises(DataError, match="memory would have no image left in train"):
        write_cleaned(mien.audit(data, probs=np.full((2, 2), 0.5)), tmp_path / "x.npz")


def test_a_set_without_splits_gets_val_when_it_is_cleaned(tmp_path):
    files = {
        f"{name.split('/', 1)[1]}": content for name, content in planted().items() if name[:5] == "train"
    }
    folder = write_tree(tmp_path / "faces", files)
    found = mien.audit(folder, model=UNDECIDED, draws=True, reading=mien.ReadOptions(val_fraction=0.25))
    assert found.data.splits == ("all",)
    assert "leak" not in found.found
    data = write_cleaned(found, tmp_path / "clean.npz")
    assert sorted(data.splits) == ["train", "val"]
    assert (data.split == "val").mean() == pytest.approx(0.25, abs=0.05)
    write_cleaned(found, tmp_path / "clean.csv")
    assert "split" not in (tmp_path / "clean.csv").read_text().splitlines()[0]


def test_boxes_stay_in_a_cleaned_list(tmp_path):
    photo = np.concatenate([texture(1), texture(2)], axis=1)
    write_tree(tmp_path, {"photos/a.png": planted_png(photo), "photos/b.png": planted_png(photo)})
    lines = ["path,label,split,x0,y0,x1,y1"]
    lines += [f"photos/{name}.png,{LABELS[k]},{split},{48 * k},0,{48 * k + 48},48"
              for name, split in (("a", "train"), ("b", "test")) for k in (0, 1)]  # fmt: skip
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    found = mien.audit(tmp_path / "faces.csv", model=UNDECIDED)
    assert [one for one in found.dropped if one] == ["leak", "leak"]
    with pytest.raises(DataError, match="no image left in train"):
        write_cleaned(found, tmp_path / "clean.csv")
    lines.append("photos/a.png,happy,train,10,0,50,40")
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    write_cleaned(mien.audit(tmp_path / "faces.csv", model=UNDECIDED), tmp_path / "clean.csv")
    kept = (tmp_path / "clean.csv").read_text().splitlines()
    assert kept == ["image,label,split,x0,y0,x1,y1", "photos/b.png,happy,test,0,0,48,48",
                    "photos/b.png,sad,test,48,0,96,48", "photos/a.png,happy,train,10,0,50,40"]  # fmt: skip


def planted_png(image):
    from tests.auditing.planted import png

    return png(image)


def test_an_image_without_a_label_does_not_hinder_the_split_of_the_cleaned_set(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (41, 48, 48), np.uint8)
    files = {f"{number}.png": encode_png(one[..., None]) for number, one in enumerate(pixels)}
    lines = [
        "path,label",
        "0.png,",
        *(f"{number}.png,{('happy', 'sad')[number % 2]}" for number in range(1, 41)),
    ]
    source = write_tree(tmp_path / "in", files | {"list.csv": "\n".join(lines).encode()}) / "list.csv"
    found = mien.audit(source, draws=True, probs=np.full((41, 2), 0.5))
    cleaned = write_cleaned(found, tmp_path / "clean.npz")
    assert set(cleaned.splits) == {"train", "val"}
