"""Safe decoding and encoding: bytes of any common picture format -> RGB u8 [h, w, 3], and back.

Hostile input is expected here: the size is read from the header before a pixel is decoded, only formats
that Pillow reads in-process are tried, and every failure is one `ImageError`.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mien.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import UInt8

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif", ".jp2")
)
FILE_LIMIT_BYTES = 256 * 2**20
JPEG_SIDE_LIMIT_PX = 65_500
PIXEL_LIMIT = 64_000_000
"""Largest picture decoded, in pixels: 192 MB as RGB; above every phone camera's default."""


def decode(data: bytes, *, pixel_limit: int = PIXEL_LIMIT) -> UInt8[np.ndarray, "h w 3"]:
    """Decode one picture, upright by its EXIF orientation; transparency becomes white, 16 bits become 8.

    Raises:
        ImageError: not a picture, truncated, or larger than `pixel_limit` pixels.
    """
    return np.asarray(_upright(data, pixel_limit, ("RGB",)))


def decode_dataset_image(data: bytes, *, pixel_limit: int = PIXEL_LIMIT) -> UInt8[np.ndarray, "h w c"]:
    """Decode like `decode`, but leave a grey picture at one channel."""
    pixels = np.asarray(_upright(data, pixel_limit, ("RGB", "L")))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def read(path: Path, *, pixel_limit: int = PIXEL_LIMIT) -> UInt8[np.ndarray, "h w 3"]:
    """Read and decode a picture file.

    Raises:
        ImageError: it can't be opened or decoded.
    """
    return decode(read_file(path), pixel_limit=pixel_limit)


def read_file(path: Path) -> bytes:
    """Return the bytes of a picture file.

    Raises:
        ImageError: it can't be opened, or is larger than any picture should be.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > FILE_LIMIT_BYTES:
        raise ImageError(f"{path} is over the limit of {FILE_LIMIT_BYTES:,} bytes for a picture file")
    return data


def encode_jpeg(image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encode a picture as JPEG, shrunk where a side is longer than the format allows."""
    image = Image.fromarray(image_rgb_u8)
    image.thumbnail((JPEG_SIDE_LIMIT_PX, JPEG_SIDE_LIMIT_PX))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92)
    return out.getvalue()


def encode_png(image_rgb_u8: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """Encode a picture as PNG."""
    out = io.BytesIO()
    Image.fromarray(image_rgb_u8).save(out, "PNG", optimize=True)
    return out.getvalue()


def _upright(data: bytes, pixel_limit: int, modes: tuple[str, ...]) -> Image.Image:
    """Decode, turn and convert to 8 bits; an image in none of `modes` becomes the first of them."""
    if not data:
        raise ImageError("expected a picture, got an empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd EXIF and of sizes we check ourselves
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width * height > pixel_limit:
                raise ImageError(
                    f"picture of {width}x{height} pixels is over the limit of {pixel_limit:,} pixels"
                )
            image.load()
            image = _eight_bits(ImageOps.exif_transpose(image))
            return image if image.mode in modes else image.convert(modes[0])
    except UnidentifiedImageError as error:
        raise ImageError(f"not a picture in a known format ({', '.join(FORMATS)})") from error
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"picture is over the limit of {pixel_limit:,} pixels") from error
    except Exception as error:  # Pillow's plugins raise whatever a damaged file provokes
        raise ImageError(f"damaged or truncated picture: {error}") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "I":  # Pillow reads 16-bit grey PNG as 32-bit integers in some versions
        return Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode == "F":
        return Image.fromarray((np.asarray(image).clip(0, 1) * 255).round().astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
        return image.convert("RGB")
    return image.convert("L") if image.mode == "1" else image
