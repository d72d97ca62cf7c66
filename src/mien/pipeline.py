"""`Pipeline`: a picture in, its faces and their expressions out. It knows neither torch nor the command line.

Many pictures are spread over threads: Pillow, OpenCV and ONNX Runtime all let go of Python's lock while they work.
"""

from __future__ import annotations

import base64
import binascii
import os
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np

from mien.classifiers import Classifier, load_classifier, probabilities
from mien.detectors import FaceDetector, open_detector
from mien.errors import ConfigError, ImageError
from mien.results import UNCERTAIN, Face, FaceResult, ImageResult
from mien.vision import images
from mien.vision.crop import crop_faces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from jaxtyping import UInt8

    Source = str | Path | bytes | UInt8[np.ndarray, "h w 3"]

Item = TypeVar("Item")
Made = TypeVar("Made")
DATA_URI = "data:"
AHEAD = 2
"""Pictures begun for each worker before their turn comes: enough to keep it busy, little memory."""
RESULT = ".faces.jpg"
"""How the names of annotated pictures end."""


class Pipeline:
    """Decode, detect, crop, classify: one call a picture."""

    def __init__(
        self,
        model: str | Path | Classifier = "default",
        detector: str | FaceDetector = "auto",
        *,
        detector_weights: str | Path | None = None,
        uncertain_below: float = 0.0,
    ) -> None:
        """Load what is named; a `Classifier` or `FaceDetector` of your own is taken as it is.

        A face whose highest probability is less than `uncertain_below` is labelled `UNCERTAIN`.

        Raises:
            BundleError: the model cannot be loaded.
            ConfigError: no such detector, YuNet's weights are missing, or a bound outside [0, 1].
        """
        if not 0 <= uncertain_below <= 1:
            raise ConfigError(f"uncertain-below is a probability from 0 to 1, got {uncertain_below:g}")
        self.uncertain_below = uncertain_below
        self.classifier = load_classifier(model) if isinstance(model, str | Path) else model
        self._detector, self._weights = detector, None if detector_weights is None else Path(detector_weights)
        self._own, self._turn = threading.local(), threading.Lock()
        self.detector = self._own.detector = self._open()

    def __call__(self, image: Source) -> ImageResult:
        """Find and name every face of one picture: a path, the bytes of a file, a ``data:`` URI, or RGB u8 [h, w, 3].

        Raises:
            ImageError: it can't be read or decoded.
        """
        named = isinstance(image, str | Path) and not str(image).startswith(DATA_URI)
        return self.look(pixels(image), source=str(image) if named else "")

    def look(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"], *, source: str = "") -> ImageResult:
        """Find and name every face of a decoded picture.

        Raises:
            ImageError: OpenCV cannot work on a picture of this shape.
        """
        try:
            faces = self._detect(image_rgb_u8)
            crops = crop_faces(image_rgb_u8, faces, self.classifier.preprocess)
        except cv2.error as error:
            raise ImageError(f"OpenCV cannot work on this picture: {error.err or error}") from error
        labels = self.classifier.id.labels
        results = []
        for face, probs in zip(faces, probabilities(self.classifier.logits(crops)), strict=True):
            scores = dict(zip(labels, probs.tolist(), strict=True))
            best = labels[int(probs.argmax())]
            label = best if scores[best] >= self.uncertain_below else UNCERTAIN
            results.append(
                FaceResult(face.box_xyxy_px, label, scores, face.detector, face.score, face.frame_xyxy_px)
            )
        height, width = image_rgb_u8.shape[:2]
        return ImageResult(source, width, height, tuple(results))

    def each(
        self, paths: Sequence[Path], *, workers: int = 1
    ) -> Iterator[tuple[ImageResult, UInt8[np.ndarray, "h w 3"] | None]]:
        """Yield result and pixels for each file, in order; one that can't be read is a result with its `error`."""
        return spread(self.look_at, paths, workers)

    def look_at(self, path: Path) -> tuple[ImageResult, UInt8[np.ndarray, "h w 3"] | None]:
        """Return result and pixels of a file; what can't be read is a result with its `error`."""
        try:
            image = images.read(path)
            return self.look(image, source=str(path)), image
        except ImageError as error:
            return ImageResult(str(path), error=str(error)), None

    def _open(self) -> FaceDetector:
        return (
            open_detector(self._detector, self._weights)
            if isinstance(self._detector, str)
            else self._detector
        )

    def _detect(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Ask this thread's own detector: OpenCV's are not made to be shared.

        One of the user's waits its turn, and one that spreads a picture over the cores by itself.
        """
        if not isinstance(self._detector, str) or getattr(self.detector, "one_at_a_time", False):
            with self._turn:
                return self.detector.detect(image_rgb_u8)
        if not hasattr(self._own, "detector"):
            self._own.detector = self._open()
        found: list[Face] = self._own.detector.detect(image_rgb_u8)
        return found


def spread(work: Callable[[Item], Made], items: Iterable[Item], workers: int) -> Iterator[Made]:
    """Yield ``work(item)`` for each item, in order, on `workers` threads; few are begun before they are asked for."""
    if workers <= 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(workers)
    begun: deque[Future[Made]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > AHEAD * workers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def pixels(image: Source) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pixels of a path, of a file's bytes (as they are, or base64 in a ``data:`` URI), or of an array.

    Raises:
        ImageError: it can't be read, or the array is not RGB u8 [h, w, 3].
    """
    if isinstance(image, bytes):
        return images.decode(image)
    if isinstance(image, str) and image.startswith(DATA_URI):
        return images.decode(_from_uri(image))
    if isinstance(image, str | Path):
        return images.read(Path(image))
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(f"expected RGB pixels, uint8 [h, w, 3]; got {image.dtype} {list(image.shape)}")
    return image


def _from_uri(uri: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma or not head.endswith(";base64"):
        raise ImageError(f"expected data:image/...;base64,..., got {uri[:40]}...")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"the picture in a data: URI is not base64: {error}") from error


def find_images(sources: Sequence[str | Path], skip: Path | None = None) -> list[Path]:
    """Return the picture files that `sources` name: files as they are, folders searched throughout.

    A missing file stays in the list, to be reported in its place. Hidden files and the results in the folder `skip`
    are passed over.

    Raises:
        ConfigError: a folder without a picture.
    """
    found: list[Path] = []
    for source in map(Path, sources):
        if not os.path.isdir(source):  # noqa: PTH112 - never raises, whatever the name
            found.append(source)
            continue
        inside = [path for path in sorted(source.rglob("*")) if _is_picture(path, source, skip)]
        if not inside:
            raise ConfigError(f"no pictures in the folder {source}: expected files such as .jpg or .png")
        found += inside
    return found


def _is_picture(path: Path, root: Path, skip: Path | None) -> bool:
    if path.suffix.lower() not in images.SUFFIXES or not path.is_file():
        return False
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return not hidden and not (skip and _is_result(path.resolve(), root.resolve(), skip.resolve()))


def _is_result(path: Path, root: Path, out: Path) -> bool:
    """Say whether a picture below `root` is what an earlier run wrote into `out`, which may be `root` itself."""
    return out in path.parents if root in out.parents else out == path.parent and path.name.endswith(RESULT)
