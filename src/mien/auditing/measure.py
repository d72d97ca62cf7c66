"""Decode every image of a dataset once, and keep what the audit asks of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mien.data.dataset import DRAWN, FaceDataset
from mien.data.duplicates import picture_keys
from mien.data.groups import SMALLEST_PX, thumbnail
from mien.data.read import fitted_to, in_memory, open_source
from mien.data.reading import Reading, ReadOptions, decode, face_of, prepare
from mien.errors import ConfigError
from mien.preprocess import Preprocess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from jaxtyping import Float32, Int, UInt8

    Step = Callable[[str, int, int], None]
    """Called with what is being done, how many images are done, and how many there are."""

ALL = "all"
"""The split of every image where the source names none."""
_BAND = 8
"""Width, in grey levels, of the bands that pixels are counted in."""
_IDLE = ("val_fraction", "split_seed", "skip_corrupt")
_DEFAULT = ReadOptions()


@dataclass(frozen=True)
class Corrupt:
    """An image that could not be decoded."""

    image: str
    split: str
    label: str
    reason: str


@dataclass(frozen=True)
class Measured:
    """A dataset whose every image was looked at. Arrays have one row for each image that could be decoded."""

    data: FaceDataset
    """The images, fitted to `fitted_to`."""
    fitted_to: Preprocess
    keys: Int[np.ndarray, " n"]
    """A hash of the pixels as they are stored: equal for identical images."""
    thumbs: UInt8[np.ndarray, "n 32 32"] | None
    """Black for an image smaller than `SMALLEST_PX`, which is compared with no other; None if no image can be."""
    size_hw_px: Int[np.ndarray, "n 2"]
    grey: Float32[np.ndarray, " n"]
    """Mean grey level, 0 to 255."""
    spread: Float32[np.ndarray, " n"]
    """Standard deviation of the grey levels."""
    plain: Float32[np.ndarray, " n"]
    """Fraction of the pixels in the band of grey levels that has most of them."""
    tint: Float32[np.ndarray, " n"]
    """Largest difference between the colour channels of a pixel, averaged; 0 is grey."""
    corrupt: tuple[Corrupt, ...]
    names_splits: bool
    """False if the source names no splits; then all rows are in the split ``all``."""
    reading: Reading
    """Decodes the images as they are stored; row i is row i of `data`."""

    def image(self, row: int) -> UInt8[np.ndarray, "h w c"]:
        """Return one image as it is stored, or the face in it."""
        return face_of(self.reading, row)

    def fitted(self, preprocess: Preprocess, step: Step) -> UInt8[np.ndarray, "n s s c"]:
        """Return all images fitted to a model's input; they are decoded again if those of `data` are not."""
        if not self.fitted_to.differs_in_crops(preprocess):
            return self.data.images
        crops = np.empty(
            (len(self.data), preprocess.size_px, preprocess.size_px, preprocess.channels), np.uint8
        )
        for row in range(len(crops)):
            step("reading images again", row, len(crops))
            crops[row] = preprocess.fit(self.image(row))
        return crops


@dataclass
class _Seen:
    """The measurements of the images so far."""

    keys: list[int] = field(default_factory=list)
    thumbs: list[UInt8[np.ndarray, "32 32"]] = field(default_factory=list)
    figures: list[tuple[float, ...]] = field(default_factory=list)

    def add(self, face: UInt8[np.ndarray, "h w c"]) -> None:
        thumb = thumbnail(face)
        bands = np.bincount(thumb.ravel() // _BAND, minlength=256 // _BAND)
        # a value at the border of two bands would be counted in halves
        plain = max(bands.max(), np.bincount((thumb.ravel().astype(int) + _BAND // 2) // _BAND).max())
        tint = 0.0
        if face.shape[2] == 3:
            small = cv2.resize(face, thumb.shape, interpolation=cv2.INTER_AREA)
            tint = float((small.max(axis=2) - small.min(axis=2)).mean())
        self.keys.append(int(picture_keys([face])[0]))
        self.thumbs.append(thumb)
        self.figures.append((*face.shape[:2], thumb.mean(), thumb.std(), plain / thumb.size, tint))


def measure(
    source: str | Path | FaceDataset,
    options: ReadOptions,
    preprocess: Preprocess | None,
    stack: ExitStack,
    step: Step,
    *,
    allocate: Callable[[tuple[int, int, int, int]], UInt8[np.ndarray, "n s s c"]] = in_memory,
    draws: bool = False,
) -> Measured:
    """Decode all images; those that cannot be decoded are noted, whatever the options say.

    Args:
        source: a path, or a dataset in memory.
        options: how the source is read.
        preprocess: what the images are fitted to; by default what a packed set has, or 48-pixel grey.
        stack: closes the source; images can be decoded again until then.
        step: told of the progress.
        allocate: makes the array of the fitted images.
        draws: a split val will be drawn if the source names none, so the options for it have an effect.

    Raises:
        ConfigError: an option that has no effect here.
        DataError: as `read_dataset`, but corrupt images are no error unless all are.
    """
    opened, dataset = _opened(source, options, stack, draws=draws)
    preprocess = preprocess or fitted_to(dataset)
    reading = prepare(opened, options, complete=False)
    names_splits = not reading.divide
    if not names_splits:
        reading = replace(reading, divide=None, splits=[ALL] * len(reading.ids))
    seen, reasons = _Seen(), dict[int, str]()

    def look(row: int) -> UInt8[np.ndarray, "h w c"]:
        step("reading images", row, len(reading.ids))
        try:
            face = face_of(reading, row)
            seen.add(face)
        except Exception as error:
            reasons[row] = str(error)
            raise
        return face

    data = decode(
        replace(reading, picture=look, boxes=None), preprocess, split=None, skip_corrupt=True, allocate=allocate,
        complete=False,
    )  # fmt: skip
    return _assembled(reading, data, preprocess, seen, reasons, names_splits=names_splits)


def _assembled(
    reading: Reading,
    data: FaceDataset,
    preprocess: Preprocess,
    seen: _Seen,
    reasons: Mapping[int, str],
    *,
    names_splits: bool,
) -> Measured:
    """Put together what was kept of the images; `reasons` says why the others could not be decoded."""
    kept = np.array([row for row in range(len(reading.ids)) if row not in reasons], int)
    figures = np.array(seen.figures, np.float32).reshape(len(kept), 6)
    too_small = figures[:, :2].min(axis=1) < SMALLEST_PX
    thumbs = None if data.source == DRAWN or too_small.all() else np.stack(seen.thumbs)
    if thumbs is not None:
        thumbs[too_small] = 0
    return Measured(
        data=data,
        fitted_to=preprocess,
        keys=np.array(seen.keys, np.int64),
        thumbs=thumbs,
        size_hw_px=figures[:, :2].astype(int),
        grey=figures[:, 2],
        spread=figures[:, 3],
        plain=figures[:, 4],
        tint=figures[:, 5],
        corrupt=tuple(_corrupt(reading, row, reason) for row, reason in reasons.items()),
        names_splits=names_splits,
        reading=reading.take(kept),
    )


def _opened(
    source: str | Path | FaceDataset, options: ReadOptions, stack: ExitStack, *, draws: bool
) -> tuple[Reading, FaceDataset | None]:
    """Return what is there as rows, and as a dataset where it already is one.

    Raises:
        ConfigError: an option that has no effect here.
        DataError: as `read_dataset`.
    """
    for name in ("skip_corrupt",) if draws else _IDLE:
        if getattr(options, name) != getattr(_DEFAULT, name):
            why = "lists corrupt images and goes on" if name == "skip_corrupt" else "draws no split"
            raise ConfigError(f"`{name}` has no effect here: an audit {why}; leave it out")
    if (
        options.vote_rule not in (_DEFAULT.vote_rule, "beside")
        or options.vote_unknown != _DEFAULT.vote_unknown
    ):
        raise ConfigError(
            "`vote_rule` and `vote_unknown` have no effect here: an audit keeps the labels and shows the votes "
            "beside them; leave them out"
        )
    if isinstance(source, FaceDataset):
        options.check_used(source, ("labels", "group_by", "group_column"))
        return Reading.of(source), source
    if options.votes:
        options = replace(options, vote_rule="beside")
    return open_source(source, Preprocess(), options, stack)


def _corrupt(reading: Reading, row: int, reason: str) -> Corrupt:
    labelled = bool(reading.targets[row].any())
    label = reading.classes[int(reading.targets[row].argmax())] if labelled else ""
    return Corrupt(reading.ids[row], reading.splits[row], label, reason)
