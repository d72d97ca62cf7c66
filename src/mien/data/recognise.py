"""Recognise the form of a dataset: the module of each form returns how sure it is that it can read a place."""

from __future__ import annotations

import importlib
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mien.data.archives import DAMAGED
from mien.data.place import CERTAIN, MAYBE, NO, Place, Sign
from mien.data.synthetic import SYNTHETIC
from mien.errors import DataError

if TYPE_CHECKING:
    from mien.data.reading import Reading
    from mien.options import ReadOptions


@runtime_checkable
class Form(Protocol):
    """A module that reads one form of dataset."""

    USES: frozenset[str]
    """Options that this form uses, of those that only some forms use."""

    def recognise(self, place: Place) -> Sign:
        """Return how sure it is, and why not."""

    def read(self, place: Place, options: ReadOptions) -> Reading:
        """Find the rows."""


FORMS = {
    "packed": "mien.data.packed",
    "parquet": "mien.data.parquet_form",
    "pixels": "mien.data.pixels",
    "affectnet": "mien.data.affectnet",
    "ck+": "mien.data.ckplus",
    "list": "mien.data.lists",
    "names": "mien.data.names",
    "folders": "mien.data.folders",
    "arrays": "mien.data.arrays",
}
"""Name and module of each form. Of forms that are equally sure, the first is taken."""

KNOWN = "a folder or zip of train/<class>/*, a pixel table, a list of files, arrays, Parquet, a packed file"
_ALONE = ("packed", "parquet", "pixels", "affectnet", "ck+")
"""Forms that cannot be confused with others: if one is certain, the others are not tried."""
_OFTEN = {
    ".rar": "a RAR archive: unpack it and give the folder",
    ".7z": "a 7-Zip archive: unpack it and give the folder",
    ".xz": "packed by xz: unpack it and give what is in it",
    ".bz2": "packed by bzip2: unpack it and give what is in it",
    ".zst": "packed by Zstandard: unpack it and give what is in it",
    ".pkl": "a pickle, which could run any code: save arrays with numpy.save",
    ".pickle": "a pickle, which could run any code: save arrays with numpy.save",
    ".h5": "HDF5: save its arrays with numpy.savez as x_train, y_train and so on",
    ".hdf5": "HDF5: save its arrays with numpy.savez as x_train, y_train and so on",
    ".mat": "MATLAB's: save its arrays with numpy.savez as x_train, y_train and so on",
    ".xlsx": "an Excel workbook: save the sheet as CSV",
    ".xls": "an Excel workbook: save the sheet as CSV",
    ".tfrecord": "TensorFlow's: write the images as files in class folders",
    ".json": "JSON: make a table with columns path and label of it, or JSON lines (.jsonl)",
}
"""Endings of files that people often give, and advice for each."""


def form(name: str) -> Form:
    """Return the module of a form."""
    return importlib.import_module(FORMS[name])


def form_of(path: str | Path, options: ReadOptions) -> str:
    """Return the name of the form that lies at `path`.

    Raises:
        DataError: nothing there, no known form, or two forms that are both possible.
    """
    if str(path) == SYNTHETIC:
        return SYNTHETIC
    with ExitStack() as stack:
        return form_at(Place(Path(path), stack), options)


def form_at(place: Place, options: ReadOptions, *, labels: bool = True) -> str:
    """Return the name of the form of a place, or the one that `options` name. Without `labels`, any images will do.

    Raises:
        DataError: nothing there, damaged, no known form, or, with `labels`, two forms that are both possible.
    """
    if not os.path.exists(place.path):  # noqa: PTH110 - never raises, whatever the name
        raise DataError(f"no dataset at {place.path}: expected {KNOWN}, or the word synthetic")
    if options.format != "auto":
        return options.format
    signs: dict[str, Sign] = {}
    for name in FORMS:
        signs[name] = _sign(name, place)
        if signs[name].sure == CERTAIN and name in _ALONE:
            return name
    best = max(signs, key=lambda name: signs[name].sure)
    if best in ("list", "parquet") and signs[best].sure == signs["folders"].sure == MAYBE:
        best = "folders"  # the table may have no labels, the folders may be classes
    if not labels and place.pictures and signs[best].sure == NO:
        return "folders"
    if signs[best].sure == NO:
        raise DataError(_nearest(place, signs))
    if labels:
        _check_one_source_of_labels(place, signs, options)
    return best


def _sign(name: str, place: Place) -> Sign:
    """Return the sign of one form; an error of its reader becomes the reason against it.

    Raises:
        DataError: the place is damaged.
    """
    try:
        return form(name).recognise(place)
    except DAMAGED as error:
        raise DataError(f"{place.path} is damaged or cannot be read ({error}): download it again") from error
    except DataError as error:
        return Sign(NO, str(error).removeprefix(f"{place.path}: "))


def _check_one_source_of_labels(place: Place, signs: dict[str, Sign], options: ReadOptions) -> None:
    """Refuse class folders if a table beside them, or the names of the images, give other classes."""
    if NO < signs["folders"].sure < CERTAIN and signs["list"].sure < CERTAIN and signs["names"].against:
        raise DataError(
            f"{place.path} has folders that name no expression, but {signs['names'].against}, and `format=folders` "
            f"takes the folders as classes: say which"
        )
    if signs["list"].sure == signs["folders"].sure == CERTAIN:
        from mien.data.lists import other_labels

        try:
            why = other_labels(place, options)
        except DataError as error:
            raise DataError(f"{error} (`format=folders` reads the class folders without it)") from error
        if why:
            raise DataError(
                f"{place.path} has class folders and {why}: say which counts with `format=folders` or `format=list`"
            )


def _nearest(place: Place, signs: dict[str, Sign]) -> str:
    """Return the text of the error: what lies there, and what is missing for the most likely forms."""
    path = place.path
    if why := _OFTEN.get(path.suffix.lower() if place.kind == "file" else ""):
        return f"{path} is {why}"
    if place.kind == "file" and place.head.startswith(b"PK"):
        return f"{path} is a zip that is damaged or not complete: download or copy it again"
    if place.kind == "file" and path.suffix.lower() in (".zip", ".tar", ".tgz"):
        return (
            f"{path} is named {path.suffix} but its content is not: look at what it is, or download it again"
        )
    archives = [name for name in place.names if name.lower().endswith((".zip", ".rar", ".7z", ".tar", ".gz"))]
    if place.kind != "file" and archives and not place.has_pictures:
        return f"{path} holds {archives[0]}, an archive in it: unpack it and give what is in it"
    if (
        place.kind != "file"
        and not place.has_pictures
        and not signs["arrays"].against
        and not signs["pixels"].against
    ):
        shown = ", ".join(place.names[:4]) or "nothing"
        return (
            f"no images in {path}: expected files such as train/happy/1.jpg and test/happy/2.jpg; "
            f"it holds {shown}"
        )
    order = ("list", "pixels", "folders", "arrays", "names") if place.kind == "file" else tuple(signs)
    order = ("folders", "names", *order) if place.has_pictures else order
    if place.kind == "folder" and not place.has_pictures and signs["arrays"].against:
        return f"{path}: {signs['arrays'].against}"
    against = list(dict.fromkeys(signs[name].against for name in order if signs[name].against))
    if against:
        return f"{path}: {'; '.join(against[:2])}"
    return f"{path} is no form of dataset that is known: expected {KNOWN}"
