"""Commands as a user types them, run in this process: importing torch takes longer than most commands.

What only a process of its own shows is tested with one: signals, limits of the system, what is imported.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, NamedTuple

from mien import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

UNSEEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""Warnings that Python does not show a user."""


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def run(*words: object, cwd: object = ".") -> Done:
    """Run a command; words are anything that is text once it is typed. An error that is no `SystemExit` is raised."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    status = 0
    with (
        contextlib.chdir(str(cwd)),
        as_typed("mien", *map(str, words)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code or 0
    return Done(status, *(one.buffer.getvalue().decode() for one in (out, err)))


@contextlib.contextmanager
def as_typed(*words: str) -> Iterator[None]:
    """Let `sys.argv` be these words, and warnings be shown as in a fresh process."""
    before, sys.argv = sys.argv, list(words)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            for kind in UNSEEN:
                warnings.simplefilter("ignore", kind)
            warnings.showwarning = _show
            yield
    finally:
        sys.argv = before


def _show(message: Warning | str, category: type[Warning], name: str, line: int, *_: object) -> None:
    print(f"{name}:{line}: {category.__name__}: {message}", file=sys.stderr)


def refused(*words: object, cwd: object = ".") -> str:
    """Run what must be refused: status 2, nothing on stdout, one line on stderr, which is returned."""
    done = run(*words, cwd=cwd)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


class WithoutTorch:
    """A process in which torch cannot be imported, as in the light install. It runs one command after another."""

    PROGRAM = """
import sys

class NoTorch:
    def find_spec(self, name, *_):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, NoTorch())
from tests.typed import answer
answer()
"""

    def __init__(self, folder: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", cwd=str(folder),
        )  # fmt: skip

    def __call__(self, *words: object) -> Done:
        """Run a command there."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([str(word) for word in words]) + "\n")
        self._process.stdin.flush()
        answered = self._process.stdout.readline()
        assert answered, f"the process without torch has ended: {self._process.wait()}"
        return Done(*json.loads(answered))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def answer() -> None:
    """Run the commands that stdin lists, a JSON array a line, and print how each ended."""
    for line in sys.stdin:
        print(json.dumps(run(*json.loads(line))), flush=True)
