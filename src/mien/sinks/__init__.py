"""Where results go: tables, annotated pictures, crops of faces, one JSON document.

Tables are appended to as results come, so an interrupted run keeps what it did. With `resume`, what is there is read,
and only images that are surely whole there are left out of the new run.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict, deque
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien import files
from mien.errors import ConfigError
from mien.predictions import images_of
from mien.sinks.tables import Table, read_rows
from mien.vision.crop import around, cut
from mien.vision.frames import Frames
from mien.vision.images import encode_jpeg, encode_png
from mien.vision.listing import RESULT_SUFFIX
from mien.workers import ordered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mien.options import Outputs
    from mien.pipeline import Pipeline
    from mien.predictions import ImageResult
    from mien.vision.frames import Frame

STDOUT = "-"
STEM_LIMIT_BYTES = 200
"""Longest stem of a file that is written: file systems allow 255 bytes for a whole name."""
JOURNAL, DOCUMENT = "predictions.jsonl", "predictions.json"
"""What lies in the folder of results, beside the pictures."""


class Names:
    """A different file name for each image, in linear time, whatever the images are called."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def take(self, source: str, index: int) -> str:
        """Return a stem for files about this image: its own name, shortened, with a number where it is taken."""
        own = Path(source).stem or "image"
        stem = own.encode(errors="replace")[:STEM_LIMIT_BYTES].decode(errors="ignore")
        stem = f"{stem}-{index:06}" if index else stem
        name, number = stem, self._last.get(stem.casefold(), 1)
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._last[stem.casefold()] = number
        self._taken.add(name.casefold())
        return name


class Sinks:
    """Everything that one run writes. It is a context: leaving it finishes the files."""

    def __init__(self, outputs: Outputs, facts: Mapping[str, Any]) -> None:
        """Begin the files that the user asked for, or go on with them; `facts` are those of the pipeline.

        Raises:
            ConfigError: nothing to go on with, or results of another model there.
            OutputError: a file or folder cannot be written.
        """
        self._outputs, self._facts = outputs, facts
        paths = [outputs.out and outputs.out / JOURNAL, outputs.jsonl, outputs.csv, outputs.parquet]
        if outputs.resume and not any(paths):
            raise ConfigError(
                "`resume` goes on with an earlier run: name its `out`, `csv`, `jsonl` or `parquet`"
            )
        self._pictures = files.make_folder(outputs.out) if outputs.out else None
        self._crops = files.make_folder(outputs.crops) if outputs.crops else None
        if outputs.json and outputs.json != STDOUT:
            files.make_folder(
                Path(outputs.json).parent
            )  # hours of work must not end at a place that is not there
        with ExitStack() as opened:
            if outputs.json and not any(paths):
                paths = [Path(opened.enter_context(tempfile.TemporaryDirectory()), JOURNAL)]
            self.tables = [
                opened.enter_context(Table(path, facts, resume=outputs.resume)) for path in paths if path
            ]
            self._opened = opened.pop_all()
        self.done = set.intersection(*(table.done for table in self.tables)) if self.tables else set()
        """Images that an earlier run finished, by source and index."""
        self._names, self._stems = Names(), defaultdict[tuple[str, int], deque[str]](deque)

    def pending(self, frames: Frames) -> Frames:
        """Return the frames that are not done. Each gets the name of its files, the same one in every run."""

        def undone() -> Iterator[Frame]:
            for frame in frames:
                key = frame.source, frame.index
                stem = self._names.take(*key)
                if key not in self.done:
                    self._stems[key].append(stem)
                    yield frame

        total = None if frames.total is None else max(0, frames.total - len(self.done))
        return Frames(undone(), total, frames.skipped)

    def draw(self, result: ImageResult) -> ImageResult:
        """Write the annotated image and the crops of its faces; threads may share this. Returns it without pixels.

        Raises:
            OutputError: a file cannot be written.
        """
        key = result.source, result.index
        stem = self._stems[key].popleft()
        if not self._stems[key]:
            del self._stems[key]
        if result.error is None and self._pictures:
            files.write(self._pictures / (stem + RESULT_SUFFIX), encode_jpeg(result.annotated()))
        if result.error is None and self._crops:
            for number, face in enumerate(result.faces, start=1):
                crop = cut(result.image_rgb_u8, face.frame_xyxy_px or around(face.box_xyxy_px))
                files.write(self._crops / f"{stem}.face{number}.png", encode_png(crop))
        return result.without_pixels()

    def write(self, result: ImageResult) -> None:
        """Append an image to every table.

        Raises:
            OutputError: a file cannot be written.
        """
        for table in self.tables:
            table.write(result)

    def add(self, result: ImageResult) -> None:
        """Draw and write a result that did not come from `pending` frames.

        Raises:
            OutputError: a file cannot be written.
        """
        self._stems[result.source, result.index].append(self._names.take(result.source, result.index))
        self.write(self.draw(result))

    @property
    def written(self) -> list[Path]:
        """Files and folders that hold the results."""
        outputs = self._outputs
        json_to = Path(outputs.json) if outputs.json and outputs.json != STDOUT else None
        named = (outputs.out, outputs.crops, outputs.csv, outputs.jsonl, outputs.parquet, json_to)
        return [path for path in named if path]

    def __enter__(self) -> Sinks:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: Any) -> None:
        """Write the JSON document where the run came to its end, and close the tables."""
        with ExitStack() as closing:
            closing.push(self._opened)
            if kind is None:
                for place in (self._pictures and str(self._pictures / DOCUMENT), self._outputs.json):
                    if place:
                        self._write_document(place)
            else:
                self._opened.__exit__(kind, *rest)

    def _write_document(self, place: str) -> None:
        if place == STDOUT:
            sys.stdout.writelines(self._document())
            return
        with files.replacing(Path(place)) as file:
            file.writelines(piece.encode() for piece in self._document())

    def _document(self) -> Iterator[str]:
        """Yield the JSON document in pieces, so that it need not fit into memory."""
        yield json.dumps({**self._facts, "images": []}, indent=2).removesuffix("]\n}")
        before = "\n    "
        for image in images_of(read_rows(self.tables[0].lines)):
            yield before + json.dumps(image.to_dict(), indent=2).replace("\n", "\n    ")
            before = ",\n    "
        yield "]\n}\n" if before == "\n    " else "\n  ]\n}\n"


def recorded(
    pipeline: Pipeline, stream: Frames, sinks: Sinks, *, workers: int | None = None
) -> Iterator[ImageResult]:
    """Run a pipeline over frames and yield each result, without its pixels, once it is written everywhere.

    Raises:
        OutputError: a file cannot be written.
    """
    pending = sinks.pending(stream)
    workers = pipeline.workers_for(pending.total, workers)
    for result in ordered(sinks.draw, pipeline.stream(pending, workers=workers), workers, ahead=1):
        sinks.write(result)
        yield result
