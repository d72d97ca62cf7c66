"""Safe decoding and encoding: bytes of any common picture format -> RGB u8 [h, w, 3], and back.

Hostile input is expected here. The first bytes choose one of the formats that Pillow reads in-process, the size is
read from the header before a pixel is decoded, and every failure is one `ImageError`.

No warning filter is changed, because filters belong to the whole process and decoding runs in threads. Instead, the
parts of Pillow that warn are not called: its EXIF parser and its check of the size. Warnings about odd TIFF tags
remain.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from mien.errors import ConfigError, ImageError, MienWarning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Shaped, UInt8


class _Jpeg(JpegImagePlugin.JpegImageFile):
    """Pillow's JPEG reader, which otherwise parses all EXIF to find the resolution, and warns of odd ones."""

    def getexif(self) -> Image.Exif:
        return Image.Exif()


_READERS: Mapping[str, tuple[bytes, type[ImageFile]]] = {
    "JPEG": (rb"\xff\xd8\xff", _Jpeg),
    "PNG": (rb"\x89PNG\r\n\x1a\n", PngImagePlugin.PngImageFile),
    "WEBP": (rb"RIFF....WEBP", WebPImagePlugin.WebPImageFile),
    "BMP": (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", BmpImagePlugin.BmpImageFile),
    "GIF": (rb"GIF8[79]a", GifImagePlugin.GifImageFile),
    "TIFF": (rb"II[*+]\0|MM\0[*+]", TiffImagePlugin.TiffImageFile),
    "PPM": (rb"P[1-6f]\s", PpmImagePlugin.PpmImageFile),
    "AVIF": (rb"....ftyp(avi[fs]|(mif1|msf1).{0,48}avi[fs])", AvifImagePlugin.AvifImageFile),
    "JPEG2000": (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n", Jpeg2KImagePlugin.Jpeg2KImageFile),
}
"""For each format, the first bytes of a file (a regular expression), and the reader."""
FORMATS = tuple(_READERS)
SUFFIXES = frozenset(suffix for suffix, kind in Image.EXTENSION.items() if kind in FORMATS)
_FIRST_BYTES = {kind: re.compile(first, re.DOTALL) for kind, (first, _) in _READERS.items()}
_HEIC = re.compile(rb"....ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL)
HEAD_BYTES = 64
"""Number of a file's first bytes that `format_of` needs."""
HEIC_HINT = (
    "HEIC is not read here, convert it to JPEG (for example: heif-convert photo.heic photo.jpg; "
    "or, on the phone, export as JPEG)"
)

_OTHERS = {
    b"\x1f\x8b": "a file packed by gzip: unpack it",
    b"PK\x03\x04": "a zip: unpack it",
    b"%PDF": "a PDF",
    b"<!": "a web page or XML, often an error page that was saved in its place: download it again",
    b"<?xml": "XML",
    b"<html": "a web page, often an error page that was saved in its place: download it again",
    b"<svg": "an SVG drawing: save it as PNG",
    b"version https://git-lfs": "a Git LFS pointer: run git lfs pull",
    b"\x93NUMPY": "a NumPy array: give it as a dataset of arrays",
}
"""First bytes of files that are often given instead of a picture, and what they are."""

FILE_LIMIT_BYTES = 256 * 2**20
JPEG_SIDE_LIMIT_PX = 65_500
PIXEL_LIMIT = 64_000_000
"""Largest picture decoded, in pixels: 192 MB as RGB; above every phone camera's default."""
SCAN_LIMIT = 100
"""Most scans of one JPEG: progressive ones have about 10, and each scan costs a pass over the whole picture."""
DARKEST_16_BIT = 65
"""A 16-bit picture must have a value that gives this in 8 bits: 14 bits in 16, the most that is common, give 64."""

_CLOSED = re.compile("closed (image|file)")
_UNSUPPORTED = re.compile(
    "unknown (pixel mode|data organization)|[Nn]ot (yet )?supported|[Uu]nsupported|not available"
)
"""What Pillow says of a closed image, and of a picture that is whole but of a kind that it cannot read."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The turn that makes a picture upright, by its EXIF orientation."""


def format_of(head: bytes) -> str | None:
    """Return the format that a file's first `HEAD_BYTES` bytes show: one of `FORMATS`, "HEIC", or None."""
    known = (kind for kind, first in _FIRST_BYTES.items() if first.match(head))
    return next(known, "HEIC" if _HEIC.match(head) else None)


def decode(data: bytes, *, pixel_limit: int = PIXEL_LIMIT) -> UInt8[np.ndarray, "h w 3"]:
    """Decode one picture, upright by its EXIF orientation; transparency becomes white, 16 bits become 8.

    Pixels of more than 8 bits are read if their range is certain (see `_eight_bits`), else refused.

    Raises:
        ImageError: not a picture, damaged, of uncertain range, larger than `pixel_limit` pixels, or several pictures
            in one file.
    """
    return np.asarray(_decoded(data, pixel_limit, ("RGB",)))


def decode_dataset_image(data: bytes, *, pixel_limit: int = PIXEL_LIMIT) -> UInt8[np.ndarray, "h w c"]:
    """Decode like `decode`, but leave a grey picture at one channel.

    Raises:
        ImageError: as `decode`.
    """
    pixels = np.asarray(_decoded(data, pixel_limit, ("RGB", "L")))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def read(path: str | Path, *, pixel_limit: int = PIXEL_LIMIT) -> UInt8[np.ndarray, "h w 3"]:
    """Read and decode a picture file.

    ``mien.read_image("photo.jpg").shape``

    Raises:
        ImageError: it cannot be opened or decoded.
        ConfigError: it is no path.
    """
    return decode(read_file(path), pixel_limit=pixel_limit)


def read_file(path: str | Path) -> bytes:
    """Return the bytes of a picture file.

    Raises:
        ImageError: it cannot be opened, is a pipe or a device, or is larger than any picture should be.
        ConfigError: it is no path.
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(
            f"expected the path of a picture, got {type(path).__name__}: mien.frames reads bytes, files and images"
        )
    try:
        found = Path(path).stat()  # before it is opened: opening a pipe waits for its other end
        if not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode):
            raise ImageError(
                f"{path} is a pipe or a device, expected a picture file; for bytes on stdin, use -"
            )
        with Path(path).open("rb") as file:
            data = b"" if found.st_size > FILE_LIMIT_BYTES else file.read(found.st_size + 1)
            if (
                len(data) > found.st_size
            ):  # it grew; to ask for the limit at once would reserve as much memory
                data += file.read(FILE_LIMIT_BYTES)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if max(len(data), found.st_size) > FILE_LIMIT_BYTES:
        raise ImageError(f"{path} is over the limit of {FILE_LIMIT_BYTES:,} bytes for a picture file")
    return data


def from_array(array: Shaped[np.ndarray, "..."]) -> UInt8[np.ndarray, "h w 3"]:
    """Return a copy of an array's pixels: RGB u8 [h, w, 3] as it is, grey u8 [h, w] or [h, w, 1] three times.

    Raises:
        ImageError: another shape or dtype; the message says how to convert it.
    """
    shape, hint = array.shape, ""
    if array.ndim in (2, 3) and array.dtype != np.uint8:
        hint = ": scale it to 0-255, then .astype(np.uint8)"
    elif array.ndim == 3 and shape[2] == 4:
        hint = ": drop the transparency, image[..., :3]"
    elif array.ndim == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3):
        hint = ": put the channels last, image.transpose(1, 2, 0)"
    elif array.ndim == 4:
        hint = ": give a batch as a list of images, list(batch)"
    if hint or array.ndim not in (2, 3) or not array.size or (array.ndim == 3 and shape[2] not in (1, 3)):
        raise ImageError(
            f"expected pixels as uint8, RGB [h, w, 3] or grey [h, w]; got {array.dtype} {list(shape)}{hint}"
        )
    if array.ndim == 2 or shape[2] == 1:
        return np.repeat(array.reshape(*shape[:2], 1), 3, axis=2)
    return np.array(array, order="C")


def from_pil(
    image: Image.Image, *, pixel_limit: int = PIXEL_LIMIT, is_chosen: bool = False
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the RGB pixels of a PIL image, converted like those of a file.

    An image that `PIL.Image.open` returned is turned upright by its EXIF orientation, like its file. The other images
    that `rotate`, `convert`, `copy` and so on make of it are taken as they are: they keep the EXIF data of the file,
    which do not say whether the image was turned since. Where these speak of a turn, a warning says so.

    An image of several pictures shows one at a time. It is refused, so that none is left out, unless the current one
    `is_chosen`.

    Raises:
        ImageError: its file is damaged or closed, it holds several pictures, or more than `pixel_limit` pixels.
    """
    is_opened = isinstance(image, ImageFile)
    if not is_opened and _orientation(image.info) in _TURNS:
        warnings.warn(
            "a PIL image made from an opened one is taken as it lies, and its EXIF data say the photo is turned: "
            "if it is not upright, call PIL.ImageOps.exif_transpose(image) before convert, copy and so on",
            MienWarning,
            stacklevel=2,
        )
    advice = "give PIL.ImageSequence.Iterator(image) for all, or image.copy() for this one"
    return np.asarray(
        _upright(
            image,
            pixel_limit,
            ("RGB",),
            is_turned=is_opened,
            if_several="" if is_chosen else advice,
        )
    )


def from_copy(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """Return the RGB pixels of an unchanged copy of one picture of a file, turned like the file.

    Raises:
        ImageError: it is too large.
    """
    return np.asarray(_upright(image, PIXEL_LIMIT, ("RGB",)))


def check_size(resolution_wh: tuple[int, int], pixel_limit: int) -> None:
    """Refuse a picture that is too large, before its pixels are in memory.

    Raises:
        ImageError: it has more than `pixel_limit` pixels.
    """
    width, height = resolution_wh
    if width * height > pixel_limit:
        raise ImageError(f"picture of {width}x{height} pixels is over the limit of {pixel_limit:,} pixels")


def encode_jpeg(image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encode a picture as JPEG, shrunk where a side is longer than the format allows.

    Raises:
        ValueError: it has no pixels.
    """
    image = Image.fromarray(image_rgb_u8)
    image.thumbnail((JPEG_SIDE_LIMIT_PX, JPEG_SIDE_LIMIT_PX))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92)
    return out.getvalue()


def encode_png(image_u8: UInt8[np.ndarray, "h w c"], *, quick: bool = False) -> bytes:
    """Encode an RGB or grey picture as PNG; `quick` takes a small part of the time and makes a larger file.

    Raises:
        ValueError: it has no pixels.
    """
    out = io.BytesIO()
    image = Image.fromarray(image_u8[..., 0] if image_u8.shape[2] == 1 else image_u8)
    image.save(out, "PNG", optimize=not quick, compress_level=2 if quick else 6)
    return out.getvalue()


def _decoded(data: bytes, pixel_limit: int, modes: tuple[str, ...]) -> Image.Image:
    """Decode a file's content as `_upright` does."""
    if not data:
        raise ImageError("expected a picture, got an empty file")
    kind = format_of(data[:HEAD_BYTES])
    if kind == "HEIC":
        raise ImageError(HEIC_HINT)
    if kind is None:
        other = next((f", but {what}" for first, what in _OTHERS.items() if data.startswith(first)), "")
        raise ImageError(f"not a picture in a known format ({', '.join(FORMATS)}){other}")
    if kind == "JPEG" and _too_many_scans(data):
        raise ImageError(f"JPEG of more than {SCAN_LIMIT} scans: made to take long, or damaged; save it anew")
    try:
        image = _READERS[kind][1](io.BytesIO(data))
    except MemoryError:
        raise
    except Exception as error:  # Pillow's readers raise exceptions of many kinds for damaged files
        raise _as_image_error(error) from error
    return _upright(image, pixel_limit, modes, if_several="save each as a file")


def several_in(image: Image.Image) -> str:
    """Return in words how many pictures an image holds; empty if it holds one.

    Not counted are the layers of a PSD, the preview behind a photo in an MPO (a JPEG with more behind it), and in a
    TIFF a smaller second picture of the same shape, which is a preview, too.
    """
    if image.format in ("MPO", "PSD") or not getattr(image, "is_animated", False):
        return ""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        width, height = image.size
        own_width, own_height = _second_size(image)
        off = abs(own_width * height - own_height * width)  # 0 for the same shape, but for a rounded side
        if own_width < width and off <= max(width, height):
            return ""
    return f"{getattr(image, 'n_frames', 'several')} pictures in one file ({image.format})"


def _second_size(image: TiffImagePlugin.TiffImageFile) -> tuple[int, int]:
    """Return the width and height of the second picture; the image is left at its picture, with its pixels."""
    at, pixels = image.tell(), None if image.tile else image.im
    image.seek(1)
    size = image.size
    image.seek(at)
    if pixels is not None:  # else they would be read again, without what the user drew on them
        image.im, image.tile = pixels, []
    return size


def _upright(
    image: Image.Image,
    pixel_limit: int,
    modes: tuple[str, ...],
    *,
    is_turned: bool = True,
    if_several: str = "",
) -> Image.Image:
    """Load, convert to 8 bits and turn, if `is_turned`; an image in none of `modes` becomes the first of them.

    `if_several` says what to do with an image of several pictures, which is refused; if empty, the current one is
    taken.
    """
    check_size(image.size, pixel_limit)
    given = image
    try:
        if if_several and (several := several_in(image)):
            raise ImageError(f"{several}: {if_several}")
        deep = _is_deep(image)
        image.load()
        turn = _TURNS.get(_orientation(image.info)) if is_turned else None
        image = _eight_bits(image, deep)
        image = image if turn is None else image.transpose(turn)
        return image if image.mode in modes else image.convert(modes[0])
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        raise _as_image_error(error, given) from error


def _as_image_error(error: Exception, image: Image.Image | None = None) -> ImageError:
    """Return Pillow's error in our words: a closed image, a kind of picture that Pillow does not read, or damage."""
    is_unread = isinstance(error, AssertionError) and getattr(image, "fp", None) is None
    if image is not None and (is_unread or _CLOSED.search(str(error))):
        return ImageError("the PIL image or its file is closed: give it while it is open, or image.copy()")
    if _UNSUPPORTED.search(str(error)):
        return ImageError(f"a kind of picture that is not read here ({error}): save it as an 8-bit PNG")
    return ImageError(f"damaged or truncated picture: {error}")


def _is_deep(image: Image.Image) -> bool:
    """Say whether an image that is not loaded yet has 16-bit pixels of unstated range.

    JPEG 2000 and AVIF state it, and so does a PPM, unless its range is just that of the type, 65,535.
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        tile = [int(tags.get(tag, 1)) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
        if tile[0] * tile[1] > PIXEL_LIMIT:  # each is unpacked as a whole, even for a picture of one pixel
            raise ImageError(
                f"TIFF in tiles of {tile[0]}x{tile[1]} pixels, the limit is {PIXEL_LIMIT:,} pixels"
            )
        inverted = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0
        separate = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2
        if max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8 and (inverted or separate):
            # Pillow does not invert the one and misreads the other
            raise ImageError("16-bit TIFF with inverted grey or separate planes: save it as 8 bits")
    tiles = getattr(image, "tile", None)
    layout = str(tiles[0].args) if tiles else ""
    wide = ";16" in f"{image.mode} {layout}" or (image.format == "PPM" and "65535" in layout)
    return wide and image.format in ("PNG", "TIFF", "PPM", None)


def _eight_bits(image: Image.Image, deep: bool) -> Image.Image:
    """Bring an image to 8 bits per channel, without transparency.

    16 bits lose their lower 8. Files that hold 8, 10, 12 or 14 bits in 16 are common, so a picture of unstated range
    (`deep`) is refused if its brightest value is below `DARKEST_16_BIT`: read as it is, it would be nearly black.
    Floats must lie from 0 to 1. 32-bit integers have no usual range.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))  # PPM: Pillow scales to 16 bits
    elif image.mode == "I":
        raise ImageError("pixels are 32-bit integers of unknown range: scale them to 0-255, save as 8 bits")
    elif image.mode == "F":
        image = _from_floats(np.asarray(image))
    if deep:
        channels = [band for name, band in zip(image.getbands(), image.split(), strict=True) if name != "A"]
        brightest = max(int(channel.getextrema()[1]) for channel in channels)  # type: ignore[arg-type]
        if brightest < DARKEST_16_BIT:
            raise ImageError(
                f"16-bit pixels, none of which is above {256 * brightest + 255:,} of 65,535: very dark, or fewer "
                "bits saved as 16; scale them to the full range or save as 8 bits"
            )
    if image.mode == "La":  # Pillow converts it to this mode alone
        image = image.convert("LA")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
        return image.convert("RGB")
    return image.convert("L") if image.mode == "1" else image


def _from_floats(pixels: Shaped[np.ndarray, "h w"]) -> Image.Image:
    scaled = (pixels * 255).round()
    if not (scaled.min() >= 0 and scaled.max() <= 255):  # so that NaN is refused too
        raise ImageError(
            f"pixels are floats from {pixels.min():g} to {pixels.max():g}, expected 0 to 1: scale them or "
            "save as 8 bits"
        )
    return Image.fromarray(scaled.astype(np.uint8))


def _orientation(info: Mapping[str | tuple[int, int], object]) -> int:
    """Return the orientation in EXIF or, where EXIF has none, in XMP; 0: there is none."""
    exif, xmp = info.get("exif"), info.get("xmp") or info.get("XML:com.adobe.xmp")
    if exif is None and isinstance(profile := info.get("Raw profile type exif"), str):  # ImageMagick's PNG
        with contextlib.suppress(ValueError):  # damaged: as if there were none
            exif = bytes.fromhex("".join(profile.split("\n")[3:]))
    found = _exif_orientation(exif) if isinstance(exif, bytes) else 0
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    if not found and isinstance(xmp, bytes):
        match = re.search(rb'tiff:Orientation(?:="|>)([1-8])', xmp)
        return int(match[1]) if match else 0
    return found


def _exif_orientation(exif: bytes) -> int:
    """Return the orientation in the first directory of EXIF data; 0: there is none, or the data is damaged."""
    exif = exif.removeprefix(b"Exif\0\0")
    order = ">" if exif.startswith(b"MM") else "<"
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for at in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, at)
            if tag == 0x0112:
                (value,) = struct.unpack_from(f"{order}{'I' if kind == 4 else 'H'}", exif, at + 8)
                return int(value)
    except struct.error:
        pass
    return 0


def _too_many_scans(data: bytes) -> bool:
    """Say whether a JPEG has more than `SCAN_LIMIT` scans.

    Inside a scan's data, 0xFF is followed by 0 or a restart marker (0xD0 to 0xD7); anything else is the next marker.
    0xFF01 has no length either: the scans behind it would be taken for its content.
    """
    if data.count(b"\xff\xda") <= SCAN_LIMIT:
        return False
    at, scans = 2, 0
    marker = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])", re.DOTALL)
    for _ in range(100 * SCAN_LIMIT):  # markers; a scan has a few of its own
        found = marker.search(data, at)
        if found is None or found[1] == b"\xd9":  # the end; a film or a second picture may follow
            return False
        scans += found[1] == b"\xda"
        if scans > SCAN_LIMIT:
            return True
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return True
