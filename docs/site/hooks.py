"""Pages that are made while the site is built: the Python reference, the command reference.

A link from a page to a file outside docs/ (source, recipe, model card) leads to no page: it is shown as its text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

GROUPS = {
    "Use a model": ("predict", "Pipeline", "Predictions", "ImageResult", "FaceResult", "annotate"),
    "Images and videos": ("read_image", "frames", "video", "Frame", "Tracker"),
    "Data": ("read_dataset", "FaceDataset", "ReadOptions"),
    "Train": ("train", "fit", "read_recipe"),
    "Judge and ship": ("evaluate", "EvalReport", "compare", "export"),
    "Parts": ("load_classifier", "Classifier", "open_detector", "FaceDetector", "Face", "Preprocess"),
    "Errors": ("MienError",),
}
"""Public names by task; a public name that stands in none of them comes at the end."""
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:src|benchmarks|tests)/[^)]*\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every page of docs/ that the navigation does not name under "How to"."""
    named = str(config.nav)
    how_to = next(part["How to"] for part in config.nav or [] if "How to" in part)
    how_to += [
        path.name for path in sorted(Path(config.docs_dir).glob("*.md")) if f"'{path.name}'" not in named
    ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for name, content in (("python.md", python_page()), ("commands.md", command_page())):
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn links to files outside docs/ into plain text."""
    return _OUTSIDE.sub(r"`\1`", markdown)


def python_page() -> str:
    """Return the page of all public names, each filled in from its docstring."""
    import mien

    left = [name for name in mien.__all__ if not name.startswith("__")]
    lines = [
        "# Python",
        "```python\nimport mien\n\nfor result in mien.predict('holiday/'):\n"
        "    print(result.source, [face.label for face in result.faces])\n```",
        "`import mien` costs nothing: a name is loaded when it is first used.",
    ]
    for heading, names in {**GROUPS, "More": ()}.items():
        here = [name for name in names if name in left] or (left if heading == "More" else [])
        left = [name for name in left if name not in here]
        lines += [f"## {heading}"] * bool(here)
        lines += [
            f"::: {_home(name)}\n    options:\n      heading: {name}\n      heading_level: 3" for name in here
        ]
    return "\n\n".join(lines) + "\n"


def _home(name: str) -> str:
    import mien

    module, _, other = mien._HOMES[name].partition(":")
    return f"{module}.{other or name}"


def command_page() -> str:
    """Return the page of all commands: what `--help` prints, by task."""
    from mien.cli import COMMANDS

    lines = [
        "# Commands",
        "```\nmien --help\nmien predict --help\n```",
        "Results go to stdout, progress and errors to stderr. Exit status: 0 done; 1 done, but some inputs could "
        "not be read; 2 wrong input, one line says what; 130 interrupted.",
    ]
    for task, names in COMMANDS.items():
        lines.append(f"## {task}")
        for name in names:
            for words, text in _helps(name):
                lines.append(f"### mien {words}\n\n```text\n{text.strip()}\n```")
    return "\n\n".join(lines) + "\n"


def _helps(name: str) -> Iterator[tuple[str, str]]:
    """Yield the words and the help of a command, and of each command inside it."""
    import typer

    from mien.cli import _app

    root: Any = typer.main.get_command(_app)
    context = root.make_context("mien", ["doctor"])
    found = root.get_command(context, name)
    for words, one in _flat(name, found):
        inner = one.make_context(
            f"mien {words}", ["--help"], resilient_parsing=True, parent=None, max_content_width=96
        )
        yield words, one.get_help(inner)


def _flat(name: str, found: Any) -> Iterator[tuple[str, Any]]:
    inner = getattr(found, "commands", None)
    if not inner:
        yield name, found
        return
    for word, one in inner.items():
        yield from _flat(f"{name} {word}", one)
