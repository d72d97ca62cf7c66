"""A dataset as one file that is mapped, not read: a set larger than memory trains from it.

The file is an ordinary ``.npz`` (`numpy.load` opens it) whose members are stored, not compressed, so the
pictures can be mapped where they lie. Rows stand in the order of their splits.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien import files
from mien.data.dataset import FaceDataset
from mien.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import UInt8

FORMAT = "mien.dataset/1"
META = "mien.json"
_CHUNK_ROWS = 4096


def write_packed(out: Path, dataset: FaceDataset) -> None:
    """Write a dataset as one packed file.

    Raises:
        OutputError: `out` cannot be written.
    """
    order = np.argsort([dataset.splits.index(name) for name in dataset.split.tolist()], kind="stable")
    meta = {
        "format": FORMAT,
        "labels": list(dataset.labels),
        "source": Path(dataset.source).name,
        "skipped": list(dataset.skipped),
    }
    with files.replacing(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(META, json.dumps(meta))
        with archive.open("images.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": dataset.images.shape}
            np.lib.format.write_array_header_1_0(member, header)
            for start in range(0, len(order), _CHUNK_ROWS):
                member.write(np.ascontiguousarray(dataset.images[order[start : start + _CHUNK_ROWS]]).data)
        columns = {
            "targets": dataset.targets[order],
            "split": dataset.split[order],
            "ids": np.array(dataset.ids)[order],
        }
        for name, column in columns.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, column, allow_pickle=False)
            archive.writestr(f"{name}.npy", buffer.getvalue())


def scratch(folder: Path) -> Callable[[tuple[int, int, int, int]], UInt8[np.ndarray, "n h w c"]]:
    """Return what makes an array on disk, in a nameless file that is gone when the array is."""

    def allocate(shape: tuple[int, int, int, int]) -> UInt8[np.ndarray, "n h w c"]:
        files.make_folder(folder)
        with tempfile.TemporaryFile(dir=folder) as file:
            return np.memmap(file, np.uint8, "w+", shape=shape)

    return allocate


def is_packed(path: Path) -> bool:
    """Say whether a zip is a packed dataset."""
    with zipfile.ZipFile(path) as archive:
        return META in archive.namelist()


def read_packed(path: Path) -> FaceDataset:
    """Map a packed file.

    Raises:
        DataError: damaged, or of another format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            meta = json.loads(archive.read(META))
            if meta["format"] != FORMAT:
                raise DataError(f"{path} has the format {meta['format']}: this version reads {FORMAT}")
            images = _mapped(archive, path)
            targets, split, ids = (_column(archive, name) for name in ("targets", "split", "ids"))
        dataset = FaceDataset(
            images,
            targets,
            tuple(map(str, ids)),
            split,
            tuple(meta["labels"]),
            str(path),
            tuple(meta["skipped"]),
        )
        if not len(images) == len(targets) == len(split) == len(ids) or targets.shape[1] != len(
            dataset.labels
        ):
            raise ValueError("its parts have different lengths")
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError, EOFError) as error:
        raise DataError(f"{path} is a damaged packed dataset ({error}): convert it again") from error
    return dataset


def _column(archive: zipfile.ZipFile, name: str) -> Any:
    return np.lib.format.read_array(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)


def _mapped(archive: zipfile.ZipFile, path: Path) -> UInt8[np.ndarray, "n h w c"]:
    """Map the pictures where they lie in the file."""
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
            raise ValueError("its pictures are not stored as bytes")
        # copy-on-write: torch wants arrays it may write to, the file stays as it is
        return np.memmap(file, np.uint8, "c", file.tell(), shape)
