"""A dataset as one file that is memory-mapped, so a dataset larger than memory can be used for training.

The file is an ordinary ``.npz`` (`numpy.load` opens it). Its members are not compressed, so that the images can be
mapped directly from the file.
"""

from __future__ import annotations

import io
import json
import math
import mmap
import os
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien import files
from mien.data import arrays
from mien.data.archives import check_member
from mien.data.dataset import FaceDataset
from mien.data.place import CERTAIN, NO, Place, Sign
from mien.data.reading import Reading
from mien.errors import DataError
from mien.escapes import encodable
from mien.labels import FERPLUS_VOTE_ORDER

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO

    from jaxtyping import UInt8

    from mien.options import ReadOptions

FORMAT = "mien.dataset/1"
META = "mien.json"
USES: frozenset[str] = frozenset()
COLUMNS = ("targets", "split", "ids")
_CHUNK_ROWS = 4096
_NORESERVE = 0x4000
"""Linux's MAP_NORESERVE, from mman.h; Python 3.11 does not name it."""


def write_packed(out: Path, dataset: FaceDataset) -> None:
    """Write a dataset as one packed file.

    Raises:
        OutputError: `out` cannot be written.
    """
    meta = {
        "format": FORMAT,
        "labels": list(dataset.labels),
        "source": Path(dataset.source).name,
        "skipped": list(dataset.skipped),
        "columns": list(dataset.columns),
    }
    with files.replacing(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(META, json.dumps(meta))
        with archive.open("images.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": dataset.images.shape}
            np.lib.format.write_array_header_1_0(member, header)
            for start in range(0, len(dataset), _CHUNK_ROWS):
                member.write(np.ascontiguousarray(dataset.images[start : start + _CHUNK_ROWS]).data)
        columns = {"targets": dataset.targets, "split": dataset.split, "ids": np.array(dataset.ids)}
        if dataset.votes is not None:
            columns["votes"] = dataset.votes
        columns |= {f"column{number}": column for number, column in enumerate(dataset.columns.values())}
        for name, column in columns.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, column, allow_pickle=False)
            archive.writestr(f"{name}.npy", buffer.getvalue())


def scratch(folder: Path) -> Callable[[tuple[int, int, int, int]], UInt8[np.ndarray, "n h w c"]]:
    """Return a function that makes an array on disk, in a file without a name, which is deleted with the array."""

    def allocate(shape: tuple[int, int, int, int]) -> UInt8[np.ndarray, "n h w c"]:
        files.make_folder(folder)
        with files.as_output_error(folder), tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):  # so that a full disk is an error now, not a crash later
                os.posix_fallocate(file.fileno(), 0, max(1, math.prod(shape)))
            return np.memmap(file, np.uint8, "w+", shape=shape)

    return allocate


def recognise(place: Place) -> Sign:
    """Return a sure sign if a zip is a packed dataset."""
    return Sign(CERTAIN if place.kind == "zip" and META in place.names else NO)


def read(place: Place, _: ReadOptions) -> Reading:
    """Return a packed dataset as rows."""
    return Reading.of(read_packed(place.path))


def read_packed(path: Path) -> FaceDataset:
    """Map a packed file.

    Raises:
        DataError: damaged, or of another format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                check_member(info, path, limit_bytes=path.stat().st_size)
            meta = json.loads(archive.read(META))
            if meta["format"] != FORMAT:
                raise DataError(f"{path} has the format {meta['format']}: this version reads {FORMAT}")
            images = _mapped(archive, path)
            others = {str(name): f"column{number}" for number, name in enumerate(meta.get("columns", ()))}
            names = [*COLUMNS, *others.values(), *(("votes",) if "votes.npy" in archive.namelist() else ())]
            parts = {
                name: arrays.read_member(archive, archive.getinfo(f"{name}.npy"), path) for name in names
            }
        targets, split, ids = (parts[name] for name in COLUMNS)
        votes, columns = parts.get("votes"), {name: parts[part] for name, part in others.items()}
        labels, skipped = (tuple(encodable(str(one)) for one in meta[name]) for name in ("labels", "skipped"))
        sums = targets.sum(axis=1)
        if targets.shape != (len(images), len(labels)) or targets.dtype != np.float32:
            raise ValueError("its targets do not fit")
        if not ((np.abs(sums - 1) < 1e-3) | (sums == 0)).all() or (targets < 0).any():
            raise ValueError("its targets are no fractions that sum to one")
        words = (split, ids, *columns.values())
        if {(part.shape, part.dtype.kind) for part in words} != {((len(images),), "U")}:
            raise ValueError("its parts have different lengths")
        if votes is not None and (
            votes.shape != (len(images), len(FERPLUS_VOTE_ORDER)) or votes.dtype != np.float32
        ):
            raise ValueError("its votes do not fit")
        return FaceDataset(
            images,
            targets,
            tuple(map(encodable, ids.tolist())),
            split,
            labels,
            encodable(str(path)),
            skipped,
            votes,
            columns,
        )
    except DataError:
        raise
    except Exception as error:  # a damaged file raises exceptions of many kinds
        raise DataError(f"{path} is a damaged packed dataset ({error}): convert it again") from error


def _mapped(archive: zipfile.ZipFile, path: Path) -> UInt8[np.ndarray, "n h w c"]:
    """Memory-map the images in the file."""
    info = archive.getinfo("images.npy")
    with path.open("rb") as file:
        file.seek(
            info.header_offset + 26
        )  # a zip's local header repeats the name, with an extra field of its own
        lengths = file.read(4)
        skip = int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
        file.seek(info.header_offset + 30 + skip)
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if info.compress_type != zipfile.ZIP_STORED or dtype != np.uint8 or len(shape) != 4:
            raise ValueError("its images are not stored as bytes")
        pixels = np.frombuffer(_private(file), np.uint8, math.prod(shape), file.tell())
        return pixels.reshape(shape)


def _private(file: IO[bytes]) -> mmap.mmap:
    """Memory-map a file copy-on-write: torch needs writable arrays, and the file must not change.

    By default Linux reserves memory for all copies, and so refuses a file larger than memory; this is switched off.
    """
    if sys.platform != "linux":
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    flags, prot = mmap.MAP_PRIVATE | _NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
    return mmap.mmap(file.fileno(), 0, flags=flags, prot=prot)
