"""Odd names of files: every table about them can be read again, and names that are not UTF-8 can be written."""

from __future__ import annotations

import csv
import json
import tarfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mien
from mien.auditing.clean import write_cleaned
from mien.auditing.page import write_audit
from mien.data.answered import read_out_of_fold
from mien.data.folding import write_folds
from mien.data.packed import write_packed
from mien.data.read import read_pictures
from mien.data.survey import survey
from mien.errors import ConfigError, DataError, MienWarning
from mien.tune.folds import _table
from tests.auditing.planted import png, texture
from tests.data.layouts import LAYOUTS
from tests.pictures import ODD_NAMES, write_tree

LABELS = ("happy", "=sad")
LATIN = "\udce9"
"""What Python makes of the byte E9 in a file's name: no UTF-8, but an é in Latin-1."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    files = {
        f"train/{label}/{name}.png": png(texture(100 * number + place))
        for number, label in enumerate(LABELS)
        for place, name in enumerate(ODD_NAMES)
    }
    return write_tree(tmp_path_factory.mktemp("odd") / "faces", files)


def test_folds_as_lists(folder, tmp_path):
    write_folds(folder, tmp_path / "out", 2, as_lists=True)
    whole = mien.read_dataset(folder)
    listed = mien.read_dataset(tmp_path / "out" / "fold_1.csv")
    assert [name.split("/faces/")[1] for name in listed.ids] == list(whole.ids)
    assert (listed.images == whole.images).all()
    assert [listed.labels[truth] for truth in listed.truth] == [whole.labels[truth] for truth in whole.truth]
    with (tmp_path / "out" / "folds.csv").open(newline="") as file:
        assert [row["image"] for row in csv.DictReader(file)] == list(whole.ids)


def test_out_of_fold_probabilities(folder, tmp_path):
    data = mien.read_dataset(folder)
    logits = np.random.default_rng(0).normal(size=data.targets.shape)
    text = _table(data, logits, np.zeros(len(data), int))
    (tmp_path / "t.csv").write_bytes(text.encode())
    exp = np.exp(logits)
    np.testing.assert_allclose(
        read_out_of_fold(tmp_path / "t.csv", data), exp / exp.sum(1, keepdims=True), atol=1e-5
    )


def latin_tree():
    """Files of a dataset whose names are in Latin-1, those of folders too."""
    return {
        f"{split}{LATIN}/{split}/{label}{LATIN}/{number}{LATIN}.png": png(
            texture(1000 * one + 100 * place + number)
        )
        for one, split in enumerate(("train", "test"))
        for place, label in enumerate(LABELS)
        for number in range(3)
    }


def texts_of(data):
    """Every text of a dataset, as one."""
    columns = [cell for column in data.columns.values() for cell in column.tolist()]
    return "\n".join(
        [data.source, *data.ids, *data.labels, *data.split.tolist(), *data.skipped, *data.notes, *columns]
    )


def in_a_tar(root):
    with tarfile.open(root.with_suffix(".tar.gz"), "w:gz") as archive:
        archive.add(root, root.name)
    return root.with_suffix(".tar.gz")


def named_by_json_lines(root):
    files = sorted(root.rglob("*.png"))
    lines = [json.dumps({"path": str(file), "label": file.parent.name, "note": LATIN}) for file in files]
    (root.parent / f"list{LATIN}.jsonl").write_text("\n".join(lines))
    return root.parent / f"list{LATIN}.jsonl"


def labels_in_names(root):
    for file in root.rglob("*.png"):
        file.rename(root / f"{file.parent.name[:-1].strip('=')}_{file.parts[-3]}{file.name}")
    return root


def packed(root):
    out = root.with_suffix(".npz")
    write_packed(out, replace(mien.read_dataset(root), ids=tuple(map(str, root.rglob("*.png")))))
    return out


@pytest.mark.parametrize("form", [Path, in_a_tar, named_by_json_lines, labels_in_names, packed])
def test_no_reader_gives_a_name_that_cannot_be_written(form, tmp_path):
    place = form(write_tree(tmp_path / f"set{LATIN}", latin_tree()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MienWarning)
        options = mien.ReadOptions(format="names" if form is labels_in_names else "auto")
        data = mien.read_dataset(place, options=options)
        pictures = read_pictures(place, mien.Preprocess())
    assert len(data) == len(pictures) == 12
    assert r"\xe9" in data.ids[0]
    assert r"set\xe9" in data.source or r"list\xe9" in data.source
    for one in (data, pictures):
        texts_of(one).encode()


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_layout_gives_a_source_that_cannot_be_written(name, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MienWarning)
        report = survey(write_tree(tmp_path / f"set{LATIN}", LAYOUTS[name][0]()[0]))
    assert report.source.endswith(r"set\xe9")
    repr(report.to_dict()).encode()


def test_a_byte_and_the_text_of_its_escape_are_not_taken_for_one(tmp_path):
    files = latin_tree()
    first = next(iter(files))
    files[first.replace(f"0{LATIN}", r"0\xe9")] = files[first]
    with pytest.raises(DataError, match=r"names .*0\\xe9\.png 2 times: which one counts"):
        mien.read_dataset(write_tree(tmp_path / "set", files))


def test_what_is_written_about_such_a_folder(tmp_path):
    root = write_tree(tmp_path / f"set{LATIN}", latin_tree())
    write_folds(root, tmp_path / "folds", 3)
    with (tmp_path / "folds" / "folds.csv").open(newline="") as file:
        assert {row["image"] for row in csv.DictReader(file)} == set(mien.read_dataset(root).ids)
    found = mien.audit(root, probs=np.full((12, 2), 0.5))
    assert (write_audit(found, tmp_path / "audit")).is_file()
    with pytest.raises(DataError, match=r"a list names files, and test/=sad\\xe9/0\\xe9\.png .* is no file"):
        write_cleaned(found, tmp_path / "clean.csv")
    assert write_cleaned(found, tmp_path / "clean.npz").ids
    again = mien.audit(packed(root), probs=np.full((12, 2), 0.5))
    with pytest.raises(ConfigError, match=r"`?fix`? would replace .*\.npz, which is the source"):
        write_cleaned(again, root.with_suffix(".npz"))
