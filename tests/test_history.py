"""The history of a run: what is written is read again, and what is no history is refused."""

from __future__ import annotations

import pytest

from mien.errors import DataError
from mien.history import EpochRow, read_csv, write_csv

ROWS = [
    EpochRow(1, 0.05, 1.5, 0.25, 1.75, 0.375, 0.3125, 3.5),
    EpochRow(2, 0.1, 1.25, 0.5, 1.5, 0.4375, 0.25, 3.25),
]


def test_a_history_is_read_as_it_was_written(tmp_path):
    write_csv(tmp_path / "history.csv", ROWS)
    assert read_csv(tmp_path / "history.csv") == ROWS


BAD = {
    "another table": (
        "a,b\n1,2\n",
        "no history of a run of this version: expected the columns epoch, learning_rate, train_loss",
    ),
    "no table": ("", "no history of a run"),
    "not text": (b"\x89PNG\r\n\x1a\n\x00", "no history of a run"),
    "a word": ("{header}\n1,0.1,x,0.5,1,0.5,0.5,3\n", "line 2: expected 8 numbers .*could not convert.*'x'"),
    "a short line": ("{header}\n1,0.1,1,0.5,1,0.5,0.5,3\n2,0.1\n", "line 3: expected 8 numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_history_is_refused(name, tmp_path):
    content, message = BAD[name]
    if isinstance(content, str):
        write_csv(tmp_path / "history.csv", [])
        header = (tmp_path / "history.csv").read_text().strip()
        content = content.replace("{header}", header).encode()
    (tmp_path / "history.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_csv(tmp_path / "history.csv")


def test_the_plot_takes_any_name_and_has_the_style_of_every_plot(tmp_path, monkeypatch):
    import matplotlib as mpl

    from mien.palette import PLOT_STYLE
    from mien.training import history

    rows = [EpochRow(epoch, 0.1, 1.0, 0.5, 1.1, 0.4, 0.3, 2.0) for epoch in (1, 2)]
    style, drawn = {}, history._drawn
    monkeypatch.setattr(history, "_drawn", lambda *args: style.update(mpl.rcParams) or drawn(*args))
    history.write_plot(tmp_path / "plot.png", rows, rows[0], "nano on costs $x_{$ or so")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert {name: style[name] for name in PLOT_STYLE} == PLOT_STYLE
