"""Pictures of every kind that users have, and things that are none."""

import io

import numpy as np
import pytest
from PIL import Image

from renyi_jax.crop import center_crop
from renyi_jax.errors import UserError
from renyi_jax.inference import crop_picture, find_pictures, read_picture
from renyi_jax.inference import pictures as module

RGB = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)


def write(tmp_path, image, name="x.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_a_picture_is_what_its_file_holds(tmp_path):
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


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 3), (7, 5)])
def test_the_size_of_a_picture_does_not_matter(shape):
    image = Image.fromarray(np.full((*shape, 3), 77, np.uint8))
    cropped = crop_picture(image, (16, 24), 0.9)
    assert cropped.shape == (16, 24, 3)
    assert (cropped == 77).all()


def test_a_crop_is_that_of_evaluation():
    image = Image.fromarray(RGB)
    expected = center_crop(image, (8, 8), 0.9)
    np.testing.assert_array_equal(crop_picture(image, (8, 8), 0.9), expected)


def test_the_end_of_a_strip_decides_nothing():
    """The middle is the same whether or not the ends were cut off first."""
    rng = np.random.default_rng(1)
    strip = Image.fromarray(rng.integers(0, 256, (10, 200, 3), np.uint8))
    difference = np.int32(crop_picture(strip, (8, 8), 1.0)) - center_crop(strip, (8, 8))
    assert np.abs(difference).max() <= 1


def test_a_jpeg_of_a_huge_size_is_decoded_at_a_fraction_of_it(tmp_path):
    file = write(tmp_path, Image.new("L", (12_000, 9_000), 200), "x.jpg")
    image = read_picture(file)
    assert image.size == (6_000, 4_500)
    assert np.asarray(image)[0, 0].tolist() == [200, 200, 200]
    assert Image.MAX_IMAGE_PIXELS is not None


def test_more_pixels_than_fit_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 100)
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
        (b"just some words", "is no picture: it starts with b'just some words'"),
        (truncated(), "cannot be read: .*truncated"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "x.jpg"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_sentence(tmp_path, content, message):
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
    with pytest.raises(UserError, match=r"is a link to moved.jpg, and there is no such file"):
        read_picture(link)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "expected uint8"),
        (np.zeros((2, 8, 8, 3), np.uint8), "Give a batch as a list"),
        (np.zeros((8, 8, 2), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((0, 8), np.uint8), "is no picture"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(array, message):
    with pytest.raises(UserError, match=message):
        read_picture(array)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_of_unknown_white_are_refused(mode):
    image = Image.fromarray(np.full((4, 4), 1e6, np.float32 if mode == "F" else np.int32))
    with pytest.raises(UserError, match="expected 8 or 16"):
        read_picture(image)


def test_a_folder_stands_for_the_pictures_in_it(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("b.PNG", "deep/a.png"):
        write(tmp_path, Image.fromarray(RGB), name, format="PNG")
    (tmp_path / "notes.txt").write_text("no picture")
    assert find_pictures(tmp_path) == [tmp_path / "b.PNG", tmp_path / "deep" / "a.png"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no picture in the folder"):
        find_pictures(tmp_path / "empty")
