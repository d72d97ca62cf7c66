"""Class folders, on disk or in an archive: ``train/<class>/*`` or ``<class>/*``."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from mien.data.place import CERTAIN, LIKELY, MAYBE, NO, Place, Sign
from mien.data.reading import Reading, class_targets
from mien.data.split_names import split_name, split_word
from mien.labels import EMOTIONS_8, RAF_DB_ORDER, canonical
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.options import ReadOptions

USES: frozenset[str] = frozenset()
_CONTAINERS = frozenset(
    (*("images", "image", "imgs", "img", "pictures", "photos", "faces", "labels", "annotations", "data"),)
)
"""Folders that name what lies in them, not a class."""
_HINTS = {
    "_annotations.coco.json": "COCO's boxes lie beside: export class folders or a CSV instead",
    "_darknet.labels": "Darknet's boxes lie beside: export class folders or a CSV instead",
    "data.yaml": "YOLO's boxes lie beside: export class folders or a CSV instead",
}
"""Files that say what a dataset was exported for, and what to do."""
_RAF_NAME = re.compile(r"(train|test)_\d{5}(_aligned)?\.\w+")
_WAY_OUT = (
    "expected train/<class>/* and test/<class>/*, or only <class>/*; where a table holds the labels, give it, with "
    "columns such as path and label"
)
_SHOWN = 4


def recognise(place: Place) -> Sign:
    """Say how surely a place holds class folders."""
    if place.kind == "file" or (place.kind == "tar" and not place.has_pictures):
        return Sign(MAYBE) if place.kind == "file" and place.pictures else Sign(NO)
    if not place.pictures:
        return Sign(NO, "it holds no images")
    reading = read(place, None)
    if reading.flaw:
        return Sign(NO, reading.flaw.removeprefix(f"{place.path}: "))
    known = {canonical(name) for name in reading.classes} & set(EMOTIONS_8)
    codes = sum(any(sign.isdigit() for sign in name) for name in reading.classes)
    return Sign(CERTAIN if known else MAYBE if codes * 2 > len(reading.classes) else LIKELY)


def read(place: Place, _: ReadOptions | None) -> Reading:
    """Read the class folders; the deepest folders with a split's name are the splits.

    Images beside the classes, a class folder without any, and folders that are splits or containers and no classes
    are a flaw of the reading.
    """
    tree, source = place.tree, str(place.path)
    paths, swapped = _splits_first([tuple(name.split("/")) for name in place.pictures])
    splits = _split_folders(paths)
    depths = [_split_depth(parts, splits) for parts in paths]
    named = any(depth is not None for depth in depths)
    shared = _shared_depth(paths)
    tops = [(-1 if depth is None else depth + 1) if named else shared for depth in depths]
    tops = _below_containers(paths, tops)
    flaw = _flaw(paths, tops, tree.folders, place)
    if flaw:
        tops, named = [0] * len(paths), False
    names = ["" if flaw else parts[top] for parts, top in zip(paths, tops, strict=True)]
    names, notes = _raf_db(paths, names)
    classes, targets = class_targets(names, source)
    pictures = place.pictures
    return Reading(
        source=source,
        ids=["/".join(_id(parts, depth, top, named)) for parts, depth, top in zip(paths, depths, tops, strict=True)],
        splits=[
            splits[parts[: depth + 1]] if named and depth is not None else ""
            for parts, depth in zip(paths, depths, strict=True)
        ],
        classes=classes,
        targets=targets,
        picture=lambda row: images.decode_dataset_image(tree.read(pictures[row])),
        flaw=f"{source}: {flaw}" if flaw else "",
        notes=(*swapped, *notes, *place.passed_over(set(pictures))),
    )  # fmt: skip


def _id(parts: tuple[str, ...], depth: int | None, top: int, named: bool) -> tuple[str, ...]:
    return (parts[depth], *parts[top:]) if named and depth is not None else parts[top:]


def _splits_first(paths: list[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Put the split before the class where the folders are ``<class>/<split>/*``, and say so."""
    if not paths or not all(len(parts) > 2 and split_name(parts[-2]) for parts in paths):
        return paths, ()
    if not {canonical(parts[-3]) for parts in paths} & set(EMOTIONS_8):
        return paths, ()
    swapped = [(*parts[:-3], parts[-2], parts[-3], parts[-1]) for parts in paths]
    return swapped, ("the folders inside the class folders are read as splits",)


def _split_folders(paths: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """Return the folders that are splits, and their names.

    A name is one by itself (``Training``, ``FER2013Valid``), or beside others that differ from it in that word alone
    (``faces_train``, ``faces_test``).
    """
    beside: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for parts in paths:
        for depth in range(len(parts) - 2):
            beside[parts[:depth]].add(parts[depth])
    found = {}
    for above, names in beside.items():
        words = {name: split_word(name) for name in names}
        rests: defaultdict[str, set[str]] = defaultdict(set)
        for word, rest in filter(None, words.values()):
            rests[rest].add(word)
        for name in names:
            pair = words[name]
            if split_name(name):
                found[(*above, name)] = name.lower()
            elif pair and len(rests[pair[1]]) > 1:
                found[(*above, name)] = pair[0]
    return found


def _split_depth(parts: tuple[str, ...], splits: dict[tuple[str, ...], str]) -> int | None:
    """Return the place of the deepest split folder that has a folder below it."""
    return next((depth for depth in range(len(parts) - 3, -1, -1) if parts[: depth + 1] in splits), None)


def _below_containers(paths: Sequence[tuple[str, ...]], tops: list[int]) -> list[int]:
    """Go down where the only folder, for all images, is one such as ``images`` that has folders below."""
    while (
        paths
        and all(0 <= top < len(parts) - 2 for parts, top in zip(paths, tops, strict=True))
        and {parts[top].lower() for parts, top in zip(paths, tops, strict=True)} <= _CONTAINERS
    ):
        tops = [top + 1 for top in tops]
    return tops


def _flaw(
    paths: Sequence[tuple[str, ...]], tops: Sequence[int], folders: list[tuple[str, ...]], place: Place
) -> str:
    """Say why these folders are no classes; empty: they are."""
    hint = next((f"; {text}" for name, text in _HINTS.items() if _lies_there(name, place)), "")
    pairs = list(zip(paths, tops, strict=True))
    stray = [parts for parts, top in pairs if top < 0 or len(parts) < top + 2]
    if stray:
        if len(stray) < len(paths) and all(len(parts) > 2 for parts in stray):
            folder = "/".join(stray[0][:-2])
            return (
                f"{len(stray)} of {len(paths)} pictures lie in {folder}, which is no known name of a split, and "
                f"others lie in splits: rename it to train, val or test, or take it away"
            )
        return (
            f"{len(stray)} of {len(paths)} pictures lie in no class folder, first {'/'.join(stray[0])}: "
            f"{_WAY_OUT}{hint}"
        )
    counts = Counter(parts[top] for parts, top in pairs)
    shown = ", ".join(list(counts)[:_SHOWN])
    if flat := [name for name in counts if split_name(name)]:
        beside = [name for name in counts if name not in flat]
        return (
            f"images lie directly in {', '.join(flat[:_SHOWN])}, which are splits and no classes"
            f"{', beside ' + ', '.join(beside[:_SHOWN]) if beside else ''}: {_WAY_OUT}{hint}; "
            f"where the names of the files say the class, `format=names` reads it"
        )
    if counts and all(name.lower() in _CONTAINERS for name in counts):
        return f"images lie directly in {shown}, which names no class: {_WAY_OUT}{hint}"
    roots = {parts[:top] for parts, top in pairs}
    filled = {parts[: top + 1] for parts, top in pairs}
    kept = {parts[:size] for parts in paths for size in range(len(parts))}
    pictures = set(place.pictures)
    held = {tuple(name.split("/")[:-1]) for name in place.tree.files if name not in pictures}
    empty = [f for f in folders if f and f[:-1] in roots and f not in filled and f not in kept]
    empty = [f for f in empty if f[-1].lower() not in _CONTAINERS or f not in held]
    return f"the class folder {'/'.join(empty[0])} holds no pictures: fill or remove it" if empty else ""


def _lies_there(name: str, place: Place) -> bool:
    return any(file.rpartition("/")[2].lower() == name for file in place.tree.files)


def _raf_db(paths: Sequence[tuple[str, ...]], names: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Name the classes of RAF-DB, whose files say that they are RAF-DB's."""
    if not names or not set(names) <= set("1234567") or not all(_RAF_NAME.fullmatch(p[-1]) for p in paths):
        return names, ()
    meaning = ", ".join(f"{number} {name}" for number, name in enumerate(RAF_DB_ORDER, start=1))
    return [RAF_DB_ORDER[int(name) - 1] for name in names], (f"the class numbers are RAF-DB's: {meaning}",)


def _shared_depth(paths: Sequence[tuple[str, ...]]) -> int:
    """Return how many folders all images have above them in common."""
    first = paths[0][:-1] if paths else ()
    shared = len(first)
    for parts in paths:
        while parts[:shared] != first[:shared]:
            shared -= 1
    return shared
