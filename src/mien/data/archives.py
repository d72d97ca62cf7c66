"""What archives hold: members that are safe to unpack, and files that belong to a system, not to a dataset."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mien.errors import DataError
from mien.vision import images

if TYPE_CHECKING:
    import zipfile
    from pathlib import Path

MEMBER_LIMIT_BYTES = 64 * 2**20
BOMB_RATIO, BOMB_BYTES = 100, 16 * 2**20
"""What an archive claims to unpack to more than this times its size, and to more than this, is refused."""


def check_member(info: zipfile.ZipInfo, path: Path, *, limit_bytes: int = MEMBER_LIMIT_BYTES) -> None:
    """Refuse a member of a zip that no honest archive has.

    Raises:
        DataError: a name that leaves its folder, encryption, a size out of proportion.
    """
    parts = PurePosixPath(info.filename.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        raise DataError(f"{path} holds the unsafe name {info.filename!r}: no member may leave its folder")
    inflated = info.file_size > BOMB_BYTES and info.file_size > BOMB_RATIO * max(info.compress_size, 1024)
    if info.file_size > limit_bytes or inflated:
        raise DataError(
            f"{path}: {info.filename} claims to unpack from {info.compress_size:,} to {info.file_size:,} bytes, "
            f"over the limit of {BOMB_RATIO} times or {limit_bytes:,} bytes: is this a zip bomb?"
        )
    if info.flag_bits & 0x1:
        raise DataError(f"{path}: {info.filename} is encrypted: expected a plain zip")


def is_picture(name: str) -> bool:
    """Say whether a file's name is that of a picture."""
    parts = PurePosixPath(name.replace("\\", "/"))
    return parts.suffix.lower() in images.SUFFIXES and not is_debris(parts)


def is_debris(parts: PurePosixPath) -> bool:
    """Say whether a file or folder is a system's own, as those that macOS adds to archives."""
    return any(part.startswith((".", "__macosx")) for part in map(str.lower, parts.parts))
