import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from model.images import MAX_PIXELS, ImageError, read_image

ROWS, COLUMNS = np.meshgrid(np.arange(0, 200, 10), np.arange(0, 240, 10), indexing="ij")
PICTURE = np.stack([ROWS, COLUMNS, np.full((20, 24), 50)], 2).astype(np.uint8)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "WEBP", "AVIF", "JPEG", "GIF"])
def test_ordinary_formats_are_read_from_path_and_bytes(tmp_path: Path, format: str) -> None:
    content = encoded(Image.fromarray(PICTURE), format, **({"lossless": True} if format == "WEBP" else {}))
    # The name says nothing: the bytes decide.
    path = tmp_path / "picture.dat"
    path.write_bytes(content)

    picture = read_image(path)

    assert picture.shape == (20, 24, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - PICTURE).mean() < (6 if format in ("JPEG", "GIF", "AVIF") else 0.01)
    np.testing.assert_array_equal(picture, read_image(content))


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, PICTURE),
        (2, PICTURE[:, ::-1]),
        (3, PICTURE[::-1, ::-1]),
        (6, np.rot90(PICTURE, -1)),
        (8, np.rot90(PICTURE, 1)),
    ],
)
def test_exif_orientation_is_applied(orientation: int, upright: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation

    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(PICTURE), "PNG", exif=exif)), upright)


def test_transparency_lies_on_white():
    clear_black = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    half_red = Image.new("RGBA", (2, 2), (255, 0, 0, 128))
    grey = Image.new("LA", (2, 2), (0, 51))
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((0, 0), 1)

    assert (read_image(encoded(clear_black, "PNG")) == 255).all()
    np.testing.assert_allclose(read_image(encoded(half_red, "PNG"))[0, 0], [255, 127, 127], atol=1)
    np.testing.assert_allclose(read_image(encoded(grey, "PNG"))[0, 0], [204] * 3, atol=1)
    by_index = read_image(encoded(palette, "PNG", transparency=0))
    assert by_index[0, 0].tolist() == [40, 50, 60]
    assert by_index[1, 1].tolist() == [255, 255, 255]


def test_grey_palette_cmyk_and_sixteen_bits_become_rgb():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)

    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(grey), "PNG")), np.stack([grey] * 3, 2))
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(deep), "PNG")), np.stack([grey] * 3, 2))
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(deep), "TIFF")), np.stack([grey] * 3, 2))
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(grey).convert("P"), "PNG"))[..., 0], grey)
    cmyk = read_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    np.testing.assert_allclose(cmyk.mean((0, 1)), [255, 0, 0], atol=6)


def display_p3() -> bytes:
    """A profile with the primaries of phones' screens: sRGB's, in which they are put in place of its own."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for number in range(struct.unpack_from(">I", profile, 128)[0]):
        tag, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if tag in P3:
            struct.pack_into(">3i", profile, offset + 8, *(round(value * 65536) for value in P3[tag]))
        elif tag == b"desc":
            text = profile[offset : offset + size]
            profile[offset : offset + size] = text.replace("sRGB".encode("utf-16-be"), "wide".encode("utf-16-be"))
    return bytes(profile)


P3 = {b"rXYZ": (0.51512, 0.24120, -0.00105), b"gXYZ": (0.29198, 0.69225, 0.04189), b"bXYZ": (0.15710, 0.06657, 0.78407)}
SRGB_TO_XYZ = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])


def p3_in_srgb(colour: tuple[int, int, int]) -> np.ndarray:
    value = np.array(colour) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    light = np.linalg.solve(SRGB_TO_XYZ, np.array(list(P3.values())).T @ light).clip(0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("colour", [(200, 120, 60), (60, 160, 90), (120, 120, 120), (230, 180, 160)])
def test_a_colour_profile_is_applied(colour: tuple[int, int, int]) -> None:
    profile, expected = display_p3(), p3_in_srgb(colour)
    picture = Image.new("RGB", (4, 4), colour)

    for content in (
        encoded(picture, "PNG", icc_profile=profile),
        encoded(picture.convert("P", palette=Image.Palette.ADAPTIVE), "PNG", icc_profile=profile),
        encoded(picture.convert("RGBA"), "PNG", icc_profile=profile),
    ):
        np.testing.assert_allclose(read_image(content)[0, 0], expected, atol=2)
    assert colour == (120, 120, 120) or np.abs(expected - colour).max() > 4


def test_transparent_pictures_with_a_profile_lie_on_white() -> None:
    clear = encoded(Image.new("RGBA", (2, 2), (200, 120, 60, 0)), "PNG", icc_profile=display_p3())
    one_clear = Image.new("RGB", (2, 2), (200, 120, 60))
    by_colour = encoded(one_clear, "PNG", icc_profile=display_p3(), transparency=(200, 120, 60))

    assert (read_image(clear) == 255).all()
    assert (read_image(by_colour) == 255).all()


def test_srgb_and_what_is_no_profile_leave_the_colours() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey, picture = Image.new("L", (4, 4), 77), Image.fromarray(PICTURE)

    np.testing.assert_array_equal(read_image(encoded(picture, "PNG", icc_profile=srgb)), PICTURE)
    np.testing.assert_array_equal(read_image(encoded(picture, "PNG", icc_profile=b"no profile")), PICTURE)
    # One of three colours on a picture of one.
    assert (read_image(encoded(grey, "PNG", icc_profile=display_p3())) == 77).all()


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "lime")]

    assert read_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))[0, 0].tolist() == [255, 0, 0]


def test_the_result_is_writable_and_its_own():
    picture = read_image(encoded(Image.fromarray(PICTURE), "PNG"))

    picture[:] = 0


def png_declaring(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(8000, 8001), (9500, 9500), (60000, 60000)])
@pytest.mark.parametrize("filter_action", ["ignore", "error"])
def test_too_many_pixels_are_refused_by_the_header(size: tuple[int, int], filter_action: str) -> None:
    assert size[0] * size[1] > MAX_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter(filter_action)  # type: ignore[arg-type]
        with pytest.raises(ImageError, match="more than the limit of 64 megapixels"):
            read_image(png_declaring(*size))


@pytest.mark.parametrize("size", [(1, 33), (20_000, 600), (1_000_000, 1)])
def test_what_is_too_long_is_refused_by_the_header(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match=rf"{size[0]}x{size[1]} pixels, longer than 32 times its other side. Crop it"):
        read_image(png_declaring(*size))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "zero bytes"),
        (b"just some words", "not a picture that is accepted here; it begins with b'just some words'"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a picture"),
        (encoded(Image.fromarray(PICTURE), "PPM"), "not a picture"),
        (encoded(Image.fromarray(PICTURE), "JPEG")[:300], "cannot be decoded"),
        (encoded(Image.fromarray(PICTURE), "PNG")[:60], "cannot be decoded"),
        (encoded(Image.fromarray(PICTURE), "TIFF")[:200], "cannot be decoded"),
        (encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "32 bits"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_cause(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "portrait.png"
    path.write_bytes(content)

    with pytest.raises(ImageError) as refusal:
        read_image(path)

    assert said in str(refusal.value)
    assert str(refusal.value).startswith(str(path))
    with pytest.raises(ImageError, match=f"picture of {len(content)} bytes: "):
        read_image(content)


def test_a_missing_file_and_a_folder_are_image_errors(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="No such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="Is a directory"):
        read_image(tmp_path)
