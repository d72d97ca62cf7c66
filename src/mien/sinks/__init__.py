"""Outputs of results: tables, annotated pictures and videos, timelines, crops of faces, one JSON document.

Rows are appended to tables as soon as there are results, so an interrupted run keeps what it did. With `resume`, the
existing tables are read, and images whose rows are complete are not processed again. Images are told apart by their
sources as they are written.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections import defaultdict, deque
from contextlib import ExitStack, closing
from functools import reduce
from itertools import chain
from operator import and_
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mien import files
from mien.errors import ConfigError, OutputError
from mien.predictions import images_of
from mien.sinks.done import Done
from mien.sinks.film import FilmOutput
from mien.sinks.hiding import UNTRACKED, Hiding, hide
from mien.sinks.tables import Table, read_rows
from mien.sinks.window import Window
from mien.vision.crop import cut, frame_of
from mien.vision.draw import annotate
from mien.vision.frames import Frame, Frames
from mien.vision.images import encode_jpeg, encode_png
from mien.vision.listing import CROPS_JOURNAL, DOCUMENT, JOURNAL, RESULT_SUFFIX
from mien.vision.sampling import is_address, is_repeatable
from mien.workers import ordered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np
    from jaxtyping import UInt8

    from mien.options import Outputs
    from mien.pipeline import Pipeline
    from mien.predictions import ImageResult
    from mien.results import Box
    from mien.tracking.tracker import Tracker

STDOUT = "-"
STEM_LIMIT_BYTES = 200
"""Longest stem of a file that is written: file systems allow 255 bytes for a whole name."""
FILM = -1
"""Stands for the index of a frame where all frames of a video are meant."""


_OF_FRAME = re.compile(r"\.frame\d{6,}$")
"""How names of crops of a video's frames end; no photo gets such a stem."""


class Names:
    """Gives each image a different file name, in linear time, even if images have the same name."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def keep(self, name: str) -> None:
        """Count a name as taken: files of an earlier run have it."""
        self._taken.add(name.casefold())

    def take(self, source: str, index: int) -> str:
        """Return a stem for files about this image: its own name, shortened, with a number if it is taken."""
        own = Path(source).stem or "image"
        stem = own.encode(errors="replace")[:STEM_LIMIT_BYTES].decode(errors="ignore")
        stem = f"{stem}_" if _OF_FRAME.search(stem) else stem
        stem = f"{stem}-{index:06}" if index else stem
        name, number = stem, self._last.get(stem.casefold(), 1)
        while name.casefold() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._last[stem.casefold()] = number
        self._taken.add(name.casefold())
        return name


class Drawn(NamedTuple):
    """A result without pixels, its annotated image if one is wanted, and the stem of its files."""

    result: ImageResult
    picture: UInt8[np.ndarray, "h w 3"] | None
    stem: str


class Earlier:
    """The results that an earlier run wrote, read one after another: fast in the order in which they were written."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables
        self._rest: Iterator[ImageResult] = iter(())

    def result(self, source: str, index: int) -> ImageResult:
        """Return the result of an image that is in the table; if it was passed, the table is read again.

        Raises:
            OutputError: it is gone, as another program has changed the table.
        """
        for _ in range(2):
            for one in self._rest:
                if (one.source, one.index) == (source, index):
                    return one
            self._rest = images_of(read_rows(self._tables[0].lines))
        raise OutputError(
            f"{self._tables[0].path} has changed while this run goes on with it: {source} is gone from it"
        )


class Sinks:
    """Everything that one run writes. It is a context: leaving it finishes the files."""

    def __init__(
        self, outputs: Outputs, facts: Mapping[str, Any], stop: Callable[[], None] = lambda: None
    ) -> None:
        """Begin the files that the user asked for, or go on with them.

        `facts` are those of the pipeline and of the tracker. `stop` ends the stream when the window is closed.

        Raises:
            ConfigError: no earlier run to resume, or results of another model are there.
            OutputError: a file or folder cannot be written, or another command writes into a folder.
        """
        self._outputs = outputs
        of_pictures = outputs.out and outputs.out / JOURNAL
        of_crops = outputs.crops and outputs.crops / CROPS_JOURNAL
        named = (of_pictures, outputs.jsonl, outputs.csv, outputs.parquet, of_crops)
        # a file that is named twice is one table
        paths = list({path.resolve(): path for path in named if path}.values())
        if outputs.resume and not paths:
            raise ConfigError(
                "`resume` goes on with an earlier run: name its `out`, `csv`, `jsonl`, `parquet` or `crops`"
            )
        self._pictures = files.make_folder(outputs.out) if outputs.out else None
        self._crops = files.make_folder(outputs.crops) if outputs.crops else None
        if outputs.json and outputs.json != STDOUT:
            files.make_folder(
                Path(outputs.json).parent
            )  # checked first, so that hours of work are not lost because the folder does not exist
        if outputs.hides:
            facts = {**facts, "hidden": "blur" if outputs.blur else "pixelate"}
        self._facts = facts
        with ExitStack() as opened:
            self._window = opened.enter_context(closing(Window(stop))) if outputs.window else None
            for folder in {one.resolve(): one for one in (self._pictures, self._crops) if one}.values():
                opened.enter_context(files.locked(folder))
            if outputs.json and not paths:
                paths = [Path(opened.enter_context(tempfile.TemporaryDirectory()), JOURNAL)]
            self.tables = [opened.enter_context(Table(path, facts, resume=outputs.resume)) for path in paths]
            for table in self.tables:
                table.begin()  # when nothing can be refused any more
            self._opened = opened.pop_all()
        self.done = reduce(and_, (table.done for table in self.tables)) if self.tables else Done()
        """Images that are in all outputs that have a table, by source and index."""
        self._names, self._stems = Names(), defaultdict[tuple[str, int], deque[str]](deque)
        self._film_stem, self._films = ("", ""), dict[str, FilmOutput]()
        self.left_out = 0
        """Number of images so far that were left out as done."""
        self.relative = 0
        """Number of those whose paths are relative; these mean other files in another folder."""
        of_folders = {path.resolve() for path in (of_pictures, of_crops) if path}
        self._earlier = self._earlier_stems(
            [table for table in self.tables if table.path.resolve() in of_folders]
        )

    def pending(self, frames: Frames, *followers: Tracker | Hiding | None) -> Frames:
        """Return the frames that are not done. Each gets the name of its files, the same in every run.

        The followers get the results of a video's frames that are done, so that its tracks continue.
        """

        def undone() -> Iterator[Frame]:
            earlier = Earlier(self.tables)
            for frame in frames:
                key = frame.source, frame.index
                stem = self._stem(frame)
                if key in self.done and self._is_kept(frame, earlier, followers, stem):
                    self.left_out += 1
                    self.relative += not (Path(frame.source).is_absolute() or is_address(frame.source))
                    continue
                if (
                    self._pictures and frame.time_s is not None
                ):  # now, so that films have the order of the sources
                    self._film_of(frame.source, stem)
                self._stems[key].append(stem)
                yield frame

        total = frames.total
        if total and self.done:
            total -= sum((frame.source, frame.index) in self.done for frame in frames)
        return Frames(undone(), total, frames.skipped)

    def _earlier_stems(self, tables: Sequence[Table]) -> dict[tuple[str, int], str]:
        """Return the stems of an earlier run's images and videos, so that files of other images get other names.

        `tables` are those of the folders that hold such files.
        """
        self._earlier, stems = {}, {}
        for image in chain.from_iterable(images_of(read_rows(table.lines)) for table in tables):
            key = self._key(frame := Frame(image.source, image.index, image.time_s))
            is_again = key in stems and is_repeatable(key[0])
            if not is_again and (key[1] != FILM or key[0] != self._film_stem[0]):
                stems[key] = self._stem(frame)
        self._film_stem = "", ""
        return {key: stem for key, stem in stems.items() if is_repeatable(key[0])}

    def _key(self, frame: Frame) -> tuple[str, int]:
        """Return what has a stem of its own: an image, or a video."""
        is_film = frame.time_s is not None or (frame.index and frame.source == self._film_stem[0])
        return frame.source, FILM if is_film else frame.index

    def _stem(self, frame: Frame) -> str:
        """Return the stem of the files about a frame: all frames of a video have the same."""
        source, index = key = self._key(frame)
        if index == FILM and source == self._film_stem[0]:
            return self._film_stem[1]
        stem = self._earlier.pop(key, None) or self._names.take(source, max(index, 0))
        if index == FILM:
            self._film_stem = source, stem
        return stem

    def _is_kept(
        self, frame: Frame, earlier: Earlier, followers: Sequence[Tracker | Hiding | None], stem: str
    ) -> bool:
        """Return whether a frame in the tables is in the annotated video, too; if so, followers get its result."""
        if frame.time_s is None:
            return True
        result = earlier.result(frame.source, frame.index)
        if result.time_s is None:
            return True
        if self._pictures and not self._film_of(result.source, stem).keeps(result):
            return False
        for follower in followers:
            if follower:
                follower.adopt(result)
        return True

    def _film_of(self, source: str, stem: str) -> FilmOutput:
        """Return the files about a video; those of the videos before are finished when it is written to."""
        assert self._pictures
        if source not in self._films:
            labels = self._facts["model"]["labels"]
            self._films[source] = FilmOutput(self._pictures / stem, source, labels, self._outputs)
        return self._films[source]

    def draw(self, item: tuple[ImageResult, list[Box]]) -> Drawn:
        """Draw a result, and write the annotated image and the crops of its faces; threads may share this.

        `item` is the result and the boxes to hide in its image.

        Raises:
            OutputError: a file cannot be written.
        """
        result, boxes = item
        key = result.source, result.index
        stem = self._stems[key].popleft()
        if not self._stems[key]:
            del self._stems[key]
        picture = None
        if result.error is None and (self._pictures or self._window):
            picture = self._picture(result, boxes)
        if picture is not None and self._pictures and result.time_s is None:
            files.write(self._pictures / (stem + RESULT_SUFFIX), encode_jpeg(picture))
        if result.error is None and self._crops:
            of_frame = stem if result.time_s is None else f"{stem}.frame{result.index:06}"
            for number, face in enumerate(result.faces, start=1):
                crop = cut(result.image_rgb_u8, frame_of(face))
                files.write(self._crops / f"{of_frame}.face{number}.png", encode_png(crop))
        return Drawn(result.without_pixels(), picture, stem)

    def _picture(self, result: ImageResult, boxes: list[Box]) -> UInt8[np.ndarray, "h w 3"]:
        if not self._outputs.hides:
            return result.annotated()
        return annotate(hide(result.image_rgb_u8, boxes, smooth=self._outputs.blur), result.faces)

    def write(self, drawn: Drawn) -> None:
        """Append an image to every table, and a video's frame to its files.

        Raises:
            OutputError: a file cannot be written.
        """
        result, picture, stem = drawn
        if self._pictures and (result.time_s is not None or result.source in self._films):
            film = self._film_of(result.source, stem)
            for source in list(self._films):
                if source == result.source:
                    break  # what follows was opened ahead, by frames that are done
                self._films.pop(source).close()
            film.add(result, picture)
        for table in self.tables:
            table.write(result)
        if self._window and picture is not None:
            self._window.show(picture)

    def add(self, result: ImageResult) -> None:
        """Draw and write a result that did not come from `pending` frames.

        Raises:
            OutputError: a file cannot be written.
        """
        stem = self._stem(Frame(result.source, result.index, result.time_s))
        self._stems[result.source, result.index].append(stem)
        self.write(self.draw((result, [face.box_xyxy_px for face in result.faces])))

    @property
    def hides(self) -> bool:
        """Whether faces are made unrecognisable."""
        return self._outputs.hides

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
        """Close the tables; write the JSON document if the run was not interrupted."""
        with ExitStack() as ending:
            ending.push(self._opened)
            for film in self._films.values():
                ending.callback(film.close, whole=kind is None)
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


def check_hiding(stream: Frames, tracker: Tracker | None) -> None:
    """Refuse to hide the faces of a video if they may be missed in some frames.

    Raises:
        ConfigError: not every frame is searched, or no tracker follows the faces.
    """
    if tracker and tracker.detect_every > 1:
        raise ConfigError("`blur` and `pixelate` search every frame: leave out `detect_every`")
    if not tracker and stream.moving:
        raise ConfigError(UNTRACKED)


def recorded(
    pipeline: Pipeline,
    stream: Frames,
    sinks: Sinks,
    *,
    tracker: Tracker | None = None,
    workers: int | None = None,
) -> Iterator[ImageResult]:
    """Run a pipeline over frames and yield each result, without its pixels, once it is written everywhere.

    Raises:
        ConfigError: faces of a video are to be hidden, but not every frame is searched, or no tracker follows them.
        OutputError: a file cannot be written.
    """
    if sinks.hides:
        check_hiding(stream, tracker)
    if tracker and sinks.tables:
        tracker.reserve(sinks.tables[0].last_tracks)
    hiding = Hiding(tracker.bridge if tracker else 0.0) if sinks.hides else None
    pending = sinks.pending(stream, tracker, hiding)
    workers = pipeline.workers_for(pending.total, workers)
    results = pipeline.stream(pending, tracker=tracker, workers=workers)
    items = hiding.around(results) if hiding else ((result, list[Any]()) for result in results)
    for drawn in ordered(sinks.draw, items, workers, ahead=1):
        sinks.write(drawn)
        yield drawn.result
