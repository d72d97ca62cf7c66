"""The blocks of the documentation that are marked to run do run, in the order of their page, in an empty folder."""

from __future__ import annotations

import re

import pytest

from tests import run_blocks
from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"


PAGES = {page.name: page for page in sorted(DOCS.rglob("*.md")) if run_blocks.blocks(page)}
PRINTED = {
    "ship.md": "photo.face1.png happy 0.9",
    "sound.md": "FaceDataset(1,750 images",
    "train.md": "accuracy",
}


@pytest.mark.parametrize("name", PAGES)
def test_marked_blocks_run(name, tmp_path):
    """Those that say something else than `happy` for the photo are in `PRINTED`."""
    assert set(PRINTED) < set(PAGES)
    assert PRINTED.get(name, "happy") in run_blocks.run(PAGES[name], tmp_path / "page")


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
    links = [
        (page, target) for page in pages for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    ]
    assert [
        (page.name, target)
        for page, target in links
        if not target.startswith(("http", "mailto:")) and not (page.parent / target).exists()
    ] == []
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 120
