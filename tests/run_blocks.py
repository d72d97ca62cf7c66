"""Run the marked blocks of a page, in a folder of its own with a photo."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

from tests import typed

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


def type_command(line: str) -> str:
    """Run one command of mien and return what it printed; another exit status than 0 is an error."""
    name, *words = shlex.split(line, comments=True)
    if name != "mien":
        raise ValueError(f"not a command of mien: {line}")
    done = typed.run(*words)
    if done.returncode:
        raise RuntimeError(f"status {done.returncode}: {line}\n{done.stderr}")
    return done.stdout


def run(page: Path, folder: Path) -> str:
    """Run a page's blocks in order in this folder, and return what they printed."""
    sample = Path(__file__).parent.parent / "src/mien/assets/sample.jpg"
    (folder / "holiday").mkdir(parents=True)
    for name in ("photo.jpg", "holiday/beach.jpg"):
        shutil.copy(sample, folder / name)
    names: dict[str, object] = {}
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
        for language, text in blocks(page):
            if language == "python":
                exec(compile(text, str(page), "exec"), names)
                continue
            for line in text.replace("\\\n", " ").splitlines():
                print(type_command(line))
    return printed.getvalue()
