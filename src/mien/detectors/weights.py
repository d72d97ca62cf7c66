"""Detector weights that a user fetches by name: their address, their place in the cache, and their SHA-256.

Nothing is downloaded unless the user asks for it. A file is compared with its pinned SHA-256 before it is used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mien import files
from mien.errors import ConfigError, FetchError

SIZE_LIMIT_BYTES = 64 * 2**20
TIMEOUT_S = 30


@dataclass(frozen=True)
class Weights:
    """A weights file of another project, with its pinned hash."""

    name: str
    url: str
    file: str
    sha256: str
    licence: str

    def cached(self) -> Path | None:
        """Return the path where `fetch` stored it, or None."""
        path = cache_folder() / self.file
        return path if path.is_file() else None


OPENCV_ZOO = "https://github.com/opencv/opencv_zoo/raw/f12e12798e8314f7c074a6656816c048dcc95b7a"
"""The address contains a commit, so that its content cannot change."""
YUNET = Weights(
    name="yunet",
    url=f"{OPENCV_ZOO}/models/face_detection_yunet/face_detection_yunet_2023mar.onnx",
    file="face_detection_yunet_2023mar.onnx",
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    licence="MIT",
)


def cache_folder() -> Path:
    """Return ``$MIEN_CACHE``, else the system's cache folder for `mien`."""
    if own := os.environ.get("MIEN_CACHE"):
        return Path(own)
    from platformdirs import user_cache_path

    return user_cache_path("mien", appauthor=False)


def verified(weights: Weights, path: Path | None) -> bytes:
    """Return the file's bytes if they are the pinned ones.

    Raises:
        ConfigError: there is no such file, or its hash is another one.
    """
    if path is None:
        raise ConfigError(
            f"{weights.name} needs its weights: run `mien fetch {weights.name}`, "
            f"or give the file {weights.file} with `detector_weights`"
        )
    try:
        data = files.regular(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the weights {path}: {error.strerror or error}") from error
    if (found := files.sha256(data)) != weights.sha256:
        raise ConfigError(
            f"{path} is not the pinned {weights.file}: SHA-256 {found[:12]}..., expected {weights.sha256[:12]}..."
        )
    return data


def fetch(weights: Weights, url: str | None = None) -> Path:
    """Download into the cache, check the hash and return the path. Called only when the user asks for it.

    Raises:
        FetchError: no answer, or a file with another hash (which is not kept).
        OutputError: the cache can't be written.
    """
    from http.client import HTTPException  # loads TLS and mail parsing, which no prediction needs
    from urllib.request import urlopen

    source = url or weights.url
    if not source.startswith(("https://", "http://")):
        raise FetchError(
            f"expected an http(s) address, got {source!r}; a file is used with `mien predict --detector-weights FILE`"
        )
    try:
        with urlopen(source, timeout=TIMEOUT_S) as answer:  # noqa: S310 - checked above
            data = answer.read(SIZE_LIMIT_BYTES + 1)
    except (HTTPException, OSError, ValueError) as error:
        raise FetchError(
            f"cannot fetch {source}: {error}; nothing was kept. Without a network, copy "
            f"{weights.file} here and name it: --detector-weights {weights.file}"
        ) from error
    if (found := files.sha256(data)) != weights.sha256:
        raise FetchError(
            f"{source} brought {len(data):,} bytes with SHA-256 {found[:12]}..., expected {weights.sha256[:12]}...: "
            f"not kept"
        )
    path = cache_folder() / weights.file
    files.write(path, data)
    return path
