"""Each command that writes a folder is refused, at once, while another one writes there; it is told who does."""

from __future__ import annotations

import os
import sys

import pytest

from mien import files
from mien.cli import main
from mien.evaluation import contenders
from tests.pictures import tree, write_tree

COMMANDS = {
    "evaluate": ["evaluate", "default", "--data", "DATA", "--split", "test", "--out", "OUT"],
    "compare": ["compare", "default", "other", "--data", "DATA", "--split", "test", "--out", "OUT"],
    "benchmark": ["benchmark", "default", "--out", "OUT"],
    "explain": ["explain", "DATA/test/sad/0.png", "--out", "OUT", "--detector", "whole"],
    "data audit": ["data", "audit", "DATA", "--out", "OUT"],
    "data split": ["data", "split", "DATA", "--folds", "2", "--out", "OUT"],
    "export": ["export", "default", "--to", "onnx", "--out", "OUT"],
    "export --to hub": ["export", "default", "--to", "hub", "--out", "OUT"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_command_is_told_who_writes_there(tmp_path, monkeypatch, capsys, command):
    source, out = write_tree(tmp_path / "data", tree(each=2)), tmp_path / "out"
    words = [word.replace("DATA", str(source)).replace("OUT", str(out)) for word in COMMANDS[command]]
    monkeypatch.setattr(
        contenders, "enter", lambda models: models
    )  # opens and measures them, which takes seconds
    monkeypatch.setattr(sys, "argv", ["mien", *words])
    with files.locked(out), pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"another command is writing into {out} (process {os.getpid()}): nothing was changed" in said
    assert not out.exists(), "nothing was written"
