"""Exact duplicates: images whose pixels are all equal. A model keeps keys of the images that it was trained on.

A key is 40 bits of a SHA-256: 28,709 keys are 144 KB, and the chance that any of 3,589 other images has one of these
keys is one in ten thousand.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jaxtyping import Bool, Int, UInt8

_BYTES = 5


def picture_keys(images: Iterable[UInt8[np.ndarray, "h w c"]]) -> Int[np.ndarray, " n"]:
    """Return the key of each fitted picture; they may come one by one."""
    digests = (hashlib.sha256(np.ascontiguousarray(image).data).digest()[:_BYTES] for image in images)
    return np.array([int.from_bytes(digest) for digest in digests], np.int64)


def to_bytes(keys: Int[np.ndarray, " n"]) -> bytes:
    """Return a set of keys as bytes for a file."""
    return b"".join(int(key).to_bytes(_BYTES) for key in np.unique(keys))


def from_bytes(content: bytes) -> Int[np.ndarray, " m"]:
    """Return the keys that `to_bytes` wrote, sorted."""
    parts = (content[start : start + _BYTES] for start in range(0, len(content), _BYTES))
    return np.array([int.from_bytes(part) for part in parts], np.int64)


def are_duplicates(
    images: UInt8[np.ndarray, "n h w c"], keys: Int[np.ndarray, " m"]
) -> Bool[np.ndarray, " n"]:
    """Return for each fitted image whether its key is in the set."""
    return np.isin(picture_keys(images), keys)
