"""The files about one video: the annotated MP4, and its timeline as a page, a picture and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mien.sinks.mp4 import Mp4, pictures_in
from mien.sinks.timeline import Timeline
from mien.vision.listing import FILM_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from jaxtyping import UInt8

    from mien.options import Outputs
    from mien.predictions import ImageResult


class FilmOutput:
    """The files about one video: ``talk.faces.mp4``, ``talk.timeline.html``, ``.png`` and ``.csv``."""

    def __init__(self, stem: Path, source: str, labels: Sequence[str], outputs: Outputs) -> None:
        """Prepare the files; with `resume`, the video of an earlier run is continued.

        Raises:
            MissingExtra: PyAV, jinja2 or matplotlib is not installed.
        """
        from mien.sinks import timeline_page  # noqa: F401 - must be there before the work begins

        self._stem, self._source, self._hides = stem, source, outputs.hides
        self._mp4 = Mp4(stem.with_name(stem.name + FILM_SUFFIX), source)
        self._timeline = Timeline(labels)
        self._earlier = pictures_in(self._mp4.earlier) if outputs.resume else 0
        if self._mp4.part.exists():
            self._earlier -= 1  # the last picture is drawn again, so that `close` finishes all files
        self._is_changed = False

    def keeps(self, result: ImageResult) -> bool:
        """Return whether a frame in the tables is in an earlier run's video, too; if so, count its result."""
        if result.error is None:
            if self._mp4.keep >= self._earlier:
                return False
            self._mp4.keep += 1
            self._mp4.begin_s = result.time_s if self._mp4.begin_s is None else self._mp4.begin_s
        self._timeline.add(result)
        return True

    def add(self, result: ImageResult, picture: UInt8[np.ndarray, "h w 3"] | None) -> None:
        """Append a frame.

        Raises:
            OutputError: a file cannot be written.
        """
        self._is_changed = True
        self._timeline.add(result)
        if picture is not None and result.time_s is not None:
            self._mp4.add(picture, result.time_s)

    def close(self, *, whole: bool = True) -> None:
        """Finish the files; if the run was interrupted, the video stays incomplete and there is no timeline yet.

        Raises:
            OutputError: a file cannot be written.
        """
        from mien.sinks.timeline_page import write_timeline

        self._mp4.close(whole=False)
        if whole and self._is_changed and self._timeline.frames:
            write_timeline(self._stem, self._source, self._timeline, strips=not self._hides)
        self._mp4.close(whole=whole)  # last, as the name of the video says that all files are there
