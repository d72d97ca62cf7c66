"""Recognise the columns of tables by name: image, label, split, box, one column per class.

Names are compared without case, blanks and punctuation: ``Image Path`` is ``image_path``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mien.data.split_names import split_name
from mien.errors import ConfigError, DataError, did_you_mean
from mien.labels import EMOTIONS_8, FERPLUS_VOTE_ORDER, canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float32, Shaped

    from mien.options import ReadOptions

LABEL = (
    *("emotion", "emotions", "label", "labels", "expression", "expressions", "class", "classes", "category"),
    *("target", "targets", "emotionlabel", "emotionclass", "emotionname", "facialexpression", "labelname"),
    *(
        "expressionlabel",
        "classname",
        "classlabel",
        "classid",
        "categories",
        "sentiment",
        "mood",
        "y",
        "truth",
    ),
    *(
        "groundtruth",
        "gt",
        "tag",
        "annotation",
        "labelid",
        "emotionid",
        "feeling",
        "affect",
        "dominantemotion",
    ),
)
_LABEL_WORDS = ("emotion", "emotions", "expression", "label")
PATH = (
    *(
        "path",
        "file",
        "filename",
        "filepath",
        "image",
        "imagepath",
        "imagename",
        "imagefile",
        "imagefilename",
    ),
    *(
        "img",
        "imgpath",
        "imgname",
        "imgfile",
        "pth",
        "subdirectoryfilepath",
        "name",
        "picture",
        "photo",
        "id",
    ),
    *(
        "imageid",
        "imgid",
        "relativepath",
        "relpath",
        "imageurl",
        "images",
        "files",
        "src",
        "facepath",
        "frame",
    ),
)
SPLIT = ("usage", "split", "subset", "set", "partition", "fold", "phase", "datasplit", "mode", "part")
_MAYBE_SPLIT = frozenset(("partition", "fold", "phase", "mode", "part"))
"""Names of `SPLIT` that columns of other meanings have, too: they count if all their words are names of splits."""
_ASKS_FOR_SPLIT = ("istrain", "istraining", "istest", "isval", "isvalid", "isvalidation", "traintest")
_CORNERS = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
    ("xtl", "ytl", "xbr", "ybr"),
    ("minx", "miny", "maxx", "maxy"),
    ("startx", "starty", "endx", "endy"),
)
_SIZES = (
    ("left", "top", "width", "height"),
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("xmin", "ymin", "width", "height"),
    ("left", "top", "w", "h"),
    ("x1", "y1", "w", "h"),
    ("x1", "y1", "width", "height"),
)
_BOX_WORDS = (
    "face",
    "facebox",
    "bbox",
    "box",
    "boundingbox",
    "roi",
    "faceroi",
    "rect",
    "facerect",
    "bb",
    "b",
)
"""Words that may come before each of these names: ``face_x``, ``bbox_width``."""
_LOOKS_LIKE_BOX = re.compile(
    r"(face|bb|b)?(ounding)?_?(box|rect|roi)|(face)?(x|y)(min|max|tl|br|[012])?|[xy]c(enter)?"
)
NONE = "none"


class Box(NamedTuple):
    """The columns of a box."""

    places: tuple[int, ...]
    """Four columns, or one that holds four numbers."""
    sizes: bool
    """The last two numbers are width and height, not right and bottom."""


def plain(name: str) -> str:
    """Return a column's name in the form in which names are compared."""
    return re.sub(r"[\W_]+", "", name.lower())


def is_index(name: str) -> bool:
    """Return whether a column has no name and only numbers the rows, as pandas writes it."""
    return plain(name) in ("", "index") or name.lower().startswith("unnamed:")


def find(header: Sequence[str], known: Sequence[str]) -> int | None:
    """Return the place of the first known name that a header has."""
    names = [plain(name) for name in header]
    return next((names.index(name) for name in known if name in names), None)


def named(header: Sequence[str], option: str, value: str, source: str) -> int:
    """Return the place of a column that the user names.

    Raises:
        ConfigError: there is no such column.
    """
    names = [plain(name) for name in header]
    if plain(value) not in names:
        raise ConfigError(
            f"`{option}={value}`: {source} has no such column{did_you_mean(value.lower(), list(header))} "
            f"(it has {', '.join(header[:12])})"
        )
    return names.index(plain(value))


def label_place(
    header: Sequence[str], options: ReadOptions, source: str, rows: Sequence[Sequence[str]] = ()
) -> tuple[int | None, tuple[str, ...]]:
    """Return the place of the label column, and notes about it: as the user names it, or by its name.

    If several columns have a label's name, one that holds expressions is preferred.
    """
    if options.label_column:
        return named(header, "label_column", options.label_column, source), ()
    places = label_places(header)
    emotional = [place for place in places if any(canonical(row[place]) in EMOTIONS_8 for row in rows)]
    best = next(iter(emotional or places), None)
    others = (
        [place for place in places if any(row[place] != row[best] for row in rows)]
        if best is not None
        else []
    )
    if best is None or not others:
        return best, ()
    return best, (
        f"{source}: labels are read from the column {header[best]}; {', '.join(header[place] for place in others)} "
        f"says something else (`label_column` names the one that counts)",
    )


def label_places(header: Sequence[str]) -> list[int]:
    """Return the places of columns with a label's name, the likeliest first; else one that ends in such a name."""
    names = [plain(name) for name in header]
    known = [name for name in LABEL if name in names]
    if "x" in names and find(header, PATH) is not None:  # with another column of files, x and y are a place
        known = [name for name in known if name != "y"]
    if known:
        return [place for one in known for place, name in enumerate(names) if name == one]
    ends = [
        place for place, name in enumerate(header) if re.split(r"[\W_]+", name.strip())[-1] in _LABEL_WORDS
    ]
    return ends if len(ends) == 1 else []


def split_place(
    header: Sequence[str], options: ReadOptions, source: str, rows: Sequence[Sequence[str]] = ()
) -> tuple[int | None, tuple[str, ...]]:
    """Return the place of the split column, and notes: as the user names it, by its name, or by its cells."""
    if options.split_column:
        return named(header, "split_column", options.split_column, source), ()
    if (place := find(header, SPLIT)) is not None:
        words = {row[place] for row in rows}
        strange = sorted(word for word in words if not split_name(word))
        if len(words) > 1 and all(word.isdecimal() for word in words):
            why = "numbers"
        elif strange and plain(header[place]) in _MAYBE_SPLIT:
            why = f"words that name no split ({', '.join(strange[:3])})"
        else:
            return place, ()
        return None, (
            f"{source}: the column {header[place]} holds {why} and is not read as the split "
            f"(`split_column` makes it one)",
        )
    asked = next((name for name in header if plain(name) in _ASKS_FOR_SPLIT), None)
    for place, name in enumerate(header):
        words = {row[place] for row in rows}
        if len(words) > 1 and all(map(split_name, words)):
            return place, (f"{source}: the column {name} holds names of splits, and is read as the split",)
    return None, (
        (
            f"{source}: the column {asked} is not read as the split: add a column named split that holds train, val "
            f"or test",
        )
        if asked
        else ()
    )


def box_of(header: Sequence[str], options: ReadOptions, source: str) -> Box | None:
    """Return the columns of the box: as the user names them, or by their names.

    Raises:
        ConfigError: the user names other than one or four columns, or one that is not there.
    """
    if options.box_columns == NONE:
        return None
    if options.box_columns:
        sizes = options.box_columns.startswith("wh:")
        words = [word.strip() for word in options.box_columns.removeprefix("wh:").split(",")]
        if len(words) not in (1, 4):
            raise ConfigError(
                f"`box_columns` expects four columns, as in left,top,right,bottom, or wh:left,top,width,height; "
                f"got {options.box_columns}"
            )
        sizes = sizes or (len(words) == 4 and plain(words[2]).endswith(("width", "w")))
        return Box(tuple(named(header, "box_columns", word, source) for word in words), sizes)
    names = [plain(name) for name in header]
    for sets, sizes in ((_CORNERS, False), (_SIZES, True)):
        for four in sets:
            for before in ("", *_BOX_WORDS):
                wanted = [before + name for name in four]
                if set(wanted) <= set(names) and not _are_points(wanted, names):
                    return Box(tuple(names.index(name) for name in wanted), sizes)
    return None


def _are_points(four: Sequence[str], names: Sequence[str]) -> bool:
    """Return whether two numbered corners, as x0 and x1, are the first of a longer series: points of a face."""
    series = four[0].rstrip("0123456789")
    return series != four[0] and sum(re.fullmatch(rf"{series}\d+", name) is not None for name in names) > 2


def has_meaning(name: str) -> bool:
    """Return whether a column of this name, alone or with others, is read as label, image, split or box."""
    parts = {part for four in (*_CORNERS, *_SIZES) for part in four}
    short = plain(name)
    boxed = any(short.removeprefix(word) in parts for word in ("", *_BOX_WORDS) if short.startswith(word))
    return (
        short in (*LABEL, *PATH, *SPLIT)
        or boxed
        or _LOOKS_LIKE_BOX.fullmatch(short) is not None
        or is_index(name)
    )


def without_meaning(name: str) -> str:
    """Return the name of a source's column in a table of ours, where it must mean nothing to a reader."""
    return f"source_{name}" if has_meaning(name) else name


def unread_boxes(names: Sequence[str], source: str) -> tuple[str, ...]:
    """Return a note about the unused columns that look like parts of a box, if there are any."""
    odd = [name for name in names if _LOOKS_LIKE_BOX.fullmatch(plain(name))]
    if not odd:
        return ()
    return (
        f"{source}: whole images are read, though these columns look like a face box: {', '.join(odd)} "
        f"(`box_columns` names one column of four numbers, or four)",
    )


def votes_places(header: Sequence[str]) -> list[int] | None:
    """Return the ten columns of FER+ votes in the order of `FERPLUS_VOTE_ORDER`, if a table has them."""
    names = [canonical(name) for name in header]
    if not all(name in names for name in FERPLUS_VOTE_ORDER):
        return None
    return [names.index(name) for name in FERPLUS_VOTE_ORDER]


_SET = frozenset(("1", "1.0", "true"))
_FLAGS = _SET | {"0", "0.0", "false", ""}


def one_hot_places(header: Sequence[str], rows: Sequence[Sequence[str]], free: Sequence[int]) -> list[int]:
    """Return the columns that are one per class: only 0 and 1 (or false and true), and several of them.

    If some of them are known emotions, the others (such as ``occluded``) are not classes; and if an emotion has other
    numbers, all are shares or votes. Columns without an emotion's name are classes only if each row sets one of them.
    """
    free = [place for place in free if not is_index(header[place])]
    flags = [place for place in free if all(row[place].lower() in _FLAGS for row in rows)]
    named = [place for place in free if canonical(header[place]) in EMOTIONS_8]
    if len(named) > 1:
        return named if rows and set(named) <= set(flags) else []
    once = all(sum(row[place].lower() in _SET for place in flags) == 1 for row in rows)
    says = [place for place in free if all(canonical(row[place]) in EMOTIONS_8 for row in rows)]
    return flags if rows and len(flags) > 1 and once and not says else []


def one_hot_names(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    places: Sequence[int],
    lines: Sequence[int],
    source: str,
) -> list[str]:
    """Return the class of each row of one column per class; a row without any has no label.

    Raises:
        DataError: a row of several classes.
    """
    names = []
    for line, row in zip(lines, rows, strict=True):
        set_here = [header[place] for place in places if row[place].lower() in _SET]
        if len(set_here) > 1:
            raise DataError(
                f"{source}: line {line} sets {len(set_here)} classes, {' and '.join(set_here[:3])}: "
                f"expected one for each image"
            )
        names.append(set_here[0] if set_here else "")
    return names


def boxes_of(
    box: Box, rows: Sequence[Sequence[str]], lines: Sequence[int], source: str
) -> Float32[np.ndarray, "n 4"]:
    """Return boxes as x0, y0, x1, y1 in pixels.

    Raises:
        DataError: a cell that is no number, a box without width or height, or fractions of a picture.
    """
    boxes = np.empty((len(rows), 4), np.float32)
    for number, (line, row) in enumerate(zip(lines, rows, strict=True)):
        cells = [row[place] for place in box.places]
        if len(cells) == 1:
            cells = re.findall(r"[-+.\w]+", cells[0])
        try:
            a, b, c, d = map(float, cells)
        except ValueError:
            a = b = c = d = float("nan")
        if box.sizes:
            c, d = a + c, b + d
        if not (np.isfinite([a, b]).all() and a < c < np.inf and b < d < np.inf):
            kind = "width and height above 0" if box.sizes else "x0 < x1 and y0 < y1"
            raise DataError(
                f"{source}: line {line} has the box {' '.join(cells)}: expected {kind}, in pixels "
                f"(`box_columns` says which columns they are; `box_columns=none` reads whole images)"
            )
        boxes[number] = a, b, c, d
    if len(boxes) and boxes.max() <= 1.5 and boxes.min() >= 0:
        raise DataError(
            f"{source}: no box goes beyond 1.5: they look like fractions of the image, expected pixels"
        )
    return boxes


def other_columns(
    header: Sequence[str], rows: Sequence[Sequence[str]], used: Sequence[int]
) -> dict[str, Shaped[np.ndarray, " n"]]:
    """Return the other columns of a table by name, as texts; a column that numbers the rows is left out."""
    return {
        name: np.array([row[place] for row in rows], str)
        for place, name in enumerate(header)
        if place not in used and not is_index(name)
    }
