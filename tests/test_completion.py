"""The Tab key completes commands, options and their values."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

MIEN = f'"{sys.executable}" -m mien'
TRY = """
source <(mien completion bash)
COMP_WORDS=(%s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_mien_completion %s
echo "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes(tmp_path):
    program = tmp_path / "mien"
    program.write_text(f'#!/bin/sh\nexec {MIEN} "$@"\n')
    program.chmod(0o755)
    words = {"mien tr": "train", "mien data au": "audit", "mien predict --json": "--jsonl --json"}
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    for typed, offered in words.items():
        script = TRY % (typed, program)
        done = subprocess.run(
            ["bash", "-c", script],
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": path},
            check=True,
        )
        assert sorted(done.stdout.split()) == sorted(offered.split()), done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish", "powershell"])
def test_each_shell_has_a_script(shell, capsys):
    from mien.cli.completion import completion

    completion.main([shell], standalone_mode=False)
    assert "mien" in capsys.readouterr().out
