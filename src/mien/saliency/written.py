"""Explanations on disk: a picture and a line of JSON for each image, written as soon as they are made."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from mien import files
from mien.errors import ConfigError
from mien.saliency.explain import check_label, explained, facts_of
from mien.sinks import Names
from mien.vision.listing import EXPLANATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

    from mien.pipeline import Pipeline
    from mien.saliency.explain import Explanation
    from mien.vision.frames import Frame, Frames

JOURNAL = EXPLANATIONS
SUFFIX = ".explained.png"


class Written:
    """A folder of explanations; it is a context, which closes the journal."""

    def __init__(self, out: Path, pipeline: Pipeline, label: str | None, *, resume: bool = False) -> None:
        """Begin a folder, or go on with it.

        Raises:
            ConfigError: the model has no such label, or the folder to go on with was made by another model or
                detector, or for another label.
            OutputError: the folder cannot be written, or another command writes into it.
        """
        check_label(pipeline, label)
        self.out, self._pipeline, self._label = out, pipeline, label
        facts = facts_of(pipeline)
        self._same = {"model": facts["model"]["sha256"], "finder": facts["detector"], "asked": label}
        self._names = Names()
        path = out / JOURNAL
        with contextlib.ExitStack() as opened:
            opened.enter_context(files.locked(out))
            kept = self._kept(path) if resume else []
            self.done = {(row["source"], row["index"]) for row in kept}
            """Images that an earlier run finished, by source and index."""
            for row in kept:
                self._names.keep(str(row.get("picture", "")))
            with files.as_output_error(path):
                files.write(path, "".join(json.dumps(row) + "\n" for row in kept))
                self._journal: IO[bytes] = opened.enter_context(path.open("ab", buffering=0))
            self._opened = opened.pop_all()

    def explain(self, stream: Frames) -> Iterator[Explanation]:
        """Explain what is not done, and yield each image once it is written.

        Raises:
            OutputError: a file cannot be written.
        """
        stems = dict[tuple[str, int], str]()

        def pending() -> Iterator[Frame]:
            for frame in stream:
                key = frame.source, frame.index
                if key not in self.done:
                    stems[key] = self._names.take(*key)
                    yield frame

        for one in explained(self._pipeline, pending(), label=self._label):
            key = one.source, one.index
            if one.faces:
                one.save(self.out / (stems[key] + SUFFIX))
            row = one.to_dict() | self._same | {"picture": stems[key]}
            with files.as_output_error(self.out / JOURNAL):
                files.append(self._journal, json.dumps(row).encode() + b"\n")
            yield one

    def document(self) -> dict[str, Any]:
        """Return everything that is in the journal."""
        rows = [
            {name: value for name, value in row.items() if name not in (*self._same, "picture")}
            for row in self._rows()
        ]
        return {**facts_of(self._pipeline), "images": rows}

    def _rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / JOURNAL).read_text(encoding="utf-8").splitlines()]

    def _kept(self, path: Path) -> list[dict[str, Any]]:
        """Return the rows of an earlier run; a last line that is not whole is dropped."""
        if not path.is_file():
            return []
        rows = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                _ = {(row["source"], row["index"]): row.keys()}
                rows.append(row)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                break
        other = next(
            (row for row in rows if any(row.get(name) != value for name, value in self._same.items())), None
        )
        if other is not None:
            raise ConfigError(
                f"{path} was made by another model or detector, or for another label: choose another folder, or "
                f"leave out `resume`"
            )
        return rows

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()
