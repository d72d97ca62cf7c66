"""Text of any script: a font that has the characters, or their numbers; never a box for a missing glyph."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import ImageFont

from mien.vision import fonts
from mien.vision.fonts import font_for, missing_glyphs


@pytest.fixture
def installed(monkeypatch):
    """Say which font files are installed, instead of searching for them."""

    def set_fonts(*paths):
        monkeypatch.setattr(fonts, "_installed", lambda _: iter([fonts._Source(path) for path in paths]))
        fonts._choose.cache_clear()

    yield set_fonts
    fonts._choose.cache_clear()


def dejavu() -> str:
    matplotlib = pytest.importorskip("matplotlib")
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def test_latin_text_uses_the_font_inside_pillow(installed):
    installed()
    font, shown = font_for("surprise 91%", 13)
    assert (font.getname()[0], font.size, shown) == ("Aileron", 13, "surprise 91%")


def test_a_missing_glyph_is_noticed():
    font = ImageFont.load_default(24)
    assert missing_glyphs(font, frozenset("aЖ中 %")) == {"Ж", "中"}


def test_cyrillic_text_uses_an_installed_font(installed):
    installed(dejavu())
    font, shown = font_for("счастье", 17)
    assert (font.getname()[0], shown) == ("DejaVu Sans", "счастье")
    assert not missing_glyphs(font, frozenset(shown))


def test_characters_that_no_font_has_are_drawn_as_their_numbers(installed):
    installed(dejavu())
    assert font_for("高兴", 13)[1] == "U+9AD8 U+5174"
    assert font_for("счастье 中", 13)[1] == "счастье U+4E2D"  # the rest in the font that has most
    installed()
    font, shown = font_for("радость", 13)
    assert shown.startswith("U+0440 U+0430")
    assert not missing_glyphs(font, frozenset(shown))


def test_control_characters_are_drawn_as_their_numbers(installed):
    installed()
    assert font_for("hap\npy", 13)[1] == "hap U+000A py"


def test_a_damaged_font_is_passed_over(installed, tmp_path):
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    installed(str(tmp_path / "bad.ttf"), dejavu())
    assert font_for("счастье", 13)[1] == "счастье"


def test_without_fontconfig_the_usual_folders_are_searched(monkeypatch, tmp_path):
    inner = tmp_path / "fonts" / "inner"
    inner.mkdir(parents=True)
    for name in ("aaa-Bold.ttf", "DejaVuSans.ttf", "read.me"):
        (inner / name).write_bytes(Path(dejavu()).read_bytes())
    monkeypatch.setattr(fonts.shutil, "which", lambda _: None)
    monkeypatch.setattr(fonts, "find_spec", lambda _: None)
    monkeypatch.setattr(fonts, "FOLDERS", (str(tmp_path / "none"), str(tmp_path / "fonts")))
    found = [Path(source.path).name for source in fonts._installed("Ж")]
    assert found == ["DejaVuSans.ttf", "aaa-Bold.ttf"]
