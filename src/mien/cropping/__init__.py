"""Cut the faces out of photos into a dataset: the squares that prediction would classify, with their labels.

For each finished photo a line is written to a journal, so that an interrupted run can go on. At the end, the table of
the dataset and a record of the run are made from the journal and from the labels that the photos have at that time.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien import files
from mien.cropping.record import JOURNAL, RECORD, TABLE, Journal, report, table
from mien.cropping.record import CropReport as CropReport
from mien.cropping.work import BOXES as BOXES
from mien.cropping.work import SEVERAL as SEVERAL
from mien.cropping.work import UNREADABLE as UNREADABLE
from mien.cropping.work import Photo, Work
from mien.data.groups import PHOTO_COLUMN
from mien.data.read import open_source
from mien.data.reading import ReadOptions, prepare
from mien.detectors.finder import Finder
from mien.errors import ConfigError, DataError
from mien.escapes import encodable
from mien.options import CropOptions
from mien.preprocess import Preprocess
from mien.workers import at_once, ordered

if TYPE_CHECKING:
    from collections.abc import Callable

    from mien.data.reading import Reading
    from mien.detectors import FaceDetector


def _nothing(*_: object) -> None:
    pass


def crop_photos(
    path: str | Path,
    out: Path,
    options: CropOptions = CropOptions(),  # noqa: B008 - frozen
    reading: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    *,
    detector: FaceDetector | None = None,
    begin: Callable[[int, int, bool], None] = _nothing,
    step: Callable[[], None] = _nothing,
) -> CropReport:
    """Write the faces of the photos at `path` into the folder `out`, as images and a table that names them.

    `path` is a dataset in any form (`mien.read_dataset`), of photos instead of faces. If it gives boxes, these are
    cut as in training; with another detector than ``auto``, the faces in the boxes are found again. `out` can be
    read as a dataset; faces of one photo are one group.

    Args:
        path: photos.
        out: folder for the images and the tables; a new one, unless a run in it is resumed.
        options: how faces are found and cut.
        reading: how `path` is read.
        detector: a detector of your own; it replaces the one that `options` name.
        begin: called with the number of photos, how many of them were done before, and whether the detector uses
            all cores for one photo.
        step: called after each photo.

    Raises:
        ConfigError: an option that has no effect, or a folder that holds other files or the results of another run.
        DataError: no photos, no labels (unless `options.unlabelled`), soft labels, or as `mien.read_dataset`.
        OutputError: the folder cannot be written.
    """
    out = Path(out)
    _check_effect(options, reading)
    with ExitStack() as stack:
        source, notes = _source(path, options, reading, stack)
        boxed = source.boxes is not None and options.detector == "auto" and detector is None
        _check_search(source, options, boxed=boxed, own=detector is not None)
        finder = None if boxed else Finder(detector or options.detector, options.detector_weights)
        photos = _photos(source)
        settings = _settings(path, options, finder.identity if finder else BOXES)
        _check_place(Path(path), out, resume=options.resume)
        stack.enter_context(files.locked(out))
        journal = Journal(out, settings, stack, resume=options.resume)
        pending = [photo for photo in photos if photo.name not in journal.done]
        begin(len(photos), len(photos) - len(pending), finder is not None and finder.one_at_a_time)
        work = Work(source, finder, options)
        for done in ordered(work, pending, at_once(len(pending), options.workers)):
            journal.write(done, source)
            step()
        made = report(
            source, journal, photos, settings | {"source": source.source, "out": encodable(str(out))}, notes
        )
        files.write(out / TABLE, table(source, journal, photos))
        files.write(
            out / RECORD,
            json.dumps(made.to_dict() | {"source": Path(path).name, "out": out.name}, indent=2),
        )
    return made


def _check_effect(options: CropOptions, reading: ReadOptions) -> None:
    if options.unlabelled and (reading.labels or reading.label_column or reading.votes):
        raise ConfigError("`unlabelled` looks at no labels: leave out `labels`, `label_column` and `votes`")
    if reading.skip_corrupt:
        raise ConfigError(
            "`skip_corrupt` has no effect here: photos that cannot be read are left out and listed"
        )
    if (reading.val_fraction, reading.split_seed) != (ReadOptions.val_fraction, ReadOptions.split_seed):
        raise ConfigError(
            "`val_fraction` and `split_seed` have no effect here: no split is drawn before the faces are read"
        )


def _check_search(source: Reading, options: CropOptions, *, boxed: bool, own: bool) -> None:
    """Refuse options of a search that have no effect.

    They have none with a detector of the user's `own`, and where boxes of the source are cut (`boxed`).
    """
    if own and options.detector_weights:
        raise ConfigError("`detector_weights` are of a detector that is named: leave them out with your own")
    if boxed and options.detector_weights:
        raise ConfigError(
            "`detector_weights` has no effect here: the list gives boxes, and they are cut; leave it out, or name "
            "the `detector` that searches the photos"
        )
    if source.boxes is not None and options.several != CropOptions.several:
        raise ConfigError("`several` has no effect here: the list gives a box for each label; leave it out")


def _source(
    path: str | Path, options: CropOptions, reading: ReadOptions, stack: ExitStack
) -> tuple[Reading, tuple[str, ...]]:
    """Return the photos with their labels, splits and groups, and the lines to show about them."""
    if options.unlabelled:
        found, _ = open_source(path, Preprocess(), reading, stack, labels=False)
        found = replace(
            found, targets=np.zeros_like(found.targets), flaw="", splits=[""] * len(found.ids), votes=None
        )
        found = prepare(found, reading, complete=False)
        return found, (*found.notes, "labels and splits are not looked at: the column label is empty")
    try:
        found = prepare(open_source(path, Preprocess(), reading, stack)[0], reading, complete=False)
    except DataError as error:
        if reading.labels or not _has_photos(path, reading):
            raise
        raise DataError(f"{error}; `unlabelled` cuts the faces without labels") from error
    if ((found.targets > 0) & (found.targets < 1)).any():
        raise DataError(
            f"{path}: votes give several labels with fractions, a face that is cut out has one: "
            f"use `vote_rule=majority` or `vote_rule=beside`"
        )
    boxed = found.boxes is not None and options.detector == "auto"
    said = ("the list gives boxes: they are cut as they are, and no detector is used",) if boxed else ()
    return found, (*found.notes, *said)


def _has_photos(path: str | Path, reading: ReadOptions) -> bool:
    """Return whether there are photos, even if their labels cannot be read."""
    try:
        with ExitStack() as stack:
            return len(open_source(path, Preprocess(), reading, stack, labels=False)[0].ids) > 0
    except DataError:
        return False


def _photos(source: Reading) -> list[Photo]:
    """Return the photos in the order of the source, each once."""
    names = source.columns[PHOTO_COLUMN] if source.boxes is not None else source.ids
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        rows.setdefault(str(name), []).append(row)
    return [Photo(name, own) for name, own in rows.items()]


def _settings(path: str | Path, options: CropOptions, detector: str) -> dict[str, Any]:
    """Return the settings that the faces depend on; a resumed run must have the same."""
    return {
        "source": Path(path).resolve().name, "detector": detector, "several": options.several,
        "unlabelled": options.unlabelled, "margin": options.margin, "size_px": options.size_px,
    }  # fmt: skip


def _check_place(path: Path, out: Path, *, resume: bool) -> None:
    """Refuse a folder that holds something else, or lies among the photos.

    Raises:
        ConfigError: says what is there.
    """
    if path.is_dir() and path.resolve() in (out.resolve(), *out.resolve().parents):
        raise ConfigError(f"{out} lies inside {path}: its faces would count as photos; choose another folder")
    left = (".lock", files.TEMPORARY)  # of a run that was killed
    names = [one.name for one in out.iterdir()] if out.is_dir() else []
    held = sorted(name for name in names if not name.startswith(left))
    if JOURNAL in held and not resume:
        raise ConfigError(
            f"{out} holds faces of an earlier run: go on with `resume`, or choose another folder"
        )
    if held and JOURNAL not in held:
        raise ConfigError(f"{out} is not empty, it holds {', '.join(held[:3])}: choose a new folder")
