"""The pixels of single images, against timm's where it is installed."""

import io
import random

import archives
import numpy as np
import parity
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from renyi_jax.data.augment import erase, jitter_color
from renyi_jax.data.rand_augment import OPERATIONS, Canvas, rand_augment
from renyi_jax.images.crop import center_crop, random_resized_crop

timm = parity.timm

FILL = (124, 116, 104)
BICUBIC = (Image.Resampling.BICUBIC,)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def photo():
    return Image.open(io.BytesIO(archives.jpeg(archives.photo(rng(), 375, 500)))).convert("RGB")


SHAPES = [
    (375, 500),
    (500, 375),
    (224, 224),
    (256, 256),
    (90, 300),
    (301, 97),
    (1000, 333),
    (40, 700),
    (900, 61),
    (3, 77),
]


@pytest.mark.parity
@pytest.mark.parametrize("height, width", SHAPES)
@pytest.mark.parametrize(
    "size, crop_pct", [((224, 224), 0.9), ((224, 224), 0.875), ((384, 384), 1.0), ((96, 160), 0.9)]
)
def test_evaluation_gives_the_pixels_of_timm(timm, height, width, size, crop_pct):
    from timm.data.transforms_factory import transforms_imagenet_eval

    image = Image.open(io.BytesIO(archives.jpeg(archives.photo(rng(), height, width))))
    transform = transforms_imagenet_eval(
        size if size[0] != size[1] else size[0],
        crop_pct=crop_pct,
        interpolation="bicubic",
        normalize=False,
    )
    theirs = transform(image.convert("RGB")).numpy().transpose(1, 2, 0)
    ours = np.asarray(center_crop(image.convert("RGB"), size, crop_pct))
    np.testing.assert_array_equal(ours, theirs)


TIMM_NAMES = {
    "auto_contrast": "AutoContrast",
    "equalize": "Equalize",
    "invert": "Invert",
    "rotate": "Rotate",
    "posterize": "PosterizeIncreasing",
    "solarize": "SolarizeIncreasing",
    "solarize_add": "SolarizeAdd",
    "color": "ColorIncreasing",
    "contrast": "ContrastIncreasing",
    "brightness": "BrightnessIncreasing",
    "sharpness": "SharpnessIncreasing",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateXRel",
    "translate_y": "TranslateYRel",
}


@pytest.mark.parity
def test_rand_augment_draws_from_the_operations_of_timm(timm):
    from timm.data import auto_augment

    assert list(TIMM_NAMES) == list(OPERATIONS)
    transform = auto_augment.rand_augment_transform("rand-m9-mstd0.5-inc1")
    assert [op.name for op in transform.ops] == list(TIMM_NAMES.values())
    assert transform.num_layers == 2
    assert {(op.prob, op.magnitude, op.magnitude_std) for op in transform.ops} == {(0.5, 9, 0.5)}


@pytest.mark.parity
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("magnitude", [0, 3.7, 9, 9.4])
@pytest.mark.parametrize("sign", [1, -1])
def test_each_operation_gives_the_pixels_of_timm(timm, photo, monkeypatch, name, magnitude, sign):
    from timm.data import auto_augment

    monkeypatch.setattr(random, "random", lambda: 0.1 if sign > 0 else 0.9)
    operation = auto_augment.AugmentOp(
        TIMM_NAMES[name],
        prob=1.0,
        magnitude=magnitude,
        hparams={"img_mean": FILL, "interpolation": Image.Resampling.BICUBIC},
    )
    theirs = operation(photo)
    ours = OPERATIONS[name](photo, magnitude / 10, sign, Canvas(FILL, Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_full_strength_makes_no_image_black(photo):
    canvas = Canvas(FILL, Image.Resampling.BICUBIC)
    for operation in OPERATIONS.values():
        for sign in (1, -1):
            assert np.asarray(operation(photo, 1.0, sign, canvas)).max() > 0


def test_rand_augment_leaves_a_quarter_of_the_images_alone_and_changes_the_others():
    image = archives.photo(rng(), 60, 80)
    options = {"magnitude": 9.0, "magnitude_std": 0.5, "num_layers": 2}
    stream = rng(1)
    results = [
        rand_augment(image, stream, **options, fill=FILL, resamplings=BICUBIC) for _ in range(400)
    ]
    assert 60 < sum(result is image for result in results) < 140
    assert len({result.tobytes() for result in results}) > 200
    assert all(result.size == image.size and result.mode == "RGB" for result in results)


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.tuples(st.integers(1, 64), st.integers(1, 64)),
    st.integers(0, 99),
    st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted).map(tuple),
    st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)).map(sorted).map(tuple),
)
def test_a_random_crop_of_any_image_has_the_size_asked_for(shape, size, seed, scale, ratio):
    image = Image.new("RGB", shape, (7, 8, 9))
    part = random_resized_crop(
        image, rng(seed), size=size, scale=scale, ratio=ratio, resamplings=BICUBIC
    )
    assert (part.height, part.width) == size
    assert (np.asarray(part) == (7, 8, 9)).all()  # no pixel from outside


def test_random_crops_cover_the_areas_and_aspects_asked_for(monkeypatch):
    parts = []
    monkeypatch.setattr(Image.Image, "crop", lambda self, box: parts.append(box) or self)
    image, stream = Image.new("RGB", (500, 375)), rng()
    for _ in range(500):
        random_resized_crop(
            image, stream, size=(8, 8), scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), resamplings=BICUBIC
        )
    left, top, right, bottom = np.array(parts).T
    area, aspect = (right - left) * (bottom - top) / 187500, (right - left) / (bottom - top)
    assert 0.078 < area.min() < 0.12 and 0.9 < area.max() <= 1
    assert 0.74 < aspect.min() < 0.78 and 1.3 < aspect.max() < 1.35
    assert left.min() == 0 and right.max() == 500 and top.min() == 0 and bottom.max() == 375


def test_colour_jitter_keeps_within_its_range_and_changes_every_image():
    grey = Image.new("RGB", (4, 4), (100, 100, 100))
    stream = rng()
    levels = {int(np.asarray(jitter_color(grey, stream, amount=0.4)).max()) for _ in range(200)}
    # On one grey level, contrast and saturation change nothing.
    assert 60 <= min(levels) < 70 and 130 < max(levels) <= 140


def test_erasing_puts_noise_of_the_models_own_scale_on_a_rectangle():
    image = Image.new("RGB", (64, 48), (255, 0, 255))
    stream, shares, noise = rng(), [], []
    for _ in range(200):
        pixels = np.asarray(erase(image, stream, probability=1.0, mean=MEAN, std=STD))
        changed = (pixels != (255, 0, 255)).any(axis=-1)
        rows, columns = changed.any(axis=1), changed.any(axis=0)
        assert changed.sum() > 0.9 * rows.sum() * columns.sum()  # one rectangle
        shares.append(rows.sum() * columns.sum() / changed.size)
        noise.append(pixels[changed])
    assert 0.015 < min(shares) < 0.05 and 0.25 < max(shares) < 0.36
    np.testing.assert_allclose(np.concatenate(noise).mean(axis=0) / 255, MEAN, atol=0.02)
    np.testing.assert_allclose(np.concatenate(noise).std(axis=0) / 255, STD, atol=0.03)


@pytest.mark.parametrize("probability, low, high", [(0.0, 0, 0), (0.25, 70, 130), (1.0, 400, 400)])
def test_erasing_happens_with_its_probability(probability, low, high):
    image, stream = Image.new("RGB", (64, 48)), rng()
    results = [
        erase(image, stream, probability=probability, mean=MEAN, std=STD) for _ in range(400)
    ]
    assert low <= sum(result is not image for result in results) <= high
