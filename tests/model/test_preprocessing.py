"""A zoo of files, each read as a person sees it; limits hold before a pixel is decoded."""

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from model.errors import (
    ImageError,
    ImageTooLargeError,
    UndecodableImageError,
    UnsupportedImageError,
)
from model.preprocessing import ImageLimits, PreprocessingConfig, read_image, to_input
from tests.forged_headers import claiming_huge

GOLDEN = Path(__file__).parent.parent / "golden"
FORMATS = ["JPEG", "PNG", "WebP", "BMP", "TIFF"]


def scene() -> Image.Image:
    """40x80: red above, blue below, a white corner at the top left."""
    pixels = np.zeros((80, 40, 3), np.uint8)
    pixels[:40, :, 0] = 200
    pixels[40:, :, 2] = 200
    pixels[:16, :16] = 255
    return Image.fromarray(pixels)


def encoded(image: Image.Image, name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def grey_of(data: bytes) -> NDArray[np.uint8]:
    image = np.asarray(read_image(data))
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 0] == image[..., 2]).all()
    return image[..., 0]


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["visible", "infrared", "tiny"])
def test_input_is_the_reference_s_to_the_last_bit(name: str) -> None:
    image = read_image((GOLDEN / f"preprocess_{name}.png").read_bytes())
    prepared = to_input(image, (384, 128), PreprocessingConfig())
    expected = np.load(GOLDEN / "preprocess_expected.npz")[name]
    assert prepared.shape == (3, 384, 128)
    assert prepared.dtype == np.float32
    np.testing.assert_allclose(prepared[:, ::3, ::2], expected, atol=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_read(name: str) -> None:
    quality = {"quality": 95} if name in ("JPEG", "WebP") else {}
    image = read_image(encoded(scene(), name, **quality))
    assert image.mode == "RGB"
    difference = np.asarray(image).astype(int) - np.asarray(scene())
    assert np.abs(difference).mean() < (4 if quality else 1e-9)


MODES = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA"],
    "TIFF": ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"],
    "JPEG": ["L", "RGB", "CMYK"],
    "WebP": ["RGB", "RGBA"],
    "BMP": ["1", "L", "P", "RGB"],
}


@pytest.mark.parametrize(
    ("name", "mode"), [(name, mode) for name in FORMATS for mode in MODES[name]]
)
def test_every_mode_is_read_as_it_looks(name: str, mode: str) -> None:
    image = scene().convert(mode)
    quality = {"quality": 95} if name in ("JPEG", "WebP") else {}
    data = encoded(image, name, **quality)
    difference = np.asarray(read_image(data)).astype(int) - np.asarray(image.convert("RGB"))
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("name", ["PNG", "WebP", "TIFF"])
def test_transparent_parts_are_black_whatever_hides_in_them(name: str) -> None:
    image = scene().convert("RGBA")
    alpha = np.full((80, 40), 255, np.uint8)
    alpha[:, 20:] = 0
    alpha[40:, :20] = 51  # a fifth
    image.putalpha(Image.fromarray(alpha))
    lossless = {"lossless": True, "exact": True} if name == "WebP" else {}
    pixels = np.asarray(read_image(encoded(image, name, **lossless)))
    assert (pixels[:, 20:] == 0).all()
    assert pixels[30, 5].tolist() == [200, 0, 0]
    assert pixels[60, 5].tolist() == [0, 0, 40]


def test_a_transparent_colour_of_a_palette_is_black() -> None:
    image = scene().quantize(4)
    red = image.getpixel((30, 5))
    pixels = np.asarray(read_image(encoded(image, "PNG", transparency=red)))
    assert pixels[5, 30].tolist() == [0, 0, 0]
    assert pixels[60, 5].tolist() == [0, 0, 200]


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(name: str, orientation: int) -> None:
    stored_by_orientation: dict[int, Callable[[Image.Image], Image.Image]] = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored_by_orientation[orientation](scene()), name, exif=exif)
    image = read_image(data)
    assert image.size == (40, 80)
    difference = np.asarray(image).astype(int) - np.asarray(scene())
    assert np.abs(difference).mean() < 6


def test_broken_exif_counts_as_none() -> None:
    data = encoded(scene(), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert read_image(data).size == (40, 80)


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_tones(name: str) -> None:
    ramp = np.linspace(0, 16383, 80 * 40).round().reshape(80, 40)  # a 14-bit sensor
    data = encoded(Image.fromarray(ramp.astype(np.uint16)), name)
    np.testing.assert_array_equal(grey_of(data), np.rint(ramp * 255 / 16383))


def test_a_16_bit_copy_of_an_8_bit_image_is_the_same_image() -> None:
    grey = np.asarray(scene().convert("L"))
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    for name in ("PNG", "TIFF"):
        assert read_image(encoded(wide, name)) == read_image(encoded(scene().convert("L"), name))


def tiff(pixels: NDArray[Any], fields: dict[int, int] | None = None) -> bytes:
    """A little- or big-endian TIFF of one channel, written by hand."""
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    height, width = pixels.shape
    kinds = {"u": 1, "i": 2, "f": 3}
    entries = {
        256: width,
        257: height,
        258: pixels.dtype.itemsize * 8,
        259: 1,
        262: 1,
        273: 8,
        277: 1,
        278: height,
        279: pixels.nbytes,
        339: kinds[pixels.dtype.kind],
    }
    entries |= fields or {}
    directory = struct.pack(order + "H", len(entries))
    for tag, value in sorted(entries.items()):
        directory += struct.pack(order + "HHII", tag, 4, 1, value)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    start = struct.pack(order + "I", 8 + pixels.nbytes)
    return magic + start + pixels.tobytes() + directory + b"\0\0\0\0"


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i2", "<i4", "<f4", ">f4", ">i4"])
def test_deep_tiffs_of_every_kind_are_read(dtype: str) -> None:
    ramp = np.linspace(0, 4095, 80 * 40).round().reshape(80, 40)
    np.testing.assert_array_equal(grey_of(tiff(ramp.astype(dtype))), np.rint(ramp * 255 / 4095))


def test_a_deep_tiff_whose_zero_is_white_is_turned_over() -> None:
    ramp = np.linspace(0, 4095, 80 * 40).round().reshape(80, 40)
    data = tiff(ramp.astype("<u2"), {262: 0})
    np.testing.assert_array_equal(grey_of(data), 255 - np.rint(ramp * 255 / 4095))


def png_16_bit(pixels: NDArray[np.uint16]) -> bytes:
    """A 16-bit PNG of 2, 3 or 4 channels, written by hand."""
    height, width, channels = pixels.shape
    colour_type = {2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    file = io.BytesIO(b"")
    file.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        PngImagePlugin.putchunk(file, kind, body)
    return file.getvalue()


def test_16_bit_colour_is_linear_from_full_scale() -> None:
    colours = np.asarray(scene()).astype(np.uint16)
    np.testing.assert_array_equal(read_image(png_16_bit(colours * 257)), scene())
    opaque = np.full((80, 40, 1), 65535, np.uint16)
    with_alpha = np.concatenate([colours * 257, opaque], axis=2)
    np.testing.assert_array_equal(read_image(png_16_bit(with_alpha)), scene())
    grey = np.asarray(scene().convert("L")).astype(np.uint16)[..., None] * 257
    with_alpha = np.concatenate([grey, opaque], axis=2)
    np.testing.assert_array_equal(grey_of(png_16_bit(with_alpha)), grey[..., 0] // 257)


@pytest.mark.parametrize("name", ["PNG", "WebP", "TIFF"])
def test_the_first_frame_of_several_is_read(name: str) -> None:
    second = Image.new("RGB", (40, 80), (0, 255, 0))
    options = {"lossless": True} if name == "WebP" else {}
    data = encoded(scene(), name, save_all=True, append_images=[second], **options)
    np.testing.assert_array_equal(read_image(data), scene())


@pytest.mark.parametrize(
    "data",
    [
        b"hello, I am no image",
        b"%PDF-1.7 and more",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"BM it may concern: a letter",
        encoded(Image.new("RGB", (20, 20)), "GIF"),
        encoded(Image.new("RGB", (20, 20)), "PPM"),
        encoded(Image.new("RGB", (20, 20)), "ICO"),
        b"\0",
    ],
)
def test_other_formats_are_unsupported_and_those_read_are_named(data: bytes) -> None:
    with pytest.raises(UnsupportedImageError, match="JPEG, PNG, WebP, BMP, TIFF"):
        read_image(data)


def test_zero_bytes_are_undecodable() -> None:
    with pytest.raises(UndecodableImageError, match="0 bytes"):
        read_image(b"")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_undecodable(name: str, share: float) -> None:
    generator = np.random.default_rng(1)
    noise = Image.fromarray(generator.integers(0, 255, (80, 40, 3), dtype=np.uint8))
    data = encoded(noise, name)
    with pytest.raises(UndecodableImageError, match=f"cannot decode the {name} image"):
        read_image(data[: int(len(data) * share)])


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_tiny_images_are_undecodable_and_the_message_says_what_came(size: tuple[int, int]) -> None:
    with pytest.raises(UndecodableImageError, match=f"{size[0]}x{size[1]} pixels; at least 8x8"):
        read_image(encoded(Image.new("RGB", size), "PNG"))
    assert read_image(encoded(Image.new("RGB", (8, 8)), "PNG")).size == (8, 8)


def test_too_many_bytes_are_refused_with_the_limit() -> None:
    data = encoded(scene(), "PNG")
    with pytest.raises(ImageTooLargeError, match="at most 100 are read") as caught:
        read_image(data, ImageLimits(max_bytes=100))
    assert (caught.value.what, caught.value.limit, caught.value.came) == ("bytes", 100, len(data))
    assert read_image(data, ImageLimits(max_bytes=len(data))).size == (40, 80)


def bomb(name: str) -> bytes:
    """A small file that claims 20,000x20,000 pixels (WebP: its largest, 16,383x16,383)."""
    if name == "PNG":
        return png_header(20_000, 20_000)
    if name == "TIFF":
        return tiff(np.zeros((80, 40), np.uint8), {256: 20_000, 257: 20_000})
    return claiming_huge(encoded(scene(), name), name)


@pytest.mark.parametrize("name", FORMATS)
def test_a_bomb_is_refused_before_it_is_decoded(name: str) -> None:
    data = bomb(name)
    tracemalloc.start()
    with pytest.raises(ImageTooLargeError, match="pixels; at most 25,000,000") as caught:
        read_image(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.came == (16_383**2 if name == "WebP" else 400_000_000)
    assert peak < 10_000_000


@pytest.mark.parametrize("kind", ["lossless", "animated"])
def test_webp_bombs_of_the_other_kinds_are_refused_too(kind: str) -> None:
    if kind == "lossless":
        data = bytearray(encoded(scene(), "WebP", lossless=True))
        data[21:25] = (16_383 | 16_383 << 14).to_bytes(4, "little")
    else:
        frames = [Image.new("RGB", (40, 80))]
        data = bytearray(encoded(scene(), "WebP", save_all=True, append_images=frames))
        data[24:30] = (16_383).to_bytes(3, "little") * 2
    with pytest.raises(ImageTooLargeError) as caught:
        read_image(bytes(data))
    assert caught.value.came == 16_384**2


def test_a_tile_larger_than_its_image_is_refused() -> None:
    tiny = tiff(np.zeros((80, 40), np.uint8), {322: 60_000, 323: 60_000})
    with pytest.raises(ImageTooLargeError) as caught:
        read_image(tiny)
    assert caught.value.came == 60_000**2


def test_pixel_limit_is_exact() -> None:
    data = encoded(scene(), "PNG")
    assert read_image(data, ImageLimits(max_pixels=3200)).size == (40, 80)
    with pytest.raises(ImageTooLargeError):
        read_image(data, ImageLimits(max_pixels=3199))


def mutated(data: bytes, generator: np.random.Generator) -> bytes:
    """The file with bytes changed, cut out, or doubled; more often near its head."""
    changed = bytearray(data)
    for _ in range(generator.integers(1, 8)):
        reach = len(changed) if generator.random() < 0.5 else min(200, len(changed))
        at = int(generator.integers(0, max(reach, 1)))
        kind = generator.integers(0, 4)
        if kind == 0:
            changed[at : at + 1] = bytes([int(generator.integers(0, 256))])
        elif kind == 1:
            changed[at : at + 4] = generator.choice(
                [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"]
            )
        elif kind == 2:
            del changed[at : at + int(generator.integers(1, 40))]
        else:
            changed[at:at] = changed[at : at + int(generator.integers(1, 40))]
    return bytes(changed)


def seeds_of_mutation() -> list[bytes]:
    small = scene().resize((20, 40))
    grey = Image.fromarray(np.arange(800, dtype=np.uint16).reshape(40, 20) * 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encoded(small, "JPEG", exif=exif),
        encoded(small, "JPEG", progressive=True),
        encoded(small.convert("CMYK"), "JPEG"),
        encoded(small, "PNG", exif=exif),
        encoded(small.quantize(8), "PNG", transparency=1),
        encoded(grey, "PNG"),
        encoded(small, "WebP"),
        encoded(small.convert("RGBA"), "WebP", lossless=True, exif=exif),
        encoded(small, "BMP"),
        encoded(small.quantize(8), "BMP"),
        encoded(small, "TIFF", exif=exif),
        encoded(small, "TIFF", compression="tiff_lzw"),
        encoded(small, "TIFF", compression="jpeg"),
        encoded(small.convert("1"), "TIFF", compression="group4"),
        encoded(grey, "TIFF", compression="tiff_deflate"),
        tiff(np.linspace(0, 1, 800, dtype=np.float32).reshape(40, 20)),
    ]


@pytest.mark.filterwarnings("ignore")
def test_thousands_of_mutated_files_raise_nothing_but_image_errors() -> None:
    generator = np.random.default_rng(7)
    limits = ImageLimits(max_pixels=1_000_000)
    read = refused = 0
    for data in seeds_of_mutation():
        assert read_image(data, limits).mode == "RGB"
        for _ in range(250):
            try:
                image = read_image(mutated(data, generator), limits)
                assert image.mode == "RGB"
                to_input(image, (32, 32), PreprocessingConfig())
                read += 1
            except ImageError:
                refused += 1
    assert read > 100
    assert refused > 1000


def progressive(repeats: int) -> bytes:
    """A progressive JPEG whose last scan comes so many times."""
    buffer = io.BytesIO()
    Image.new("L", (64, 64)).save(buffer, "JPEG", progressive=True)
    head, *scans = buffer.getvalue().split(b"\xff\xda")
    first = head + b"".join(b"\xff\xda" + scan for scan in scans[:-1])
    return first + (b"\xff\xda" + scans[-1][:-2]) * repeats + b"\xff\xd9"


def test_a_progressive_jpeg_is_read_but_not_one_of_scans_without_end() -> None:
    assert read_image(progressive(1)).size == (64, 64)
    with pytest.raises(UndecodableImageError, match="scans; at most 100"):
        read_image(progressive(101))


def test_a_jpeg_of_segments_without_end_is_refused() -> None:
    plain = progressive(1)
    segments = b"\xff\xe5\0\x02" * 70_000
    with pytest.raises(UndecodableImageError, match="segments; at most"):
        read_image(plain[:2] + segments + plain[2:])


@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_of_strips_without_end_is_refused(big: bool) -> None:
    buffer = io.BytesIO()
    image = Image.new("L", (8, 70_000))
    image.save(buffer, "TIFF", tiffinfo={278: 1}, big_tiff=big)  # one row a strip
    with pytest.raises(UndecodableImageError, match="70,000 strips or tiles"):
        read_image(buffer.getvalue())
    few = io.BytesIO()
    image.resize((8, 64)).save(few, "TIFF", tiffinfo={278: 1}, big_tiff=big)
    assert read_image(few.getvalue()).size == (8, 64)
