"""Files of a cropping run: a journal while it works, at the end the table of the dataset and the report."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from mien import __version__, files
from mien.cropping.work import SEVERAL
from mien.data import columns
from mien.data.groups import GROUP_COLUMN, PHOTO_COLUMN
from mien.errors import ConfigError
from mien.escapes import csv_lines
from mien.labels import FERPLUS_VOTE_ORDER
from mien.vision.crop import frame_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from mien.cropping.work import Done, Photo
    from mien.data.reading import Reading

SCHEMA = "mien.crop/1"
TABLE, RECORD, IMAGES, JOURNAL = "faces.csv", "crop.json", "faces", ".crop.jsonl"
"""Names in the output folder; the journal is hidden, because it is not part of the dataset."""
_OURS = (
    *(
        "file",
        "label",
        "split",
        GROUP_COLUMN,
        PHOTO_COLUMN,
        "faces_in_photo",
        "x0_px",
        "y0_px",
        "x1_px",
        "y1_px",
    ),
    *("frame_left_px", "frame_top_px", "frame_side_px", "detector", "detection_score"),
)
_STEM_CHARACTERS = 60


@dataclass(frozen=True)
class CropReport:
    """What was cut out, and what was left out."""

    source: str
    out: str
    detector: str
    several: str
    unlabelled: bool
    """True if labels were not looked at."""
    margin: float
    size_px: int | None
    photos: int
    faces: int
    labels: tuple[str, ...]
    """Empty where the photos have none."""
    counts: dict[str, dict[str, int]]
    """Number of faces of each label in each split; the split is ``all`` if the source names none."""
    left_out: dict[str, tuple[str, ...]]
    """For each reason, the photos of which no face or one face fewer was cut; unreadable photos with their error."""
    unlabelled_faces: int
    """Faces found in photos with boxes that are in no box: they have no label, and are not cut."""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a dictionary for JSON, with the name of its schema."""
        return {"schema": SCHEMA, "version": __version__, **asdict(self)}


class Journal:
    """A line for each photo that is done: its faces with their files, and why it has none or fewer."""

    def __init__(self, out: Path, settings: dict[str, Any], stack: ExitStack, *, resume: bool) -> None:
        """Begin the journal, or go on with it.

        Raises:
            ConfigError: the journal is of a run with other settings.
        """
        self.out, self.several = out, settings.get("several")
        kept = self._kept(settings) if resume and (out / JOURNAL).exists() else []
        self.done = {line["photo"]: line for line in kept}
        self.number = max((face["number"] for line in kept for face in line["faces"]), default=0)
        lines = "".join(json.dumps(line) + "\n" for line in (settings, *kept))
        files.write(out / JOURNAL, lines)  # before any face, so that a run killed early can be resumed
        files.make_folder(out / IMAGES)
        with files.as_output_error(out):
            self._file = stack.enter_context((out / JOURNAL).open("ab", buffering=0))

    def _kept(self, settings: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the lines of photos whose files are all there; the last line may not be whole."""
        text = (self.out / JOURNAL).read_text("utf-8", errors="replace")
        try:
            before, *lines = [
                json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")
            ]
            if before != settings:
                changed = [
                    f"{name} {before.get(name)}" for name in settings if before.get(name) != settings[name]
                ]
                raise ConfigError(
                    f"{self.out} was cut with {', '.join(changed)}: give the same again, or choose another folder"
                )
            _ = {line["photo"]: [1 + face["number"] for face in line["faces"]] for line in lines}
            return [
                line
                for line in lines
                if all((self.out / IMAGES / face["file"]).is_file() for face in line["faces"])
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(f"{self.out / JOURNAL} is damaged ({error}): choose another folder") from error

    def write(self, done: Done, source: Reading) -> None:
        """Write the images of a photo's faces, then its line.

        Raises:
            OutputError: they cannot be written.
        """
        faces = []
        for row, face, png in done.cuts:
            self.number += 1
            file = f"{self.number:06d}_{_stem(done.photo.name)}.png"
            files.write(self.out / IMAGES / file, png)
            faces.append(
                {
                    "number": self.number, "file": file, "row": source.ids[row], "box": list(face.box_xyxy_px),
                    "frame": list(frame_of(face)), "detector": face.detector, "score": face.score,
                }
            )  # fmt: skip
        line = {"photo": done.photo.name, "found": done.found, "faces": faces, "reasons": done.reasons}
        with files.as_output_error(self.out):
            files.append(self._file, json.dumps(line).encode() + b"\n")
        self.done[done.photo.name] = line


def _stem(name: str) -> str:
    """Return the part of a photo's name that is used in file names, without characters special in paths or tables."""
    return (
        re.sub(r"[^\w.-]+", "-", PurePosixPath(name.replace("\\", "/")).stem)[:_STEM_CHARACTERS].strip(".")
        or "photo"
    )


def _faces(
    source: Reading, journal: Journal, photos: Sequence[Photo]
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield each face as (row, faces found in its photo, line of the journal) in the order of the source."""
    rows = {name: row for row, name in enumerate(source.ids)}
    for photo in photos:
        line = journal.done[photo.name]
        if _is_unclear(source, journal, photo):
            continue
        for face in line["faces"]:
            if face["row"] in rows:
                yield rows[face["row"]], line["found"], face


def _is_unclear(source: Reading, journal: Journal, photo: Photo) -> bool:
    """Return whether a photo has one label and several faces; it may have got the label after they were cut."""
    labelled = bool(source.targets[photo.rows[0]].any())
    several = journal.done[photo.name]["found"] > 1
    return journal.several == "skip" and source.boxes is None and labelled and several


def table(source: Reading, journal: Journal, photos: Sequence[Photo]) -> str:
    """Return the table of all faces, as CSV."""
    others = {
        _free(name): source.columns[name]
        for name in source.columns
        if name not in (PHOTO_COLUMN, GROUP_COLUMN)
    }
    photo_of = {row: photo.name for photo in photos for row in photo.rows}
    grouped, split = GROUP_COLUMN in source.columns, any(source.splits)
    votes = FERPLUS_VOTE_ORDER if source.votes is not None else ()
    left = [name for name, there in ((GROUP_COLUMN, grouped), ("split", split)) if not there]
    header = [name for name in _OURS if name not in left]
    lines: list[list[Any]] = [[*header, *votes, *others]]
    for row, found, face in _faces(source, journal, photos):
        (x0, y0, x1, y1), (left_px, top_px, right_px, _) = face["box"], face["frame"]
        numbers = [f"{value:.1f}" for value in (x0, y0, x1, y1, left_px, top_px, right_px - left_px)]
        own = {
            "file": f"{IMAGES}/{face['file']}", "label": _label(source, row), "split": source.splits[row],
            GROUP_COLUMN: source.columns[GROUP_COLUMN][row] if grouped else "", PHOTO_COLUMN: photo_of[row],
            "faces_in_photo": found, **dict(zip(_OURS[6:13], numbers, strict=True)), "detector": face["detector"],
            "detection_score": "" if face["score"] is None else f"{face['score']:.4f}",
        }  # fmt: skip
        counted = [] if source.votes is None else [f"{vote:g}" for vote in source.votes[row]]
        lines.append(
            [*(own[name] for name in header), *counted, *(column[row] for column in others.values())]
        )
    return csv_lines(lines)


def _label(source: Reading, row: int) -> str:
    return source.classes[int(source.targets[row].argmax())] if source.targets[row].any() else ""


def _free(name: str) -> str:
    """Return the name of a column of the source, changed if the table or its reader gives this name a meaning."""
    return f"source_{name}" if name in _OURS else columns.without_meaning(name)


def report(
    source: Reading,
    journal: Journal,
    photos: Sequence[Photo],
    facts: dict[str, Any],
    notes: tuple[str, ...],
) -> CropReport:
    """Count what was cut out, and list what was left out."""
    counts: dict[str, Counter[str]] = {}
    labels = source.classes if source.targets.any() else ()
    total = 0
    for row, _, _ in _faces(source, journal, photos):
        total += 1
        counts.setdefault(source.splits[row] or "all", Counter())[_label(source, row) or "no label"] += 1
    left: dict[str, list[str]] = {}
    spare = 0
    for photo in photos:
        line = journal.done[photo.name]
        for reason in [SEVERAL] if _is_unclear(source, journal, photo) else line["reasons"]:
            kind, _, detail = reason.partition(": ")
            left.setdefault(kind, []).append(f"{photo.name}: {detail}" if detail else photo.name)
        spare += max(0, line["found"] - len(line["faces"])) if source.boxes is not None else 0
    renamed = [
        name for name in source.columns if _free(name) != name and name not in (PHOTO_COLUMN, GROUP_COLUMN)
    ]
    if renamed:
        notes += (f"the columns {', '.join(renamed)} of the source are called source_... in {TABLE}",)
    return CropReport(
        **facts, photos=len(photos), faces=total, labels=labels,
        counts={split: dict(count) for split, count in counts.items()},
        left_out={reason: tuple(names) for reason, names in left.items()}, unlabelled_faces=spare, notes=notes,
    )  # fmt: skip
