"""Tables that name image files and their labels, alone or beside the images in a folder or an archive."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mien.data import folders
from mien.data.archives import has_picture_suffix
from mien.data.beside import added, addition, contradicted, labelled, look, named_split, split_of_table
from mien.data.finding import Finder, Found, Index, split_of
from mien.data.numberings import named_numbers
from mien.data.place import CERTAIN, MAYBE, NO, Place, Sign
from mien.data.reading import NO_LABEL, Reading, class_targets
from mien.data.split_names import splits_of_files
from mien.data.table_rows import Rows, beginning, file_place, rows_of, source_of
from mien.data.text import SUFFIXES
from mien.data.votes import vote_targets
from mien.errors import DataError, number_of
from mien.labels import EMOTIONS_8, canonical, expressions, without_numbers
from mien.vision import images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mien.data.beside import Addition
    from mien.options import ReadOptions

USES = frozenset(("label_column", "image_column", "box_columns", "split_column"))


def recognise(place: Place) -> Sign:
    """Return how sure it is that a place is such a table, or has such tables beside its images."""
    if place.kind == "file":
        return _recognised_file(place)
    if not place.has_pictures:
        return Sign(NO)
    found, failed, _ = look(place)
    if not found:
        return Sign(NO, "; ".join(["no table in it names its images", *failed[:1]]))
    named = any(labelled(place, table) for table in found)
    return Sign(
        CERTAIN if named else MAYBE, "" if named else f"{found[0]} names images, but has no column of labels"
    )


def _recognised_file(place: Place) -> Sign:
    if place.path.suffix.lower() not in (*SUFFIXES, ".jsonl", ".gz"):
        return Sign(NO)
    header, first = beginning(source_of(place, None))
    if not header:
        return Sign(CERTAIN) if first and any(map(has_picture_suffix, first[0])) else Sign(NO)
    if file_place(header, first) is None:
        return Sign(NO, f"it has no column of image files, such as path, but {', '.join(header[:8])}")
    return Sign(CERTAIN)


def read(place: Place, options: ReadOptions) -> Reading:
    """Read a table that names image files and their labels, or the tables beside the images of a tree.

    Files are looked for beside the table, then in the folders around it. If there are columns of a box, each row is
    the face in it, and a file may have several rows. If a table has no column for the split, the split is taken from
    its folder or its name. Tables without labels add columns to the images of other tables. Class folders that agree
    with the tables give the labels of all images that have none.

    Raises:
        DataError: no column for the path, a file that is missing or in several places, or a box that is not valid.
    """
    source = str(place.path)
    parts, found, additions, notes = _listed(place, options)
    labels, numbered = named_numbers(
        [label for part in parts for label in part.labels], [one.name for one in found], _other_columns(parts)
    )
    if place.kind != "file" and options.format == "auto":
        labels, rest = _from_folders(place, parts, [one.name for one in found], labels)
        parts, labels = [*parts, *rest], [*labels, *(label for part in rest for label in part.labels)]
        found += [Found(name, name, partial(place.tree.read, name)) for part in rest for name in part.files]
    names = [one.name for one in found]
    classes, targets = class_targets(labels, source)
    boxes, votes = _joined(parts, "boxes", 4), _joined(parts, "votes", 10)
    if votes is not None and not any(part.has_labels for part in parts):
        classes = EMOTIONS_8
        targets = vote_targets(votes, rule=options.vote_rule, unknown=options.vote_unknown)
    others = _other_columns(parts)
    if boxes is not None:
        others["photo"] = np.array(names, str)
    splits, contradiction, said = _splits(parts, [one.path for one in found], options)
    reading = Reading(
        source=source,
        ids=_faces(names) if boxes is not None else names,
        columns=others,
        boxes=boxes,
        splits=splits,
        classes=classes,
        targets=targets,
        picture=lambda row: images.decode_dataset_image(found[row].read()),
        votes=votes,
        flaw=_flaw(parts, labels) or contradiction,
        split_from=_split_from(parts, splits),
        notes=(*dict.fromkeys([*notes, *_notes(place, parts, names), *said]), *numbered),
    )
    reading = added(reading, names, additions)
    if votes is None or any(part.has_labels for part in parts):
        return reading
    kept = np.flatnonzero(targets.any(axis=1))
    return replace(reading.take(kept), from_votes=True, left_out=len(targets) - len(kept))


def _listed(place: Place, options: ReadOptions) -> tuple[list[Rows], list[Found], list[Addition], list[str]]:
    """Return the rows of the tables of a place, their files, what tables without labels add to them, and notes."""
    tables, finder = _tables_and_finder(place)
    parts = _without_votes_beside([rows_of(place, table, options) for table in tables])
    found = [finder.find(part.files, part.folder, part.name, named_split(part)) for part in parts]
    if place.kind == "file":
        return parts, found[0], [], [*finder.notes, *parts[0].notes]
    notes = [note for part in parts for note in part.notes] + look(place).odd
    own = [part.has_labels or part.votes is not None for part in parts]
    pairs = list(zip(parts, found, strict=True))
    _check_apart([pair for pair, one in zip(pairs, own, strict=True) if one], str(place.path))
    known = {file.name for (_, files), one in zip(pairs, own, strict=True) if one for file in files}
    kept: list[tuple[Rows, list[Found]]] = []
    additions: list[Addition] = []
    for (part, files), one in zip(pairs, own, strict=True):
        new = [row for row, file in enumerate(files) if one or file.name not in known]
        if new:
            kept.append((part.take(new), [files[row] for row in new]))
        if old := sorted({*range(len(files))} - {*new}):
            more, said = addition(part.take(old), [files[row].name for row in old], options)
            additions.append(more)
            notes += said
        known |= {file.name for file in files}
    return [part for part, _ in kept], [file for _, files in kept for file in files], additions, notes


def _from_folders(
    place: Place, parts: Sequence[Rows], names: Sequence[str], labels: Sequence[str]
) -> tuple[list[str], list[Rows]]:
    """Return labels filled by the class folders, and the images that no table names, if folders and tables agree.

    They agree where no image has another label in its folder, and either some have the same, or the folders are known
    expressions. The further images stay out if tables give what they lack: boxes, votes or splits.
    """
    stored = _by_folder(place)
    pairs = [(label, stored.get(name, "")) for name, label in zip(names, labels, strict=True)]
    both = [pair for pair in pairs if _is_label(pair[0]) and pair[1]]
    if not stored or any(canonical(one) != canonical(two) for one, two in both):
        return [*labels], []
    if not both and not (expressions(stored.values()) and _share_a_class(labels, stored)):
        return [*labels], []
    filled = [label if _is_label(label) else of_folder for label, of_folder in pairs]
    rest = [name for name in place.pictures if name not in {*names}]
    splits = [split_of(name) or "" for name in rest]
    by_table = any(any(part.splits) or split_of_table(part) for part in parts)
    if not rest or any(part.boxes is not None or part.votes is not None for part in parts):
        return filled, []
    if by_table and not all(splits):
        return filled, []
    return filled, [_folder_rows(rest, [stored[name] for name in rest], splits)]


def _tables_and_finder(place: Place) -> tuple[list[str | None], Finder | Index]:
    """Return the tables of a place (None: the place is the table) and what finds the files that they name."""
    if place.kind == "file":
        return [None], Finder(place.path)
    tables: list[str | None] = [*look(place).found]
    if not tables:
        raise DataError(
            f"{place.path}: no table in it names its images: expected columns such as path and label"
        )
    return tables, Index(place.tree, place.pictures)


def _notes(place: Place, parts: Sequence[Rows], names: Sequence[str]) -> list[str]:
    """Return notes about where labels are read from, and what is left out, a line each."""
    if place.kind == "file":
        return []
    own = [part.name for part in parts if part.name and (part.has_labels or part.votes is not None)]
    of_folders = sum(len(part.files) for part in parts if not part.name)
    others = f"and those of {number_of(of_folders, 'other image')} from class folders"
    notes = []
    if own:
        notes.append(
            f"labels are read from {', '.join(own[:4])}, {others if of_folders else 'not from folders'}"
        )
    notes += place.passed_over({*place.pictures, *place.tables, *place.answers})
    left = len(place.pictures) - len({*names})
    return notes + ([f"left out {number_of(left, 'image')} that no table names"] if left > 0 else [])


def _joined(parts: Sequence[Rows], name: str, width: int) -> np.ndarray | None:
    given = [getattr(part, name) for part in parts]
    if all(one is None for one in given):
        return None
    if any(one is None for one in given):
        lacking = next(part.name for part, one in zip(parts, given, strict=True) if one is None)
        raise DataError(
            f"{lacking} has no {name}, other tables beside it have: give one table as the dataset"
        )
    joined: np.ndarray = np.concatenate([one.reshape(-1, width) for one in given])
    return joined


def _other_columns(parts: Sequence[Rows]) -> dict[str, np.ndarray]:
    names = dict.fromkeys(name for part in parts for name in part.others)
    empty = [np.full(len(part.files), "") for part in parts]
    return {
        name: np.concatenate([part.others.get(name, none) for part, none in zip(parts, empty, strict=True)])
        for name in names
    }


def _without_votes_beside(parts: list[Rows]) -> list[Rows]:
    """Leave out a table of votes if other tables name the same images."""
    if len(parts) < 2:
        return parts
    votes = [part for part in parts if part.votes is not None and not part.has_labels and not part.folder]
    rest = [part for part in parts if part not in votes]
    if not rest or not votes:
        return parts
    rest[0].notes += (f"{votes[0].name} holds votes and is not read: `votes` reads it",)
    return rest


def _check_apart(tables: Sequence[tuple[Rows, list[Found]]], source: str) -> None:
    """Refuse two tables that name the same image."""
    owner: dict[str, str] = {}
    for part, files in tables:
        for name in (file.name for file in files):
            if (first := owner.setdefault(name, part.name)) != part.name:
                raise DataError(
                    f"{source}: {first} and {part.name} both name {name}: give the table that counts as the dataset"
                )


def _splits(
    parts: Sequence[Rows], names: Sequence[str], options: ReadOptions
) -> tuple[list[str], str, list[str]]:
    """Return the split of each row, why they cannot be read, and notes.

    A split is read from a column, else from the table's folder or name, else from the image's folder, else from its
    name. Where some rows have a split, those without one have an empty text, and `prepare` refuses them.
    """
    splits: list[str] = []
    flaw, start = "", 0
    notes: list[str] = []
    alone = sum(bool(part.name) for part in parts) == 1
    for part in parts:
        here = names[start : start + len(part.files)]
        start += len(part.files)
        of_images, one = [split_of(name) or "" for name in here], split_of_table(part)
        said = part.splits
        if not any(said) and one and not (alone and all(of_images)):
            said = [one] * len(here)
        splits += said if any(said) else of_images
        why, more = contradicted(
            said, of_images, here, part.name, "its path", sure=bool(options.split_column)
        )
        flaw, notes = flaw or why, [*notes, *more]
    if any(splits):
        return splits, flaw, notes
    splits, of_files = splits_of_files(names)
    return splits, flaw, [*notes, *of_files]


def _split_from(parts: Sequence[Rows], splits: Sequence[str]) -> str:
    """Return which tables give splits, and which do not."""
    start = 0
    giving: list[str] = []
    lacking: list[str] = []
    for part in parts:
        here = splits[start : start + len(part.files)]
        start += len(part.files)
        (giving if any(here) else lacking).append(part.name or "class folders")
    return f"{', '.join(giving)}; {', '.join(lacking)} has none" if giving and lacking else ""


def _faces(files: Sequence[str]) -> list[str]:
    """Return a name for each face: the file's, with a number from the second face on."""
    seen: Counter[str] = Counter()
    names = []
    for name in files:
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names


def _folder_rows(names: list[str], labels: list[str], splits: list[str]) -> Rows:
    return Rows("", "", [], names, labels, splits, {}, None, None, has_labels=True, notes=())


def _flaw(parts: Sequence[Rows], labels: Sequence[str]) -> str:
    """Return why the labels of a table cannot be read, if its images have no other labels."""
    start = 0
    for part in parts:
        here = labels[start : start + len(part.files)]
        start += len(part.files)
        if part.flaw and not any(here):
            return part.flaw
    return ""


def _is_label(label: str) -> bool:
    return bool(label) and label.casefold() not in NO_LABEL


def _share_a_class(labels: Sequence[str], stored: Mapping[str, str]) -> bool:
    """Return whether tables and class folders name classes alike, if both name some."""
    listed = {canonical(label) for label in labels if _is_label(label)}
    return not listed or bool(listed & {canonical(label) for label in stored.values()})


def _by_folder(place: Place) -> dict[str, str]:
    """Return the class of each image by its folder, an empty text if it has none; nothing if there are no classes."""
    stored = folders.read(place, None)
    if stored.flaw:
        return {}
    labels = _labels_of(replace(stored, classes=tuple(without_numbers(stored.classes))))
    return dict(zip(place.pictures, labels, strict=True))


def _labels_of(reading: Reading) -> list[str]:
    """Return the likeliest class of each row, an empty text if it has none."""
    return [reading.classes[row.argmax()] if row.any() else "" for row in reading.targets]


def other_labels(place: Place, options: ReadOptions) -> str:
    """Return why tables and class folders of a tree name different classes; an empty text if they agree."""
    listed, stored = read(place, replace(options, format="list")), _by_folder(place)
    names, labels = listed.columns.get("photo", np.array(listed.ids, str)).tolist(), _labels_of(listed)
    pairs = {name: (label, stored.get(name, "")) for name, label in zip(names, labels, strict=True)}
    both = {name: pair for name, pair in pairs.items() if _is_label(pair[0]) and pair[1]}
    odd = [name for name, (one, two) in both.items() if canonical(one) != canonical(two)]
    table = next(table for table in look(place).found if labelled(place, table))
    if not odd and (both or _share_a_class(labels, stored)):
        return ""
    return f"{table}, which gives other labels"
