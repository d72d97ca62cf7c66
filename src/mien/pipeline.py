"""`Pipeline`: images in, their faces and expressions out. It knows neither torch nor the command line.

Two steps carry it: `find` (an image -> faces) and `name` (crops of faces -> probabilities). `stream` runs them on
threads, so that crops of several images share one call of the classifier.
"""

from __future__ import annotations

import contextlib
import html
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex

import cv2
import numpy as np

from mien import __version__
from mien.classifiers import checked_logits, load_classifier, probabilities
from mien.detectors.finder import Finder, check_object
from mien.errors import ConfigError, ImageError, OutputError, number_of
from mien.options import Outputs, TrackOptions
from mien.predictions import ImageResult, data_frame
from mien.results import UNCERTAIN, Face, FaceResult
from mien.sinks import Sinks
from mien.sinks.tables import columns_of, same_in_all
from mien.tracking.between import Found, filled, marked
from mien.tracking.tracker import tracker_for
from mien.vision.crop import DEFAULT_VIEWS, VIEWS, crop_faces
from mien.vision.frames import Frame, frames
from mien.workers import at_once, ordered, ordered_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jaxtyping import Float32, UInt8

    from mien.classifiers import Classifier
    from mien.detectors import FaceDetector
    from mien.tracking.tracker import Tracker

SCHEMA = "mien.predictions/2"


class Pipeline:
    """Decode, detect, crop, classify.

    It pickles if its model and detector are named: a copy opens them again. Objects of your own must be picklable.
    """

    def __init__(
        self,
        model: str | Path | Classifier = "default",
        detector: str | FaceDetector = "auto",
        *,
        detector_weights: str | Path | None = None,
        views: int = DEFAULT_VIEWS,
        uncertain_below: float = 0.0,
        backend: str = "onnx",
        device: str = "cpu",
        threads: int = 1,
        spec: str | Path | None = None,
    ) -> None:
        """Load what is named; a `Classifier` or `FaceDetector` of your own is called as it is, under a lock.

        Args:
            model: a bundle folder, an ONNX file, or a built-in name.
            detector: a name in `mien.detectors.DETECTORS`.
            detector_weights: a file of YuNet's, by default the one that `mien fetch` stored; or the folder of a
                trained detector.
            views: crops of each face whose probabilities are averaged; one of `mien.vision.crop.VIEWS`.
            uncertain_below: a face whose highest probability is less is labelled `uncertain`.
            backend: which file of the model runs: onnx, int8, fp16 or torch.
            device: where it runs: cpu, cuda, or auto, which takes cuda if it works.
            threads: CPU threads of one call of the classifier. More only pay for a large network: a face takes it
                little time beside finding it, and idle threads of ONNX Runtime keep a core busy.
            spec: file with labels and preprocessing of a single ONNX file that does not hold them.

        Raises:
            BundleError: the model cannot be loaded.
            ConfigError: no such detector or number of views, weights are missing, a bound outside [0, 1], an object
                of your own that is no `Classifier` or `FaceDetector`, or options that open something named beside it.
        """
        self._given = {name: value for name, value in locals().items() if name != "self"}
        _check_numbers(views, uncertain_below)
        self.views, self.uncertain_below = int(views), float(uncertain_below)
        own = not isinstance(model, str | Path)
        if own:
            check_object(model, "model", "a name, a path or an object", "id", "preprocess", "logits")
        if own and (backend, device, threads or 1, spec) != ("onnx", "cpu", 1, None):
            raise ConfigError(
                "`backend`, `device`, `threads` and `spec` open a model that is named: leave them out with a "
                "classifier of your own"
            )
        if detector_weights and not isinstance(detector, str):
            raise ConfigError(
                "`detector_weights` are of a detector that is named: leave them out with your own"
            )
        self.backend = type(model).__name__ if own else backend
        self._classifier = (
            load_classifier(model, backend=backend, device=device, threads=threads, spec=spec)
            if isinstance(model, str | Path)
            else model
        )
        self._finder = Finder(detector, detector_weights)
        self.finds_one_at_a_time = self._finder.one_at_a_time
        self._classifier_turn = threading.Lock() if own else contextlib.nullcontext()

    def __repr__(self) -> str:
        """Return a summary of one line."""
        return f"Pipeline(model {self.classifier.id.name}, {self.backend}; detector {self._finder.name})"

    @property
    def classifier(self) -> Classifier:
        """What names the expressions."""
        return self._classifier

    @property
    def detector(self) -> FaceDetector:
        """What finds the faces."""
        return self._finder.detector

    @property
    def facts(self) -> dict[str, Any]:
        """What a reader must know of these results: schema, version, model, detector and settings."""
        return {
            "schema": SCHEMA,
            "version": __version__,
            "model": self.classifier.id.to_dict(),
            "backend": self.backend,
            "detector": self._finder.identity,
            "views": self.views,
            "uncertain_below": self.uncertain_below,
        }

    def __call__(self, source: object) -> ImageResult:
        """Find and name every face of one image: whatever `mien.frames` takes.

        Raises:
            ImageError: it cannot be read or decoded.
            ConfigError: it holds more than one image.
        """
        stream = frames(source)
        found = list(islice(stream, 2))
        if len(found) != 1:
            count = "no image" if not found else stream.total or "several"
            raise ConfigError(
                f"expected one image, got {count}: use pipeline.stream(...), or mien.predict(...)"
            )
        found[0].image_rgb_u8  # noqa: B018 - raises what is wrong with it
        (result,) = self.stream(found, workers=1)
        if result.error is not None:
            raise ImageError(result.error)
        return result

    def stream(
        self, source: object, *, tracker: Tracker | None = None, workers: int | None = None
    ) -> Iterator[ImageResult]:
        """Yield a result for each image of `source`, in order; one that cannot be read is a result with its `error`.

        Args:
            source: whatever `mien.frames` takes, or frames.
            tracker: follows the faces of videos; without it, every frame stands alone.
            workers: images worked on at once; by default as many as there are cores and images. Few are decoded
                ahead. Each result holds the pixels of its image: if you keep many, keep `result.without_pixels()`.

        Raises:
            ConfigError: fewer workers than one, or a folder without images.
        """
        stream = frames(source)
        workers = self.workers_for(stream.total, workers)
        every = tracker.detect_every if tracker else 1
        groups = ordered_groups(self._found, marked(stream, every), workers, most=workers)
        if every > 1:

            def search(images: list[Frame]) -> Iterator[Found]:
                return ordered(self._found, [(frame, True) for frame in images], workers)

            groups = filled(groups, search)
        for results in ordered(self._named, groups, workers, ahead=1):
            for result in results:
                yield tracker.update(result, self.uncertain_below) if tracker else result

    def workers_for(self, images: int | None, wanted: int | None = None) -> int:
        """Return how many images are worked on at once: as wanted, else one a core, if there are so many.

        Raises:
            ConfigError: fewer than one is wanted.
        """
        return at_once(images, wanted)

    def find(self, image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> list[Face]:
        """Return the faces of an image, from left to right.

        Raises:
            ImageError: OpenCV cannot work on an image of this shape.
        """
        return self._finder.find(image_rgb_u8)

    def crops(
        self, image_rgb_u8: UInt8[np.ndarray, "h w 3"], faces: list[Face]
    ) -> UInt8[np.ndarray, "n v s s c"]:
        """Return the views of each face that the classifier is shown: crops at several zooms, and mirrored.

        Raises:
            ImageError: OpenCV cannot work on an image of this shape.
        """
        preprocess, zooms = self.classifier.preprocess, VIEWS[self.views]
        try:
            views = [crop_faces(image_rgb_u8, faces, preprocess, zoom=zoom) for zoom in zooms]
        except cv2.error as error:
            raise ImageError(f"OpenCV cannot work on this image: {error.err or error}") from error
        if len(zooms) < self.views:
            views += [view[:, :, ::-1] for view in views]
        return np.stack(views, axis=1)

    def name(self, crops: UInt8[np.ndarray, "n v s s c"]) -> Float32[np.ndarray, "n k"]:
        """Return the probability of each label for each face, the mean over its views; n may be zero.

        Raises:
            ConfigError: the classifier did not return finite logits for each crop and label.
        """
        (n, v), k = crops.shape[:2], len(self.classifier.id.labels)
        if not n:  # a classifier of the user's may return a list, which has no columns then
            return np.empty((0, k), np.float32)
        with self._classifier_turn:
            answer = self.classifier.logits(np.ascontiguousarray(crops.reshape(n * v, *crops.shape[2:])))
        logits = checked_logits(answer, n * v, k, f"{self.classifier.id.name} ({self.backend})")
        return probabilities(logits).reshape(n, v, k).mean(axis=1)

    def _found(self, item: tuple[Frame, bool]) -> Found:
        """Return the faces of a frame, or why there are none to look for; None where it is not to be searched."""
        frame, is_searched = item
        try:
            return Found(frame, self.find(frame.image_rgb_u8) if is_searched else None)
        except ImageError as error:
            return Found(frame, str(error))

    def _named(self, group: list[Found]) -> list[ImageResult]:
        """Name the faces of several frames in one call of the classifier."""
        crops = []
        for number, (frame, faces) in enumerate(group):
            try:
                crops.append(self.crops(frame.image_rgb_u8, faces if isinstance(faces, list) else []))
            except ImageError as error:
                group[number] = Found(frame, faces if isinstance(faces, str) else str(error))
        rows = iter(self.name(np.concatenate(crops)).tolist() if crops else [])
        return [self._result(frame, faces, rows) for frame, faces in group]

    def _result(
        self, frame: Frame, faces: list[Face] | str | None, rows: Iterator[list[float]]
    ) -> ImageResult:
        empty = ImageResult(frame.source, frame.index, frame.time_s, frame=frame)
        if isinstance(faces, str):
            return replace(empty, error=faces)
        height, width = frame.image_rgb_u8.shape[:2]
        named = self.labelled(faces or [], [next(rows) for _ in faces or ()])
        return replace(empty, width=width, height=height, faces=named)

    def labelled(self, faces: list[Face], rows: Iterable[list[float]]) -> tuple[FaceResult, ...]:
        """Return each face with its label, given the probabilities that `name` gave for its crops."""
        return tuple(self._face(face, row) for face, row in zip(faces, rows, strict=True))

    def _face(self, face: Face, row: list[float]) -> FaceResult:
        probs = dict(zip(self.classifier.id.labels, row, strict=True))
        best = max(probs, key=probs.__getitem__)
        return FaceResult(
            box_xyxy_px=face.box_xyxy_px,
            label=best if probs[best] >= self.uncertain_below else UNCERTAIN,
            probs=probs,
            detector=face.detector,
            detection_score=face.score,
            frame_xyxy_px=face.frame_xyxy_px,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._given,)


def _check_numbers(views: object, uncertain_below: object) -> None:
    if not isinstance(uncertain_below, SupportsFloat) or not 0 <= float(uncertain_below) <= 1:
        raise ConfigError(f"`uncertain_below` is a probability from 0 to 1, got {uncertain_below!r}")
    if not isinstance(views, SupportsIndex) or views not in VIEWS:
        known, kind = ", ".join(map(str, VIEWS)), type(views).__name__
        raise ConfigError(f"`views` must be one of {known}, got {views!r} ({kind})")


def _reopened(given: dict[str, Any]) -> Pipeline:
    return Pipeline(**given)


class Predictions(Sequence[ImageResult]):
    """The results of several images: `len`, iteration, `[0]`, slices, and the forms that people go on with.

    Pixels are not kept: `save` and `show` of a result decode its image again.
    """

    def __init__(
        self, images: Sequence[ImageResult], facts: Mapping[str, Any], skipped: Mapping[str, int]
    ) -> None:
        self.images, self.facts, self.skipped = tuple(images), dict(facts), dict(skipped)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int | slice) -> Any:
        if isinstance(place, slice):
            return Predictions(self.images[place], self.facts, self.skipped)
        return self.images[place]

    def __eq__(self, other: object) -> bool:
        """Return whether the results are equal, and were made in the same way."""
        if not isinstance(other, Predictions):
            return NotImplemented
        return (self.images, self.facts, self.skipped) == (other.images, other.facts, other.skipped)

    def __repr__(self) -> str:
        faces, errors = sum(len(one.faces) for one in self), sum(one.error is not None for one in self)
        counts = (number_of(*one) for one in ((len(self), "image"), (faces, "face"), (errors, "error")))
        return f"Predictions({', '.join(counts)}, model {self.facts['model']['name']})"

    def to_dict(self) -> dict[str, Any]:
        """Return the document that ``mien predict --json`` writes."""
        return {**self.facts, "images": [image.to_dict() for image in self]}

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one flat row for each face, and one for each image without a face, with the columns of a table."""
        columns, same = dict.fromkeys(columns_of(self.facts)), same_in_all(self.facts)
        return [columns | row | same for image in self for row in image.to_rows()]

    def to_pandas(self) -> Any:
        """Return the rows as a pandas DataFrame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return data_frame(self.to_rows())

    def save(self, folder: str | Path) -> Path:
        """Write what ``mien predict --out`` writes: annotated images, `predictions.jsonl` and `predictions.json`.

        Raises:
            OutputError: the folder cannot be written, or images cannot be read again; the others are written then.
        """
        lost = []
        with Sinks(Outputs(out=Path(folder)), self.facts) as sinks:
            for image in self:
                try:
                    sinks.add(image)
                except ImageError as error:
                    lost.append(f"{image.source}: {error}")
        if lost:
            raise OutputError(
                f"cannot be read again, and left out of {folder}: {number_of(len(lost), 'image')}, first {lost[0]}"
            )
        return Path(folder)

    def show(self) -> None:
        """Open each annotated image in the system's viewer."""
        for image in self:
            if image.error is None:
                image.show()

    def _repr_html_(self) -> str:
        """Show a table in a notebook, a row a face."""
        names = ("source", "face", "label", "confidence", "detector", "error")
        rows = ([row.get(name) for name in names] for row in self.to_rows())
        cells = ([html.escape("" if cell is None else str(cell)) for cell in row] for row in rows)
        lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
        return f"<table><tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>{lines}</table>"


def predict(
    source: object, *, tracker: Tracker | str | None = "auto", workers: int | None = None, **options: Any
) -> Predictions:
    """Find and name the faces of anything that `mien.frames` takes; `options` are those of `Pipeline`.

    ``mien.predict("photo.jpg", model="mien_nano")[0].faces``

    An image that cannot be read is a result with its `error`.

    Args:
        source: images or videos.
        tracker: follows the faces of videos. ``auto`` does it as ``mien predict`` does, with the settings of
            `mien.Tracker`; with None, every frame stands alone.
        workers: images worked on at once, as in `Pipeline.stream`.
        options: those of `Pipeline`.

    Raises:
        ConfigError, BundleError: as `Pipeline` and `frames` do.
    """
    pipeline, stream = Pipeline(**options), frames(source)
    if isinstance(tracker, str):
        if tracker != "auto":
            raise ConfigError(f"`tracker` is {tracker!r}: expected auto, None or a mien.Tracker")
        tracker = tracker_for(stream, TrackOptions())
    results = [
        result.without_pixels() for result in pipeline.stream(stream, tracker=tracker, workers=workers)
    ]
    return Predictions(results, pipeline.facts | (tracker.facts if tracker else {}), stream.skipped)
