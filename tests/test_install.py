"""The command that adds an extra works for the way in which mien was installed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys

import pytest

from mien import install
from mien.errors import MissingExtra, needs


class Installed:
    def __init__(self, origin):
        self.origin = origin

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.origin if self.origin is None else json.dumps(self.origin)


@pytest.fixture
def site_packages(tmp_path, monkeypatch):
    """Pretend that the module lies in a folder of installed packages, beside pip."""
    monkeypatch.setattr(install, "find_spec", lambda name: name)
    monkeypatch.setattr(install, "HERE", tmp_path / "lib" / "mien" / "install.py")


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        (None, "pip install 'mien[report]'"),
        (
            {"url": "https://x.org/mien.git", "vcs_info": {"vcs": "git", "commit_id": "abc1"}},
            "pip install 'mien[report] @ git+https://x.org/mien.git@abc1'",
        ),
        (
            {"url": "file:///gone/mien-1.whl", "archive_info": {}},
            "pip install 'mien[report] @ file:///gone/mien-1.whl'",
        ),
    ],
)
def test_the_command_repeats_where_mien_came_from(site_packages, monkeypatch, origin, command):
    monkeypatch.setattr(install, "distribution", lambda name: Installed(origin))
    assert install.install_command("report") == command


def test_a_folder_that_was_installed_is_installed_again(site_packages, monkeypatch, tmp_path):
    folder = tmp_path / "my checkout"
    folder.mkdir()
    monkeypatch.setattr(install, "distribution", lambda name: Installed({"url": folder.as_uri()}))
    assert shlex.split(install.install_command("data")) == ["pip", "install", f"{folder}[data]"]


def test_in_a_checkout_the_command_names_it(monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").write_text("")
    monkeypatch.setattr(install, "HERE", tmp_path / "src" / "mien" / "install.py")
    monkeypatch.setattr(install, "find_spec", lambda name: name)
    assert install.install_command("train") == f"pip install -e {shlex.quote(f'{tmp_path}[train]')}"
    monkeypatch.chdir(tmp_path)
    assert install.install_command("train") == "pip install -e '.[train]'"


def test_a_document_names_what_is_missing_without_a_folder():
    advice = r"^nowhere is not installed: .*pip install .*\[report\]'$"
    with pytest.raises(MissingExtra, match=advice) as caught, needs("report"):
        import nowhere  # noqa: F401
    assert caught.value.lack == "nowhere is not installed; it comes with the extra report"


@pytest.mark.parametrize("name", ["train", "fit"])
def test_a_public_name_that_needs_torch_says_how_to_get_it(name):
    code = "import sys; sys.modules['torch'] = None\nimport mien\n"
    code += f"try:\n    mien.{name}\nexcept mien.MienError as error:\n    print(error)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.match("torch is not installed: .*pip install", done.stdout)


def test_models_are_exported_and_joined_without_what_draws_pages(tmp_path):
    """The extra `export` brings neither matplotlib nor jinja2."""
    blocked = "import sys; sys.modules |= dict.fromkeys(('matplotlib', 'jinja2'))\nfrom mien.cli import main\nmain()"
    for words in (
        ("calibrate", "default", "--prior", "uniform", "--out", "moved"),
        ("calibrate", "moved", "--data", "synthetic", "--split", "test", "--out", "fitted"),
        ("ensemble", "default", "moved", "--data", "synthetic", "--split", "test", "--out", "joined"),
        ("export", "default", "--to", "onnx", "--out", "one.onnx"),
        ("verify", "fitted"),
    ):
        line = [sys.executable, "-c", blocked, *words]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_uv_is_named_where_the_environment_has_no_pip(site_packages, monkeypatch):
    monkeypatch.setattr(install, "find_spec", lambda name: None)
    monkeypatch.setattr(install.sys, "executable", "/a b/python")
    assert install.pip("uninstall") == "uv pip uninstall --python '/a b/python'"
    assert install.install_command("report").startswith("uv pip install --python '/a b/python' ")
