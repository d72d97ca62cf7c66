"""Cameras by number, and the rule for live sources: the newest frame is used, older ones are skipped."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

import cv2

from mien.errors import ImageError
from mien.vision.frames import Frame, broken
from mien.vision.sampling import ALL, CAMERA, Pixels, Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mien.options import Clip

Item = TypeVar("Item")
SILENT_READS = 50
"""Failed reads in a row, 0.02 s apart, after which a camera counts as disconnected."""


class Camera:
    """A camera of this machine, by its number. OpenCV reads it, so no extra is needed.

    Times count from the first frame, by this machine's clock: cameras give none that can be relied on.
    """

    live = True
    expected: int | None = None

    def __init__(self, number: int, clip: Clip = ALL) -> None:
        self.number, self._clip, self._stopped = number, clip, False
        self.source = f"{CAMERA}{number}"

    def stop(self) -> None:
        """End after the current frame."""
        self._stopped = True

    def __iter__(self) -> Iterator[Frame]:
        """Yield its frames until it is stopped; if it is disconnected, the last frame has an error."""
        self._stopped = False
        try:
            yield from newest(self._read(), lambda: self._stopped)
        except ImageError as error:
            yield broken(self.source, str(error))

    def _read(self) -> Iterator[Frame]:
        camera = cv2.VideoCapture(self.number)
        if not camera.isOpened():
            raise ImageError(
                f"no camera {self.number}: it is not there, in use, or this user may not open it"
            )
        sampler, index, began, silent = Sampler(self._clip), 0, time.monotonic(), 0
        try:
            while not self._stopped:
                there, pixels = camera.read()
                if not there:
                    silent += 1
                    if silent > SILENT_READS:
                        raise ImageError(f"camera {self.number} gives no more frames: is it still connected?")
                    time.sleep(0.02)
                    continue
                silent, began = 0, began if index else time.monotonic()
                time_s = round(time.monotonic() - began, 6)
                if sampler.is_past(time_s):
                    return
                if sampler.takes(time_s):
                    yield Frame(self.source, index, time_s, Pixels(pixels, _from_bgr))
                index += 1
        finally:
            camera.release()


def _from_bgr(image_bgr_u8: cv2.typing.MatLike) -> cv2.typing.MatLike:
    return cv2.cvtColor(image_bgr_u8, cv2.COLOR_BGR2RGB)


def newest(items: Iterable[Item], is_stopped: Callable[[], bool]) -> Iterator[Item]:
    """Yield the newest item each time; older items that came meanwhile are skipped, so there is no delay.

    A thread reads the items. An error while reading is raised here. The items end when `is_stopped` returns True.
    """
    there = threading.Condition()
    waiting: list[Item] = []
    ended: list[BaseException | None] = []

    def read() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                with there:
                    waiting[:] = [item]
                    there.notify()
                if ended or is_stopped():
                    break
        except BaseException as raised:
            error = raised
        with there:
            ended.append(error)
            there.notify()

    thread = threading.Thread(target=read, name="mien-live", daemon=True)
    thread.start()
    try:
        while True:
            with there:
                there.wait_for(lambda: waiting or ended)
                if not waiting:
                    break
                item = waiting.pop()
            yield item
            if is_stopped():
                return
    finally:
        with there:
            ended.append(None)
        thread.join()  # what it reads from is closed next, and FFmpeg would crash
    if ended[0]:
        raise ended[0]
