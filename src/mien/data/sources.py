"""Readers: whatever is on disk -> `FaceDataset`. The form is recognised from the content.

Known forms: class folders (``train/<class>/*``, ``test/<class>/*``), a zip of them read without
unpacking, and the word ``synthetic``. Every reader yields raw bytes with a split, a class and an id;
what follows (decode, fit, stack, check) is the same for all.
"""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from mien.data.dataset import FaceDataset, check_split, one_hot
from mien.data.synthetic import SYNTHETIC, draw_dataset
from mien.errors import DataError
from mien.labels import canonical, label_set
from mien.preprocess import Preprocess
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SPLIT_NAMES = ("train", "val", "validation", "test")
MEMBER_LIMIT_BYTES = 64 * 2**20
BOMB_RATIO = 100
"""A picture inside an archive that claims to unpack to more than this times its size is refused."""


@dataclass(frozen=True)
class _Entry:
    """One picture of a dataset, not yet read."""

    split: str
    label: str
    id: str
    read: Callable[[], bytes]


def read_dataset(
    path: str | Path, preprocess: Preprocess | None = None, *, split: str | None = None
) -> FaceDataset:
    """Read a dataset into memory, each picture fitted to `preprocess` (48-pixel grey by default).

    `path` is a folder or a zip of ``train/<class>/*`` and ``test/<class>/*``, or ``synthetic``. With `split`
    only the pictures of that split are decoded.

    Raises:
        DataError: nothing there, no pictures, no such split, classes that differ between splits, a corrupt
            picture.
    """
    preprocess = preprocess or Preprocess()
    if str(path) == SYNTHETIC:
        drawn = draw_dataset(preprocess)
        return drawn.select(split) if split else drawn
    path = Path(path)
    if os.path.isdir(path):  # noqa: PTH112 - never raises, whatever the name
        return _assemble(_folder_entries(path), str(path), preprocess, split)
    if not os.path.exists(path):  # noqa: PTH110
        raise DataError(
            f"no dataset at {path}: expected a folder or zip of train/<class>/*, or the word synthetic"
        )
    if not zipfile.is_zipfile(path):
        raise DataError(
            f"{path} is neither a folder nor a zip: expected train/<class>/* and test/<class>/* in one"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return _assemble(_zip_entries(archive, path), str(path), preprocess, split)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError, OSError) as error:
        raise DataError(f"{path} is a damaged zip ({error}): download it again") from error


def _folder_entries(root: Path) -> list[_Entry]:
    files = {file.relative_to(root).as_posix(): file for file in root.rglob("*") if file.is_file()}
    places = ((place, files[name]) for name in sorted(files) if (place := _place(name)))
    return [_Entry(*place, partial(images.read_file, file)) for place, file in places]


def _zip_entries(archive: zipfile.ZipFile, path: Path) -> list[_Entry]:
    entries = []
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        parts = PurePosixPath(info.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts:
            raise DataError(f"{path} holds the unsafe name {info.filename!r}: no member may leave its folder")
        place = _place(info.filename)
        if place is None or info.is_dir():
            continue
        if info.file_size > MEMBER_LIMIT_BYTES or info.file_size > BOMB_RATIO * max(info.compress_size, 1024):
            raise DataError(
                f"{path}: {info.filename} claims to unpack from {info.compress_size:,} to {info.file_size:,} bytes, "
                f"over the limit of {BOMB_RATIO} times or {MEMBER_LIMIT_BYTES:,} bytes: is this a zip bomb?"
            )
        if info.flag_bits & 0x1:
            raise DataError(f"{path}: {info.filename} is encrypted: expected a plain zip")
        entries.append(_Entry(*place, partial(archive.read, info)))
    return entries


def _place(name: str) -> tuple[str, str, str] | None:
    """Return (split, class, id) of a picture's path such as ``any/train/happy/1.jpg``, else None."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if len(parts) < 3 or PurePosixPath(name).suffix.lower() not in images.SUFFIXES:
        return None
    if any(part.startswith((".", "__MACOSX")) for part in parts):
        return None
    split, label, _ = parts[-3:]
    return (split.lower(), label, "/".join(parts[-3:])) if split.lower() in SPLIT_NAMES else None


def _assemble(entries: list[_Entry], source: str, preprocess: Preprocess, split: str | None) -> FaceDataset:
    if not entries:
        raise DataError(
            f"no pictures in {source}: expected files such as train/happy/1.jpg and test/happy/2.jpg"
        )
    labels = label_set(dict.fromkeys(entry.label for entry in entries))
    _check_classes(entries, labels, source)
    _check_unique((entry.id for entry in entries), source)
    if split:
        check_split(split, list(dict.fromkeys(entry.split for entry in entries)), source)
        entries = [entry for entry in entries if entry.split == split]
    size = preprocess.size_px
    pixels = np.empty((len(entries), size, size, preprocess.channels), np.uint8)
    for row, entry in enumerate(entries):
        pixels[row] = preprocess.fit(_decode(entry, source))
    return FaceDataset(
        images=pixels,
        targets=one_hot(np.array([labels.index(canonical(entry.label)) for entry in entries]), len(labels)),
        ids=tuple(entry.id for entry in entries),
        split=np.array([entry.split for entry in entries]),
        labels=labels,
        source=source,
    )


def _decode(entry: _Entry, source: str) -> np.ndarray:
    try:
        return images.decode_dataset_image(entry.read())
    except Exception as error:  # a damaged archive raises whatever its bytes provoke
        raise DataError(f"corrupt picture {entry.id} in {source}: {error}; replace or remove it") from error


def _check_classes(entries: list[_Entry], labels: tuple[str, ...], source: str) -> None:
    found: dict[str, set[str]] = {}
    for entry in entries:
        found.setdefault(entry.split, set()).add(canonical(entry.label))
    for split, present in found.items():
        missing = [label for label in labels if label not in present]
        if missing:
            others = ", ".join(other for other in found if other != split)
            raise DataError(
                f"{source}: {split}/ has no pictures in the class folder {missing[0]!r} that {others} has: "
                f"every split needs every class"
            )


def _check_unique(ids: Iterable[str], source: str) -> None:
    name, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise DataError(f"{source} names {name} {count} times: which one counts? Keep one")
