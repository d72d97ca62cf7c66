"""The house rules: imports point down, no circles, light at the door, public names as published."""

from __future__ import annotations

import ast
import functools
import graphlib
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mien
from mien import cli

SOURCE = Path(mien.__file__).parent
FLOORS = [
    {"labels", "errors", "escapes", "files", "install", "machine", "options", "palette"},
    {"config", "bundle", "preprocess", "results", "card", "history", "statistics", "workers"},
    {"data", "networks", "vision"},
    {"classifiers", "detectors"},
    {
        "auditing",
        "training",
        "faces",
        "evaluation",
        "exporting",
        "benchmark",
        "cropping",
        "doctor",
        "pipeline",
        "predictions",
        "sinks",
        "tracking",
        "saliency",
    },
    {"tune"},
    {"serve", "scale"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
TORCH_FREE = {
    "auditing",
    "data",
    "vision",
    "detectors",
    "cropping",
    "evaluation",
    "pipeline",
    "predictions",
    "sinks",
    "tracking",
    "saliency",
    "serve",
    "scale",
    "cli",
    *FLOORS[0],
    *FLOORS[1],
}


@functools.cache
def modules() -> dict[str, Path]:
    files = SOURCE.rglob("*.py")
    named = {".".join(("mien", *file.relative_to(SOURCE).with_suffix("").parts)): file for file in files}
    return {name.removesuffix(".__init__"): file for name, file in named.items()}


@functools.cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def imported(file: Path, *, everywhere: bool = True) -> set[str]:
    """Names of imported modules; `everywhere` includes those inside functions, never those for type checkers."""
    tree = parsed(file)
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = set()
    at_import = [
        inner for node in tree.body for inner in (node.body if isinstance(node, ast.With) else [node])
    ]
    for node in ast.walk(tree) if everywhere else at_import:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_imports_point_down_or_sideways():
    for name, file in modules().items():
        for other in imported(file):
            if other in modules() and room(other) and room(name) in FLOOR:
                assert FLOOR[room(other)] <= FLOOR[room(name)], f"{name} imports {other} from a higher floor"


def test_every_room_has_a_floor():
    assert {room(name) for name in modules()} - {"", "__main__"} == set(FLOOR)


def test_no_import_circles():
    known = modules()
    graph = {
        name: {o for o in imported(f, everywhere=False) if o in known} - {name} for name, f in known.items()
    }
    list(graphlib.TopologicalSorter(graph).static_order())


def rooms() -> dict[str, set[str]]:
    """For each room, the rooms that any of its modules imports, inside functions as well."""
    known, graph = modules(), {name: set[str]() for name in FLOOR}
    for name, file in known.items():
        if room(name) in FLOOR:
            graph[room(name)] |= {room(other) for other in imported(file) if other in known}
    return {name: others - {name, ""} for name, others in graph.items()}


def test_no_circles_of_rooms():
    list(graphlib.TopologicalSorter(rooms()).static_order())


def test_rooms_are_counted_by_what_their_modules_import():
    assert {"evaluation", "exporting", "history"} <= rooms()["training"]
    with pytest.raises(graphlib.CycleError):
        list(graphlib.TopologicalSorter({**rooms(), "history": {"training"}}).static_order())


def test_only_the_training_side_knows_torch_and_it_does_not_know_vision():
    for name, file in modules().items():
        if room(name) in TORCH_FREE:
            heavy = {
                other for other in imported(file) if other.split(".")[0] in {"torch", "lightning", "timm"}
            }
            assert not heavy, f"{name} imports {heavy}"
        if room(name) == "training":
            assert not {other for other in imported(file) if other.startswith("mien.vision")}


def test_modules_and_functions_keep_their_size():
    for name, file in modules().items():
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 500, f"{name} is over 500 lines"
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{name}.{node.name} is over 60 lines"


HEAVY = ("torch", "cv2", "onnxruntime", "numpy", "pydantic")


def loaded_after(code: str) -> list[str]:
    script = f"{code}\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_the_page_about_the_rooms_is_true():
    page = (Path(__file__).parent.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    floors = re.findall(r"^\d  ([a-z]+(?: · [a-z]+)*)", page, re.MULTILINE)
    assert [set(names.split(" · ")) for names in reversed(floors)] == FLOORS
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) ?\|$", page, re.MULTILINE)
    assert {name for name, _ in rows} == set(FLOOR)
    found = rooms()
    for name, excluded in rows:
        assert not found[name] & set(re.findall(r"\w+", excluded)), name


def test_importing_the_package_imports_nothing_heavy():
    assert loaded_after("import mien") == []


def test_the_light_test_can_fail():
    assert loaded_after("import mien; mien.Preprocess") == ["cv2", "numpy", "pydantic"]


@pytest.mark.parametrize("words", [[], *([name] for names in cli.COMMANDS.values() for name in names)])
def test_help_imports_nothing_heavy(words):
    code = f"""
import contextlib, os, sys
from mien.cli import main
sys.argv = ["mien", *{words}, "--help"]
with open(os.devnull, "w") as away, contextlib.redirect_stdout(away), contextlib.suppress(SystemExit):
    main()
"""
    assert loaded_after(code) == []


def test_the_doctor_imports_nothing_heavy():
    assert loaded_after("from mien.doctor import examine; examine()") == []


def test_using_a_model_needs_no_torch():
    names = loaded_after("import mien.pipeline, mien.evaluation.evaluate, mien.data.read, mien.vision.draw")
    assert "torch" not in names
    assert "onnxruntime" not in names  # until a classifier is loaded


PHOTO = Path(mien.__file__).parent / "assets" / "sample.jpg"
RUN = ("load_classifier", "open_detector", "predict", "read_image", "read_recipe")
"""Whose examples run in a moment; those of the others are held against the signatures that they call."""


def test_public_functions_have_an_example_that_fits(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shutil.copy(PHOTO, "photo.jpg")
    for name in mien.__all__:
        made = getattr(mien, name)
        if not inspect.isfunction(made):
            continue
        found = re.search(rf"^ *``(.*mien\.{name}\(.*)``$", made.__doc__, re.MULTILINE)
        assert found, f"mien.{name} has no example such as ``mien.{name}(...)`` on a line of its own"
        for call in (node for node in ast.walk(ast.parse(found[1])) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Attribute) and getattr(call.func.value, "id", "") == "mien":
                words = [word.arg for word in call.keywords]
                called = inspect.signature(getattr(mien, call.func.attr))
                called.bind(*call.args, **dict.fromkeys(words))
        if name in RUN:
            assert eval(found[1], {"mien": mien}) is not None


def test_a_path_may_be_a_string_wherever_a_person_gives_one():
    for name in mien.__all__:
        made = getattr(mien, name)
        calls = [made] if inspect.isfunction(made) else [made.__init__]
        for parameter in (one for call in calls for one in inspect.signature(call).parameters.values()):
            if "Path" in str(parameter.annotation):
                assert "str | Path" in str(parameter.annotation), f"mien.{name}: {parameter}"


def test_public_names():
    assert mien.__all__ == sorted(mien.__all__)
    for name in mien.__all__:
        assert getattr(mien, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = mien.nonsense
