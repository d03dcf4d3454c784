"""The middle of images of any shape."""

import numpy as np
import pytest
from PIL import Image

from renyi_jax.images import crop, crop_picture

SHAPES = [(1, 1), (7, 5), (40, 700), (900, 61), (3, 77), (1, 2_000), (2_000, 3)]


@pytest.mark.parametrize("shape", [(1, 1), (1, 20_000), (20_000, 3), (7, 5), (1, 10**6)])
@pytest.mark.parametrize("size", [(16, 24), (224, 224)])
def test_an_image_of_any_shape_is_brought_to_the_size(shape, size):
    image = Image.fromarray(np.full((*shape, 3), 77, np.uint8))
    cropped = crop_picture(image, size, 0.9)
    assert cropped.shape == (*size, 3)
    assert (cropped == 77).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(16, 24), (56, 56)])
def test_what_is_too_large_to_hold_is_cropped_to_about_the_same_pixels(shape, size, monkeypatch):
    rng = np.random.default_rng(0)
    rough = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    image = rough.resize((shape[1], shape[0]))
    whole = np.int32(crop_picture(image, size, 0.9))
    monkeypatch.setattr(crop, "_HELD", 0)
    assert np.abs(crop_picture(image, size, 0.9) - whole).max() <= 1
