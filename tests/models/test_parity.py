"""Every model against timm's of the same name."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parity import build, random_images, run_timm, timm_model

import renyi_jax
from renyi_jax.models import MODELS

pytestmark = pytest.mark.parity

OURS_ALONE = {"vit_nano_patch4_56"}
NAMES = [name for name in MODELS if name not in OURS_ALONE]
# Fewer blocks stand in for the heavier models, and narrower ones for the heaviest.
SHALLOW = ("small", "base", "large")
NARROW = ("base", "large")


def _stand_in(name, **changes):
    spec = MODELS[name]
    if any(size in name for size in SHALLOW):
        spec = dataclasses.replace(spec, depth=3)
    if any(size in name for size in NARROW):
        spec = dataclasses.replace(spec, embed_dim=192)
    if "dinov2" in name:
        spec = dataclasses.replace(spec, image_size=(224, 224))
    return dataclasses.replace(spec, **changes)


def _pair(timm, tmp_path, name, spec):
    """timm's model with random weights, and ours with the same, by way of a file."""
    from safetensors.torch import save_file

    theirs = timm_model(timm, name, spec)
    save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    ours = build(spec)
    renyi_jax.load_weights(ours, tmp_path / "timm.safetensors")
    return theirs, ours


def _call(model, images):
    return np.asarray(nnx.jit(lambda model, images: model(images))(model, jnp.asarray(images)))


@pytest.mark.parametrize("name", NAMES)
def test_the_logits_are_timms(timm, tmp_path, name):
    spec = _stand_in(name)
    theirs, ours = _pair(timm, tmp_path, name, spec)
    images = random_images(spec)
    np.testing.assert_allclose(_call(ours, images), run_timm(theirs, images), atol=1e-4)


@pytest.mark.parametrize("image_size", [(384, 384), (112, 336)])
@pytest.mark.parametrize(
    "name",
    ["vit_base_patch16_224", "deit_base_distilled_patch16_224", "vit_base_patch14_reg4_dinov2"],
)
def test_the_logits_are_timms_at_other_image_sizes(timm, tmp_path, name, image_size):
    if "patch14" in name:
        image_size = tuple(side // 16 * 14 for side in image_size)
    spec = _stand_in(name, image_size=image_size, num_classes=10)
    theirs, ours = _pair(timm, tmp_path, name, spec)
    images = random_images(spec, count=1)
    np.testing.assert_allclose(_call(ours, images), run_timm(theirs, images), atol=1e-4)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit3_base_patch16_224"])
def test_every_token_after_the_last_norm_is_timms(timm, tmp_path, name):
    spec = _stand_in(name, num_classes=0)
    theirs, ours = _pair(timm, tmp_path, name, spec)
    images = random_images(spec, count=1)
    features = run_timm(theirs, images, features=True)
    np.testing.assert_allclose(ours.forward_features(jnp.asarray(images)), features, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "deit_base_distilled_patch16_224",
        "deit3_base_patch16_224",
        "vit_base_patch14_reg4_dinov2",
    ],
)
def test_what_we_save_loads_strictly_into_timm_and_gives_the_same_logits(timm, tmp_path, name):
    from safetensors.torch import load_file

    spec = _stand_in(name, num_classes=10)
    ours = build(spec, seed=3)
    renyi_jax.save_weights(ours, tmp_path / "ours.safetensors")
    theirs = timm_model(timm, name, spec)
    theirs.load_state_dict(load_file(tmp_path / "ours.safetensors"), strict=True)
    images = random_images(spec)
    np.testing.assert_allclose(_call(ours, images), run_timm(theirs, images), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_registry_says_what_timm_says(timm, name):
    ours, theirs = MODELS[name], timm.models.get_pretrained_cfg(name)
    assert theirs.input_size == (3, *ours.image_size)
    assert (theirs.mean, theirs.std) == (ours.mean, ours.std)
    assert (theirs.crop_pct, theirs.num_classes) == (ours.crop_pct, ours.num_classes)


@pytest.fixture(scope="module")
def photographs():
    """Photographs of scikit-image, cropped to squares, in [0, 1]."""
    data = pytest.importorskip("skimage.data")
    pictures = [data.astronaut(), data.chelsea(), data.coffee()]
    sides = [min(picture.shape[:2]) for picture in pictures]
    return [picture[:side, -side:] / np.float32(255) for picture, side in zip(pictures, sides)]


@pytest.mark.parametrize(("image_size", "count"), [((518, 518), 1), ((196, 224), 3)])
def test_features_of_photographs_with_real_weights_are_timms(
    timm, shared, tmp_path, photographs, image_size, count
):
    from safetensors.torch import load_file, save_file

    name = "vit_small_patch14_dinov2"
    path = shared / "weights" / f"{name}.fp16.safetensors"
    # timm would round a resized embedding to the file's float16; in float32 nobody rounds.
    save_file({k: v.float() for k, v in load_file(path).items()}, tmp_path / "float32.safetensors")
    overlay = {"file": str(tmp_path / "float32.safetensors")}
    theirs = timm.create_model(
        name, img_size=image_size, pretrained=True, pretrained_cfg_overlay=overlay
    ).eval()
    ours = renyi_jax.create_model(name, image_size=image_size, rngs=nnx.Rngs(0))
    renyi_jax.load_weights(ours, path)

    resize = pytest.importorskip("skimage.transform").resize
    images = np.stack([resize(picture, image_size) for picture in photographs[:count]])
    images = ((images - ours.spec.mean) / ours.spec.std).astype(np.float32)
    features = run_timm(theirs, images, features=True)
    np.testing.assert_allclose(ours.forward_features(jnp.asarray(images)), features, atol=1e-3)
