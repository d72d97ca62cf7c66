"""Run the marked blocks of pages, each page in a folder of its own with a photo: ``run_blocks.py FOLDER PAGE...``.

One process for all pages, as importing torch takes longer than most blocks.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

BLOCK = re.compile(
    r"^<!-- run(?P<option>: epochs)? -->\n```(?P<language>\w+)\n(?P<text>.*?)^```", re.M | re.S
)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return language and text of each marked block; with `epochs`, one epoch stands for the number in the text."""
    return [
        (
            found["language"],
            re.sub(r"--epochs \d+", "--epochs 1", found["text"]) if found["option"] else found["text"],
        )
        for found in BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def type_command(line: str) -> None:
    """Run one command of mien in this process; another exit status than 0 is an error."""
    from mien import cli

    sys.argv = shlex.split(line, comments=True)
    if sys.argv[0] != "mien":
        raise ValueError(f"not a command of mien: {line}")
    try:
        cli.main()
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"status {ended.code}: {line}") from ended


def run(page: Path, folder: Path) -> str:
    """Run a page's blocks in order in this folder, and return what they printed."""
    sample = Path(__file__).parent.parent / "src/mien/assets/sample.jpg"
    (folder / "holiday").mkdir(parents=True)
    for name in ("photo.jpg", "holiday/beach.jpg"):
        shutil.copy(sample, folder / name)
    os.chdir(folder)
    names: dict[str, object] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        printed.reconfigure = lambda **_: None  # type: ignore[attr-defined]
        for language, text in blocks(page):
            if language == "python":
                exec(compile(text, str(page), "exec"), names)
                continue
            for line in text.replace("\\\n", " ").splitlines():
                type_command(line)
    return printed.getvalue()


if __name__ == "__main__":
    where, *pages = map(Path, sys.argv[1:])
    for number, page in enumerate(pages):
        print(f"== {page.name}", flush=True)
        print(run(page, where / str(number)), flush=True)
