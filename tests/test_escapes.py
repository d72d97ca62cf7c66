"""Text of strangers where it is shown: no formula in a table, and every text comes back."""

from __future__ import annotations

import csv
import io
import re
import warnings
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import mien
from mien.cli.warning import print_warnings
from mien.errors import DataError, MienWarning
from mien.escapes import csv_cell, csv_lines, csv_text, encodable
from mien.evaluation.render import table
from mien.results import ModelId
from mien.sinks.tables import _csv_line


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ('=HYPERLINK("http://e")', '\'=HYPERLINK("http://e")'),
        ("@SUM(1)", "'@SUM(1)"),
        ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
        ("-x.jpg", "'-x.jpg"),
        ("\t=1", "'\t=1"),
        ("'=1", "''=1"),
        ("-0.25", "-0.25"),
        ("+7", "+7"),
        ("'quoted'", "'quoted'"),
        ("happy", "happy"),
        ("", ""),
        (-3, -3),
        (None, None),
    ],
)
def test_a_cell_that_a_spreadsheet_would_run(text, cell):
    assert csv_cell(text) == cell


@given(st.text(alphabet="'=+-@\t\ra1.", max_size=6))
def test_every_text_comes_back_and_none_runs(text):
    cell = csv_cell(text)
    assert csv_text(cell) == text
    try:
        float(cell)
    except ValueError:
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


@given(st.lists(st.lists(st.text(), min_size=1)))
@example([["a\rb", "c"], ["a\nb", "\r\n", '"', ",", "", "\0", "\u2028"]])
def test_every_row_comes_back(rows):
    assert list(csv.reader(io.StringIO(csv_lines(rows), newline=""))) == rows


def test_no_table_is_written_without_it():
    """`mien.history` writes numbers alone, so its cells need no quotes."""
    sources = Path(mien.__file__).parent.rglob("*.py")
    assert {
        path.name for path in sources if re.search(r"csv\.(Dict[Ww]riter|writer)\(", path.read_text())
    } == {
        "escapes.py",
        "history.py",
    }


def test_the_tables_that_people_open_hold_to_it():
    assert list(csv.reader(table(("=class", "n"), [("@sad", -0.5)]).splitlines())) == [
        ["'=class", "n"],
        ["'@sad", "-0.5"],
    ]
    assert _csv_line(["=a.jpg", -1.5, None]) == b"'=a.jpg,-1.5,\n"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("b\udce9.jpg", r"b\xe9.jpg"),
        ("\udc80\udcff", r"\x80\xff"),
        ("\ud83d.jpg", r"\ud83d.jpg"),
        ("été/表情 \U0001f600\u2028\n\0", "été/表情 \U0001f600\u2028\n\0"),
        ("", ""),
    ],
)
def test_names_that_are_not_utf_8(text, written):
    assert encodable(text) == written
    assert encodable(written) == written
    assert str(DataError(f"no file {text}")) == f"no file {written}"
    assert ModelId(text, "", ()).name == written


@given(st.text(st.characters(exclude_categories=[])))
def test_every_text_can_be_written(text):
    encodable(text).encode()


def test_a_warning_cannot_control_the_terminal(capsys, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    print_warnings("mien x")
    warnings.showwarning(MienWarning("a\x1b[2Jb"), MienWarning, "f", 1)
    assert capsys.readouterr().err == "mien x: warning: a\\x1b[2Jb\n"
