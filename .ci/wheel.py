"""Build sdist and wheel into dist/, print the wheel's size by part, and try it where nothing else is installed.

``make wheel`` runs this. The wheel is built from the sdist, so the sdist is whole if the wheel works. It fails if the
wheel is larger than `LIMIT_MB`, holds a file that is no part of the package, or does not name the sample photo right.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIMIT_MB = 12
UV = os.environ.get("UV", "uv")


def parts(wheel: Path) -> Counter[str]:
    """Return the packed bytes of each part of the package: a room, a model, or single modules."""
    sizes: Counter[str] = Counter()
    with zipfile.ZipFile(wheel) as archive:
        for one in archive.infolist():
            names = one.filename.split("/")
            depth = 3 if names[1] == "models" else 2
            sizes["/".join(names[:depth]) if len(names) > 2 else f"{names[0]}/*"] += one.compress_size
    return sizes


def table(sizes: Counter[str]) -> str:
    """Return the sizes as lines, the largest first, and their sum."""
    rows = [*sizes.most_common(), ("all", sizes.total())]
    return "\n".join(f"{size / 1e6:8.3f} MB  {name}" for name, size in rows)


def check(sizes: Counter[str]) -> None:
    """Stop if the wheel is too large or holds what it should not."""
    if sizes.total() > LIMIT_MB * 1e6:
        sys.exit(f"the wheel has {sizes.total() / 1e6:.1f} MB, at most {LIMIT_MB} are allowed")
    foreign = [name for name in sizes if not name.startswith(("mien/", "mien-"))]
    if foreign:
        sys.exit(f"the wheel holds {', '.join(foreign)}, which are no part of the package")


def run(*words: str | Path, cwd: Path | None = None) -> str:
    """Run a program without this checkout on its path; return what it prints."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=clean, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


def smoke(python: Path, folder: Path) -> None:
    """Use the installed package from an empty folder, from the command line and from Python."""
    mien = python.parent / "mien"
    print(run(mien, "--version", cwd=folder), end="")
    state = json.loads(run(mien, "doctor", "--json", "-", cwd=folder))
    assert not state["problems"], state["problems"]
    print(run(mien, "predict", "sample", "--out", "seen", cwd=folder), end="")
    code = """
import mien
found = mien.predict("seen", detector="haar")
print([face.label for one in found for face in one.faces], mien.read_dataset("synthetic"))
try:
    mien.train("nano", "synthetic", out="x")
except mien.MienError as error:
    print(error)
"""
    printed = run(python, "-c", code, cwd=folder)
    print(printed, end="")
    assert "'happy'" in printed, printed
    assert "torch is not installed" in printed, printed


def main() -> None:
    """Build, measure, try."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        run(UV, "build", "--quiet", "--out-dir", folder / "dist", ROOT)
        (wheel,) = (folder / "dist").glob("*.whl")
        (source,) = (folder / "dist").glob("*.tar.gz")
        sizes = parts(wheel)
        print(table(sizes))
        check(sizes)
        environment = folder / "bare"
        run(UV, "venv", "--quiet", "--python", sys.executable, environment)
        python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
        run(
            UV, "pip", "install", "--quiet", "--python", python, "--constraint", ROOT / "constraints.txt", wheel
        )  # fmt: skip
        (folder / "empty").mkdir()
        smoke(python, folder / "empty")
        for file in (wheel, source):
            kept = ROOT / "dist" / file.name
            kept.parent.mkdir(exist_ok=True)
            kept.write_bytes(file.read_bytes())
            print(f"wrote dist/{file.name} ({file.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
