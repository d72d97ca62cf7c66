"""Whatever a user has becomes frames: right pixels, or one clear error in its place; nothing is left out unsaid."""

from __future__ import annotations

import base64
import io
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from mien.errors import ConfigError, ImageError
from mien.options import Clip
from mien.vision import images, listing
from mien.vision.frames import Frame, Frames, frames, video
from mien.workers import ordered
from tests.pictures import write_tree, write_zip

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def encoded(image_u8: np.ndarray, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image_u8).save(out, kind, **options)
    return out.getvalue()


PNG, JPEG = encoded(RGB), encoded(RGB, "JPEG")
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


def sources(found: Frames) -> list[str]:
    return [frame.source for frame in found]


def errors(found: Frames) -> list[str | None]:
    return [frame.error for frame in found]


def file_object(data: bytes, name: str) -> io.BytesIO:
    file = io.BytesIO(data)
    file.name = name
    return file


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("x.png", "x.png"),
        (Path("x.png"), "x.png"),
        (PNG, ""),
        (bytearray(PNG), ""),
        (memoryview(PNG), ""),
        ("data:image/png;base64," + base64.b64encode(PNG).decode(), ""),
        (Image.fromarray(RGB), ""),
        (io.BytesIO(PNG), ""),
        (file_object(PNG, "up/load.png"), "up/load.png"),
        (RGB, ""),
        (RGB[:, :, ::-1][:, :, ::-1], ""),
        (Frame("x.png"), "x.png"),
        ("z.zip/a/x.png", "z.zip/a/x.png"),
    ],
)
def test_one_picture_by_every_entrance_gives_the_same_pixels(tmp_path, monkeypatch, source, name):
    monkeypatch.chdir(tmp_path)
    Path("x.png").write_bytes(PNG)
    write_zip(Path("z.zip"), {"a/x.png": PNG, "y.png": JPEG})
    found = frames(source)
    (frame,) = found
    assert (found.total, found.skipped) == (1, {})
    assert (frame.source, frame.index, frame.time_s, frame.error) == (name, 0, None, None)
    assert (frame.image_rgb_u8 == RGB).all()
    assert frame.image_rgb_u8 is frame.image_rgb_u8  # decoded once


def test_stdin(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PNG)))
    (frame,) = frames("-")
    assert frame.source == "-"
    assert (frame.image_rgb_u8 == RGB).all()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PNG)))
    monkeypatch.setattr(images, "FILE_LIMIT_BYTES", len(PNG) - 1)
    assert errors(frames("-")) == [f"- is over the limit of {len(PNG) - 1} bytes for a picture file"]


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1)])
def test_a_grey_array(shape):
    (frame,) = frames(RGB[..., 0].reshape(shape))
    assert (frame.image_rgb_u8 == np.stack([RGB[..., 0]] * 3, axis=2)).all()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "expected a picture, got None: cv2.imread returns None for a file that it cannot read"),
        (3.0, "expected a path, a file's bytes, a PIL image or an array, got float"),
        ({"a.jpg": 1}, "array, got dict"),
        ("", "expected the path of a picture, got an empty text"),
        ("none.jpg", "cannot read none.jpg: No such file or directory"),
        ("none[1].jpg", r"cannot read none\[1\].jpg: No such file or directory"),
        ("a\0b.jpg", "cannot read a\0b.jpg: .*embedded null"),
        ("A" * 5000, "a text of 5,000 characters is no path; for base64, write data:image/jpeg;base64,..."),
        ("data:image/png,AAAA", "expected data:image/...;base64,..., got data:image/png,AAAA..."),
        ("data:image/png;base64,A", "the picture in a data: URI is not base64"),
        (b"", "expected a picture, got an empty file"),
        (b"hello", "not a picture in a known format"),
        (HEIC, "HEIC is not read here, convert it to JPEG"),
        (io.StringIO("x"), "the file is opened for text: open it for bytes, mode 'rb'"),
        (RGB / 255, r"got float64 \[5, 7, 3\]: scale it to 0-255, then .astype\(np.uint8\)"),
        (RGB.astype(np.uint16), r"got uint16 \[5, 7, 3\]: scale it"),
        (np.zeros((5, 7, 4), np.uint8), r"got uint8 \[5, 7, 4\]: drop the transparency, image\[..., :3\]"),
        (np.zeros((3, 5, 7), np.uint8), r"got uint8 \[3, 5, 7\]: put the channels last"),
        (np.zeros((2, 5, 7, 3), np.uint8), r"got uint8 \[2, 5, 7, 3\]: give a batch as a list of images"),
        (np.zeros((0, 7, 3), np.uint8), r"got uint8 \[0, 7, 3\]"),
    ],
)
def test_what_cannot_be_read_is_a_frame_with_its_error(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    (frame,) = frames(source)
    with pytest.raises(ImageError, match=message):
        _ = frame.image_rgb_u8
    assert "\n" not in frame.error
    assert [bool(each.error) for each in frames([PNG, source, PNG])] == [False, True, False]


def test_a_list_mixes_everything_and_an_iterator_is_read_as_it_is_asked(tmp_path):
    write_tree(tmp_path / "in", {"b.png": PNG, "a.png": PNG, "c.txt": b""})
    given = [PNG, [tmp_path / "in", (RGB, None)], "none.jpg"]
    names = ["", str(tmp_path / "in/a.png"), str(tmp_path / "in/b.png"), "", "", "none.jpg"]
    found = frames(given)
    assert (found.total, sources(found), found.skipped) == (6, names, {"text": 1})
    assert [bool(error) for error in errors(found)] == [False] * 4 + [True] * 2

    taken = []
    lazy = frames(taken.append(number) or each for number, each in enumerate(given))
    assert (lazy.total, taken) == (None, [])
    first = next(passing := iter(lazy))
    assert (first.source, taken) == ("", [0])
    assert [frame.source for frame in passing] == names[1:]
    assert lazy.skipped == {"text": 1}


def test_nothing_is_decoded_or_kept_before_it_is_asked(tmp_path, monkeypatch):
    write_tree(tmp_path, {"a.png": PNG, "b.png": b"broken"})
    reads = []
    monkeypatch.setattr(images, "read", lambda path: reads.append(path) or RGB)
    found = frames(tmp_path)
    held = list(found)
    assert reads == []
    _ = held[1].image_rgb_u8, held[1].error
    assert reads == [str(tmp_path / "b.png")]
    in_memory = frames([PNG, Frame("x.png")])
    assert [frame.error for frame in in_memory] == [None, None]
    assert all("_decoded" not in vars(frame) for frame in (*found, *in_memory))


def test_frames_pass_through():
    found = frames([RGB])
    assert frames(found) is found

    with pytest.raises(ConfigError, match="skip and clip choose frames when Frames are made"):
        frames(found, clip=Clip(every=2))
    with pytest.raises(ConfigError, match="skip and clip choose frames"):
        frames(found, skip="out")


def test_frames_among_others_are_not_read_before_their_turn(tmp_path):
    write_tree(tmp_path, {"a.png": PNG, "b.txt": b"x"})
    inner = frames(tmp_path)
    found = frames([inner, RGB])
    assert (found.total, found.skipped) == (2, {"text": 1})
    assert [frame.error for frame in found] == [None, None]
    assert found.entries[0] == str(tmp_path / "a.png")


def test_a_video_that_is_none_says_what_is_wrong(tmp_path):
    with pytest.raises(ConfigError, match=r"expected a video.*'typo\.mp4' \(.*No such file.*\)"):
        video("typo.mp4")
    with pytest.raises(ConfigError, match="expected a video.*, got ndarray; for images: mien.frames"):
        video(RGB)


@pytest.mark.parametrize("source", ["x.png", PNG, RGB, "z.zip", None])
def test_frames_pickle_without_their_pixels(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    Path("x.png").write_bytes(PNG)
    write_zip(Path("z.zip"), {"x.png": PNG})
    (frame,) = frames(source)
    before = len(pickle.dumps(frame))
    error = frame.error
    again = pickle.dumps(frame)
    assert len(again) == before
    copy = pickle.loads(again)
    assert (copy.source, copy.error) == (frame.source, error)
    if error is None:
        assert (copy.image_rgb_u8 == RGB).all()


def test_frames_of_a_film_have_the_same_shape():
    film = [Frame("c.mp4", number, number / 25, load=lambda: RGB) for number in range(3)]
    assert [(f.source, f.index, f.time_s) for f in frames(iter(film))] == [
        ("c.mp4", 0, 0.0),
        ("c.mp4", 1, 0.04),
        ("c.mp4", 2, 0.08),
    ]


MIXED = {
    "a.JPG": JPEG,
    "b.jfif": JPEG,
    "c.jpe": JPEG,
    "d": PNG,
    "e.unknown": PNG,
    "sub/f.png": PNG,
    "sub/deep/really.heic": PNG,
    "g.mp4": b"film",
    "h.MOV": b"film",
    "i.txt": b"text",
    "j.onnx": b"graph",
    "k.csv": b"1,2",
    "l.heic": HEIC,
    "m": HEIC,
    "n.xyz": b"Python",
    "o.zip": b"PK",
    "p.m4a": b"\0\0\0\x20ftypM4A ",
    ".hidden.jpg": JPEG,
    ".git/x.jpg": JPEG,
    "__MACOSX/x.jpg": JPEG,
    "sub/Thumbs.db": b"x",
}
FOUND = ["a.JPG", "b.jfif", "c.jpe", "d", "e.unknown", "sub/deep/really.heic", "sub/f.png"]
SKIPPED = {"video": 2, "text": 1, "model": 1, "table": 1, "heic": 2, "other": 1, "archive": 1, "sound": 1}


@pytest.fixture
def no_films(monkeypatch):
    monkeypatch.setattr("mien.vision.frames.has_extra", lambda: False)


@pytest.mark.usefixtures("no_films")
def test_a_folder(tmp_path, monkeypatch):
    write_tree(tmp_path / "in", MIXED)
    found = frames(tmp_path / "in")
    assert sources(found) == [str(tmp_path / "in" / name) for name in FOUND]
    assert (found.total, found.skipped, errors(found)) == (len(FOUND), SKIPPED, [None] * len(FOUND))
    assert listing.counted(found.skipped) == (
        "2 videos, 2 HEIC pictures (convert them to JPEG), 1 text, 1 model, 1 table, 1 other file, 1 archive, "
        "1 sound file"
    )
    assert listing.kind_by("no_suffix", lambda: b"\0\0\0\x20ftypM4A ") == "other"
    monkeypatch.chdir(tmp_path / "in")
    assert sources(frames(".")) == FOUND
    assert sources(frames("./sub/")) == ["sub/deep/really.heic", "sub/f.png"]


def test_a_zip(tmp_path, monkeypatch):
    zipfile_class = zipfile.ZipFile
    write_zip(tmp_path / "in.zip", dict(reversed(MIXED.items())), zipfile.ZIP_DEFLATED)
    found = frames(tmp_path / "in.zip")
    assert sources(found) == [f"{tmp_path}/in.zip/{name}" for name in FOUND]
    assert (found.total, found.skipped, errors(found)) == (len(FOUND), SKIPPED, [None] * len(FOUND))
    opened = []
    with monkeypatch.context() as patched:
        patched.setattr(listing.zipfile, "ZipFile", lambda path: opened.append(path) or zipfile_class(path))
        again = frames(sources(found))
        assert (sources(again), errors(again)) == (sources(found), errors(found))
    assert [str(path) for path in opened] == [f"{tmp_path}/in.zip"]  # once for all members
    (tmp_path / "in.zip").rename(tmp_path / "bare")
    assert sources(frames(tmp_path / "bare")) == [f"{tmp_path}/bare/{name}" for name in FOUND]


@pytest.mark.usefixtures("no_films")
@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.JPG", ["a.JPG"]),
        ("[ac].*", ["a.JPG", "c.jpe"]),
        ("?", ["d"]),
        ("s*", ["sub/deep/really.heic", "sub/f.png"]),
        ("**", FOUND),
        ("**/*.png", ["sub/f.png"]),
        ("sub/**/*", ["sub/deep/really.heic", "sub/f.png"]),
        ("**/deep/**", ["sub/deep/really.heic"]),
        ("*/*.png", ["sub/f.png"]),
    ],
)
def test_a_pattern(tmp_path, monkeypatch, pattern, names):
    write_tree(tmp_path, MIXED)
    assert sources(frames(f"{tmp_path}/{pattern}")) == [f"{tmp_path}/{name}" for name in names]
    monkeypatch.chdir(tmp_path)
    assert sources(frames(pattern)) == names


def test_names_in_a_zip_that_are_utf_8_without_saying_so(tmp_path):
    write_zip(tmp_path / "z.zip", {"José/café.png": PNG, "plain.png": PNG})
    content = (tmp_path / "z.zip").read_bytes()
    flag = zipfile.ZipFile(tmp_path / "z.zip").getinfo("José/café.png").flag_bits
    assert flag & 0x800
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):  # take the flag out of both headers
        at = content.index(mark)
        place = at + (6 if mark[2] == 3 else 8)
        content = content[: place + 1] + bytes([content[place + 1] & ~0x08]) + content[place + 2 :]
    (tmp_path / "z.zip").write_bytes(content)
    found = frames(tmp_path / "z.zip")
    assert [one.source.removeprefix(f"{tmp_path}/") for one in found] == [
        "z.zip/José/café.png",
        "z.zip/plain.png",
    ]
    assert [one.error for one in found] == [None, None]
    (alone,) = frames(str(tmp_path / "z.zip" / "José" / "café.png"))
    assert alone.error is None


@pytest.mark.usefixtures("no_films")
def test_a_pattern_counts_what_it_passes_over_and_a_name_may_look_like_one(tmp_path):
    write_tree(tmp_path, MIXED | {"x[1].png": PNG})
    assert frames(f"{tmp_path}/[d-m]*").skipped == {"video": 2, "text": 1, "model": 1, "table": 1, "heic": 2}
    assert errors(frames(f"{tmp_path}/x[1].png")) == [None]


@pytest.mark.usefixtures("no_films")
@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("empty", "the folder {}: expected files such as .jpg or .png, found nothing"),
        ("films", "the folder {}: expected files such as .jpg or .png, found 2 videos, 1 text"),
        ("films.zip", "the zip {}: expected files such as .jpg or .png, found 2 videos, 1 text"),
        ("*.jpg", "the pattern {}: expected files such as .jpg or .png, found nothing"),
        ("films/*.m*", "the pattern {}: expected files such as .jpg or .png, found 2 videos"),
    ],
)
def test_without_a_picture_the_error_says_what_lies_there(tmp_path, name, held):
    films = {"a.mp4": b"", "b.mov": b"", "c.txt": b""}
    (tmp_path / "empty").mkdir()
    write_tree(tmp_path / "films", films)
    write_zip(tmp_path / "films.zip", films)
    with pytest.raises(ConfigError) as error:
        frames(f"{tmp_path}/{name}")
    text, _, hint = str(error.value).partition("; to read videos: ")
    assert text == "no pictures in " + held.format(f"{tmp_path}/{name}")
    assert ("[video]" in hint) == ("videos" in held and "zip" not in name)


def test_links_are_followed_but_no_circles(tmp_path):
    write_tree(tmp_path, {"in/a.png": PNG, "in/sub/b.png": PNG, "elsewhere/c.png": PNG})
    (tmp_path / "in/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/sub/up").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "in")
    (tmp_path / "in/gone.png").symlink_to(tmp_path / "nowhere")
    names = ["a.png", "gone.png", "linked/c.png", "sub/b.png"]
    for found in (frames(tmp_path / "in"), frames(f"{tmp_path}/in/**")):
        assert sources(found) == [str(tmp_path / "in" / name) for name in names]
        assert [bool(error) for error in errors(found)] == [False, True, False, False]


def test_an_unreadable_folder_is_a_frame_in_its_place(tmp_path, monkeypatch):
    write_tree(tmp_path, {"a.png": PNG, "closed/b.png": PNG, "z.png": PNG})
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert errors(frames(tmp_path)) == [
        None,
        f"cannot read the folder {tmp_path}/closed: Permission denied",
        None,
    ]


def test_results_of_an_earlier_run_are_no_photos(tmp_path):
    write_tree(
        tmp_path / "in",
        dict.fromkeys(("a.png", "a.faces.jpg", "out/b.faces.jpg", "out/crops/c.png", "sub/d.png"), PNG),
    )

    def found(source: Path | str, skip: Path | list[Path] | None) -> tuple[list[str], dict[str, int]]:
        got = frames(source, skip=skip)
        return [str(Path(name).relative_to(tmp_path / "in")) for name in sources(got)], got.skipped

    inside, out = tmp_path / "in", tmp_path / "in/out"
    assert found(inside, None) == (
        ["a.faces.jpg", "a.png", "out/b.faces.jpg", "out/crops/c.png", "sub/d.png"],
        {},
    )
    assert found(inside, out) == (["a.faces.jpg", "a.png", "sub/d.png"], {"result": 2})
    assert found(f"{inside}/*", out) == (["a.faces.jpg", "a.png", "sub/d.png"], {"result": 2})
    assert found(inside, inside) == (
        ["a.png", "out/b.faces.jpg", "out/crops/c.png", "sub/d.png"],
        {"result": 1},
    )
    assert found(f"{inside}/*.*", inside) == (["a.png"], {"result": 1})
    assert found(out, out) == (["out/crops/c.png"], {"result": 1})
    crops = out / "crops"
    assert found(inside, [crops]) == (["a.faces.jpg", "a.png", "out/b.faces.jpg", "sub/d.png"], {"result": 1})
    assert found(f"{inside}/**/*.png", [inside, crops]) == (["a.png", "sub/d.png"], {"result": 1})
    (inside / "a.face12.png").write_bytes(PNG)
    assert found(inside, [out, inside]) == (["a.png", "sub/d.png"], {"result": 4})


MARKS = {
    "predictions.jsonl": b'{"source": "a.png", "index": 0}\n',
    "predictions.json": b'{\n  "schema": "mien.predictions/2",\n  "images": []\n}\n',
    "explanations.jsonl": b"",  # killed before the first line
}


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("outside", [False, True], ids=["no output", "another output"])
def test_a_folder_shows_that_it_holds_results_whatever_this_run_writes(tmp_path, monkeypatch, mark, outside):
    monkeypatch.chdir(tmp_path)
    photos = ("a.png", "b.face1.png", "seen/own.png")
    results = ("seen/a.faces.jpg", "seen/a.explained.png", "seen/old/a.face12.png", "crops/a.face1.png")
    write_tree(tmp_path, dict.fromkeys((*photos, *results), PNG) | {f"seen/{mark}": MARKS[mark]})
    write_tree(
        tmp_path, {"crops/.predictions.jsonl": MARKS["predictions.jsonl"], "seen/a.timeline.csv": b"x"}
    )
    skip = tmp_path / "elsewhere" if outside else None

    def found(source: object) -> tuple[list[str], int]:
        got = frames(source, skip=skip)
        return sources(got), got.skipped.get("result", 0)

    for source in (".", "**/*", "*"):
        assert found(source) == (["a.png", "b.face1.png", "seen/own.png"], 5), source
    assert found("**/*.png") == (["a.png", "b.face1.png", "seen/own.png"], 3)
    assert found("*/*.png") == (["seen/own.png"], 2)
    assert found(tmp_path) == ([str(tmp_path / name) for name in photos], 5)
    assert found("seen") == (["seen/own.png"], 4)
    assert found("seen/a.faces.jpg") == (["seen/a.faces.jpg"], 0), "a file that is named is read"


def test_a_folder_of_results_that_is_named_is_read_if_it_holds_no_photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mark = MARKS["predictions.jsonl"]
    write_tree(tmp_path, {"seen/predictions.jsonl": mark, "seen/crops/.predictions.jsonl": mark})
    write_tree(tmp_path, dict.fromkeys(("seen/a.faces.jpg", "seen/crops/a.face1.png"), PNG))
    write_tree(tmp_path, {"seen/a.timeline.csv": b"x"})
    for source in ("seen", "seen/*", str(tmp_path / "seen")):
        got = frames(source)
        assert [Path(name).name for name in sources(got)] == ["a.faces.jpg"], source
        assert got.skipped == {"table": 2, "result": 1}, source
    for source in ("seen/crops", "seen/crops/*.png"):
        assert sources(frames(source)) == ["seen/crops/a.face1.png"]
    for source, skip in ((".", None), ("seen/crops", "seen/crops")):
        with pytest.raises(
            ConfigError, match=r"found .*results? of an earlier run.*; to read results, name their"
        ):
            frames(source, skip=skip)


def test_a_table_of_another_program_makes_no_folder_of_results(tmp_path):
    write_tree(
        tmp_path, {"a/x.faces.jpg": PNG, "a/predictions.jsonl": b'{"id": 3}\n', "a/predictions.json": b"[]"}
    )
    assert sources(frames(tmp_path)) == [str(tmp_path / "a" / "x.faces.jpg")]


@pytest.mark.parametrize("name", ["pipe.jpg", "pipe"])
def test_pipes_and_devices_are_not_waited_for(tmp_path, name):
    write_tree(tmp_path, {"a.png": PNG})
    os.mkfifo(tmp_path / name)
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    message = "{} is a pipe or a device, expected a picture file; for bytes on stdin, use -"
    assert errors(frames(tmp_path / name)) == [message.format(tmp_path / name)]
    assert errors(frames(tmp_path / "endless.jpg")) == [message.format(tmp_path / "endless.jpg")]
    expected = [None, True, True] if name == "pipe.jpg" else [None, True]
    assert [error and True for error in errors(frames(tmp_path))] == expected


def zip_bytes(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.png", content)
    return out.getvalue()


def encrypted(data: bytes, which: int) -> bytes:
    """Set the flag of encryption in the directory's entry number `which`."""
    at = -1
    for _ in range(which + 1):
        at = data.index(b"PK\1\2", at + 1)
    return data[: at + 8] + b"\1" + data[at + 9 :]


def test_a_zip_that_is_damaged_or_encrypted_is_one_broken_frame(tmp_path):
    whole = zip_bytes(a=PNG, b=PNG)
    path = tmp_path / "x.zip"
    for data, message in [
        (b"", f"cannot read the zip {path}: damaged or not complete (File is not a zip file)"),
        (whole[:-30], f"cannot read the zip {path}: damaged or not complete (File is not a zip file)"),
        (
            encrypted(encrypted(whole, 0), 1),
            f"{path} is encrypted: unpack it, then give the folder",
        ),
    ]:
        path.write_bytes(data)
        found = frames(path)
        assert (sources(found), errors(found)) == ([str(path)], [message])
    (tmp_path / "gone.zip").symlink_to("nowhere")
    assert errors(frames(tmp_path / "gone.zip")) == [
        f"cannot read the zip {tmp_path}/gone.zip: No such file or directory"
    ]


def test_members_that_cannot_be_read_are_broken_frames(tmp_path, monkeypatch):
    path = tmp_path / "x.zip"
    path.write_bytes(encrypted(zip_bytes(a=PNG, b=PNG), 1))
    assert errors(frames(path)) == [None, f"{path}/b.png is encrypted: unpack it first"]

    data = bytearray(zip_bytes(a=PNG, b=PNG))
    data[60] ^= 255  # a byte of the first member, whose header ends at 35
    path.write_bytes(bytes(data))
    first, second = errors(frames(path))
    assert first.startswith(f"cannot read {path}/a.png: damaged or not complete (")
    assert second is None

    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.png", PNG)
    assert errors(frames(path)) == [f"{path}/a.png is compressed by a method not read here: use deflate"]
    assert errors(frames(f"{path}/none.png")) == [
        f"cannot read {path}/none.png: the zip {path} has no such member"
    ]

    path.write_bytes(zip_bytes(a=PNG, b=PNG + bytes(9)))
    monkeypatch.setattr(images, "FILE_LIMIT_BYTES", len(PNG))
    assert errors(frames(path)) == [
        None,
        f"{path}/b.png is over the limit of {len(PNG)} bytes for a picture file",
    ]
    monkeypatch.setattr(listing, "MEMBER_LIMIT", 1)
    assert errors(frames(path)) == [f"{path} holds over 1 files: unpack it, then give the folder"]


def test_a_member_that_unpacks_to_more_than_it_says_is_stopped(tmp_path):
    data = bytearray(zip_bytes(a=bytes(5_000_000)))
    at = data.index(b"PK\1\2")
    data[at + 24 : at + 28] = (100).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(bytes(data))
    with pytest.raises(ImageError, match="damaged or not complete"):
        listing.Archive(str(tmp_path / "x.zip")).read("a.png")


def test_names_that_lead_out_of_a_zip_lead_nowhere(tmp_path):
    write_zip(tmp_path / "x.zip", {"../../up.png": PNG, "/etc/root.png": PNG, "a\\b.png": PNG})
    (tmp_path / "up.png").write_bytes(b"not this one")
    found = frames(tmp_path / "x.zip")
    assert errors(found) == [None] * found.total
    assert errors(frames(sources(found))) == [None] * found.total


GREYS = [10, 90, 170, 250]
LEVELS = [np.full((5, 7, 3), grey, np.uint8) for grey in GREYS]


def buffer_of_pixels(folder):
    buffer = np.zeros((5, 7, 3), np.uint8)
    for level in LEVELS:
        buffer[:] = level
        yield buffer


def buffer_of_bytes(folder, kind=bytearray):
    pictures = [encoded(level, "BMP") for level in LEVELS]
    buffer = bytearray(len(pictures[0]))
    for picture in pictures:
        buffer[:] = picture
        yield kind(buffer) if kind is memoryview else buffer


def one_pil_image(folder):
    image = Image.new("RGB", (7, 5))
    for grey in GREYS:
        image.paste((grey,) * 3, (0, 0, 7, 5))
        yield image


def pages(folder):
    first, *rest = map(Image.fromarray, LEVELS)
    first.save(out := io.BytesIO(), "TIFF", save_all=True, append_images=rest)
    return ImageSequence.Iterator(Image.open(out))


def opened_and_closed(folder, opened=Image.open):
    for level in LEVELS:
        (folder / "x.png").write_bytes(encoded(level))
        with opened(folder / "x.png") as image:
            yield image


def one_path(folder, make=str):
    for level in LEVELS:
        (folder / "x.png").write_bytes(encoded(level))
        yield make(folder / "x.png")
        (folder / "x.png").unlink()


def one_folder(folder):
    for level in LEVELS:
        write_tree(folder / "in", {"x.png": encoded(level)})
        yield folder / "in"
        (folder / "in/x.png").unlink()


def one_zip(folder):
    for level in LEVELS:
        write_zip(folder / "x.zip", {"x.png": encoded(level)})
        yield folder / "x.zip" if level is LEVELS[0] else frames(folder / "x.zip")
        (folder / "x.zip").unlink()


def one_animation(folder):
    for first, second in (LEVELS[:2], LEVELS[2:]):
        one, other = (Image.fromarray(level).quantize() for level in (first, second))
        one.save(folder / "x.gif", save_all=True, append_images=[other])
        yield folder / "x.gif"
        (folder / "x.gif").unlink()


class Reader:
    """A reader of videos or a loader of batches: it has a length, but holds none of its images."""

    def __init__(self, folder):
        self.folder = folder

    def __len__(self):
        return len(LEVELS)

    def __iter__(self):
        return buffer_of_pixels(self.folder)


PASSING = {
    "reader with a length": Reader,
    "array": buffer_of_pixels,
    "grey array": lambda folder: (buffer[..., 0] for buffer in buffer_of_pixels(folder)),
    "list of arrays": lambda folder: ([buffer] for buffer in buffer_of_pixels(folder)),
    "iterator of iterators": lambda folder: (iter([buffer]) for buffer in buffer_of_pixels(folder)),
    "bytearray": buffer_of_bytes,
    "memoryview": lambda folder: buffer_of_bytes(folder, memoryview),
    "PIL image": one_pil_image,
    "pages": pages,
    "PIL image, closed": opened_and_closed,
    "file object, closed": lambda folder: opened_and_closed(folder, lambda path: path.open("rb")),
    "path": lambda folder: one_path(folder, Path),
    "path as text": one_path,
    "frame": lambda folder: one_path(folder, lambda path: Frame(str(path))),
    "odd name": lambda folder: one_path(folder / os.fsdecode(b"\xff"), str),
    "folder": one_folder,
    "zip": one_zip,
    "animation": one_animation,
}


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize("workers", [1, 3])
def test_what_an_iterator_gives_is_taken_over_before_it_goes_on(tmp_path, kind, workers):
    (tmp_path / os.fsdecode(b"\xff")).mkdir()
    waiting = list(ordered(lambda frame: frame, frames(PASSING[kind](tmp_path)), workers))
    assert [frame.error for frame in waiting] == [None] * 4
    assert [int(frame.image_rgb_u8[2, 3, 0]) for frame in waiting] == GREYS
    assert {frame.image_rgb_u8.shape for frame in waiting} == {(5, 7, 3)}


def test_of_an_iterators_files_no_content_is_kept_once_it_is_decoded(tmp_path):
    frame, *_ = list(frames(one_path(tmp_path)))
    assert frame.error is None
    gone = f"cannot read {tmp_path}/x.png: No such file or directory"
    assert [replace(frame).error, pickle.loads(pickle.dumps(frame)).error] == [gone, gone]
    (tmp_path / "x.png").write_bytes(PNG)
    assert (replace(frame).image_rgb_u8 == RGB).all()
    assert errors(frames(iter([tmp_path / "none.png", RGB / 255, PNG])))[2] is None
    assert errors(frames(iter([tmp_path / "none.png"]))) == [
        f"cannot read {tmp_path}/none.png: No such file or directory"
    ]


@pytest.mark.parametrize("make", [np.array, Image.fromarray])
def test_an_image_in_memory_is_copied_and_a_changed_one_is_not_read_again(make):
    given = make(RGB)
    (frame,) = frames(given)
    kept = frame.image_rgb_u8
    assert (replace(frame).image_rgb_u8 == RGB).all()
    given.paste(0, (0, 0, 7, 5)) if isinstance(given, Image.Image) else given.fill(0)
    assert (kept == RGB).all()
    assert replace(frame).error == "the image in memory was changed after it was read: give a copy of it"


def several(kind: str) -> Image.Image:
    first, *rest = map(Image.fromarray, LEVELS[:3])
    lossless = {"lossless": True} if kind == "WEBP" else {}
    first.save(out := io.BytesIO(), kind, save_all=True, append_images=rest, **lossless)
    return Image.open(out)


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "AVIF", "GIF", "WEBP"])
def test_of_a_pil_image_of_several_pictures_none_is_chosen_in_silence(kind):
    told = (
        f"3 pictures in one file ({kind}): give PIL.ImageSequence.Iterator(image) for all, or "
        "image.copy() for this one"
    )
    image = several(kind)
    assert errors(frames(image)) == [told]
    assert errors(frames([image, image.copy()])) == [told, None]
    assert (
        errors(frames(list(ImageSequence.Iterator(image)))) == [told] * 3
    )  # one object, at its last picture


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "AVIF", "GIF", "WEBP"])
def test_an_iterator_over_the_pictures_of_a_pil_image_gives_each(kind):
    def greys(found: Frames) -> list[int]:
        return [round(float(frame.image_rgb_u8.mean()), -1) for frame in found]

    assert greys(frames(ImageSequence.Iterator(several(kind)))) == [10, 90, 170]
    assert greys(frames(page for page in ImageSequence.Iterator(several(kind)))) == [10, 90, 170]
    every_second = (page for n, page in enumerate(ImageSequence.Iterator(several(kind))) if n % 2 == 0)
    assert greys(frames(every_second)) == [10, 170]


@pytest.mark.parametrize("closes", [False, True])
def test_an_iterator_that_gives_only_the_first_of_several_pictures_is_told(closes):
    def opened():
        for _ in range(2):
            image = several("TIFF")
            yield image
            if closes:
                image.close()
        yield LEVELS[0]

    told = "3 pictures in one file (TIFF), of which only the first was given: to give all, "
    assert errors(frames(opened())) == [None, f"{told}PIL.ImageSequence.Iterator(image)"] * 2 + [None]
    assert errors(frames(iter([several("GIF")])))[1:] == [
        f"{told.replace('TIFF', 'GIF')}PIL.ImageSequence.Iterator(image)"
    ]
    assert errors(frames(iter([Image.fromarray(RGB), Image.open(io.BytesIO(PNG[:60]))])))[0] is None
