"""A warning on the command line: one line, once, and the command goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys

from mien import bundle


def test_an_edited_page_is_said_once_and_the_prediction_is_made(tmp_path):
    folder = shutil.copytree(bundle.find("mien_nano"), tmp_path / "model")
    page = folder / "README.md"
    page.write_bytes(page.read_bytes().replace(b"\n", b"\r\n"))
    words = [sys.executable, "-m", "mien", "predict", "sample", "--model", str(folder), "--json", "-"]
    run = subprocess.run(words, capture_output=True, text=True)
    assert run.returncode == 0
    assert run.stdout.startswith("{")
    said = [line for line in run.stderr.splitlines() if "warning" in line]
    assert len(said) == 1
    assert said[0].startswith(
        f"mien predict: warning: {folder}/README.md was edited, or is missing: the model is used"
    )


def test_other_warnings_stay_as_python_shows_them():
    code = (
        "import warnings; from mien.cli.warning import print_warnings; from mien.errors import MienWarning\n"
        "print_warnings('mien x'); warnings.warn('one\\ntwo', MienWarning); warnings.warn('other', UserWarning)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    first, *rest = run.stderr.splitlines()
    assert first == "mien x: warning: one two"
    assert rest[0].endswith("UserWarning: other")
