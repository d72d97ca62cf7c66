"""What comes out of an image: its faces with their expressions, as a record that converts, draws and shows itself.

One record serves photos, folders, video and the service. Its forms: `to_dict` (JSON), `to_rows` (tables, one row a
face), a picture with boxes and labels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien import files
from mien.errors import MissingExtra, OutputError
from mien.install import pip
from mien.results import FaceResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from jaxtyping import UInt8

    from mien.vision.frames import Frame

SHOWN_PX = 1024
"""Longest side of a picture in a notebook."""
SMALL_PX = 256
"""Longest side of an image that may be a crop of a face."""
COLUMNS = (
    *("source", "index", "time_s", "width", "height", "error", "faces", "face"),
    *("x0_px", "y0_px", "x1_px", "y1_px", "detector", "detection_score", "label", "confidence"),
)
"""Columns of every table; the probability of each label follows, as `prob_happy`."""


@dataclass(frozen=True)
class ImageResult:
    """An image with its faces, or why it could not be read."""

    source: str = ""
    """The path as it was given; empty for what was in memory."""
    index: int = 0
    """Number of a frame in a video; 0 for an image."""
    time_s: float | None = None
    """Time of that frame; None for an image."""
    width: int = 0
    height: int = 0
    faces: tuple[FaceResult, ...] = ()
    """From left to right."""
    error: str | None = None
    frame: Frame | None = field(default=None, repr=False, compare=False)
    """Where the pixels come from."""

    @property
    def is_small(self) -> bool:
        """Whether the image is as small as crops of faces are."""
        return max(self.width, self.height) <= SMALL_PX

    @property
    def image_rgb_u8(self) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels, decoded again where they were let go.

        Raises:
            ImageError: they cannot be decoded.
        """
        from mien.vision.frames import Frame

        return (self.frame or Frame(self.source)).image_rgb_u8

    def without_pixels(self) -> ImageResult:
        """Return the same with nothing decoded kept: thousands of results then take little memory."""
        return replace(self, frame=None if self.frame is None else replace(self.frame))

    def annotated(self) -> UInt8[np.ndarray, "h w 3"]:
        """Return a copy of the image with a box, label and probabilities for each face.

        Raises:
            ImageError: the image cannot be decoded.
        """
        from mien.vision.draw import annotate

        return annotate(self.image_rgb_u8, self.faces)

    def save(self, path: str | Path) -> Path:
        """Write the annotated image as JPEG or PNG, by the name's ending.

        Raises:
            ImageError: the image cannot be decoded.
            OutputError: the file cannot be written, or the ending is another one.
        """
        from mien.vision.images import encode_jpeg, encode_png

        encoders: dict[str, Callable[[Any], bytes]] = {
            ".jpg": encode_jpeg,
            ".jpeg": encode_jpeg,
            ".png": encode_png,
        }
        encode = encoders.get(Path(path).suffix.lower())
        if encode is None:
            raise OutputError(f"expected a name that ends in {', '.join(encoders)}, got {Path(path).name}")
        files.write(Path(path), encode(self.annotated()))
        return Path(path)

    def show(self) -> None:
        """Open the annotated image in the system's viewer.

        Raises:
            ImageError: the image cannot be decoded.
        """
        from PIL import Image

        Image.fromarray(self.annotated()).show()

    def to_dict(self) -> dict[str, Any]:
        """Return the image as the predictions schema has it."""
        return {
            "source": self.source,
            "index": self.index,
            "time_s": self.time_s,
            "width": self.width or None,
            "height": self.height or None,
            "faces": [face.to_dict() for face in self.faces],
            "error": self.error,
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one flat row for each face, or one without a face; numbers are rounded as in `to_dict`.

        `faces` is the number of faces in the image: it shows whether a table holds all of its rows.
        """
        whole = self.to_dict()
        faces = whole.pop("faces")
        whole["faces"] = len(faces) if self.error is None else None
        if not faces:
            return [dict.fromkeys(COLUMNS) | whole]
        rows = []
        for number, face in enumerate(faces, start=1):
            box = dict(zip(COLUMNS[8:12], face["box_xyxy_px"], strict=True))
            probs = {f"prob_{label}": prob for label, prob in face["probs"].items()}
            kept = {name: face[name] for name in ("detector", "detection_score", "label")}
            row = {**whole, "face": number, **box, **kept, "confidence": max(probs.values()), **probs}
            if "track" in face:
                raw = {f"raw_{label}": prob for label, prob in face["raw_probs"].items()}
                row |= {"track": face["track"], **raw}
            rows.append(row)
        return rows

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> ImageResult:
        """Return the image that these rows are of."""
        first = rows[0]
        faces = tuple(
            FaceResult(
                box_xyxy_px=(row["x0_px"], row["y0_px"], row["x1_px"], row["y1_px"]),
                label=row["label"],
                probs=_starting(row, "prob_"),
                track=row.get("track"),
                raw_probs=_starting(row, "raw_") or None,
                detector=row["detector"],
                detection_score=row["detection_score"],
            )
            for row in rows
            if row.get("face") is not None
        )
        return cls(
            source=first["source"], index=first["index"], time_s=first["time_s"], width=first["width"] or 0,
            height=first["height"] or 0, faces=faces, error=first["error"],
        )  # fmt: skip

    def to_pandas(self) -> Any:
        """Return the rows as a pandas DataFrame.

        Raises:
            MissingExtra: pandas is not installed.
        """
        return data_frame(self.to_rows())

    def _repr_png_(self) -> bytes | None:
        """Show the annotated image in a notebook."""
        from PIL import Image

        from mien.vision.images import encode_png

        if self.error:
            return None
        image = Image.fromarray(self.annotated())
        image.thumbnail((SHOWN_PX, SHOWN_PX))
        import numpy as np

        return encode_png(np.asarray(image))


def _starting(row: Mapping[str, Any], start: str) -> dict[str, float]:
    """Return the probabilities in the columns whose names start so, by label."""
    return {
        name.removeprefix(start): row[name]
        for name in row
        if name.startswith(start) and row[name] is not None
    }


def data_frame(rows: list[dict[str, Any]]) -> Any:
    """Return rows as a pandas DataFrame.

    Raises:
        MissingExtra: pandas is not installed.
    """
    try:
        import pandas  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        raise MissingExtra(f"pandas is not installed: {pip()} pandas") from error
    return pandas.DataFrame(rows)


def images_of(rows: Iterable[dict[str, Any]]) -> Iterator[ImageResult]:
    """Put the rows of a table, in order, together to images again."""
    group: list[dict[str, Any]] = []
    for row in rows:
        if group and (row["source"], row["index"], row.get("face") or 1) != (
            group[0]["source"],
            group[0]["index"],
            len(group) + 1,
        ):
            yield ImageResult.from_rows(group)
            group = []
        group.append(row)
    if group:
        yield ImageResult.from_rows(group)


def table_columns(labels: Sequence[str], *, tracked: bool = False) -> tuple[str, ...]:
    """Return the columns of a table for a model with these labels; `tracked` faces have a track and raw values."""
    raw = ("track", *(f"raw_{label}" for label in labels)) if tracked else ()
    return (*COLUMNS, *(f"prob_{label}" for label in labels), *raw)
