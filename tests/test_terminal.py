"""What the command line prints: control characters, tables that fit, JSON, progress."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from mien.cli.progress import progress
from mien.cli.terminal import column_widths, complain, give, print_table, say, shorten, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("happy", "happy"),
        ("\x1b[2Jhappy\x07", "\\x1b[2Jhappy\\x07"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("\x9b31m", "\\x9b31m"),
        ("not\udcffutf8", "not\\udcffutf8"),
        ("café 幸せ 😀 سعيد", "café 幸せ 😀 سعيد"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("Photo\u00a01", "Photo\u00a01"),
    ],
)
def test_control_characters_are_shown_and_letters_stay(text, shown):
    assert visible(text) == shown


def test_lines_and_tables_cannot_control_the_terminal(capsys):
    say("a\x1b[31m")
    complain("two\nlines\x1b]0;title\x07")
    print_table(("na\x1bme", "n"), [("\x1b[1mx", "1")])
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert "\\x1b[1mx" in printed.out
    assert printed.err == "two lines\\x1b]0;title\\x07\n"


def test_a_table_that_fits_stays_as_it_is(capsys):
    print_table(("class", "F1"), [("happy", "1.5%"), ("sad", "12.5%")], right=True)
    assert capsys.readouterr().out == "class     F1\nhappy   1.5%\nsad    12.5%\n"


def test_a_wide_table_wraps_words_and_cuts_names_in_the_middle(capsys):
    name = f"/{'x' * 70}/end.jpg"
    print_table(("image", "label", "why"), [(name, "happy", "a reason of seven words " * 5)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert re.match(r"/x+…x*/end\.jpg  happy  a reason", lines[1])
    assert "".join(line[line.index("a reason") :] for line in lines[1:2]) in "a reason of seven words " * 5


def test_widths_take_from_the_column_with_most_to_give():
    lines = [
        ("name", "text"),
        ("abcdefghijk", "aa bb cc dd ee ff gg hh ii jj"),
    ]  # 11 and 29 wide, words of 11 and 4
    assert column_widths(lines, 42) == [11, 29]
    assert column_widths(lines, 30) == [11, 17]
    assert column_widths(lines, 16) == [10, 4]  # a word is cut at last
    assert column_widths(lines, 9) == [6, 4]  # not below the least


def test_names_are_shortened_in_the_middle():
    assert shorten("abcdefghijk", 11) == "abcdefghijk"
    assert shorten("abcdefghijk", 7) == "abc…ijk"
    assert shorten("abcdefghijk", 6) == "ab…ijk"


def test_json_goes_to_a_file_beside_the_page_or_alone_to_stdout(tmp_path, capsys):
    file = tmp_path / "r.json"
    give({"a": "\x1b"}, str(file), lambda: say("page"))
    assert capsys.readouterr().out == f"page\nwrote {file}\n"
    assert json.loads(file.read_text()) == {"a": "\x1b"}  # files keep the text
    give({"a": 1}, "-", lambda: say("page"))
    assert json.loads(capsys.readouterr().out) == {"a": 1}
    give({"a": 1}, None, lambda: say("page"))
    assert capsys.readouterr().out == "page\n"


def test_no_bar_where_nobody_looks_and_its_lines_go_to_stderr(capsys):
    with progress("photos", 3) as step:
        step(note="loss 0.1")
        step.begin("other", 5, 2)
        step.say("read\x1b")
    with progress("photos", 3, quiet=True) as step:
        step.say("nothing")
    assert capsys.readouterr() == ("", "read\\x1b\n")


BAR = """
from mien.cli.progress import progress
with progress("reading data") as step:
    step.begin("epoch 1/2", 7, 2)
    step(3, note="loss 0.250")
    step.say("a line")
    step._bar.refresh()
"""


def test_a_bar_on_a_terminal_counts_and_keeps_its_lines():
    main, side = pty.openpty()
    subprocess.run([sys.executable, "-c", BAR], stderr=side, check=True, env={**os.environ, "TERM": "xterm"})
    os.close(side)
    drawn = b""
    while True:
        try:
            chunk = os.read(main, 4096)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        drawn += chunk
    os.close(main)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())
    assert "reading data" in text
    assert "loss 0.000" not in text
    assert "epoch 1/2" in text
    assert re.search(r"5/7 loss 0\.250 \S+ left", text)
    assert "a line\r\n" in text
