"""`read_dataset`: whatever is on disk -> `FaceDataset`. The form is recognised from the content."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.data import arrays, folders, packed, tables
from mien.data.balance import class_counts, imbalance_ratio
from mien.data.dataset import FaceDataset, check_split
from mien.data.reading import Reading, ReadOptions, decode, prepare
from mien.data.synthetic import SYNTHETIC, draw_dataset
from mien.data.text import SUFFIXES, open_table
from mien.data.votes import with_votes
from mien.errors import ConfigError, DataError
from mien.preprocess import Preprocess
from mien.results import DatasetReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KNOWN = "a folder or zip of train/<class>/*, a pixel table, a list of files, arrays, Parquet, a packed file"
_DEFAULT = ReadOptions()


def read_dataset(
    path: str | Path,
    preprocess: Preprocess | None = None,
    *,
    split: str | None = None,
    options: ReadOptions = _DEFAULT,
) -> FaceDataset:
    """Read a dataset, each picture fitted to `preprocess` (48-pixel grey by default).

    `path` is a folder or a file in any form that docs/data.md lists, or ``synthetic``. With `split` only the
    pictures of that split are decoded. A packed file of that size is mapped, everything else is read into memory.

    Raises:
        DataError: nothing there, an unknown form, no such split or label, a split that lacks a class, corrupt
            pictures.
    """
    preprocess = preprocess or Preprocess()
    with ExitStack() as stack:
        reading, dataset = _open(path, preprocess, options, stack)
        if dataset is not None and _is_as_wanted(dataset, preprocess, options):
            return dataset.select(split) if split else dataset
        reading = prepare(reading, options)
        return decode(
            reading, preprocess, split=split, skip_corrupt=options.skip_corrupt, allocate=_in_memory
        )


def read_pictures(path: str | Path, preprocess: Preprocess) -> FaceDataset:
    """Read every picture in the source's own order, to be answered: its labels and splits are not looked at.

    Raises:
        DataError: nothing there, an unknown form, no pictures, or a corrupt one.
    """
    with ExitStack() as stack:
        reading, _ = _open(path, preprocess, _DEFAULT, stack)
        if not len(reading.ids):
            raise DataError(f"no pictures in {path}")
        bare = replace(
            reading, splits=["all"] * len(reading.ids), targets=np.zeros_like(reading.targets), votes=None
        )
        return decode(bare, preprocess, split=None, skip_corrupt=None, allocate=_in_memory)


@contextlib.contextmanager
def opened(path: str | Path, split: str, options: ReadOptions = _DEFAULT) -> Iterator[Reading]:
    """Open one split of a dataset whose pictures are decoded as they are, one at a time, when asked for.

    Raises:
        ConfigError: corrupt ones are to be left out, which shows only later.
        DataError: as `read_dataset`.
    """
    if options.skip_corrupt:
        raise ConfigError("--skip-corrupt leaves out face pictures; photos are read whole: leave it out")
    with ExitStack() as stack:
        reading = prepare(_open(path, Preprocess(), options, stack)[0], options)
        check_split(split, list(dict.fromkeys(reading.splits)), reading.source)
        yield reading.take(np.flatnonzero(np.array(reading.splits) == split))


def convert(
    path: str | Path,
    out: Path,
    preprocess: Preprocess | None = None,
    options: ReadOptions = _DEFAULT,
    *,
    change: Callable[[FaceDataset], FaceDataset] = lambda dataset: dataset,
) -> FaceDataset:
    """Write a dataset as one packed file, with pictures on disk while they are decoded; returns it, mapped.

    `change` is applied before anything is written.

    Raises:
        DataError: as `read_dataset`.
        OutputError: `out` cannot be written.
    """
    preprocess = preprocess or Preprocess()
    with ExitStack() as stack:
        reading, _ = _open(path, preprocess, options, stack)
        dataset = decode(
            prepare(reading, options),
            preprocess,
            split=None,
            skip_corrupt=options.skip_corrupt,
            allocate=packed.scratch(out.resolve().parent),
        )
        packed.write_packed(out, change(dataset))
    return packed.read_packed(out)


def survey(path: str | Path, options: ReadOptions = _DEFAULT) -> DatasetReport:
    """Decode a whole dataset and count what is in it.

    Raises:
        DataError: as `read_dataset`.
    """
    sizes: Counter[tuple[int, ...]] = Counter()
    with ExitStack() as stack:
        reading, dataset = _open(path, Preprocess(), options, stack)
        if isinstance(dataset, FaceDataset) and options.labels is None:
            sizes[dataset.images.shape[1:]] = len(dataset)
        else:
            rows = prepare(reading, options)

            def seen(row: int) -> np.ndarray:
                picture = rows.picture(row)
                sizes[picture.shape] += 1
                return picture

            dataset = decode(
                replace(rows, picture=seen), Preprocess(), split=None,
                skip_corrupt=options.skip_corrupt, allocate=_in_memory,
            )  # fmt: skip
    counts, bare = {}, {}
    for split in dataset.splits:
        rows_of = dataset.rows(split)
        labelled = dataset.targets[rows_of].any(axis=1)
        counts[split] = class_counts(dataset.truth[rows_of][labelled], len(dataset.labels))
        bare[split] = int((~labelled).sum())
    return DatasetReport(
        source=str(path),
        form=_form(path, options),
        n=len(dataset),
        labels=dataset.labels,
        counts={split: dict(zip(dataset.labels, row.tolist(), strict=True)) for split, row in counts.items()},
        unlabelled=bare,
        imbalance_ratio={split: round(imbalance_ratio(row), 4) for split, row in counts.items()},
        sizes=tuple({"height": h, "width": w, "channels": c, "n": n} for (h, w, c), n in sizes.most_common()),
        left_out=reading.left_out,
        skipped=dataset.skipped,
        fingerprint=dataset.fingerprint(),
    )


def _open(
    path: str | Path, preprocess: Preprocess, options: ReadOptions, stack: ExitStack
) -> tuple[Reading, FaceDataset | None]:
    """Return what is there as a reading, and as a dataset where it already is one."""
    form = _form(path, options)
    if options.targets and form != "arrays":
        raise DataError(f"--targets names the labels of arrays, {path} is read as {form}")
    path, dataset = Path(path), None
    try:
        if form == SYNTHETIC:
            dataset = draw_dataset(preprocess)
        elif form == "packed":
            dataset = packed.read_packed(path)
        reading = Reading.of(dataset) if dataset else _READERS[form](path, options, stack)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError) as error:
        raise DataError(f"{path} is damaged or cannot be read ({error}): download it again") from error
    if not options.votes:
        return reading, dataset
    voted = with_votes(reading, Path(options.votes), rule=options.vote_rule, unknown=options.vote_unknown)
    return voted, None


def _form(path: str | Path, options: ReadOptions) -> str:
    """Return the form of what lies at `path`."""
    if str(path) == SYNTHETIC:
        return SYNTHETIC
    if not os.path.exists(path):  # noqa: PTH110 - never raises, whatever the name
        raise DataError(f"no dataset at {path}: expected {KNOWN}, or the word synthetic")
    if options.format != "auto":
        return options.format
    try:
        return _recognised(Path(path))
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise DataError(f"{path} is damaged or cannot be read ({error}): download it again") from error


def _recognised(path: Path) -> str:
    if path.is_dir():
        if any(path.rglob("*.parquet")):
            return "parquet"
        return _recognised_folder(path)
    if folders.is_picture(path.name):
        return "folders"
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start == b"\x93NUMPY":
        return "arrays"
    if zipfile.is_zipfile(path):
        return _recognised_zip(path)
    if start.startswith(b"\x1f\x8b") or path.suffix.lower() in SUFFIXES:
        return _recognised_table(path)
    raise DataError(f"{path} is no form of dataset that is known: expected {KNOWN}")


def _recognised_folder(path: Path) -> str:
    files = [file for file in path.iterdir() if file.is_file()]
    tables = sorted(file.name for file in files if file.suffix in (".csv", ".tsv"))
    if any(file.suffix in (".npy", ".npz") for file in files) or arrays.are_named(tables):
        return "arrays"
    if tables and not any(folders.is_picture(file.name) for file in path.rglob("*")):
        raise DataError(
            f"{path} holds tables and no pictures: name the table you mean, such as {path / tables[0]}"
        )
    return "folders"


def _recognised_zip(path: Path) -> str:
    if packed.is_packed(path):
        return "packed"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(folders.is_picture(name) for name in names):
        return "folders"
    if names and all(name.endswith(".npy") for name in names):
        return "arrays"
    if any(name.lower().endswith((".csv", ".tsv", ".tar.gz")) for name in names):
        return _recognised_table(path)
    return "folders"  # which says what it missed


def _recognised_table(path: Path) -> str:
    if tables.is_raf_db(path):
        return "list"
    first: list[str] = []
    with open_table(path) as table:
        if tables.is_pixels(table.header):
            return "pixels"
        if tables.is_list(table.header):
            return "list"
        with contextlib.suppress(DataError):  # numbers under a title
            first = next((cells for _, cells in table.rows), table.header)
    if not all(_is_number(cell) for cell in first):
        raise DataError(
            f"{path}: expected columns named emotion and pixels, or path and label, or nothing but numbers; "
            f"got {', '.join(table.header[:6])}"
        )
    return "arrays"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _folders(path: Path, _: ReadOptions, stack: ExitStack) -> Reading:
    if path.is_dir() or folders.is_picture(path.name):
        return folders.read_folder(path)
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is neither a folder nor a zip: expected train/<class>/* in one")
    return folders.read_zip(stack.enter_context(zipfile.ZipFile(path)), path)


def _parquet(path: Path, _: ReadOptions, __: ExitStack) -> Reading:
    from mien.data.parquet import read_parquet  # an extra

    return read_parquet(path)


_READERS: dict[str, Callable[[Path, ReadOptions, ExitStack], Reading]] = {
    "folders": _folders,
    "pixels": lambda path, _, __: tables.read_pixels(path),
    "list": lambda path, _, __: tables.read_list(path),
    "arrays": lambda path, options, stack: arrays.read_arrays(path, options.targets, stack),
    "parquet": _parquet,
}


def _is_as_wanted(dataset: FaceDataset, preprocess: Preprocess, options: ReadOptions) -> bool:
    size = preprocess.size_px
    return options.labels is None and dataset.images.shape[1:] == (size, size, preprocess.channels)


def _in_memory(shape: tuple[int, int, int, int]) -> np.ndarray:
    return np.empty(shape, np.uint8)
