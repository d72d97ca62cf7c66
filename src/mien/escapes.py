"""Text of strangers (labels, names of files and models, messages about them), made harmless where it is shown.

One rule for each place. HTML pages are made by templates that escape everything, the model card by `mien.card.page`.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CONTROL = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"
"""Format characters that words of some scripts need; they move no cursor and hide no text."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_MARKED = re.compile(r"'+[=+\-@\t\r]")


def encodable(text: str) -> str:
    r"""Return text that can be written as UTF-8: a byte of a file's name in another encoding becomes ``\xe9``.

    Python gives such a byte as a surrogate, which opens the file and cannot be encoded. So a name is made encodable
    where it becomes an id or a source, and only the path to open keeps it.
    """
    return _SURROGATE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def visible(text: str) -> str:
    r"""Return text for a terminal, with its control characters as escapes such as ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in _CONTROL and char not in _JOINERS
        else char
        for char in text
    )


def csv_lines(rows: Iterable[Iterable[object]]) -> str:
    r"""Return rows as CSV, each ended by ``\n``; a cell with a break of lines is quoted, so that it can be read.

    The csv module quotes only the breaks that end its own lines, and its reader refuses a bare ``\r``. So the
    lines are made with ``\r\n``, which is replaced at their end.
    """
    lines = []
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(row)
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def csv_cell(value: object) -> object:
    """Return a cell for a table that people open: a text that a spreadsheet would run gets an apostrophe in front.

    Spreadsheets take a text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a return for a formula. Numbers,
    and texts that are numbers, stay as they are. `csv_text` is the way back.
    """
    if not isinstance(value, str) or not _FORMULA.match(value) or _is_number(value):
        return value
    return f"'{value}"


def csv_text(cell: str) -> str:
    """Return the text that `csv_cell` wrote as `cell`."""
    return cell[1:] if _MARKED.match(cell) else cell


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return not text.startswith(("\t", "\r"))
