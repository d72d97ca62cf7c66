"""Decoding whatever comes: right pixels, or one clear error."""

from __future__ import annotations

import io
import os
import struct
import threading
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mien.errors import ImageError, MienWarning
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


TURNED = {
    0: RGB,
    1: RGB,
    2: RGB[:, ::-1],
    3: RGB[::-1, ::-1],
    4: RGB[::-1],
    5: RGB.transpose(1, 0, 2),
    6: np.rot90(RGB, -1),
    7: np.rot90(RGB, 2).transpose(1, 0, 2),
    8: np.rot90(RGB),
    9: RGB,
}


def exif_of(orientation: int, order: str = "<", kind: int = 3, *, odd: bool = False) -> bytes:
    """Return EXIF that holds an orientation; an `odd` one also an entry that lies outside the file."""
    entries = [struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)]
    if kind == 4:
        entries = [struct.pack(f"{order}HHII", 0x0112, 4, 1, orientation)]
    if odd:
        entries = [struct.pack(f"{order}HHII", 0x010F, 2, 1000, 5000), *entries]
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}IH", 8, len(entries))
    return b"Exif\0\0" + head + b"".join(entries) + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize(("orientation", "turned"), TURNED.items())
def test_exif_orientation_is_applied(orientation, turned, order, kind):
    exif = exif_of(orientation, order, kind)
    assert (images.decode(encoded(Image.fromarray(RGB), "PNG", exif=exif)) == turned).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_format_is_turned(kind):
    options = {"exif": exif_of(6)}
    if kind == "TIFF":
        tags = Image.Exif()
        tags[0x0112] = 6
        options = {"exif": tags}
    assert images.decode(encoded(Image.fromarray(RGB), kind, **options)).shape == (7, 5, 3)


def png_with(chunk: bytes, content: bytes) -> bytes:
    """Return `RGB` as a PNG that has one more chunk before its pixels."""
    png = encoded(Image.fromarray(RGB), "PNG")
    crc = struct.pack(">I", zlib.crc32(chunk + content))
    return png[:33] + struct.pack(">I", len(content)) + chunk + content + crc + png[33:]


def test_orientation_outside_exif_is_applied():
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    as_text = png_with(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    as_profile = png_with(b"tEXt", b"Raw profile type exif\0\nexif\n 32\n" + exif_of(6).hex().encode())
    in_jpeg = encoded(Image.fromarray(RGB), "JPEG", xmp=xmp)
    both = encoded(Image.fromarray(RGB), "JPEG", xmp=xmp, exif=exif_of(1))
    assert (images.decode(as_text) == TURNED[6]).all()
    assert (images.decode(as_profile) == TURNED[6]).all()
    assert images.decode(in_jpeg).shape == (7, 5, 3)
    assert images.decode(both).shape == (5, 7, 3)
    damaged = png_with(b"tEXt", b"Raw profile type exif\0\nexif\n 12\nno hex digits\n")
    assert (images.decode(damaged) == RGB).all()


@pytest.mark.parametrize("cut", range(6, 33))
def test_cut_exif_turns_nothing_or_rightly(cut):
    out = images.decode(encoded(Image.fromarray(RGB), "PNG", exif=exif_of(3)[:cut]))
    assert (out == (TURNED[3] if cut >= 26 else RGB)).all()


def test_odd_files_warn_nobody_even_in_threads_and_no_filter_changes():
    with pytest.warns(UserWarning, match="larger than file"):
        Image.open(io.BytesIO(encoded(Image.fromarray(RGB), "PNG", exif=exif_of(6, odd=True)))).getexif()
    pictures = [
        encoded(Image.fromarray(RGB), kind, exif=exif_of(6, odd=True)) for kind in ("JPEG", "PNG", "WEBP")
    ]
    jpeg = encoded(Image.fromarray(RGB.transpose(1, 0, 2)), "JPEG")
    not_several = b"MPF\0II*\0\x08\0\0\0" + bytes(12)
    pictures.append(jpeg[:2] + b"\xff\xe2" + struct.pack(">H", 2 + len(not_several)) + not_several + jpeg[2:])
    palette = encoded(
        Image.fromarray(RGB).rotate(90, expand=True).convert("P"), "PNG", transparency=bytes(99)
    )
    filters, before = warnings.filters, list(warnings.filters)
    seen, stop = set(), threading.Event()

    def watch():
        while not stop.is_set():
            seen.add(id(warnings.filters))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            shapes = set(pool.map(lambda data: images.decode(data).shape, [*pictures, palette] * 20))
    finally:
        stop.set()
        watcher.join()
    assert shapes == {(7, 5, 3)}
    assert seen == {id(filters)}
    assert warnings.filters == before


def test_transparency_becomes_white():
    layer = np.dstack([RGB, np.zeros((5, 7), np.uint8)])
    layer[0, 0, 3] = 255
    out = images.decode(encoded(Image.fromarray(layer), "PNG"))
    assert out[0, 0].tolist() == [255, 0, 0]
    assert (out[1:] == 255).all()


FULL = np.array([[0, 255, 256], [32768, 65280, 65535]], np.uint16)
EIGHT = [[0, 0, 1], [128, 255, 255]]
DEEP = {
    "PNG": lambda grey: encoded(Image.fromarray(grey), "PNG"),
    "PNG, transparent": lambda grey: png16(4, np.dstack([grey, np.full_like(grey, 65535)])),
    "PNG, colour": lambda grey: png16(2, np.dstack([grey] * 3)),
    "PNG, colour and transparent": lambda grey: png16(6, np.dstack([grey] * 3 + [np.full_like(grey, 65535)])),
    "TIFF": lambda grey: encoded(Image.fromarray(grey), "TIFF"),
    "TIFF, compressed": lambda grey: encoded(Image.fromarray(grey), "TIFF", compression="tiff_lzw"),
    "TIFF, colour": lambda grey: tiff16(np.dstack([grey] * 3), photometric=2),
    "PGM": lambda grey: b"P5 3 2 65535\n" + grey.astype(">u2").tobytes(),
    "PPM": lambda grey: b"P6 3 2 65535\n" + np.dstack([grey] * 3).astype(">u2").tobytes(),
}


def png16(colour_type: int, pixels: np.ndarray) -> bytes:
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks.items()
    )


def tiff16(pixels: np.ndarray, photometric: int, planar: int = 1) -> bytes:
    """Return a TIFF of 16 bits a channel, in one strip or, if planar is 2, in one strip a channel."""
    height, width, channels = pixels.shape
    strips = [pixels[..., c] for c in range(channels)] if planar == 2 else [pixels]
    size = width * height * (1 if planar == 2 else channels) * 2
    pixels_at = 10 + 12 * 10 + 4
    tables_at = pixels_at + size * len(strips)
    bits = struct.pack(f"<{channels}H", *[16] * channels)
    offsets = struct.pack(f"<{len(strips)}I", *(pixels_at + size * n for n in range(len(strips))))
    sizes = struct.pack(f"<{len(strips)}I", *[size] * len(strips))
    several = len(strips) > 1
    entries = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, tables_at if channels > 2 else 16),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, len(strips), tables_at + len(bits) if several else pixels_at),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, len(strips), tables_at + len(bits) + len(offsets) if several else size),
        (284, 3, 1, planar),
    ]
    directory = struct.pack("<H", 10) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    data = b"".join(np.ascontiguousarray(strip, "<u2").tobytes() for strip in strips)
    return b"II*\0\x08\0\0\0" + directory + bytes(4) + data + bits + offsets + sizes


@pytest.mark.parametrize("name", DEEP)
def test_sixteen_bits_become_eight(name):
    out = images.decode(DEEP[name](FULL)).astype(int)
    assert np.abs(out - np.array(EIGHT)[..., None]).max() <= (name == "PPM")  # Pillow rounds there


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize(("bits", "most"), [(8, 255), (10, 1023), (12, 4095), (14, 16383)])
def test_fewer_bits_saved_as_sixteen_are_refused(name, bits, most):
    with pytest.raises(
        ImageError, match=r"16-bit pixels, none of which is above .* of 65,535: .*save as 8 bits"
    ):
        images.decode(DEEP[name](np.minimum(FULL, 256 * 63 + 255) if bits == 14 else FULL >> (16 - bits)))


def test_a_quarter_of_the_range_is_enough():
    grey = np.full((3, 5), 65 * 256, np.uint16)
    assert (images.decode(encoded(Image.fromarray(grey), "PNG")) == 65).all()
    assert (images.from_pil(Image.fromarray(grey)) == 65).all()
    with pytest.raises(ImageError, match=r"none of which is above 16,639 of 65,535"):
        images.from_pil(Image.fromarray(grey - 1))


def test_formats_that_state_their_range_may_be_dark():
    dark = np.full((64, 64), 600, np.uint16)
    assert (images.decode(encoded(Image.fromarray(dark), "JPEG2000")) == 2).all()
    assert images.decode(b"P5 2 1 1023\n\0\0\0\x05").tolist() == [[[0, 0, 0], [1, 1, 1]]]


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            np.array([[0, 200]], np.int32),
            "32-bit integers of unknown range: scale them to 0-255, save as 8 bits",
        ),
        (
            np.array([[0, 200]], np.float32),
            "floats from 0 to 200, expected 0 to 1: scale them or save as 8 bits",
        ),
        (np.array([[-0.1, 1]], np.float32), "floats from -0.1 to 1, expected 0 to 1"),
        (np.array([[np.nan, 1]], np.float32), "floats from nan to nan, expected 0 to 1"),
    ],
)
def test_pixels_of_uncertain_range_are_refused(pixels, message):
    with pytest.raises(ImageError, match=message):
        images.decode(encoded(Image.fromarray(pixels), "TIFF"))


def test_floats_from_zero_to_one():
    grey = np.array([[0, 0.5, 1.0005]], np.float32)  # a little more, as after resizing
    assert images.decode(encoded(Image.fromarray(grey), "TIFF"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    "data",
    [tiff16(FULL[..., None], photometric=0), tiff16(np.dstack([FULL] * 3), photometric=2, planar=2)],
    ids=["inverted", "planar"],
)
def test_layouts_of_tiff_that_pillow_misreads_are_refused(data):
    Image.open(io.BytesIO(data)).load()
    with pytest.raises(
        ImageError, match="16-bit TIFF with inverted grey or separate planes: save it as 8 bits"
    ):
        images.decode(data)


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


def test_a_tile_of_a_tiff_over_the_limit_is_not_unpacked():
    """A picture of one pixel may lie in a tile of billions."""
    tags = {
        256: 1,
        257: 1,
        258: 8,
        259: 8,
        262: 1,
        277: 1,
        322: 30_000,
        323: 30_000,
        324: 8 + 2 + 120 + 4,
        325: 8,
    }
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(4) + zlib.compress(b"")
    with pytest.raises(ImageError, match="TIFF in tiles of 30000x30000 pixels, the limit is 64,000,000"):
        images.decode(data)


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


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)


def test_heic_is_named():
    with pytest.raises(
        ImageError, match=r"HEIC is not read here, convert it to JPEG \(for example: heif-convert"
    ):
        images.decode(HEIC)


@pytest.mark.parametrize("kind", images.FORMATS)
def test_every_format_is_known_by_its_first_bytes(kind):
    data = encoded(Image.fromarray(RGB), kind)
    assert images.format_of(data[: images.HEAD_BYTES]) == kind
    assert images.decode(data).shape == RGB.shape


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (HEIC, "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "HEIC"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", None),
        (b"BMW, Porsche and other words", None),
        (b"Python", None),
        (b"P6 3 4 255\n", "PPM"),
        (b"RIFF....AVI LIST", None),
        (b"", None),
    ],
)
def test_first_bytes(head, kind):
    assert images.format_of(head) == kind


def test_suffixes_are_those_of_the_formats():
    assert {".jpg", ".jfif", ".jpe", ".png", ".tif", ".webp", ".avif", ".jp2", ".pgm"} <= images.SUFFIXES
    assert not {".eps", ".ps", ".pdf", ".mpg", ".heic", ".psd"} & images.SUFFIXES


def scans(count: int, after: bytes = b"") -> bytes:
    """Return a progressive JPEG whose last scan is repeated until it has `count` scans."""
    jpeg = encoded(Image.new("RGB", (16, 16)), "JPEG", progressive=True)
    last, own = jpeg.rindex(b"\xff\xda"), jpeg.count(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * (count - own + 1) + jpeg[-2:] + after


def test_a_jpeg_of_very_many_scans_is_refused():
    assert images.decode(scans(100)).shape == (16, 16, 3)
    with pytest.raises(ImageError, match="JPEG of more than 100 scans"):
        images.decode(scans(101))
    hidden = scans(101).replace(b"\xff\xda", b"\xff\xfe\0\x04\xff\xd9\xff\xda")  # an end inside a comment
    with pytest.raises(ImageError, match="JPEG of more than 100 scans"):
        images.decode(hidden)
    many = scans(101)
    second = many.index(b"\xff\xda", many.index(b"\xff\xda") + 2)
    masked = many[:second] + b"\xff\x01\xf0\0" + many[second:]  # a marker without a length
    with pytest.raises(ImageError, match="JPEG of more than 100 scans"):
        images.decode(masked)
    padded = scans(9).replace(b"\xff\xda", b"\xff\xfe\0\x02" * 2000 + b"\xff\xda") + b"\xff\xda" * 101
    with pytest.raises(ImageError, match="JPEG of more than 100 scans"):
        images.decode(padded)


def test_what_follows_a_jpeg_does_not_count_as_scans():
    assert images.decode(scans(20, after=b"\0\x02" + b"\xff\xda\0\x02" * 200)).shape == (16, 16, 3)
    thumbnail = b"\xff\xe1\x01\x92" + b"\xff\xda\xff\xd9" * 100
    assert images.decode(scans(20)[:2] + thumbnail + scans(20)[2:]).shape == (16, 16, 3)


def test_too_little_memory_is_no_fault_of_the_picture(monkeypatch):
    def full(self):
        raise MemoryError

    data = encoded(Image.fromarray(RGB), "PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load_prepare", full)
    with pytest.raises(MemoryError):
        images.decode(data)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile._open", full)
    with pytest.raises(MemoryError):
        images.decode(data)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_or_device_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
        with pytest.raises(ImageError, match=f"{path} is a pipe or a device, expected a picture file"):
            images.read(path)
    with pytest.raises(ImageError, match=f"cannot read {tmp_path}: Is a directory"):
        images.read(tmp_path)


def test_a_pil_image_is_read_like_its_file():
    data = encoded(Image.fromarray(RGB), "PNG", exif=exif_of(6))
    assert (images.from_pil(Image.open(io.BytesIO(data))) == images.decode(data)).all()
    layer = Image.new("RGBA", (5, 3), (255, 0, 0, 0))
    assert (images.from_pil(layer) == 255).all()
    with pytest.raises(ImageError, match="picture of 7x5 pixels is over the limit of 34 pixels"):
        images.from_pil(Image.fromarray(RGB), pixel_limit=34)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP"])
def test_a_closed_pil_image_is_not_called_damaged(kind):
    data = encoded(Image.fromarray(RGB), kind)
    closed, file = Image.open(io.BytesIO(data)), io.BytesIO(data)
    closed.close()
    loaded = Image.open(io.BytesIO(data))
    loaded.load()
    loaded.close()
    of_closed_file = Image.open(file)
    file.close()
    for image in (closed, loaded, of_closed_file):
        with pytest.raises(
            ImageError, match=r"the PIL image or its file is closed: give it .*, or image\.copy\(\)"
        ):
            images.from_pil(image)


def test_an_image_whose_with_block_is_over_is_closed_unless_it_was_loaded(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as unread:
        pass
    with Image.open(tmp_path / "x.png") as loaded:
        loaded.load()
    with pytest.raises(ImageError, match="the PIL image or its file is closed"):
        images.from_pil(unread)
    assert (images.from_pil(loaded) == RGB).all()


def test_what_pillow_does_not_read_is_not_called_damaged():
    floats = tiff16(np.dstack([FULL] * 3), photometric=2)
    sample_format = struct.pack("<HHII", 339, 3, 1, 3)  # floats, in place of the entry of the planes
    floats = floats.replace(struct.pack("<HHII", 284, 3, 1, 1), sample_format)
    with pytest.raises(
        ImageError, match=r"a kind of picture .* \(unknown pixel mode\): save it as an 8-bit PNG"
    ):
        images.decode(floats)
    with pytest.raises(ImageError, match=r"a kind of picture .*Unsupported BMP.*: save it as an 8-bit PNG"):
        images.decode(
            encoded(Image.fromarray(RGB), "BMP")[:28] + b"\x03" + encoded(Image.fromarray(RGB), "BMP")[29:]
        )


@pytest.mark.parametrize("mode", ["La", "LA", "PA", "RGBa", "RGBX", "HSV", "LAB", "YCbCr", "CMYK"])
def test_every_mode_of_pillow_is_read(mode):
    grey = Image.new("LA", (7, 5), (77, 255))
    image = grey.convert(mode) if mode in ("La", "PA") else grey.convert("RGB")
    image = image.convert("RGBA") if mode == "RGBa" else image
    image = image if image.mode == mode else image.convert(mode)
    assert np.abs(images.from_pil(image).astype(int) - 77).max() <= 2


def test_a_pil_image_that_was_turned_or_changed_is_not_turned_by_its_exif():
    """A white row at the top of the upright image; Pillow keeps the EXIF data in what it makes of an image."""
    upright = np.zeros((40, 20, 3), np.uint8)
    upright[0] = 255
    data = encoded(Image.fromarray(np.rot90(upright)), "PNG", exif=exif_of(6))

    def opened() -> Image.Image:
        return Image.open(io.BytesIO(data))

    by_hand = opened().rotate(-90, expand=True)
    assert "exif" in by_hand.info
    kept = opened()
    ImageOps.exif_transpose(kept, in_place=True)
    transposed = opened().transpose(Image.Transpose.ROTATE_270)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for image in (opened(), ImageOps.exif_transpose(opened()), kept):
            assert (images.from_pil(image) == upright).all()
    lying = [opened().copy(), opened().convert("RGB"), opened().convert("L"), opened().resize((40, 20))]
    with pytest.warns(MienWarning, match="taken as it lies, and its EXIF data say the photo is turned"):
        for image in (by_hand, transposed):
            assert (images.from_pil(image) == upright).all()
        for image in lying:
            assert (images.from_pil(image) == np.asarray(image.convert("RGB"))).all()
        assert (images.from_pil(opened().crop((0, 0, 30, 20))) == np.rot90(upright)[:, :30]).all()


def test_a_missing_file(tmp_path):
    with pytest.raises(ImageError, match=r"cannot read .*none\.jpg: No such file"):
        images.read(tmp_path / "none.jpg")


_SEEDS = [encoded(Image.fromarray(RGB), kind) for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")]


@settings(max_examples=300)
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


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "GIF", "AVIF"])
def test_of_several_pictures_in_one_file_none_is_chosen_in_silence(kind):
    first, second, smaller, other = (
        Image.new("RGB", size, shade)
        for size, shade in [((40, 30), "red"), ((40, 30), "blue"), ((11, 8), "blue"), ((9, 20), "blue")]
    )

    def held(*more: Image.Image) -> bytes:
        return encoded(first, kind, save_all=True, append_images=list(more))

    with pytest.raises(ImageError, match=rf"2 pictures in one file \({kind}\): save each as a file"):
        images.decode(held(second))
    with pytest.raises(ImageError, match=rf"2 pictures in one file \({kind}\): give PIL.ImageSequence"):
        images.from_pil(Image.open(io.BytesIO(held(second))))
    assert images.from_pil(Image.open(io.BytesIO(held()))).shape == (30, 40, 3)
    assert images.decode(held()).shape == (30, 40, 3)
    if kind == "TIFF":
        assert images.decode(held(smaller)).shape == (30, 40, 3)  # a preview
        with pytest.raises(ImageError, match="2 pictures in one file"):
            images.decode(held(other))


def test_a_preview_behind_a_picture_does_not_count_and_what_was_drawn_on_it_stays():
    first, preview = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (11, 8), "blue")
    for kind in ("TIFF", "MPO"):
        data = encoded(first, kind, save_all=True, append_images=[preview])
        image = Image.open(io.BytesIO(data))
        assert (image.n_frames, images.from_pil(image).shape) == (2, (30, 40, 3))
        image.paste((9, 9, 9), (0, 0, 40, 30))
        for _ in range(2):
            assert (images.from_pil(image) == 9).all()


def test_a_small_file_reserves_little_memory_and_one_that_grew_is_read_whole(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"x" * 1000)
    tracemalloc.start()
    assert images.read_file(path) == b"x" * 1000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    before = path.stat()
    path.write_bytes(b"y" * 5000)
    monkeypatch.setattr(Path, "stat", lambda _: before)  # as it was before the file grew
    assert images.read_file(path) == b"y" * 5000
