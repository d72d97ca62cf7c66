"""Arrays of pixels with their labels: ``.npy``, ``.npz``, numeric ``.csv``, or a folder of them.

Arrays are recognised by name: ``x``, ``images``, ``pixels`` and so on are images; ``y``, ``targets``, ``labels`` and
so on are labels; ``x_train`` belongs to ``y_train``. A single file holds images; the option `targets` names the file
of its labels.
"""

from __future__ import annotations

import contextlib
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mien.data.archives import check_member
from mien.data.place import CERTAIN, LIKELY, NO, Place, Sign
from mien.data.reading import CLASS_LIMIT, Reading, class_targets
from mien.data.split_names import split_name
from mien.data.text import SUFFIXES as TEXTS
from mien.data.text import numbers_in, open_table
from mien.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import ExitStack

    from jaxtyping import Float32, Shaped, UInt8

    from mien.options import ReadOptions

SUFFIXES = (".npy", ".npz", ".csv")
_PICTURES = frozenset(("x", "images", "image", "pixels", "data", "faces", "arr"))
_LABELS = frozenset(("y", "targets", "target", "labels", "label", "emotions", "emotion", "classes"))
_CHECKED_VALUES = 2**22
MEMBER_LIMIT_BYTES = 2**40
_CLEAR = 1.15
"""Factor by which neighbouring values must differ more in the wrong order of colour values."""
USES = frozenset(("targets",))
_SAMPLE = 64
_PLANES = "flat colour rows are read as planes: all reds, then greens, then blues"


def recognise(place: Place) -> Sign:
    """Return how sure it is that a place holds arrays: a file, a zip of ``.npy``, a folder, a table of numbers."""
    if place.kind == "folder":
        files = [file.name for file in place.path.iterdir() if file.is_file()]
        arrays = [name for name in files if name.endswith((".npy", ".npz"))]
        tables = [name for name in files if name.endswith(".csv")]
        if arrays and not place.pictures:
            return Sign(CERTAIN)
        if (arrays or tables) and not place.pictures and are_named(tables + arrays):
            return Sign(CERTAIN)
        if tables and not place.pictures:
            first = place.path / sorted(tables)[0]
            return Sign(NO, f"it holds tables and no images: name the table you mean, such as {first}")
        return Sign(NO)
    if place.head.startswith(b"\x93NUMPY"):
        return Sign(CERTAIN)
    if place.kind == "zip":
        return Sign(CERTAIN if place.names and all(name.endswith(".npy") for name in place.names) else NO)
    if place.kind == "file" and (place.path.suffix.lower() in TEXTS or place.head[:2] == b"\x1f\x8b"):
        return _of_numbers(place)
    return Sign(NO)


def _of_numbers(place: Place) -> Sign:
    """Look at the second row of a table: the first may be a title."""
    first: list[str] = []
    with open_table(place.path) as table:
        with contextlib.suppress(DataError):
            first = next((cells for _, cells in table.rows), table.header)
        if all(map(is_number, first)):
            return Sign(LIKELY)
        return Sign(NO, f"{table.name} holds something else than numbers")


def is_number(cell: str) -> bool:
    """Return whether a cell holds a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


class _Pair(NamedTuple):
    """Pictures of one split and their labels."""

    split: str
    pictures: Shaped[np.ndarray, "n ..."]
    labels: Shaped[np.ndarray, "n ..."] | None


def read(place: Place, options: ReadOptions) -> Reading:
    """Read arrays; those in ``.npy`` files stay on disk until an image is used.

    Raises:
        DataError: no array of images, shapes or values that images do not have, labels that do not fit.
    """
    path, targets, stack = place.path, options.targets, place.stack
    arrays = dict(_named_arrays(path, stack))
    left: tuple[str, ...] = ()
    if targets:
        if len(arrays) != 1:
            raise DataError(f"`targets` goes with one array of images, {path} has {len(arrays)}")
        labels = dict(_named_arrays(Path(targets), stack))
        if len(labels) != 1:
            raise DataError(f"{targets} holds {len(labels)} arrays: expected one, of labels")
        pairs = [_Pair("", *arrays.values(), *labels.values())]
    else:
        pairs, left = _pairs(arrays, path)
    parts = [_Pictures(pair.pictures, str(path)) for pair in pairs]
    starts = np.cumsum([0, *(len(part) for part in parts)])
    lengths = [(len(part), pair.labels) for part, pair in zip(parts, pairs, strict=True)]
    classes, columns = _targets(lengths, path)

    def picture(row: int) -> UInt8[np.ndarray, "h w c"]:
        part = int(np.searchsorted(starts, row, side="right")) - 1
        return parts[part][row - int(starts[part])]

    splits = [pair.split for pair, part in zip(pairs, parts, strict=True) for _ in range(len(part))]
    ids = [f"{split or 'row'}/{row:07d}" for row, split in enumerate(splits)]
    notes = (*left, *dict.fromkeys(part.note for part in parts if part.note))
    return Reading(str(path), ids, splits, classes, columns, picture, notes=notes)


def are_named(files: list[str]) -> bool:
    """Return whether files have names of image or label arrays, such as ``x_train.csv``."""
    return any(
        (_PICTURES | _LABELS) & set(Path(name).stem.lower().replace("-", "_").split("_")) for name in files
    )


def open_npy(path: Path) -> Shaped[np.ndarray, "..."]:
    """Memory-map a ``.npy`` file.

    Raises:
        DataError: pickled objects, or not such a file.
    """
    try:
        with path.open("rb") as file:  # np.load leaves a file open that begins like a zip and is none
            np.lib.format.read_magic(file)
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy reads the header as Python, which fails in many ways
        raise DataError(_refusal(path.name, error)) from error


def _named_arrays(path: Path, stack: ExitStack) -> Iterable[tuple[str, Shaped[np.ndarray, "..."]]]:
    """Yield the arrays of a file or folder by name."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
        for file in files:
            yield from _named_arrays(file, stack)
    elif path.suffix == ".csv":
        yield path.stem, numbers_in(path)
    elif zipfile.is_zipfile(path):
        archive = stack.enter_context(zipfile.ZipFile(path))
        for info in archive.infolist():
            check_member(info, path, limit_bytes=MEMBER_LIMIT_BYTES)
            yield Path(info.filename).stem, read_member(archive, info, path)
    elif path.exists():
        yield path.stem, open_npy(path)
    else:
        raise DataError(f"no file {path}: expected an array (.npy, .npz or .csv)")


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> Shaped[np.ndarray, "..."]:
    """Read one array of a ``.npz``, after comparing the shape in its header with its number of bytes.

    Raises:
        DataError: pickled objects, no array, more values than bytes, or damaged.
    """
    name = f"{path.name}:{info.filename}"
    try:
        with archive.open(info) as stream:
            version = np.lib.format.read_magic(stream)
            header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = header(stream)
        if not dtype.hasobject and math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"its header claims {math.prod(shape):,} values")
        with archive.open(info) as stream:
            array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
            return array
    except Exception as error:  # as above, and the exceptions of unpacking
        raise DataError(_refusal(name, error)) from error


def _refusal(name: str, error: Exception) -> str:
    if any(word in str(error).lower() for word in ("pickle", "python objects")):
        return (
            f"{name} holds pickled Python objects, which could run any code: refused; save plain numbers "
            f"with numpy.save"
        )
    return f"{name} is not an array that numpy.save wrote, or it is cut off ({error})"


def _pairs(arrays: Mapping[str, np.ndarray], path: Path) -> tuple[list[_Pair], tuple[str, ...]]:
    """Match pictures with labels by name; return them, and a note about arrays that are neither.

    Raises:
        DataError: no images, two arrays of one part, or labels that no images belong to.
    """
    pictures: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    left: list[str] = []
    for name, array in arrays.items():
        words = name.lower().replace("-", "_").split("_")
        split = next(filter(None, map(split_name, words)), "")
        group = (
            labels if _LABELS & set(words) else pictures if _PICTURES & set(words) or array.ndim > 1 else None
        )
        if group is None:
            left.append(name)
            continue
        if split in group:
            raise DataError(f"{path}: two arrays could be the same part, {name} is one: rename or remove one")
        group[split] = array
    if not pictures:
        raise DataError(
            f"{path} has no array of images: expected names such as x_train and y_train, or images and targets; "
            f"it has {', '.join(arrays) or 'none'}"
        )
    if lone := [split for split in labels if split not in pictures]:
        raise DataError(
            f"{path} has labels of {lone[0] or 'no split'} and no images of it, but of "
            f"{', '.join(split or 'no split' for split in pictures)}: expected names such as x_train and y_train; "
            f"rename or remove them"
        )
    said = f"left out arrays whose names say neither images nor labels: {', '.join(left)}"
    notes = (said,) if left else ()
    return [_Pair(split, array, labels.get(split)) for split, array in pictures.items()], notes


class _Pictures:
    """An array of images: shape and range are checked once, an image is converted when it is used."""

    def __init__(self, array: Shaped[np.ndarray, "n ..."], source: str) -> None:
        """Check the shape and the values.

        Raises:
            DataError: a shape or a value that no image has.
        """
        if array.dtype.kind not in "buif":
            raise DataError(f"{source}: expected pixels as numbers, got {array.dtype}")
        if array.ndim == 3 and array.shape[2] == 1:  # flat rows with an axis for the channel
            array = array[..., 0]
        self.array, self.shape = array, _picture_shape(array.shape, source)
        self.unit = self._check_range(source)
        self.planar, self.note = _is_planar(array, self.shape, self.unit, source)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, row: int) -> UInt8[np.ndarray, "h w c"]:
        """Return one picture."""
        pixels = np.asarray(self.array[row])
        if pixels.dtype != np.uint8:
            pixels = np.rint(pixels.astype(np.float32) * self.unit).astype(np.uint8)
        if self.array.ndim == 4 and self.array.shape[1:] != self.shape:
            pixels = pixels.transpose(1, 2, 0)  # channel first, as torch has them
        if self.planar:
            return np.ascontiguousarray(pixels.reshape(3, *self.shape[:2]).transpose(1, 2, 0))
        return pixels.reshape(self.shape)

    def _check_range(self, source: str) -> float:
        """Return the factor that brings the values to 0-255."""
        if self.array.dtype == np.uint8:
            if (np.asarray(self.array[:64]) > 1).any() or np.max(self.array, initial=0) != 1:
                return 1.0
            raise DataError(f"{source}: all pixels are 0 or 1: expected 0-255, or floats from 0 to 1")
        if self.array.dtype.kind == "b":
            return 255.0
        greatest, step = 0.0, max(1, _CHECKED_VALUES // max(1, math.prod(self.shape)))
        for start in range(0, len(self.array), step):
            part = np.asarray(self.array[start : start + step]).reshape(-1, math.prod(self.shape))
            for wrong, what in ((~np.isfinite(part), "not a number"), (part < 0, ""), (part > 255, "")):
                if wrong.any():
                    row, place = np.argwhere(wrong)[0]
                    value = what or f"{part[row, place]:g}"
                    raise DataError(
                        f"{source}: pixel {place} of row {start + row} is {value}: expected 0-255, or 0-1"
                    )
            greatest = max(greatest, float(part.max(initial=0)))
        if self.array.dtype.kind != "f" and greatest == 1:
            raise DataError(f"{source}: all pixels are 0 or 1: expected 0-255, or floats from 0 to 1")
        return 255.0 if self.array.dtype.kind == "f" and greatest <= 1 else 1.0


def _is_planar(
    array: Shaped[np.ndarray, "n ..."], shape: tuple[int, int, int], unit: float, source: str
) -> tuple[bool, str]:
    """Return whether flat colour rows hold all reds first, then greens, then blues, and a note about it.

    Both orders are tried on some rows. In the right one, neighbours differ less.

    Raises:
        DataError: the order is not clear.
    """
    if array.ndim != 2 or shape[2] != 3 or not len(array):
        return False, ""
    rows = np.asarray(array[:: max(1, len(array) // _SAMPLE)][:_SAMPLE], np.float32) * unit
    rows = rows[rows.std(axis=1) > 1]
    together = rows.reshape(-1, *shape)
    planes = rows.reshape(-1, 3, *shape[:2]).transpose(0, 2, 3, 1)
    for pictures, planar in ((together, False), (planes, True)):
        if len(rows) and (pictures == pictures[..., :1]).all():  # grey, saved as colour
            return planar, _PLANES if planar else ""
    rough = [
        float(sum(np.abs(np.diff(pictures, axis=axis)).mean() for axis in (1, 2))) if len(rows) else 0.0
        for pictures in (together, planes)
    ]
    if not len(rows) or rough[0] * _CLEAR < rough[1]:
        return False, ""
    if rough[1] * _CLEAR < rough[0]:
        return True, _PLANES
    raise DataError(
        f"{source}: rows of {array.shape[1]:,} values are colour images, by pixel or by plane, and the values do not "
        f"show which: save them as (n, h, w, 3) or (n, 3, h, w)"
    )


def in_pixel_order(
    flat: UInt8[np.ndarray, "n d"], shape: tuple[int, int, int], source: str
) -> tuple[Callable[[int], UInt8[np.ndarray, "h w c"]], tuple[str, ...]]:
    """Return a function from a row number to the image of a flat row, and notes about it.

    Raises:
        DataError: colour rows whose order is not clear.
    """
    planar, note = _is_planar(flat, shape, 1.0, source)
    if planar:
        return lambda row: np.ascontiguousarray(flat[row].reshape(3, *shape[:2]).transpose(1, 2, 0)), (note,)
    return lambda row: flat[row].reshape(shape), ()


def _picture_shape(shape: tuple[int, ...], source: str) -> tuple[int, int, int]:
    """Return (h, w, c) of the pictures in an array of this shape."""
    if 0 in shape[1:]:
        raise DataError(f"{source}: images of the shape {shape[1:]} have no pixels")
    if len(shape) == 2:
        return flat_shape(shape[1], source)
    if len(shape) == 3:
        return (shape[1], shape[2], 1)
    if len(shape) == 4 and shape[3] in (1, 3):
        return (shape[1], shape[2], shape[3])
    if len(shape) == 4 and shape[1] in (1, 3):
        return (shape[2], shape[3], shape[1])
    raise DataError(
        f"{source}: expected images as (n, h*w), (n, h, w) or (n, h, w, c) with c 1 or 3, got the shape {shape}"
    )


def flat_shape(values: int, source: str) -> tuple[int, int, int]:
    """Return (h, w, c) of a square image with this number of values.

    Raises:
        DataError: no square grey or colour image has this number of values.
    """
    for channels in (1, 3):
        side = math.isqrt(values // channels)
        if side >= 2 and side * side * channels == values:
            return (side, side, channels)
    side = math.isqrt(values - 1) if values else 0
    one_more = (
        "; if one column is the label, give the table a header that names it"
        if side * side == values - 1
        else ""
    )
    raise DataError(
        f"{source}: {values} values are no square image: expected 2304 for 48x48 grey, or another h*w or "
        f"h*w*3{one_more}"
    )


def _targets(
    parts: list[tuple[int, np.ndarray | None]], path: Path
) -> tuple[tuple[str, ...], Float32[np.ndarray, "n k"]]:
    """Return the classes and targets of all arrays of labels."""
    for n, labels in parts:
        if labels is not None and labels.ndim == 0:
            raise DataError(f"{path}: the labels are one value: expected one for each image")
        if labels is not None and len(labels) != n:
            raise DataError(f"{path}: {len(labels)} labels for {n} images: expected one for each")
    given = [labels for _, labels in parts if labels is not None]
    if not given:
        return ("0", "1"), np.zeros((sum(n for n, _ in parts), 2), np.float32)
    if all(labels.ndim == 2 and labels.shape[1] > 1 for labels in given):
        return _shares(parts, path)
    names: list[str] = []
    for n, labels in parts:
        names += [""] * n if labels is None else _names(labels, path)
    return class_targets(names, str(path))


def _shares(
    parts: list[tuple[int, np.ndarray | None]], path: Path
) -> tuple[tuple[str, ...], Float32[np.ndarray, "n k"]]:
    """Read one-hot or soft targets."""
    k = next(labels.shape[1] for _, labels in parts if labels is not None)
    if k > CLASS_LIMIT:
        raise DataError(f"{path}: {k:,} columns of targets are over the limit of {CLASS_LIMIT:,} classes")
    blocks = []
    for n, labels in parts:
        if labels is not None and labels.shape[1] != k:
            raise DataError(f"{path}: targets of {k} and of {labels.shape[1]} classes: expected the same")
        blocks.append(np.zeros((n, k), np.float32) if labels is None else np.asarray(labels, np.float32))
        wrong = (blocks[-1] < 0).any(axis=1) | ~(np.abs(blocks[-1].sum(axis=1) - 1) < 1e-3)
        if labels is not None and wrong.any():
            raise DataError(
                f"{path}: the targets of row {int(wrong.argmax())} are {blocks[-1][wrong.argmax()].tolist()}: "
                f"expected fractions that sum to one"
            )
    return tuple(map(str, range(k))), np.concatenate(blocks)


def _names(labels: np.ndarray, path: Path) -> list[str]:
    """Read class numbers or names."""
    flat = labels.reshape(len(labels), -1)
    if flat.shape[1] != 1 or flat.dtype.kind not in "buifU":
        raise DataError(
            f"{path}: expected a class number or name for each image, or one-hot rows; got {labels.dtype} of the "
            f"shape {labels.shape}"
        )
    if flat.dtype.kind == "U":
        return [str(name) for name in flat[:, 0]]
    numbers = flat[:, 0].astype(np.float64)
    wrong = ~np.isfinite(numbers) | (numbers < 0) | (numbers != np.floor(numbers))
    if wrong.any():
        raise DataError(
            f"{path}: the label of row {int(wrong.argmax())} is {numbers[wrong.argmax()]:g}: "
            f"expected class numbers from 0"
        )
    return [str(int(number)) for number in numbers]


def pixels_of(array: Shaped[np.ndarray, "1 ..."], source: str) -> UInt8[np.ndarray, "h w c"]:
    """Return the one image in an array that `read` would take for images.

    Raises:
        DataError: a shape or a value that no image has.
    """
    return _Pictures(array, source)[0]
