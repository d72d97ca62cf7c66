"""``mien detector``: train the face detector on drawn scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.command import command, out_option
from mien.errors import needs


def _zip_option(meaning: str) -> typer.models.OptionInfo:
    return typer.Option(metavar="ZIP", help=meaning)


@command("mien detector --heads heads.zip --faces fer.zip --backgrounds bg.zip -o found")
def detector(
    heads: Annotated[
        Path,
        _zip_option("Heads on a plain background: .jpg images, and their boxes in yunet_boxes_xyxy.json."),
    ],
    faces: Annotated[Path, _zip_option("FER2013: .jpg images under train/ and test/.")],
    backgrounds: Annotated[Path, _zip_option("Photographs without a face: .jpg images.")],
    out: Annotated[Path, out_option("Folder for the detector; the history of the run goes to its run/.")],
    steps: Annotated[
        int,
        typer.Option(
            metavar="N", help="Training steps; with --resume a run can be continued with more steps."
        ),
    ] = 28_000,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of weights and scenes.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run in the folder of --out.")
    ] = False,
) -> None:
    """Train a face detector on drawn scenes.

    Scenes are drawn from heads, faces and backgrounds. One further process draws them. A checkpoint is
    kept every 200 steps: the same command with --resume continues.
    """
    from mien.cli.terminal import complain, say

    with needs("train"):
        from mien.faces.fit import Plan, Sources
        from mien.faces.run import train_detector

    sources, plan = Sources(heads, faces, backgrounds), Plan(steps=steps, seed=seed)
    try:
        say(str(train_detector(sources, out, plan, resume=resume, tell=complain)))
    except KeyboardInterrupt:
        complain("interrupted; the last checkpoint is kept: the same command with --resume goes on from it")
        raise
