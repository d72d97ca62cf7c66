"""`Reading`: the rows that a reader found on disk, and the functions that turn them into a `FaceDataset`.

Readers only find rows: a name, a split and a target each, and a function that decodes one image. The further steps
are the same for all forms: choosing labels, splitting, checking, decoding, fitting.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.data.columns import plain
from mien.data.dataset import FaceDataset, check_split, one_hot
from mien.data.duplicates import picture_keys
from mien.data.groups import GROUP_COLUMN, by_pattern, comparable, suggested_pattern, together
from mien.data.split_names import split_name
from mien.data.splits import drawn
from mien.errors import ConfigError, DataError, MienWarning, did_you_mean, number_of
from mien.escapes import encodable
from mien.labels import canonical, choose_labels, without_numbers
from mien.options import ReadOptions as ReadOptions
from mien.vision.crop import around, cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from jaxtyping import Float32, Int, Shaped, UInt8

    from mien.preprocess import Preprocess

_DARK = 32
"""A dataset whose brightest pixel is below this holds values of another range, such as 0 and 1 or 0 to 15."""
_INSIDE = 0.5
"""Least part of a box that lies in its image; with less, it is of another unit, or of an image of another size."""
CLASS_LIMIT = 1000
"""Most classes; more are probably a wrong column."""

NO_LABEL = frozenset(("nan", "na", "n/a", "#n/a", "null", "<na>"))
"""Texts that programs write into empty cells."""
_WHOLE = re.compile(r"(-?\d+)\.0+")


@dataclass(frozen=True)
class Reading:
    """Rows of a dataset whose images are not decoded yet."""

    source: str
    ids: Sequence[str]
    splits: Sequence[str]
    """Split of each row, as the source names it; empty texts if it names none."""
    classes: tuple[str, ...]
    """Classes in the source's own order; decimal numbers if it has no names."""
    targets: Float32[np.ndarray, "n k"]
    """Columns in the order of `classes`; a row of zeros has no label."""
    picture: Callable[[int], UInt8[np.ndarray, "h w c"]]
    """Decode one row's picture, 1 grey or 3 RGB channels."""
    votes: Float32[np.ndarray, "n 10"] | None = None
    """Annotators' votes in the order of `mien.labels.FERPLUS_VOTE_ORDER`."""
    columns: Mapping[str, Shaped[np.ndarray, " n"]] = field(default_factory=dict)
    """Further columns of a list, as text; reports can be sliced by them."""
    from_votes: bool = False
    """Whether the targets were made of `votes`, because the source has no labels."""
    boxes: Float32[np.ndarray, "n 4"] | None = None
    """Box of each row's face in its image (x0, y0, x1, y1 in pixels), if a list gives boxes. Then the column
    ``photo`` names the image, which may have several faces."""
    by_row: bool = False
    """True if row i is row i of the source file (needed to align FER+ votes)."""
    split_from: str = ""
    """The tables that give splits, for the message about a row that has none."""
    flaw: str = ""
    """Why no class could be read; raised only when labels are needed."""
    divide: tuple[float, int] | None = None
    """Fraction and seed of the split val, which is drawn when the images are decoded; None if splits are named."""
    left_out: int = 0
    """Number of images of the source whose votes gave no target."""
    skipped: tuple[str, ...] = ()
    """Corrupt images that were left out before."""
    notes: tuple[str, ...] = ()
    """Notes for the user about how something was read, or what was left out; one sentence each."""

    @classmethod
    def of(cls, data: FaceDataset) -> Reading:
        """Return the rows of a dataset, for other labels, votes or sizes."""
        return cls(
            source=data.source,
            ids=data.ids,
            splits=data.split.tolist(),
            classes=data.labels,
            targets=data.targets,
            picture=lambda row: np.asarray(data.images[row]),
            votes=data.votes,
            columns=data.columns,
            skipped=data.skipped,
            notes=data.notes,
        )

    def presentable(self) -> Reading:
        """Return the rows as files may state them: names in UTF-8 (`mien.escapes`), notes without the folder.

        `picture` keeps the real names.
        """
        name = Path(self.source).name or self.source

        def each(texts: Iterable[str]) -> list[str]:
            return [encodable(text) for text in texts]

        return replace(
            self, source=encodable(self.source), ids=each(self.ids), splits=each(self.splits),
            classes=tuple(each(self.classes)),
            notes=tuple(each(note.replace(self.source, name) for note in self.notes)),
            columns={encodable(name): np.array(each(cells.tolist()), str) for name, cells in self.columns.items()},
        )  # fmt: skip

    def take(self, rows: Int[np.ndarray, " m"]) -> Reading:
        """Return these rows, in this order."""
        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            splits=[self.splits[row] for row in rows],
            targets=self.targets[rows],
            picture=lambda row: self.picture(int(rows[row])),
            votes=None if self.votes is None else self.votes[rows],
            columns={name: column[rows] for name, column in self.columns.items()},
            boxes=None if self.boxes is None else self.boxes[rows],
            by_row=False,
        )


def class_targets(names: Sequence[str], source: str) -> tuple[tuple[str, ...], Float32[np.ndarray, "n k"]]:
    """Return classes and one-hot targets for a column of class names or numbers; an empty cell has no label.

    Raises:
        DataError: more than `CLASS_LIMIT` classes, so this is probably another column.
    """
    names = [unicodedata.normalize("NFC", name) for name in whole_numbers(names)]
    found = dict.fromkeys(name for name in names if name)
    if not found:
        return ("0", "1"), np.zeros((len(names), 2), np.float32)
    if len(found) > CLASS_LIMIT:
        raise DataError(
            f"{source}: {len(found):,} classes are over the limit of {CLASS_LIMIT:,}: is this the right column?"
        )
    numbered = all(name.isdecimal() and len(name) < 10 for name in found)
    classes = tuple(map(str, sorted({int(name) for name in found}))) if numbered else tuple(found)
    place = {name: number for number, name in enumerate(classes)}
    truth = np.array([place[str(int(name)) if numbered else name] if name else -1 for name in names], int)
    return classes, one_hot(truth, len(classes)) * (truth >= 0)[:, None].astype(np.float32)


def whole_numbers(names: Sequence[str]) -> list[str]:
    """Return class numbers without the ``.0`` that pandas writes if some cell of the column is empty."""
    plain = [match[1] if (match := _WHOLE.fullmatch(name)) else name for name in names]
    return plain if all(name.removeprefix("-").isdecimal() or not name for name in plain) else list(names)


def prepare(
    reading: Reading, options: ReadOptions, *, split: str | None = None, complete: bool = True
) -> Reading:
    """Choose the labels, name the splits and check all that can be checked before an image is decoded.

    Returns the rows that are kept, with mien's names of splits and the labels as classes. With `complete`, every
    split (or only `split`, if it is given) must have every class.

    Raises:
        DataError: unknown labels, a split without one of the classes, two rows of one name.
    """
    if not len(reading.ids):
        raise DataError(
            f"no images in {reading.source}: expected files such as train/happy/1.jpg and test/happy/2.jpg"
        )
    if reading.flaw:
        raise DataError(reading.flaw)
    _check_unique(reading.ids, reading.source)
    reading = _with_one_spelling(_with_plain_classes(reading))
    labels, places = choose_labels(options.labels, reading.classes, reading.source)
    moved = np.zeros((len(places), len(labels)), np.float32)
    for number, place in enumerate(places):
        if place is not None:
            moved[number, place] = 1
    targets = reading.targets @ moved
    chosen = (reading.targets.sum(axis=1) == 0) | moved[reading.targets.argmax(axis=1)].any(axis=1)
    shares = targets.sum(axis=1, keepdims=True)
    targets = np.divide(targets, shares, out=np.zeros_like(targets), where=shares > 0)
    reading = replace(reading, targets=targets, classes=labels)
    if not chosen.all():
        reading = reading.take(np.flatnonzero(chosen))
    reading = _grouped(reading, options)
    if any(reading.splits):
        reading = replace(reading, splits=_named_splits(reading, options))
    else:
        reading = replace(reading, divide=(options.val_fraction, options.split_seed))
    if complete:
        _check_classes(reading, split)
    return reading


def _with_plain_classes(reading: Reading) -> Reading:
    """Read words for empty cells (``nan``) as no label, and ``0_angry`` as ``angry``; say so, and what is renamed."""
    classes, targets, notes = list(reading.classes), reading.targets, list(reading.notes)
    known = [name for name in classes if name.casefold() not in NO_LABEL]
    numbers = [name for name in known if name.isdecimal() and len(name) < 10]
    # -1 beside one number is the other of two classes
    if "-1" in known and 1 < len(numbers) == len(known) - 1:
        known = sorted(numbers, key=int)
    for name in (name for name in classes if name not in known):
        count = int((targets[:, classes.index(name)] > 0).sum())
        notes.append(f"read as having no label: {number_of(count, 'image')} of the class {name!r}")
    targets = targets[:, [classes.index(name) for name in known]]
    bare = without_numbers(known)
    if bare != known:
        notes.append(f"the class {known[0]!r} is read as {bare[0]!r}, and the others in the same way")
    renamed = [f"{name!r} as {canonical(name)!r}" for name in bare if canonical(name) != name.lower()]
    if renamed:
        notes.append(f"class names are read in one spelling: {', '.join(renamed)}")
    return replace(reading, classes=tuple(bare), targets=targets, notes=tuple(notes))


def _with_one_spelling(reading: Reading) -> Reading:
    """Join classes whose names differ only in case, if no split has both: ``train/Happy`` and ``test/happy``."""
    spellings: dict[str, list[int]] = {}
    for number, name in enumerate(reading.classes):
        spellings.setdefault(name.casefold(), []).append(number)
    splits = np.array(reading.splits)
    for same in (numbers for numbers in spellings.values() if len(numbers) > 1):
        used = [set(splits[reading.targets[:, number] > 0].tolist()) for number in same]
        if sum(map(len, used)) > len(set().union(*used)) or not any(reading.splits):
            continue
        names = [reading.classes[number] for number in same]
        targets = reading.targets.copy()
        targets[:, same[0]] = targets[:, same].sum(axis=1)
        kept = [number for number in range(len(reading.classes)) if number not in same[1:]]
        note = f"the classes {' and '.join(map(repr, names))}, of different splits, are read as one"
        return _with_one_spelling(
            replace(
                reading, targets=targets[:, kept], classes=tuple(reading.classes[number] for number in kept),
                notes=(*reading.notes, note),
            )
        )  # fmt: skip
    return reading


def decode(
    reading: Reading,
    preprocess: Preprocess,
    *,
    split: str | None,
    skip_corrupt: bool | None,
    allocate: Callable[[tuple[int, int, int, int]], UInt8[np.ndarray, "n s s c"]],
    complete: bool = True,
) -> FaceDataset:
    """Decode and fit a prepared reading into the array that `allocate` makes for its shape.

    Raises:
        DataError: no such split, or an image is corrupt and `skip_corrupt` is not set (None if there is no such
            option).
    """
    if split:
        check_split(split, _split_names(reading), reading.source)
        if not reading.divide:
            reading = reading.take(np.flatnonzero(np.array(reading.splits) == split))
    size, seen = preprocess.size_px, _Seen()
    pixels = allocate((len(reading.ids), size, size, preprocess.channels))
    kept, corrupt = _fill(pixels, reading, preprocess, seen)
    if corrupt:
        _check_skipped(corrupt, reading, skip_corrupt)
        reading = reading.take(np.array(kept, int))
        if complete:
            _check_classes(reading, split)
    if len(kept) and (brightest := int(pixels[: len(kept)].max())) < _DARK:
        raise DataError(
            f"{reading.source}: no pixel of any image is above {brightest} of 255: scale the values to 0-255"
        )
    if reading.divide:
        reading = _divided(reading, seen, complete=complete)
    dataset = FaceDataset(
        images=pixels[: len(kept)],
        targets=reading.targets,
        ids=tuple(reading.ids),
        split=np.array(reading.splits),
        labels=reading.classes,
        source=reading.source,
        skipped=(*reading.skipped, *corrupt),
        notes=reading.notes,
        votes=reading.votes,
        columns=reading.columns,
    )
    return dataset.select(split) if split and reading.divide else dataset


def _fill(
    pixels: UInt8[np.ndarray, "n s s c"], reading: Reading, preprocess: Preprocess, seen: _Seen
) -> tuple[list[int], dict[str, str]]:
    """Decode all rows into `pixels`, the readable ones first; return these rows, and why each other is corrupt.

    Raises:
        DataError: the memory is not enough, or the system cannot read a file.
    """
    kept: list[int] = []
    corrupt: dict[str, str] = {}
    for row, name in enumerate(reading.ids):
        try:
            face = face_of(reading, row)
            pixels[len(kept)] = preprocess.fit(face)
            if reading.divide:
                seen.add(face)
            kept.append(row)
        except MemoryError:
            raise DataError(f"{reading.source}: the memory is not enough to decode {name}") from None
        except Exception as error:  # a damaged archive raises exceptions of many kinds
            _check_readable(error, name, reading.source)
            corrupt[name] = str(error)
    return kept, corrupt


def _check_skipped(corrupt: Mapping[str, str], reading: Reading, skip_corrupt: bool | None) -> None:
    """Refuse corrupt images, unless the user leaves them out and other images remain.

    Raises:
        DataError: says how many there are, and why the first cannot be read.
    """
    if not skip_corrupt:
        name, reason = next(iter(corrupt.items()))
        choice = "" if skip_corrupt is None else ", or leave them out with `skip_corrupt=True`"
        raise DataError(
            f"{len(corrupt)} corrupt of {len(reading.ids)} images in {reading.source}, first {name}: "
            f"{reason}; replace them{choice}"
        )
    if len(corrupt) == len(reading.ids):
        raise DataError(f"all {len(corrupt)} images in {reading.source} are corrupt")


def part(reading: Reading, split: str) -> Reading:
    """Return one split of a prepared reading; if the source names none, all images are decoded to draw it.

    Raises:
        DataError: no such split, or an image that cannot be decoded.
    """
    check_split(split, _split_names(reading), reading.source)
    if reading.divide:
        seen = _Seen()
        for row in range(len(reading.ids)):
            seen.add(face_of(reading, row))
        reading = replace(_divided(reading, seen), divide=None)
    return reading.take(np.flatnonzero(np.array(reading.splits) == split))


def _check_readable(error: Exception, name: str, source: str) -> None:
    """Raise an error for an image that could not be opened: it does not count as corrupt.

    Raises:
        DataError: the system's error.
    """
    cause = error if isinstance(error, OSError) else error.__cause__
    if isinstance(cause, OSError) and cause.errno is not None:
        raise DataError(
            f"{source}: {name} cannot be read ({cause.strerror}); it is not counted as corrupt"
        ) from error


def face_of(reading: Reading, row: int) -> UInt8[np.ndarray, "h w c"]:
    """Return one row's image, or the square of it around the row's box.

    Raises:
        DataError: most of the box lies outside the image. What `Reading.picture` raises comes as it is; a damaged
            archive raises exceptions of many kinds.
    """
    picture = reading.picture(row)
    if reading.boxes is None:
        return picture
    (h, w), (x0, y0, x1, y1) = picture.shape[:2], reading.boxes[row].tolist()
    inside = max(0, min(x1, w) - max(x0, 0)) * max(0, min(y1, h) - max(y0, 0)) / ((x1 - x0) * (y1 - y0))
    if inside < _INSIDE:
        part = "most of its box" if inside else "its box"
        raise DataError(
            f"{part} {x0:g} {y0:g} {x1:g} {y1:g} lies outside its {w} x {h} pixels: boxes are expected in pixels of "
            f"this image (`box_columns` says which columns they are)"
        )
    return cut(picture, around((x0, y0, x1, y1)))


def _named_splits(reading: Reading, options: ReadOptions) -> list[str]:
    if (options.val_fraction, options.split_seed) != (ReadOptions.val_fraction, ReadOptions.split_seed):
        raise ConfigError(
            f"{reading.source} names its splits ({', '.join(sorted(set(reading.splits)))}): leave out `val_fraction` "
            f"and `split_seed`, which divide what names none; validation.split=holdout takes a part of train"
        )
    named = [split_name(split) or split.strip().lower() for split in reading.splits]
    if not all(named):
        whose = f" (from {reading.split_from})" if reading.split_from else ""
        first = f"{reading.source}: {reading.ids[named.index('')]} has no split"
        raise DataError(f"{first}, others have{whose}: name one for each row")
    return named


def _grouped(reading: Reading, options: ReadOptions) -> Reading:
    """Add the user's groups as a column, or warn if file names look as if there were groups."""
    if options.group_column:
        known = list(reading.columns)
        wanted = next((name for name in known if plain(name) == plain(options.group_column)), None)
        if wanted is None:
            raise ConfigError(
                f"no column {options.group_column!r} for `group_column` in {reading.source}: "
                f"expected one of {', '.join(known) or '(there is none)'}{did_you_mean(options.group_column, known)}"
            )
        groups = reading.columns[wanted]
    elif options.group_by:
        groups = by_pattern(reading.ids, options.group_by, reading.source)
    else:
        if GROUP_COLUMN not in reading.columns and (pattern := suggested_pattern(reading.ids)):
            warnings.warn(
                f"file names of {reading.source} such as {reading.ids[0].rsplit('/', 1)[-1]} look as if a person "
                f"or a sequence had several images, which a random split would divide: set `group_by` to '{pattern}'",
                MienWarning,
                stacklevel=2,
            )
        return reading
    return replace(reading, columns={**reading.columns, GROUP_COLUMN: groups})


class _Seen:
    """The facts by which groups are found, collected image by image."""

    def __init__(self) -> None:
        self._keys: list[Int[np.ndarray, " 1"]] = []
        self._thumbs: list[UInt8[np.ndarray, "32 32"]] = []

    def add(self, picture: UInt8[np.ndarray, "h w c"]) -> None:
        """Add one image. Images of different sizes are never exact duplicates, but may be near ones."""
        self._keys.append(picture_keys([picture]))
        self._thumbs.append(comparable(picture))

    def groups(self, columns: Mapping[str, Shaped[np.ndarray, " n"]]) -> Int[np.ndarray, " n"]:
        """Return the groups of all images so far."""
        return together(np.concatenate(self._keys), np.stack(self._thumbs), columns)


def _split_names(reading: Reading) -> list[str]:
    return ["train", "val"] if reading.divide else list(dict.fromkeys(reading.splits))


def _divided(reading: Reading, seen: _Seen, *, complete: bool = True) -> Reading:
    """Draw ``train`` or ``val`` for each row: whole groups, the same fraction of every class.

    Raises:
        DataError: one of them would lack a class; unless `complete`, this is a note.
    """
    assert reading.divide
    fraction, seed = reading.divide
    truth = np.where(reading.targets.any(axis=1), reading.targets.argmax(axis=1), -1)
    groups = seen.groups(reading.columns)
    held = drawn(truth, groups, fraction, seed)
    lacks = [label for label in np.unique(truth[truth >= 0] if (truth >= 0).any() else truth)
             if held[truth == label].all() or not held[truth == label].any()]  # fmt: skip
    reading = replace(reading, splits=np.where(held, "val", "train").tolist())
    if not lacks:
        return reading
    of, name = truth == lacks[0], reading.classes[lacks[0]] if lacks[0] >= 0 else "(no label)"
    n_groups = len(np.unique(groups[of]))
    among = f" in {number_of(n_groups, 'group')}" if n_groups < of.sum() else ""
    others = [one for number, one in enumerate(reading.classes) if number not in lacks]
    fewer = 1 < len(others) < len(reading.classes)
    way_out = f", or leave it out with `labels={','.join(others)}`" if fewer else ""
    flaw = (
        f"{reading.source} names no splits, and {fraction:g} of the {number_of(int(of.sum()), 'image')} of "
        f"{name!r}{among} would leave {'train' if held[of].all() else 'val'} without one: "
        f"change `val_fraction`{way_out}"
    )
    if complete:
        raise DataError(flaw)
    return replace(reading, notes=(*reading.notes, flaw))


def _check_classes(reading: Reading, only: str | None = None) -> None:
    labelled = reading.targets.any(axis=1)
    truth, splits = reading.targets.argmax(axis=1), np.array(reading.splits)
    for split in dict.fromkeys(splits[labelled].tolist()):
        if only not in (None, split):
            continue
        present = set(truth[labelled & (splits == split)].tolist())
        missing = [label for number, label in enumerate(reading.classes) if number not in present]
        if missing:
            raise DataError(
                f"{reading.source}: {split} has no images of the class {missing[0]!r}: every split needs every "
                f"class; add some, or choose the others with `labels`"
            )


def _check_unique(ids: Sequence[str], source: str) -> None:
    name, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise DataError(f"{source} names {name} {count} times: which one counts? Keep one")
