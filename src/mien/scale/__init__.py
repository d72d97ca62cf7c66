"""Millions of images on one machine or many, with Ray: divided into shards, scored by workers, resumable.

``mien.scale.score("s3://bucket/photos", "results")``
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mien.scale.run import Scored, score

__all__ = ["Scored", "score"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'mien.scale' has no attribute {name!r}")
    from mien.scale import run

    return getattr(run, name)
