"""Decoding whatever comes: right pixels, or one clear error."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mien.errors import ImageError
from mien.vision import images

RGB = np.zeros((5, 7, 3), np.uint8)
RGB[0, :3] = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_keep_every_pixel(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert (images.decode(encoded(Image.fromarray(RGB), kind, **options)) == RGB).all()


@pytest.mark.parametrize(("orientation", "turned"), [(1, RGB), (3, RGB[::-1, ::-1]), (6, np.rot90(RGB, -1))])
def test_exif_orientation_is_applied(orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert (images.decode(encoded(Image.fromarray(RGB), "PNG", exif=exif)) == turned).all()


def test_transparency_becomes_white():
    layer = np.dstack([RGB, np.zeros((5, 7), np.uint8)])
    layer[0, 0, 3] = 255
    out = images.decode(encoded(Image.fromarray(layer), "PNG"))
    assert out[0, 0].tolist() == [255, 0, 0]
    assert (out[1:] == 255).all()


def test_sixteen_bits_become_eight():
    grey = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)
    out = images.decode(encoded(Image.fromarray(grey), "PNG"))
    assert out[..., 0].tolist() == [[0, 0, 1], [128, 255, 255]]


def test_palette_grey_bilevel_and_cmyk():
    picture = Image.fromarray(np.full((3, 5, 3), (200, 30, 30), np.uint8))
    assert (
        np.abs(images.decode(encoded(picture.convert("P"), "PNG"))[0, 0].astype(int) - (200, 30, 30)).max()
        < 30
    )
    assert (
        np.abs(
            images.decode(encoded(picture.convert("CMYK"), "JPEG"))[0, 0].astype(int) - (200, 30, 30)
        ).max()
        < 12
    )
    assert (
        images.decode(encoded(Image.new("1", (5, 3), 1), "PNG")).tolist() == np.full((3, 5, 3), 255).tolist()
    )
    grey = encoded(Image.new("L", (5, 3), 77), "PNG")
    assert images.decode(grey).tolist() == np.full((3, 5, 3), 77).tolist()
    assert images.decode_dataset_image(grey).shape == (3, 5, 1)


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_a_picture_over_the_limit_is_refused_by_its_header():
    for width in (12_000, 90_000):  # Pillow itself would warn of the first and refuse the second
        data = png_header(width, 8_000) + b"\0\0\0\0IDAT" + bytes(8)
        with pytest.raises(
            ImageError, match=f"picture of {width}x8000 pixels is over the limit of 64,000,000"
        ):
            images.decode(data)
    with pytest.raises(ImageError, match="over the limit of 34 pixels"):
        images.decode(encoded(Image.fromarray(RGB), "PNG"), pixel_limit=34)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a picture, got an empty file"),
        (b"hello, this is no picture", "not a picture in a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture in a known format"),
        (encoded(Image.fromarray(np.tile(RGB, (30, 30, 1))), "JPEG")[:700], "damaged or truncated"),
        (encoded(Image.fromarray(np.tile(RGB, (30, 30, 1))), "PNG")[:90], "damaged or truncated"),
    ],
)
def test_what_is_no_picture_is_refused(data, message):
    with pytest.raises(ImageError, match=message):
        images.decode(data)


def test_a_missing_file(tmp_path):
    with pytest.raises(ImageError, match=r"cannot read .*none\.jpg: No such file"):
        images.read(tmp_path / "none.jpg")


_SEEDS = [encoded(Image.fromarray(RGB), kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(_SEEDS), st.data())
def test_damaged_files_never_do_worse_than_an_error(seed, data):
    raw = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert images.decode(bytes(raw)).dtype == np.uint8
    except ImageError:
        pass


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "FILE_LIMIT_BYTES", 1000)
    (tmp_path / "x.jpg").write_bytes(bytes(1001))
    with pytest.raises(ImageError, match=r"x\.jpg is over the limit of 1,000 bytes for a picture file"):
        images.read(tmp_path / "x.jpg")


def test_encode_then_decode():
    flat = np.full((11, 17, 3), (200, 100, 50), np.uint8)
    assert np.abs(images.decode(images.encode_jpeg(flat)).astype(int) - flat).max() <= 3


def test_a_side_too_long_for_jpeg_is_shrunk():
    out = images.decode(images.encode_jpeg(np.full((4, 70_000, 3), 99, np.uint8)))
    assert out.shape[1] == 65_500
