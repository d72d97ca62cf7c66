"""`read_dataset`: read a dataset of any form into a `FaceDataset`. The form is recognised by the content."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.config import Validation
from mien.data import packed
from mien.data.archives import DAMAGED
from mien.data.dataset import HOLDOUT
from mien.data.place import Place
from mien.data.reading import Reading, ReadOptions, decode, part, prepare
from mien.data.recognise import form, form_at
from mien.data.synthetic import SYNTHETIC, draw_dataset
from mien.data.votes import BESIDE, with_votes
from mien.errors import ConfigError, DataError
from mien.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import UInt8

    from mien.data.dataset import FaceDataset

_DEFAULT = ReadOptions()
ALL = "all"
"""Name of a split that means every image of the dataset."""


def read_dataset(
    path: str | Path,
    preprocess: Preprocess | None = None,
    *,
    split: str | None = None,
    options: ReadOptions = _DEFAULT,
) -> FaceDataset:
    """Read a dataset, each image fitted to `preprocess` (48-pixel grey by default).

    ``mien.read_dataset("synthetic", split="test").labels``

    `path` is a folder or a file in any form that docs/data.md lists, or ``synthetic``. With `split` only the
    images of that split are decoded. A packed file of the wanted size is memory-mapped; any other form is read into
    memory.

    Raises:
        DataError: nothing there, an unknown form, no such split or label, a split that lacks a class, corrupt
            pictures.
    """
    preprocess = preprocess or Preprocess()
    with ExitStack() as stack:
        reading, dataset = open_source(path, preprocess, options, stack)
        if dataset is not None and _is_as_wanted(dataset, preprocess, options):
            return dataset.select(split) if split else dataset
        reading = prepare(reading, options, split=split)
        return decode(reading, preprocess, split=split, skip_corrupt=options.skip_corrupt, allocate=in_memory)


def read_split(
    path: str | Path, preprocess: Preprocess, split: str, options: ReadOptions = _DEFAULT
) -> FaceDataset:
    """Read one split; two names mean the same everywhere, if the dataset has no split of this name.

    ``all`` takes every image, as one split. ``holdout`` takes the images of ``train`` that recipes hold out unless
    they say otherwise, as most do where there is ``val``: models that were trained so have not learnt them.

    Raises:
        ConfigError: an option that has no effect.
        DataError: as `read_dataset`.
    """
    if split == HOLDOUT:
        return with_holdout(read_dataset(path, preprocess, options=options)).select(HOLDOUT)
    if split != ALL:
        return read_dataset(path, preprocess, split=split, options=options)
    with ExitStack() as stack:
        reading = _prepared(open_source(path, preprocess, options, stack)[0], options, split)
        return decode(reading, preprocess, split=split, skip_corrupt=options.skip_corrupt, allocate=in_memory)


def with_holdout(data: FaceDataset) -> FaceDataset:
    """Return the dataset with the split ``holdout``, which is drawn from ``train`` where it is not there.

    Raises:
        DataError: no split ``train``, or it is too small.
    """
    if HOLDOUT in data.splits:
        return data
    rule = Validation()
    data = data.hold_out(rule.holdout_fraction, rule.holdout_seed)
    part = f"{rule.holdout_fraction:g} of each class of train"
    whose = "recipes with validation.split=holdout" if "val" in data.splits else "recipes"
    note = f"{HOLDOUT}: {part}, which {whose} hold out (seed {rule.holdout_seed})"
    return replace(data, notes=(*data.notes, note))


def read_given(
    data: FaceDataset | str | Path,
    preprocess: Preprocess,
    split: str | None = None,
    options: ReadOptions | None = None,
) -> FaceDataset:
    """Return a dataset as it is, or read what a path names; with `split` as `read_split` does.

    Raises:
        ConfigError: options for a dataset that was read before.
        DataError: as `read_dataset`.
    """
    options = options or ReadOptions()
    if not isinstance(data, str | Path):
        options.check_used(data)
        return data
    if split is None:
        return read_dataset(data, preprocess, options=options)
    return read_split(data, preprocess, split, options)


def _prepared(reading: Reading, options: ReadOptions, split: str) -> Reading:
    """Prepare a source for the use of one split, which may be `ALL` of its images.

    Raises:
        ConfigError: options of a split that is drawn, where all images are taken.
    """
    if split == ALL and ALL not in (reading.splits or ()):
        for name in ("val_fraction", "split_seed"):
            if getattr(options, name) != getattr(ReadOptions, name):
                raise ConfigError(f"`{name}` has no effect here: `split=all` takes every image; leave it out")
        reading = replace(reading, splits=[ALL] * len(reading.ids))
    return prepare(reading, options, split=split)


def read_pictures(path: str | Path, preprocess: Preprocess) -> FaceDataset:
    """Read every image in the source's own order, for prediction: labels and splits are ignored.

    Raises:
        DataError: nothing there, an unknown form, no pictures, or a corrupt one.
    """
    with ExitStack() as stack:
        reading, _ = open_source(path, preprocess, _DEFAULT, stack, labels=False)
        if not len(reading.ids):
            raise DataError(f"no images in {path}")
        bare = replace(
            reading, splits=["all"] * len(reading.ids), targets=np.zeros_like(reading.targets), votes=None
        )
        return decode(bare, preprocess, split=None, skip_corrupt=None, allocate=in_memory)


@contextlib.contextmanager
def opened(path: str | Path, split: str, options: ReadOptions = _DEFAULT) -> Iterator[Reading]:
    """Open one split of a dataset, or `ALL`; its images are decoded unchanged, one at a time, when they are used.

    Raises:
        ConfigError: `skip_corrupt` is given, but corrupt images are found only later; or ``holdout``, which needs
            crops of faces.
        DataError: as `read_dataset`.
    """
    if options.skip_corrupt:
        raise ConfigError("`skip_corrupt` leaves out face images; photos are read whole: leave it out")
    with ExitStack() as stack:
        source = open_source(path, Preprocess(), options, stack)[0]
        if split == HOLDOUT and HOLDOUT not in source.splits:
            raise ConfigError(
                "`split=holdout` is drawn among images of faces, and these are photos: name another split"
            )
        reading = _prepared(source, options, split)
        yield part(reading, split)


def convert(
    path: str | Path,
    out: Path,
    preprocess: Preprocess | None = None,
    options: ReadOptions = _DEFAULT,
    *,
    change: Callable[[FaceDataset], FaceDataset] = lambda dataset: dataset,
) -> FaceDataset:
    """Write a dataset as one packed file, with images on disk while they are decoded; returns it, memory-mapped.

    `change` is applied before anything is written.

    Raises:
        DataError: as `read_dataset`.
        OutputError: `out` cannot be written.
    """
    preprocess = preprocess or Preprocess()
    with ExitStack() as stack:
        reading, _ = open_source(path, preprocess, options, stack)
        dataset = decode(
            prepare(reading, options),
            preprocess,
            split=None,
            skip_corrupt=options.skip_corrupt,
            allocate=packed.scratch(out.resolve().parent),
        )
        packed.write_packed(out, change(dataset))
    return packed.read_packed(out)


def open_source(
    path: str | Path, preprocess: Preprocess, options: ReadOptions, stack: ExitStack, *, labels: bool = True
) -> tuple[Reading, FaceDataset | None]:
    """Return the source as a reading, and as a dataset if it is one already (else None).

    Raises:
        ConfigError: an option that has no effect on this form.
        DataError: as `read_dataset`.
    """
    place = Place(Path(path), stack)
    name = SYNTHETIC if str(path) == SYNTHETIC else form_at(place, options, labels=labels)
    _check_effect(options, name, str(path))
    dataset = None
    try:
        if name == SYNTHETIC:
            dataset = draw_dataset(preprocess)
        elif name == "packed":
            dataset = packed.read_packed(place.path)
        reading = Reading.of(dataset) if dataset else form(name).read(place, options).presentable()
    except DAMAGED as error:
        raise DataError(f"{path} is damaged or cannot be read ({error}): download it again") from error
    except MemoryError as error:
        raise DataError(f"the memory is not enough to read {path}") from error
    if not options.votes:
        _check_rules(options, reading)
        return reading, dataset
    voted = with_votes(reading, Path(options.votes), rule=options.vote_rule, unknown=options.vote_unknown)
    return voted, None


_HEEDED_BY_SOME = ("targets", "label_column", "image_column", "box_columns", "split_column")
_OF_READING = ("val_fraction", "split_seed", "skip_corrupt")


def _check_effect(options: ReadOptions, name: str, path: str) -> None:
    """Refuse an option that would have no effect.

    Raises:
        ConfigError: names it, and the form that was recognised.
    """
    ready = name in (SYNTHETIC, "packed")
    uses = frozenset() if name == SYNTHETIC else form(name).USES
    idle = [one for one in _HEEDED_BY_SOME if one not in uses] + ([*_OF_READING] if ready else [])
    for one in idle:
        if getattr(options, one) != getattr(ReadOptions, one):
            what = "is a finished dataset" if ready else f"is read as {name}"
            raise ConfigError(f"`{one}` has no effect here: {path} {what}; leave it out")


def _check_rules(options: ReadOptions, reading: Reading) -> None:
    """Refuse rules for votes where no target is made of votes.

    Raises:
        ConfigError: says why they have no effect.
    """
    given = (options.vote_rule, options.vote_unknown)
    if given == (ReadOptions.vote_rule, ReadOptions.vote_unknown) or reading.from_votes:
        return
    if reading.votes is None:
        raise ConfigError(
            "`vote_rule` and `vote_unknown` say how votes are read: add `votes=FILE`, or leave them out"
        )
    if given != (BESIDE, ReadOptions.vote_unknown):
        raise ConfigError(
            f"`vote_rule` and `vote_unknown` have no effect here: {reading.source} has labels, and its votes stay "
            f"beside them; leave the rules out"
        )


def _is_as_wanted(dataset: FaceDataset, preprocess: Preprocess, options: ReadOptions) -> bool:
    size = preprocess.size_px
    if (options.labels, options.group_by, options.group_column) != (None, None, None):
        return False
    return dataset.images.shape[1:] == (size, size, preprocess.channels)


def fitted_to(dataset: FaceDataset | None) -> Preprocess:
    """Return the preprocessing of a finished dataset; 48-pixel grey if there is none, or it is not square."""
    if dataset is None:
        return Preprocess()
    h, w, channels = dataset.images.shape[1:]
    square = h == w and 8 <= h <= 1024
    return Preprocess(size_px=h, channels=channels) if square else Preprocess(channels=channels)


def in_memory(shape: tuple[int, int, int, int]) -> UInt8[np.ndarray, "n h w c"]:
    """Return an array of this shape in memory for decoded images; its values are not set.

    Raises:
        MemoryError: there is not enough memory.
    """
    return np.empty(shape, np.uint8)
