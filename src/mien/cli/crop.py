"""``mien data crop``: cut the faces out of photos into a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.command import Json, command
from mien.options import CropOptions, ReadOptions

if TYPE_CHECKING:
    from mien.cropping import CropReport

_SHOWN, _SHOWN_CHARACTERS = 3, 60


@command(
    "mien data crop photos/ faces/ --detector yunet",
    "mien data crop photos.csv faces/ --group-column person --resume",
    "mien data crop holiday.zip faces/ --unlabelled",
)
def crop(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PHOTOS",
            help="Photos in any form of a dataset: class folders, a zip, a list of files with or without boxes.",
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The folder to write: faces.csv and its images.")
    ],
    cutting: CropOptions,
    reading: ReadOptions,
    json_to: Json = None,
) -> None:
    """Cut the faces out of photos into a dataset.

    Keeps labels, splits and groups: all faces of one photo are one group. Exit status 1 if a photo could not be read.
    """
    import cv2

    from mien.cli.progress import progress
    from mien.cli.terminal import give
    from mien.cropping import UNREADABLE, crop_photos

    with progress("photos") as step:

        def begin(total: int, done: int, one_at_a_time: bool) -> None:
            step.begin("photos", total, done)
            if not one_at_a_time and cutting.workers != 1:
                cv2.setNumThreads(1)  # OpenCV's own threads would compete with the workers

        report = crop_photos(path, out, cutting, reading, begin=begin, step=step)
    give(report.to_dict(), json_to, lambda: _print_report(report, cutting))
    if UNREADABLE in report.left_out:
        raise typer.Exit(1)


def _print_report(report: CropReport, cutting: CropOptions) -> None:
    from mien.cli.command import note_line
    from mien.cli.terminal import print_table, say, shorten
    from mien.cropping import BOXES, SEVERAL
    from mien.detectors import auto_advice
    from mien.errors import number_of

    if cutting.detector == "auto" and report.detector != BOXES:
        say(auto_advice(cutting.detector_weights))
    say(f"{report.source}: {number_of(report.photos, 'photo')}, {number_of(report.faces, 'face')}")
    names = list(
        dict.fromkeys([*report.labels, *(name for count in report.counts.values() for name in count)])
    )
    rows = [(name, *(f"{count.get(name, 0):,}" for count in report.counts.values())) for name in names]
    if rows:
        print_table(("class", *report.counts), rows, right=True)
    for reason, photos in report.left_out.items():
        shown = ", ".join(shorten(name, _SHOWN_CHARACTERS) for name in photos[:_SHOWN])
        more = f" and {len(photos) - _SHOWN:,} more" if len(photos) > _SHOWN else ""
        way_out = " (--several decides which face has the label)" if reason == SEVERAL else ""
        say(f"left out, {reason}: {len(photos):,}{way_out}: {shown}{more}")
    if report.unlabelled_faces:
        say(f"faces in no box, not cut: {report.unlabelled_faces:,}")
    for note in report.notes:
        say(note_line(note))
    say(f"wrote {report.out}: faces.csv, and crop.json, which lists what was left out")
