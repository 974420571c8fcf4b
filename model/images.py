"""Reference pictures from files."""

import io
import logging
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "TIFF", "GIF")
MAX_PIXELS = 64_000_000
MAX_ASPECT = 32
"""Longer side to shorter. A person is looked for along it, square after square, and scaled they would be enormous."""

log = logging.getLogger(__name__)

_SIXTEEN_BIT_GREY = ("I;16", "I;16L", "I;16B", "I;16N")


class ImageError(ValueError):
    """A picture that cannot be read. The message names it, the cause and what to do."""


def read_image(source: str | Path | bytes) -> np.ndarray:
    """Read a picture, upright and opaque.

    EXIF orientation is applied. Transparent pictures are laid on white: cut-outs are made for light pages, and the
    colour stored under clear pixels is arbitrary. Of an animated picture the first frame is taken. Grey, palette, CMYK
    and 16-bit pictures become 8-bit RGB. A colour profile is applied, as phones' pictures have one: colours are sRGB's.

    Args:
        source: a path, or the file's bytes.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: no such file, not a picture in one of `FORMATS`, damaged, above `MAX_PIXELS`, or longer than
            `MAX_ASPECT` (judged from the header, before the picture is decoded).
    """
    name = f"picture of {len(source)} bytes" if isinstance(source, bytes) else str(source)
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb") as file:
            return _read(file, name)
    except OSError as error:
        raise ImageError(f"{name}: cannot be opened ({error.strerror}). Check the path and its permissions.") from error


def _read(file: BinaryIO, name: str) -> np.ndarray:
    head = file.read(32)
    file.seek(0)
    if not head:
        raise ImageError(f"{name}: it has zero bytes. Fetch or export it again.")
    try:
        with Image.open(file, formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise _too_large(name, f"{width}x{height} pixels")
            if max(width, height) > MAX_ASPECT * min(width, height):
                raise ImageError(
                    f"{name}: it is {width}x{height} pixels, longer than {MAX_ASPECT} times its other side. Crop it."
                )
            return _rgb(picture, name)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name}: not a picture that is accepted here; it begins with {head!r}. Give one of {', '.join(FORMATS)}."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(name, "a decompression bomb") from error
    # Pillow's decoders raise whatever a broken file makes them run into.
    except Exception as error:
        raise ImageError(
            f"{name}: cannot be decoded ({error}); it is damaged, cut short or of a rare kind. Export it again as PNG."
        ) from error


def _too_large(name: str, size: str) -> ImageError:
    return ImageError(f"{name}: it is {size}, more than the limit of {MAX_PIXELS // 10**6} megapixels. Scale it down.")


def _rgb(picture: Image.Image, name: str) -> np.ndarray:
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in _SIXTEEN_BIT_GREY:
        # Pillow would clip at 255 instead of scaling.
        grey = (np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if upright.mode in ("I", "F"):
        raise ImageError(f"{name}: its samples have 32 bits and no known range. Export it with 8 or 16 bits.")
    upright = _in_srgb(upright, name)
    if upright.has_transparency_data:
        page = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(page, upright.convert("RGBA"))
    return np.array(upright.convert("RGB"))


def _in_srgb(picture: Image.Image, name: str) -> Image.Image:
    """The picture with the colours that its profile says, if it has one, it is not sRGB's and it can be used."""
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture
    if picture.has_transparency_data or picture.mode == "P":
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(own):
            return picture
        srgb = ImageCms.createProfile("sRGB")
        mode = "RGBA" if picture.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(picture, own, srgb, outputMode=mode) or picture
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        log.warning("%s: its colour profile is left aside (%s)", name, error)
        return picture
