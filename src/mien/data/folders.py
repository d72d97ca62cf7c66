"""Class folders, on disk or in an archive: ``train/<class>/*`` or ``<class>/*``."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from mien.data.beside import added, additions, look
from mien.data.place import CERTAIN, LIKELY, MAYBE, NO, Place, Sign
from mien.data.reading import Reading, class_targets
from mien.data.split_names import split_name, split_word, splits_of_files
from mien.labels import RAF_DB_ORDER, expressions, without_numbers
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mien.options import ReadOptions

USES = frozenset(("split_column",))
_CONTAINERS = frozenset(
    (*("images", "image", "imgs", "img", "pictures", "photos", "faces", "labels", "annotations", "data"),)
)
"""Names of folders that hold images or labels of all classes, so they are not class names."""
_HINTS = {
    "_annotations.coco.json": "COCO's boxes lie beside: export class folders or a CSV instead",
    "_darknet.labels": "Darknet's boxes lie beside: export class folders or a CSV instead",
    "data.yaml": "YOLO's boxes lie beside: export class folders or a CSV instead",
    ".xml": "XML files lie beside, such as Pascal VOC's boxes: export class folders or a CSV instead",
    ".xlsx": "a workbook lies beside: save its sheet as CSV",
    ".xls": "a workbook lies beside: save its sheet as CSV",
    ".ods": "a spreadsheet lies beside: save it as CSV",
    ".json": "a JSON file lies beside: write its labels as CSV or as JSON lines (.jsonl)",
}
"""Names or endings of files that show the format of an export, and advice for each."""
_RAF_NAME = re.compile(r"(train|test)_\d{5}(_aligned)?\.\w+")
_FOLD = re.compile(
    r"(\d+[\W_]*)?(k?[\W_]*fold|cv|split|partition|run|trial|rep|repeat|iter|iteration|round|seed)s?[\W_]*(\d+|[a-z])?",
    re.IGNORECASE,
)
"""Names of folders that divide the same images again."""
_WAY_OUT = (
    "expected train/<class>/* and test/<class>/*, or only <class>/*; where a table holds the labels, give it, with "
    "columns such as path and label"
)
_SHOWN = 4


def recognise(place: Place) -> Sign:
    """Return how sure it is that a place holds class folders."""
    if place.kind == "file" or (place.kind == "tar" and not place.has_pictures):
        return Sign(MAYBE) if place.kind == "file" and place.pictures else Sign(NO)
    if not place.pictures:
        return Sign(NO, "it holds no images")
    reading = read(place, None)
    if reading.flaw:
        return Sign(NO, reading.flaw.removeprefix(f"{place.path}: "))
    known = expressions(without_numbers(reading.classes))
    codes = sum(any(sign.isdigit() for sign in name) for name in reading.classes)
    return Sign(CERTAIN if known else MAYBE if codes * 2 > len(reading.classes) else LIKELY)


def read(place: Place, options: ReadOptions | None) -> Reading:
    """Read the class folders; the deepest folders with a split's name are the splits.

    Tables beside them add their splits and other columns, unless `options` is None.

    The `flaw` of the reading says so if images lie beside the class folders, if a class folder is empty, if folders
    are splits or containers and not classes, or if several folders have splits that cannot be joined.
    """
    tree, source = place.tree, str(place.path)
    paths, swapped = _splits_first([tuple(name.split("/")) for name in place.pictures])
    splits = _split_folders(paths)
    depths = [_split_depth(parts, splits) for parts in paths]
    named = any(depth is not None for depth in depths)
    shared = _shared_depth(paths)
    tops = [(-1 if depth is None else depth + 1) if named else shared for depth in depths]
    shown = tops = _below_containers(paths, tops)
    bare = [named and _in_flat_test(parts, top) for parts, top in zip(paths, tops, strict=True)]
    tops, notes = _at_expressions(paths, tops, bare, named=named)
    if any(bare):
        notes += ("the images of test lie in no class folder: they have no label",)
    ids = [
        f"test/{parts[-1]}" if flat else "/".join(_id(parts, depth, top, named))
        for parts, depth, top, flat in zip(paths, depths, shown, bare, strict=True)
    ]
    several = _roots_of_splits(paths, depths, splits)
    notes += _read_together(several)
    flaw = _flaw(paths, tops, bare, place) or _mixed(several, ids, place)
    if flaw:
        ids, named, bare = place.pictures, False, [False] * len(paths)
    names = ["" if flaw or flat else parts[top] for parts, top, flat in zip(paths, tops, bare, strict=True)]
    names, of_raf_db = _raf_db(paths, names)
    classes, targets = class_targets(names, source)
    pictures = place.pictures
    named_splits = [
        "test" if flat else splits[parts[: depth + 1]] if named and depth is not None else ""
        for parts, depth, flat in zip(paths, depths, bare, strict=True)
    ]
    if not any(named_splits):
        named_splits, of_files = splits_of_files(pictures)
        notes += of_files
    more, said, tables = additions(place, options) if options else ([], [], [])
    reading = Reading(
        source=source,
        ids=ids,
        splits=named_splits,
        classes=classes,
        targets=targets,
        picture=lambda row: images.decode_dataset_image(tree.read(pictures[row])),
        flaw=f"{source}: {flaw}" if flaw else "",
        notes=(*swapped, *notes, *of_raf_db, *said, *place.passed_over({*pictures, *tables, *place.answers})),
    )  # fmt: skip
    return added(reading, pictures, more)


def _id(parts: tuple[str, ...], depth: int | None, top: int, named: bool) -> tuple[str, ...]:
    return (parts[depth], *parts[top:]) if named and depth is not None else parts[top:]


def _splits_first(paths: list[tuple[str, ...]]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Put the split before the class if the folders are ``<class>/<split>/*``, and return a note about it."""
    if not paths or not all(len(parts) > 2 and split_name(parts[-2]) for parts in paths):
        return paths, ()
    if not expressions(without_numbers([*{parts[-3] for parts in paths}])):
        return paths, ()
    swapped = [(*parts[:-3], parts[-2], parts[-3], parts[-1]) for parts in paths]
    return swapped, ("the folders inside the class folders are read as splits",)


def _split_folders(paths: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """Return the folders that are splits, and their names.

    A name is a split by itself (``Training``, ``FER2013Valid``), or together with others that differ only in that
    word (``faces_train``, ``faces_test``).
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


def _roots_of_splits(
    paths: Sequence[tuple[str, ...]], depths: Sequence[int | None], splits: dict[tuple[str, ...], str]
) -> list[str]:
    """Return the folders that have the same split, as ``fold1/train`` and ``fold2/train``; none if only one has."""
    roots: defaultdict[str, dict[tuple[str, ...], None]] = defaultdict(dict)
    for parts, depth in zip(paths, depths, strict=True):
        if depth is None:
            continue
        name, root = splits[parts[: depth + 1]], parts[:depth]
        while root in splits:  # as in Training/Training
            root = root[:-1]
        roots[split_name(name) or name].setdefault(root)
    several = dict.fromkeys(root for one in roots.values() if len(one) > 1 for root in one)
    return ["/".join(root) for root in several]


def _read_together(roots: Sequence[str]) -> tuple[str, ...]:
    """Return a note about folders whose splits are joined."""
    if not roots:
        return ()
    shown = ", ".join(root or "the folder itself" for root in roots[:_SHOWN])
    return (f"the splits of {shown}{', ...' if len(roots) > _SHOWN else ''} are read together",)


def _mixed(roots: Sequence[str], ids: Sequence[str], place: Place) -> str:
    """Return why the splits of several folders cannot be joined; an empty text if they can."""
    folds = [root for root in roots if any(map(_FOLD.fullmatch, root.split("/")))]
    if len(folds) > 1:
        way_out = f"give one of them, such as {place.path / folds[0]}"
        return (
            f"{folds[0]} and {folds[1]} are folds, each with splits of its own, and an image may be in train of one "
            f"and in test of the other: {way_out if place.kind == 'folder' else 'unpack it and give one of them'}"
        )
    pictures: dict[str, str] = {}
    for name, picture in zip(ids, place.pictures, strict=True):
        if (first := pictures.setdefault(name, picture)) != picture:
            return f"{first} and {picture} are both read as {name}: which one counts? Keep one"
    return ""


def _split_depth(parts: tuple[str, ...], splits: dict[tuple[str, ...], str]) -> int | None:
    """Return the place of the deepest split folder that has a folder below it."""
    return next((depth for depth in range(len(parts) - 3, -1, -1) if parts[: depth + 1] in splits), None)


def _below_containers(paths: Sequence[tuple[str, ...]], tops: list[int]) -> list[int]:
    """Go down a folder if all images are in one folder such as ``images`` that has folders below."""
    while (
        paths
        and all(0 <= top < len(parts) - 2 for parts, top in zip(paths, tops, strict=True))
        and {parts[top].lower() for parts, top in zip(paths, tops, strict=True)} <= _CONTAINERS
    ):
        tops = [top + 1 for top in tops]
    return tops


def _in_flat_test(parts: tuple[str, ...], top: int) -> bool:
    """Return whether an image lies directly in a folder ``test``, as in contests that keep their labels secret.

    A second folder ``test`` or a container in it is no class: ``test/test/1.png``, ``test/images/1.png``.
    """
    if top >= 0 and (top != len(parts) - 2 or split_name(parts[top - 1]) != "test"):
        return False
    return len(parts) > 1 and (
        split_name(parts[-2]) == "test" or (top > 0 and parts[top].lower() in _CONTAINERS)
    )


def _at_expressions(
    paths: Sequence[tuple[str, ...]], tops: list[int], bare: Sequence[bool], *, named: bool
) -> tuple[list[int], tuple[str, ...]]:
    """Go down to expressions that lie below folders that are none, as in ``S01/happy``, and return a note."""
    held: defaultdict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for parts, top, flat in zip(paths, tops, bare, strict=True):
        if top >= 0 and not flat:
            held[parts[:top]].append(parts[top:-1])
    lower = {root: steps for root, folders in held.items() if (steps := _steps_down(folders))}
    if not lower:
        return tops, ()
    lowered = [
        top + lower.get(parts[:top], 0) if top >= 0 else top for parts, top in zip(paths, tops, strict=True)
    ]
    names = list(dict.fromkeys(one[steps - 1] for root, steps in lower.items() for one in held[root]))
    way_out = ""
    if not named and len(deep := {*lower.values()}) == 1:
        (steps,) = deep
        pattern = "^[^/]+" if steps == 1 else f"^(?:[^/]+/){{{steps - 1}}}([^/]+)"
        way_out = f"; where each is a person or a film, set `group_by` to '{pattern}'"
    return lowered, (
        f"the classes are the folders inside {', '.join(names[:_SHOWN])}"
        f"{', ...' if len(names) > _SHOWN else ''}, which name no expression{way_out}",
    )


def _steps_down(folders: Sequence[tuple[str, ...]]) -> int:
    """Return how many folders to go down to the first ones that are expressions; 0 if the first are, or none are."""
    for step in range(min(map(len, folders))):
        names = {one[step] for one in folders}
        known = expressions(without_numbers([*names]))
        if known:
            return step if len(known) >= max(2, len(names) / 2) else 0
    return 0


def _hint(place: Place) -> str:
    names = {file.rpartition("/")[2].lower() for file in place.tree.files}
    endings = {name[name.rfind(".") :] for name in names if "." in name}
    return next((f"; {text}" for name, text in _HINTS.items() if name in names | endings), "")


def _flaw(paths: Sequence[tuple[str, ...]], tops: Sequence[int], bare: Sequence[bool], place: Place) -> str:
    """Return why these folders are not classes; an empty text if they are."""
    hint, folders = _hint(place), place.tree.folders
    pairs = [(parts, top) for parts, top, flat in zip(paths, tops, bare, strict=True) if not flat]
    stray = [parts for parts, top in pairs if top < 0 or len(parts) < top + 2]
    if stray:
        if len(stray) < len(paths) and all(len(parts) > 2 for parts in stray):
            folder = "/".join(stray[0][:-2])
            return (
                f"{len(stray)} of {len(paths)} images lie in {folder}, which is no known name of a split, and "
                f"others lie in splits: rename it to train, val or test, or take it away"
            )
        alone = {parts[:-1] for parts, _ in pairs}
        only = next(iter(alone))
        if len(alone) == 1 and only and only[-1].lower() not in _CONTAINERS and not split_name(only[-1]):
            return f"all {len(pairs)} images lie in one folder, {only[-1]}: {_WAY_OUT}{hint}"
        return (
            f"{len(stray)} of {len(paths)} images lie in no class folder, first {'/'.join(stray[0])}: "
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
    tables = {tuple(table.split("/")[:-1]) for table in (look(place).found if empty else ())}
    empty = [f for f in empty if f not in tables]
    return f"the class folder {'/'.join(empty[0])} holds no images: fill or remove it" if empty else ""


def _raf_db(paths: Sequence[tuple[str, ...]], names: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the class names of RAF-DB, if the names of the files show that they are RAF-DB's."""
    if not names or not set(names) <= set("1234567") or not all(_RAF_NAME.fullmatch(p[-1]) for p in paths):
        return names, ()
    meaning = ", ".join(f"{number} {name}" for number, name in enumerate(RAF_DB_ORDER, start=1))
    return [RAF_DB_ORDER[int(name) - 1] for name in names], (f"the class numbers are RAF-DB's: {meaning}",)


def _shared_depth(paths: Sequence[tuple[str, ...]]) -> int:
    """Return the number of folders that the paths of all images have in common."""
    first = paths[0][:-1] if paths else ()
    shared = len(first)
    for parts in paths:
        while parts[:shared] != first[:shared]:
            shared -= 1
    return shared
