"""Writing all or nothing."""

from __future__ import annotations

import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from mien import files
from mien.errors import OutputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b.txt"
    files.write(path, "one")
    files.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]
    os.umask(mask := os.umask(0o022))
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask, "as open() makes a file, not private"


def test_writing_leaves_the_umask_of_the_process_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "umask", None)  # a thread that sets it changes it for all others
    with ThreadPoolExecutor(7) as pool:
        list(pool.map(lambda n: files.write(tmp_path / f"{n % 5}.txt", str(n % 5)), range(101)))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        f"{n}.txt": f"{n}" for n in range(5)
    }


def test_a_name_of_the_greatest_length_and_one_that_is_too_long(tmp_path):
    files.write(tmp_path / ("n" * 255), b"x")
    with pytest.raises(
        OutputError, match=r"cannot write .*nn: File name too long; nothing was changed there"
    ):
        files.write(tmp_path / ("n" * 256), b"x")
    assert names(tmp_path) == ["n" * 255]


def test_one_command_at_a_time_changes_a_folder(tmp_path):
    with files.locked(tmp_path / "a"):
        with (
            pytest.raises(
                OutputError,
                match=rf"another command is writing into .*a \(process {os.getpid()}\): nothing was changed; repeat",
            ),
            files.locked(tmp_path / "a"),
        ):
            pytest.fail("it was locked twice")
        with files.locked(tmp_path / "b"):
            pass
    with files.locked(tmp_path / "a"):
        pass
    with files.locked(tmp_path / "new" / "below"):
        pass
    assert names(tmp_path) == []


def test_what_killed_commands_left_goes_and_nothing_else(tmp_path):
    for name in (".tmp-0123456789abcdef", ".tmp-mine", "x.tmp"):
        (tmp_path / name).write_text("half")
    with files.replacing(tmp_path / "live") as file:
        file.write(b"whole")
        assert len(names(tmp_path)) == 4
        files.make_folder(tmp_path)
        assert len(names(tmp_path)) == 3, "the one that is being written stays"
    assert names(tmp_path) == [".tmp-mine", "live", "x.tmp"]


def test_the_name_of_a_holder_is_no_way_to_control_a_terminal(tmp_path):
    with files.locked(tmp_path):
        (tmp_path / ".lock").write_text("process 1\x1b[2J")
        with (
            pytest.raises(OutputError, match=rf"is writing into {tmp_path}: nothing"),
            files.locked(tmp_path),
        ):
            pytest.fail("it was locked twice")


def test_a_lock_that_its_last_holder_removes_is_not_taken(tmp_path, monkeypatch):
    real = files.fcntl.flock

    def just_before(handle, how):
        (tmp_path / ".lock").unlink()  # as the last holder does when it ends
        real(handle, how)

    monkeypatch.setattr(files.fcntl, "flock", just_before)
    with pytest.raises(OutputError, match="another command is writing"), files.locked(tmp_path):
        pytest.fail("a third command could lock the folder too")


def test_a_file_system_without_locks_is_written_without(tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(files.fcntl, "flock", refuses)
    with files.locked(tmp_path):
        files.write(tmp_path / "x", b"x")
    assert names(tmp_path) == ["x"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    files.write(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OutputError, match=r"cannot write .*model.onnx: No space left on device; nothing was changed"
    ):
        files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_appending_less_than_all_is_a_full_disk(tmp_path):
    with (tmp_path / "x").open("ab", buffering=0) as file:
        files.append(file, b"whole")
    assert (tmp_path / "x").read_bytes() == b"whole"
    with pytest.raises(OSError, match="No space left on device"):
        files.append(SimpleNamespace(write=lambda content: len(content) - 1), b"whole")
    unbuffered = [
        path for path in Path(files.__file__).parent.rglob("*.py") if "buffering=0" in path.read_text()
    ]
    assert len(unbuffered) == 4
    assert not [path for path in unbuffered if re.search(r"(_file|_journal)\.write\(", path.read_text())]


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x"
    files.write(path, b"old")

    def crash(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_links_are_followed_and_devices_stay_devices(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    files.write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    files.write(Path(os.devnull), "gone")
    assert Path(os.devnull).is_char_device()


def test_a_file_in_the_way_of_a_folder(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*taken"):
        files.write(tmp_path / "taken" / "x", b"")
    with pytest.raises(OutputError, match=r"cannot write .*taken.*choose another place"):
        files.make_folder(tmp_path / "taken")


def test_no_write_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere, so it is played
    with pytest.raises(OutputError, match="Permission denied"):
        files.make_folder(tmp_path)


def test_a_folder_that_a_refused_command_made_goes_with_its_lock(tmp_path):
    with pytest.raises(KeyError), files.locked(tmp_path / "new"):
        raise KeyError
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with files.locked(tmp_path / "old"), files.locked(tmp_path / "filled"):
        files.write(tmp_path / "filled" / "a", "b")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["filled", "old"]


def test_what_an_earlier_report_alone_had_goes_away(tmp_path):
    (tmp_path / "mine.txt").write_text("of the user")
    for number, names in enumerate((("a.csv", "figures/b.png", "page"), ("a.csv", "page"), ("page",))):
        with files.together(tmp_path, "page", replaces=True) as stage:
            for name in names:
                files.write(stage / name, f"{number}")
        found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("[!.]*") if path.is_file()}
        assert found == {*names, "mine.txt"}
    with files.together(tmp_path, "page") as stage:
        files.write(stage / "page", "3")
    assert (tmp_path / "mine.txt").exists()


def test_what_replaces_an_earlier_report_meets_only_files(tmp_path):
    with files.together(tmp_path, "page", replaces=True) as stage:
        files.write(stage / "page", "0")
        files.write(stage / "a.csv", "0")
    (tmp_path / "a.csv").unlink()
    (tmp_path / "a.csv").mkdir()
    with files.together(tmp_path, "page", replaces=True) as stage:
        files.write(stage / "page", "1")
    assert (tmp_path / "a.csv").is_dir()


def test_a_list_of_earlier_files_removes_nothing_outside_its_folder(tmp_path):
    outside, inside = tmp_path / "outside.txt", tmp_path / "report"
    outside.write_text("of the user")
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)
    (inside / ".page.files").write_text(f"../outside.txt\n{outside}\nlink/outside.txt\n")
    with files.together(inside, "page", replaces=True) as stage:
        files.write(stage / "page", "1")
    assert outside.exists()
