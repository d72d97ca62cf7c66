"""Images that belong together: exact duplicates, near duplicates, faces of one photo, one person or sequence.

A split that divides such a group leaks: held-out images then resemble training images. All functions here
return *groups*: one number per row, the same for rows that belong together (the number of their first row).

Near duplicates are found in two steps. The first compares 63 low frequencies of each thumbnail with those of
likely candidates (an index of about sqrt(n) cells; the time grows with n * sqrt(n), not n * n). The second
shifts one thumbnail over the other and correlates their fine detail. Both steps also try the mirror image.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mien.errors import ConfigError, MienWarning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jaxtyping import Float32, Int, Shaped, UInt8

GROUP_COLUMN = "split_group"
"""The column that holds the user's group of each row: a person, a sequence, a film."""
PHOTO_COLUMN = "photo"
"""The column that names the photo a face was cut from."""
SIDE_PX = 32
"""Side of a thumbnail."""
SMALLEST_PX = 16
"""Images smaller than this show too little to tell near duplicates from similar faces."""
SAME_DETAIL = 0.9
"""Thumbnails whose fine detail has at least this correlation are near duplicates. On FER2013 the correlations form
two clusters with a gap around 0.87; all of 64 pairs drawn from 0.900 to 0.925, where errors are likeliest, showed
the same photograph."""
_SAME_SHAPE = 0.75
"""Pairs with a lower correlation of low frequencies are not compared further."""
_FREQUENCIES = 8
_PROBES, _CANDIDATES = 4, 8
_SHIFT_PX = 4
"""Largest shift that is tried, in pixels of a thumbnail."""
_FLAT = 2.0
"""Thumbnails with a lower standard deviation show nothing, and are not compared."""
FEW_ROWS = 50
"""A group of near duplicates up to this size is used, even if the dataset is small (see `too_alike`)."""
_CHUNK_ROWS = 4096
_CHUNK_PAIRS = 2**20
"""Pairs of rows compared at once, which bounds the memory where many images are alike and share a cell."""


def thumbnail(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "32 32"]:
    """Return the grey 32-pixel square that is used to find near duplicates."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.shape[2] == 3 else image[..., 0]
    return cv2.resize(grey, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)


def comparable(image: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "32 32"]:
    """Return the thumbnail, or a black one for an image that is too small: that one is compared with no other."""
    if min(image.shape[:2]) < SMALLEST_PX:
        return np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    return thumbnail(image)


def thumbnails(images: Iterable[UInt8[np.ndarray, "h w c"]]) -> UInt8[np.ndarray, "n 32 32"]:
    """Return the thumbnail of each image."""
    made = [thumbnail(image) for image in images]
    return np.stack(made) if made else np.zeros((0, SIDE_PX, SIDE_PX), np.uint8)


def equal_values(values: Shaped[np.ndarray, " n"]) -> Int[np.ndarray, "m 2"]:
    """Return pairs of rows that join all rows of equal values; an empty text equals nothing."""
    _, first, place = np.unique(values, return_index=True, return_inverse=True)
    rows = np.arange(len(values))
    pairs = np.stack([first[place], rows], axis=1)
    kept = pairs[:, 0] != pairs[:, 1]
    if values.dtype.kind == "U":
        kept &= values != ""
    return pairs[kept]


def joined(n: int, *pairs: Int[np.ndarray, "_ 2"]) -> Int[np.ndarray, " n"]:
    """Return the groups of `n` rows when each pair of rows belongs together, and so do pairs that share a row."""
    above = list(range(n))

    def top(row: int) -> int:
        while above[row] != row:
            above[row] = above[above[row]]
            row = above[row]
        return row

    for one in pairs:
        for a, b in one.tolist():
            low, high = sorted((top(a), top(b)))
            above[high] = low
    return np.array([top(row) for row in range(n)], int)


def together(
    keys: Int[np.ndarray, " n"],
    thumbs: UInt8[np.ndarray, "n 32 32"] | None,
    columns: Mapping[str, Shaped[np.ndarray, " n"]],
) -> Int[np.ndarray, " n"]:
    """Return the groups that no split may divide: exact and near duplicates, one photo, one group of the user's.

    Similar images, such as drawings or frames of one film, are all near duplicates of each other. If near duplicates
    would join more than a twentieth of all rows, they are not used, and a warning says so.

    Args:
        keys: `mien.data.duplicates.picture_keys`, equal for exact duplicates.
        thumbs: `thumbnails` of the images; with None, near duplicates are not looked for.
        columns: columns of the dataset; `PHOTO_COLUMN` and `GROUP_COLUMN` are used.
    """
    named = [equal_values(columns[name]) for name in (PHOTO_COLUMN, GROUP_COLUMN) if name in columns]
    sure = joined(len(keys), equal_values(keys), *named)
    if thumbs is None:
        return sure
    near = near_pairs(thumbs)
    if too_many := too_alike(near, len(keys)):
        warnings.warn(
            f"{too_many}: only exact duplicates are kept together; say what belongs together with `group_by` or "
            f"`group_column`",
            MienWarning,
            stacklevel=2,
        )
        return sure
    return joined(len(keys), np.stack([sure, np.arange(len(keys))], axis=1), near)


def too_alike(near: Int[np.ndarray, "m 2"], n: int) -> str:
    """Return a text if near pairs join too many of `n` rows to be right; else an empty text."""
    most = int(np.bincount(joined(n, near), minlength=1).max())
    if most <= max(FEW_ROWS, n / 20):
        return ""
    return f"{most:,} of {n:,} images look like near duplicates of one another, too alike to tell"


def near_pairs(thumbs: UInt8[np.ndarray, "n 32 32"]) -> Int[np.ndarray, "m 2"]:
    """Return the pairs of rows that are near duplicates: the lower row first, each pair once.

    They are found after JPEG compression, resizing, changes of light or contrast, mirroring, a shift of up to 6 % of
    the side, or a zoom of 5 %.
    Each row is compared with its eight most similar ones, which is enough to join a larger group.
    """
    rows = np.flatnonzero(thumbs.std(axis=(1, 2)) >= _FLAT)
    if len(rows) < 2:
        return np.zeros((0, 2), int)
    shapes = _shapes(thumbs[rows])
    detail = _Detail(thumbs[rows])
    found = [
        pair for mirrored in (False, True) for pair in _candidates(shapes, mirrored)
        if detail.correlation(*pair, mirrored) >= SAME_DETAIL
    ]  # fmt: skip
    if not found:
        return np.zeros((0, 2), int)
    return rows[np.unique(np.array(found, int), axis=0)]


def by_pattern(names: Sequence[str], pattern: str, source: str) -> Shaped[np.ndarray, " n"]:
    """Return the text that a regular expression matches in each name: in its brackets if it has some, else all.

    Raises:
        ConfigError: a name has no such part.
    """
    expression = re.compile(pattern)
    found = [expression.search(name) for name in names]
    values = ["/".join(part or "" for part in match.groups()) or match[0] if match else "" for match in found]
    without = [name for name, value in zip(names, values, strict=True) if not value]
    if without:
        raise ConfigError(
            f"`group_by` {pattern!r} finds nothing in {len(without):,} of {len(names):,} names of {source}, "
            f"first {without[0]!r}: give a pattern that finds a part of every name"
        )
    return np.array(values, str)


_SEQUENCE = re.compile(r"^(.*?)[ _-]?\(?\d+\)?$")
_SUBJECT = re.compile(r"(?:^|[/_-])([A-Za-z]{0,8}\d{2,4})(?=[_-])")


def suggested_pattern(names: Sequence[str]) -> str:
    """Return a pattern for `group_by` if file names look like those of persons or sequences, else an empty text.

    They do if the text before the last number repeats: ``S010_004_00000017.png``, ``S010_004_00000018.png``.
    A plain running number (``im1.png``, ``Training_123.jpg``) has the same beginning everywhere and is no sign.
    """
    stems = [name.rsplit("/", 1)[-1].rsplit(".", 1)[0] for name in names]
    subjects = [match[1] if (match := _SUBJECT.search(stem)) else "" for stem in stems]
    if not stems or "" in subjects:
        return ""
    different = len(set(subjects))
    repeated = 2 * different <= len(subjects)
    return r"^(?:.*/)?([A-Za-z]*\d+)[_-]" if repeated and different >= 2 else ""


class _Detail:
    """Compares the fine detail of two thumbnails; the detail of each is computed once, when it is first used."""

    def __init__(self, thumbs: UInt8[np.ndarray, "n 32 32"]) -> None:
        self._thumbs = thumbs
        self._made: dict[int, UInt8[np.ndarray, "32 32"]] = {}

    def correlation(self, one: int, other: int, mirrored: bool) -> float:
        """Return the highest correlation over all shifts."""
        image, moved = self._of(one), self._of(other)
        inner = (moved[:, ::-1] if mirrored else moved)[_SHIFT_PX:-_SHIFT_PX, _SHIFT_PX:-_SHIFT_PX]
        return float(cv2.matchTemplate(image, np.ascontiguousarray(inner), cv2.TM_CCOEFF_NORMED).max())

    def _of(self, row: int) -> UInt8[np.ndarray, "32 32"]:
        if row not in self._made:
            grey = self._thumbs[row].astype(np.float32)
            band = cv2.GaussianBlur(grey, (0, 0), 0.8) - cv2.GaussianBlur(grey, (0, 0), 3.0)
            scaled = 128 + band * (32 / max(float(band.std()), 1e-3))
            self._made[row] = scaled.clip(0, 255).astype(np.uint8)
        return self._made[row]


def _shapes(thumbs: UInt8[np.ndarray, "n 32 32"]) -> Float32[np.ndarray, "n 63"]:
    """Return the low frequencies of each thumbnail without its mean, as vectors of length one.

    A frequency is weighted in proportion to its value, because natural images have less energy at high frequencies.
    """
    height = np.sqrt(np.add.outer(np.arange(_FREQUENCIES) ** 2, np.arange(_FREQUENCIES) ** 2))
    shapes = np.stack(
        [
            (cv2.dct(thumb.astype(np.float32))[:_FREQUENCIES, :_FREQUENCIES] * height).ravel()[1:]
            for thumb in thumbs
        ]
    ).astype(np.float32)
    return shapes / np.maximum(np.linalg.norm(shapes, axis=1, keepdims=True), 1e-6)


def _candidates(shapes: Float32[np.ndarray, "n d"], mirrored: bool) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows whose low frequencies correlate, each once, the lower row first."""
    n = len(shapes)
    odd = np.arange(1, _FREQUENCIES**2) % _FREQUENCIES % 2
    asked = shapes * np.where(odd, -1, 1).astype(np.float32) if mirrored else shapes
    centres = shapes[np.random.default_rng(0).permutation(n)[: max(1, round(np.sqrt(n)))]]
    probes = min(_PROBES, len(centres))
    lives, looks = np.empty(n, int), np.empty((n, probes), int)
    for start in range(0, n, _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        lives[part] = (shapes[part] @ centres.T).argmax(axis=1)
        looks[part] = np.argpartition(-(asked[part] @ centres.T), probes - 1, axis=1)[:, :probes]
    residents, visitors = _by_cell(lives, len(centres)), _by_cell(looks.ravel(), len(centres))
    best = _Best(n)
    for here, asking in zip(residents, visitors, strict=True):
        at_once = max(1, _CHUNK_PAIRS // max(1, len(here)))
        for start in range(0, len(asking), at_once):
            rows = asking[start : start + at_once] // probes
            best.add(rows, here, asked[rows] @ shapes[here].T)
    one, rank = np.nonzero(best.others >= 0)
    pairs = np.sort(np.stack([one, best.others[one, rank]], axis=1), axis=1)
    yield from map(tuple, np.unique(pairs, axis=0).tolist())


class _Best:
    """The `_CANDIDATES` most similar other rows of each row so far, so that memory grows with the rows alone."""

    def __init__(self, n: int) -> None:
        self.others = np.full((n, _CANDIDATES), -1)
        """The most similar first; -1 where there are fewer."""
        self._alike = np.zeros((n, _CANDIDATES), np.float32)

    def add(
        self, rows: Int[np.ndarray, " m"], here: Int[np.ndarray, " c"], alike: Float32[np.ndarray, "m c"]
    ) -> None:
        """Add how similar some rows, each given once, are to the rows `here`, which were not compared with them."""
        asking, asked = np.nonzero((alike >= _SAME_SHAPE) & (rows[:, None] != here))
        known, rank = np.nonzero(self.others[rows] >= 0)
        one = rows[np.concatenate([known, asking])]
        other = np.concatenate([self.others[rows[known], rank], here[asked]])
        value = np.concatenate([self._alike[rows[known], rank], alike[asking, asked]])
        order = np.lexsort((-value, one))
        one = one[order]
        rank = np.arange(len(one)) - np.searchsorted(one, one)
        kept = rank < _CANDIDATES
        self.others[one[kept], rank[kept]] = other[order][kept]
        self._alike[one[kept], rank[kept]] = value[order][kept]


def _by_cell(cells: Int[np.ndarray, " m"], n_cells: int) -> list[Int[np.ndarray, " _"]]:
    """Return, for each cell, the places at which its number stands."""
    order = np.argsort(cells, kind="stable")
    return np.split(order, np.searchsorted(cells[order], np.arange(1, n_cells)))
