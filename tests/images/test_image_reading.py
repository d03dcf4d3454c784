"""Images of every kind that users have, and things that are none."""

import concurrent.futures
import io
import os
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from renyi_jax.errors import UserError
from renyi_jax.images import decode, read_picture, reading
from renyi_jax.images.files import SUFFIXES

RGB = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)


def write(tmp_path, image, name="x.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_an_image_is_what_its_file_holds(tmp_path):
    np.testing.assert_array_equal(read_picture(write(tmp_path, Image.fromarray(RGB))), RGB)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb_of_about_the_same_colours(tmp_path, mode):
    plain = Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).convert(mode)
    name = "x.jpg" if mode in ("CMYK", "YCbCr") else "x.png"
    for source in (write(tmp_path, plain, name), plain):
        image = read_picture(source)
        assert image.mode == "RGB"
        assert np.asarray(image).min() > 250


def test_a_palette_with_transparent_colours_is_read(tmp_path):
    palette = Image.fromarray(RGB).convert("P")
    file = write(tmp_path, palette, transparency=bytes([0, 128, 255]))
    np.testing.assert_array_equal(read_picture(file), palette.convert("RGB"))


def test_sixteen_bits_become_eight_and_not_white(tmp_path):
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    expected = [0, 1, 128, 255]
    file = write(tmp_path, Image.fromarray(levels))
    for source in (file, Image.open(file), levels):
        assert np.asarray(read_picture(source))[0, :, 0].tolist() == expected


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    file = write(tmp_path, frames[0], "x.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(read_picture(file))[0, 0].tolist() == [255, 0, 0]


def test_a_photograph_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the top of the scene is at the right
    file = write(tmp_path, Image.fromarray(RGB), exif=exif)
    np.testing.assert_array_equal(read_picture(file), np.rot90(RGB, -1))


def test_a_jpeg_of_a_huge_size_is_decoded_at_a_fraction_of_it(tmp_path):
    file = write(tmp_path, Image.new("L", (12_000, 9_000), 200), "x.jpg")
    image = read_picture(file)
    assert image.size == (6_000, 4_500)
    assert np.asarray(image)[0, 0].tolist() == [200, 200, 200]


def test_more_pixels_than_fit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_PIXELS", 100)
    with pytest.raises(UserError, match=r"12 x 9 pixels; expected at most 100"):
        read_picture(write(tmp_path, Image.fromarray(RGB)))


def truncated():
    encoded = io.BytesIO()
    Image.fromarray(RGB.repeat(20, 0).repeat(20, 1)).save(encoded, "JPEG")
    return encoded.getvalue()[: encoded.tell() // 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"just some words", "it is no image: it starts with b'just some words'"),
        (truncated(), "cannot be read: .*truncated"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is no image"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40, "it is HEIC .* convert it"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "x.jpg"),
    ],
)
def test_what_is_no_image_is_refused_in_a_sentence(tmp_path, content, message):
    file = tmp_path / "x.jpg"
    file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_picture(file)


def test_a_file_that_is_not_there_is_told_with_the_nearest_name(tmp_path):
    write(tmp_path, Image.fromarray(RGB), "photo.png")
    with pytest.raises(UserError, match=r"Did you mean 'photo.png'"):
        read_picture(tmp_path / "foto.png")


def test_a_link_to_nothing_is_told_as_one(tmp_path):
    link = tmp_path / "link.jpg"
    link.symlink_to("moved.jpg")
    with pytest.raises(UserError, match=r"it is a link to moved.jpg, and there is no such file"):
        read_picture(link)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "expected uint8"),
        (np.zeros((2, 8, 8, 3), np.uint8), "Give a batch as a list"),
        (np.zeros((8, 8, 2), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((0, 8), np.uint8), "is no image"),
    ],
)
def test_an_array_that_is_no_image_is_refused(array, message):
    with pytest.raises(UserError, match=message):
        read_picture(array)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_of_unknown_white_are_refused(mode):
    image = Image.fromarray(np.full((4, 4), 1e6, np.float32 if mode == "F" else np.int32))
    with pytest.raises(UserError, match="expected 8 or 16"):
        read_picture(image)


def test_bytes_files_and_pillow_images_are_read_alike(tmp_path):
    file = write(tmp_path, Image.fromarray(RGB), "x.webp", quality=30)
    for source in (file.read_bytes(), str(file), Image.open(file)):
        np.testing.assert_array_equal(read_picture(source), read_picture(file))


@pytest.mark.parametrize(
    "name", ["x.jpg", "x.png", "x.webp", "x.gif", "x.bmp", "x.tif", "x.ppm", "x.jp2", "x.avif"]
)
def test_every_format_that_a_folder_may_hold_is_decoded(tmp_path, name):
    grey = Image.fromarray(np.full((16, 24, 3), 90, np.uint8))
    image = np.int32(read_picture(write(tmp_path, grey, name)))
    assert image.shape == (16, 24, 3) and np.abs(image - 90).max() <= 2
    assert file_suffix(name) in SUFFIXES


def file_suffix(name):
    return name[name.index(".") :]


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_undone_in_every_format(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    quality = {"quality": 100} if kind != "png" else {}
    smooth = Image.fromarray(RGB).resize((48, 32))
    file = write(tmp_path, smooth, f"x.{kind}", exif=exif, **quality)
    with Image.open(file) as image:
        upright = np.int32(ImageOps.exif_transpose(image).convert("RGB"))
    assert upright.shape[:2] == ((32, 48) if orientation < 5 else (48, 32))
    np.testing.assert_array_equal(read_picture(file), upright)


def test_a_damaged_block_of_exif_refuses_no_pixels(tmp_path):
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x9286] = 1, "a camera", b"x" * 30
    content = bytearray(exif.tobytes())
    plain = read_picture(write(tmp_path, Image.fromarray(RGB), "x.jpg")).size
    for kind in ("jpg", "png", "webp"):
        for _ in range(60):
            broken = bytearray(content)
            for place in rng.integers(6, len(broken), rng.integers(1, 12)):
                broken[place] = rng.integers(256)
            with warnings.catch_warnings(action="ignore"):
                file = write(tmp_path, Image.fromarray(RGB), f"x.{kind}", exif=bytes(broken))
                assert sorted(read_picture(file).size) == sorted(plain)


def chunk(name, content, crc=None):
    crc = zlib.crc32(name + content) if crc is None else crc
    return len(content).to_bytes(4, "big") + name + content + crc.to_bytes(4, "big")


@pytest.mark.parametrize(
    "text",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10**7))),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(10**7))),
        chunk(b"tEXt", b"Comment\0fine but for its checksum", crc=1),
        chunk(b"tEXt", b"Comment\0" + bytes(2**20)) * 70,
    ],
    ids=["zTXt", "iTXt", "checksum", "many"],
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_a_text_beside_the_pixels_refuses_no_pixels(tmp_path, text, place):
    content = write(tmp_path, Image.fromarray(RGB)).read_bytes()
    at = 33 if place == "before" else len(content) - 12
    np.testing.assert_array_equal(decode(content[:at] + text + content[at:]), RGB)


def test_threads_leave_the_limit_of_pillow_as_it_was(tmp_path):
    limit = Image.MAX_IMAGE_PIXELS
    file = write(tmp_path, Image.new("1", (20_000, 9_000)), "x.png")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for image in pool.map(read_picture, [file] * 2):
            assert image.size == (10_000, 4_500)
            assert limit == Image.MAX_IMAGE_PIXELS


def test_what_is_no_regular_file_is_refused_without_being_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    for name, reason in (("pipe", "a pipe"), ("folder", "a folder"), ("loop", "symbolic links")):
        with pytest.raises(UserError, match=reason):
            read_picture(tmp_path / f"{name}.jpg")
    with pytest.raises(UserError, match=r"null (byte|character)"):
        read_picture("a\0b.jpg")


def test_a_name_that_is_no_text_is_told_in_one_line(tmp_path):
    with pytest.raises(UserError) as told:
        read_picture(os.fsencode(tmp_path).decode() + "/a\n\udcff.jpg")
    assert r"a\n\xff.jpg" in str(told.value) and str(told.value).isprintable()
