"""Probabilities of a table find their images, and the audit takes them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mien.auditing.audit import audit
from mien.data.answered import read_out_of_fold
from mien.errors import DataError
from tests.training.tiny import tiny_data

DATA = tiny_data(70, 35)
WRONG = 3
"""A training image whose model is sure of the next label."""


@pytest.fixture
def table(tmp_path):
    """Return a table for the training images in another order; every label but one is agreed with."""
    lines, k = [f"id,truth,prediction,fold,{','.join(DATA.labels)}"], len(DATA.labels)
    for row in DATA.rows("train")[::-1]:
        answer = (DATA.truth[row] + (row == WRONG)) % k
        probs = np.where(np.arange(k) == answer, 0.94, 0.01)
        lines.append(f"{DATA.ids[row]},x,y,1,{','.join(map(str, probs))}")
    (tmp_path / "out_of_fold.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "out_of_fold.csv"


def test_probabilities_find_their_images(table):
    turned = DATA.take(np.arange(len(DATA))[::-1])
    probs = read_out_of_fold(table, turned)
    learnt = turned.split == "train"
    assert (probs[~learnt] == 0).all()
    np.testing.assert_allclose(probs[learnt].sum(axis=1), 1)
    hits = probs.argmax(axis=1) == turned.truth
    assert [turned.ids[row] for row in np.flatnonzero(learnt & ~hits)] == [DATA.ids[WRONG]]


def test_what_is_refused(table, tmp_path):
    with pytest.raises(DataError, match="names .*, which synthetic does not have: is it of other data"):
        read_out_of_fold(table, DATA.select("test"))
    with pytest.raises(DataError, match="it has no column calm; expected id and one for each of calm"):
        read_out_of_fold(table, replace(DATA, labels=("calm", *DATA.labels[1:])))
    (tmp_path / "bad.csv").write_text(f"id,{','.join(DATA.labels)}\n{DATA.ids[0]},0,0,0,x,0,0,1\n")
    with pytest.raises(DataError, match="expected a number for each label"):
        read_out_of_fold(tmp_path / "bad.csv", DATA)
    with pytest.raises(DataError, match="cannot be read as a table"):
        read_out_of_fold(tmp_path / "none.csv", DATA)


def test_the_audit_judges_the_images_of_the_table_alone(table):
    found = audit(DATA, probs=table)
    assert found.judge == "the probabilities that were given"
    assert found.doubts.judged.tolist() == (DATA.split == "train").tolist()
    assert np.flatnonzero(found.doubts.suspect).tolist() == [WRONG]
