"""Threads that share work: results in order, tools that serve one thread at a time, and how many cores there are.

Threads are enough: Pillow, OpenCV and ONNX Runtime all let go of Python's lock while they work.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, SupportsIndex, TypeVar

from mien.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future

Item = TypeVar("Item")
Made = TypeVar("Made")
Tool = TypeVar("Tool")
AHEAD = 2
"""Items begun for each worker before their turn comes: enough to keep it busy, little memory."""


def cores() -> int:
    """Return how many processor cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def at_once(items: int | None, wanted: int | None = None) -> int:
    """Return how many items are worked on at once: as wanted, else one a core, if there are so many.

    Raises:
        ConfigError: fewer than one is wanted, or no whole number.
    """
    if wanted is not None and not isinstance(wanted, SupportsIndex):
        raise ConfigError(f"`workers` must be a whole number, got {wanted!r}")
    if wanted is not None and wanted < 1:
        raise ConfigError(f"`workers` must be at least 1, got {wanted}")
    return wanted or max(1, min(cores(), cores() if items is None else items))


def ordered(
    work: Callable[[Item], Made], items: Iterable[Item], workers: int, *, ahead: int = AHEAD
) -> Iterator[Made]:
    """Yield ``work(item)`` for each item, in order, worked on by that many threads; one works in the caller's own.

    At most `ahead` items for each worker are begun before they are asked for. An error is raised in its place.
    """
    for group in ordered_groups(work, items, workers, ahead=ahead, most=1):
        yield from group


def ordered_groups(
    work: Callable[[Item], Made], items: Iterable[Item], workers: int, *, ahead: int = AHEAD, most: int
) -> Iterator[list[Made]]:
    """Yield what `ordered` does in lists: the next result, and up to `most` in all that are ready with it."""
    if workers <= 1:
        for item in items:
            yield [work(item)]
        return
    pool = ThreadPoolExecutor(workers)
    begun: deque[Future[Made]] = deque()

    def ready() -> list[Made]:
        group = [begun.popleft().result()]
        while begun and len(group) < most and begun[0].done() and not begun[0].exception():
            group.append(begun.popleft().result())
        return group

    try:
        for item in items:
            begun.append(pool.submit(work, item))
            while begun and (len(begun) > ahead * workers or begun[0].done()):
                yield ready()
        while begun:
            yield ready()
    finally:
        pool.shutdown(cancel_futures=True)


class Lent(Generic[Tool]):
    """Tools of one kind, each lent to one thread at a time; another is opened when all are out."""

    def __init__(self, open_one: Callable[[], Tool]) -> None:
        """Open the first at once, so that what cannot be opened is known early."""
        self._open, self.first = open_one, open_one()
        self._idle: deque[Tool] = deque([self.first])

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Tool]:
        """Lend a tool for the time of the block."""
        try:
            tool = self._idle.pop()
        except IndexError:
            tool = self._open()
        try:
            yield tool
        finally:
            self._idle.append(tool)
