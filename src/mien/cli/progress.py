"""A progress bar on stderr, with the time left. If stderr is no terminal, nothing is drawn or imported."""

from __future__ import annotations

import contextlib
import signal
import sys
from typing import TYPE_CHECKING, Any

from mien.cli.terminal import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mien.vision.frames import Frames


@contextlib.contextmanager
def progress(title: str, total: int | None = None, *, quiet: bool = False) -> Iterator[Progress]:
    """Show a bar while the block runs.

    ``with progress("photos", 200) as step: ... step()``

    Args:
        title: what is counted, in front of the bar.
        total: how many steps there are; None shows the time so far instead of the time left.
        quiet: draw nothing and print no line, as all but one of several processes do.
    """
    step = Progress(title, total, quiet=quiet)
    try:
        yield step
    finally:
        step.stop()


@contextlib.contextmanager
def stopped_by_ctrl_c(stream: Frames) -> Iterator[str]:
    """Let Ctrl-C stop a camera or network stream normally, so that all files are finished; a second one ends at once.

    Yields the line to show to the user; it is empty if Ctrl-C is not changed, as for files.
    """
    if not stream.live:
        yield ""
        return
    before = signal.getsignal(signal.SIGINT)

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        stream.stop()

    signal.signal(signal.SIGINT, stop)
    try:
        yield "press Ctrl-C to stop; all files are finished then"
    finally:
        signal.signal(signal.SIGINT, before)


class Progress:
    """One bar. Calling it counts steps."""

    def __init__(self, title: str, total: int | None, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        if not quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(
                *_columns(total),
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),  # else rich shows results on the terminal that belong in a file
            )
            self._task = self._bar.add_task(visible(title), total=total, note="")
            self._bar.start()

    def __call__(self, steps: int = 1, *, title: str | None = None, note: str | None = None) -> None:
        """Count finished steps; `title` and `note` (what is behind the bar) stay as they were if not given."""
        if self._bar:
            texts = {"description": title, "note": note}
            shown = {name: visible(text) for name, text in texts.items() if text is not None}
            self._bar.update(self._task, advance=steps, **shown)

    def begin(self, title: str, total: int | None, done: int = 0) -> None:
        """Start a new count, of which `done` steps were done before; the time left is estimated anew."""
        if self._bar:
            self._bar.columns = _columns(total)
            self._bar.reset(self._task, total=total, completed=done, description=visible(title))

    def say(self, line: str) -> None:
        """Print a line on stderr, above the bar."""
        if self._quiet:
            return
        if self._bar:
            self._bar.console.print(visible(line), highlight=False, markup=False, soft_wrap=True)
        else:
            print(visible(line), file=sys.stderr)

    def stop(self) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()


def _columns(total: int | None) -> tuple[Any, ...]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    title = TextColumn("{task.description}", markup=False)
    if total is None:
        return title, BarColumn(), TimeElapsedColumn()
    note = TextColumn("{task.fields[note]}", markup=False)
    return title, BarColumn(), MofNCompleteColumn(), note, TimeRemainingColumn(), TextColumn("left")
