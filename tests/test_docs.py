"""The blocks of the documentation that are marked to run do run, in the order of their page, in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys

from tests import run_blocks
from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"


def test_marked_blocks_run(tmp_path):
    pages = [page for page in sorted(DOCS.rglob("*.md")) if run_blocks.blocks(page)]
    words = [sys.executable, "-W", "ignore", run_blocks.__file__, tmp_path, *pages]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    printed = dict(part.split("\n", 1) for part in done.stdout.split("== ")[1:])
    assert set(printed) == {page.name for page in pages}
    assert "photo.face1.png happy 0.97" in printed["ship.md"]
    assert "FaceDataset(1,750 images" in printed["sound.md"]
    assert "accuracy" in printed["train.md"]


def test_blocks_are_found_and_epochs_made_few(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- run: epochs -->\n```sh\nmien train nano --epochs 10\n```\n\n```sh\nmien not-run\n```\n\n"
        "<!-- run -->\n```python\nprint(1)\n```\n"
    )
    assert run_blocks.blocks(page) == [("sh", "mien train nano --epochs 1\n"), ("python", "print(1)\n")]


def test_every_page_begins_with_what_one_types():
    made = ["index.md", *(f"tutorials/{path.name}" for path in (DOCS / "tutorials").glob("*.md"))]
    for name in [*made, "photos.md", "ship.md", "fer2013.md", "coming-from.md", "not-for.md"]:
        lines = [
            line for line in (DOCS / name).read_text().splitlines() if line and not line.startswith("<!--")
        ]
        assert lines[0].startswith("# "), name
        assert lines[1].startswith("```"), name


def test_links_between_files_lead_somewhere_and_the_readme_is_short():
    pages = [*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md"), *(REPOSITORY / "src/mien/models").glob("*/*.md")]
    lost = []
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if not target.startswith(("http", "mailto:")) and not (page.parent / target).exists():
                lost.append((page.name, target))
    assert not lost
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 120
