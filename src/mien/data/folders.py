"""Class folders, on disk or in a zip that is read without unpacking: ``train/<class>/*`` or ``<class>/*``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mien.data.reading import Reading, class_targets, split_name
from mien.errors import DataError
from mien.vision import images

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Callable

MEMBER_LIMIT_BYTES = 64 * 2**20
BOMB_RATIO = 100
"""What an archive claims to unpack to more than this times its size is refused."""


@dataclass(frozen=True)
class _Entry:
    """One picture of a dataset, not yet read."""

    parts: tuple[str, ...]
    read: Callable[[], bytes]


def read_folder(root: Path) -> Reading:
    """Read the class folders below `root`."""
    found = {file.relative_to(root).as_posix(): file for file in root.rglob("*")}
    files = [name for name in sorted(found) if found[name].is_file()]
    entries = [_Entry(_parts(name), partial(images.read_file, found[name])) for name in files if _parts(name)]
    reading = _reading(entries, str(root))
    for name in sorted(found):
        _check_not_empty(name, found[name], files, root, has_splits=any(reading.splits))
    return reading


def read_zip(archive: zipfile.ZipFile, path: Path) -> Reading:
    """Read the class folders in an open zip.

    Raises:
        DataError: a name that leaves its folder, an encrypted member, a zip bomb.
    """
    entries = []
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        check_member(info, path)
        if not info.is_dir() and _parts(info.filename):
            entries.append(_Entry(_parts(info.filename), partial(archive.read, info)))
    return _reading(entries, str(path))


def check_member(info: zipfile.ZipInfo, path: Path, *, limit_bytes: int = MEMBER_LIMIT_BYTES) -> None:
    """Refuse a member of a zip that no honest archive has.

    Raises:
        DataError: a name that leaves its folder, encryption, a size out of proportion.
    """
    parts = PurePosixPath(info.filename.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"{path} holds the unsafe name {info.filename!r}: no member may leave its folder")
    if info.file_size > limit_bytes or info.file_size > BOMB_RATIO * max(info.compress_size, 1024):
        raise DataError(
            f"{path}: {info.filename} claims to unpack from {info.compress_size:,} to {info.file_size:,} bytes, "
            f"over the limit of {BOMB_RATIO} times or {limit_bytes:,} bytes: is this a zip bomb?"
        )
    if info.flag_bits & 0x1:
        raise DataError(f"{path}: {info.filename} is encrypted: expected a plain zip")


def is_picture(name: str) -> bool:
    """Say whether a file's name is that of a picture, and not a system's own debris."""
    parts = PurePosixPath(name.replace("\\", "/"))
    return parts.suffix.lower() in images.SUFFIXES and not any(
        part.startswith((".", "__MACOSX")) for part in parts.parts
    )


def _parts(name: str) -> tuple[str, ...]:
    """Return the folders and the name of a picture that lies in a class folder, else nothing."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return parts if len(parts) >= 2 and is_picture(name) else ()


def _reading(entries: list[_Entry], source: str) -> Reading:
    """Take pictures below a folder with a split's name; where there is none, all of them."""
    split = [entry for entry in entries if len(entry.parts) > 2 and split_name(entry.parts[-3])]
    entries, depth = (split, 3) if split else (entries, 2)
    classes, targets = class_targets([entry.parts[-2] for entry in entries], source)
    return Reading(
        source=source,
        ids=["/".join(entry.parts[-depth:]) for entry in entries],
        splits=[entry.parts[-3].lower() if split else "" for entry in entries],
        classes=classes,
        targets=targets,
        picture=lambda row: images.decode_dataset_image(entries[row].read()),
    )


def _check_not_empty(name: str, path: Path, files: list[str], root: Path, *, has_splits: bool) -> None:
    """Refuse a class folder without pictures, which would silently be no class at all."""
    parts = PurePosixPath(name).parts
    is_class = len(parts) >= 2 and split_name(parts[-2]) if has_splits else len(parts) == 1
    holds = any(file.startswith(f"{name}/") for file in files)
    if is_class and path.is_dir() and not holds and not parts[-1].startswith((".", "__")):
        raise DataError(f"{root}: the class folder {name} holds no pictures: fill or remove it")
