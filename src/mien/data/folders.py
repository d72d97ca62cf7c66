"""Class folders, on disk or in a zip that is read without unpacking: ``train/<class>/*`` or ``<class>/*``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mien.data.archives import check_member, is_debris, is_picture
from mien.data.reading import Reading, class_targets, split_name
from mien.vision import images

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Callable


@dataclass(frozen=True)
class _Entry:
    """One picture of a dataset, not yet read."""

    parts: tuple[str, ...]
    """Folders and name."""
    read: Callable[[], bytes]


def read_folder(root: Path) -> Reading:
    """Read the class folders below `root`, which may be a single picture; links to folders are followed."""
    if not root.is_dir():
        return _reading([_Entry((root.name,), partial(images.read_file, root))], [], str(root))
    entries, folders = [], []
    seen: set[str] = set()
    for place, below, files in os.walk(root, followlinks=True):
        below[:] = sorted(name for name in below if not is_debris(PurePosixPath(name)))
        if os.path.realpath(place) in seen:  # a link to a folder above
            below.clear()
            continue
        seen.add(os.path.realpath(place))
        parts = Path(place).relative_to(root).parts
        folders.append(parts)
        entries += [
            _Entry((*parts, name), partial(images.read_file, Path(place, name)))
            for name in files
            if is_picture(name)
        ]
    entries.sort(key=lambda entry: "/".join(entry.parts))
    return _reading(entries, folders, str(root))


def read_zip(archive: zipfile.ZipFile, path: Path) -> Reading:
    """Read the class folders in an open zip.

    Raises:
        DataError: a name that leaves its folder, an encrypted member, a zip bomb.
    """
    entries, folders = [], []
    for info in sorted(archive.infolist(), key=lambda info: info.filename):
        check_member(info, path)
        parts = PurePosixPath(info.filename.replace("\\", "/")).parts
        if info.is_dir():
            folders.append(parts)
        elif is_picture(info.filename):
            entries.append(_Entry(parts, partial(archive.read, info)))
    return _reading(entries, folders, str(path))


def _reading(entries: list[_Entry], folders: list[tuple[str, ...]], source: str) -> Reading:
    """Find the classes: the folders below those with a split's name or, where there is none, below their common one.

    Pictures beside the classes, which belong to none, or a class folder without any, are a flaw.
    """
    depths = [_split_depth(entry.parts) for entry in entries]
    named, shared = any(depth is not None for depth in depths), _shared_depth(entries)
    tops = [(-1 if depth is None else depth + 1) if named else shared for depth in depths]
    placed = list(zip(entries, tops, strict=True))
    flaw = _flaw(placed, folders)
    if flaw:
        placed, named = [(entry, 0) for entry in entries], False
    classes, targets = class_targets(["" if flaw else entry.parts[top] for entry, top in placed], source)
    return Reading(
        source=source,
        ids=["/".join(entry.parts[top - named :]) for entry, top in placed],
        splits=[entry.parts[top - 1].lower() if named else "" for entry, top in placed],
        classes=classes,
        targets=targets,
        picture=lambda row: images.decode_dataset_image(entries[row].read()),
        flaw=f"{source}: {flaw}" if flaw else "",
    )


def _flaw(placed: list[tuple[_Entry, int]], folders: list[tuple[str, ...]]) -> str:
    """Say what is wrong with the class folders, at these depths; empty: nothing is."""
    stray = [entry for entry, top in placed if top < 0 or len(entry.parts) < top + 2]
    if stray:
        return (
            f"{len(stray)} of {len(placed)} pictures lie in no class folder, first "
            f"{'/'.join(stray[0].parts)}: expected train/<class>/* and test/<class>/*, or only <class>/*"
        )
    roots = {entry.parts[:top] for entry, top in placed}
    filled = {entry.parts[: top + 1] for entry, top in placed}
    empty = [folder for folder in folders if folder and folder[:-1] in roots and folder not in filled]
    return f"the class folder {'/'.join(empty[0])} holds no pictures: fill or remove it" if empty else ""


def _split_depth(parts: tuple[str, ...]) -> int | None:
    """Return the place of the first folder with a split's name that has a class folder below it."""
    return next((depth for depth, part in enumerate(parts[:-2]) if split_name(part)), None)


def _shared_depth(entries: list[_Entry]) -> int:
    """Return how many folders all pictures have above them in common."""
    first = entries[0].parts[:-1] if entries else ()
    shared = len(first)
    for entry in entries:
        while entry.parts[:shared] != first[:shared]:
            shared -= 1
    return shared
