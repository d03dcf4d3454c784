"""Every model against timm's of the same name; stand-ins have a model's kind at another size."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from parity import build, random_images, run_timm, timm_model

import renyi_jax
from renyi_jax.models import MODELS, to_timm
from renyi_jax.models.compatibility import expected_shapes
from renyi_jax.models.families import FAMILIES
from renyi_jax.models.registry import TAGS, model_spec
from renyi_jax.models.weights import fill
from renyi_jax.weights import Checkpoint

pytestmark = pytest.mark.parity

OURS_ALONE = {"vit_nano_patch4_56"}
NAMES = [name for name in MODELS if name not in OURS_ALONE]

# One of each kind.
KINDS = [
    "vit_base_patch16_224",
    "deit_base_distilled_patch16_224",
    "deit3_base_patch16_224",
    "vit_base_patch14_reg4_dinov2",
    "vit_base_patch16_siglip_224",
    "vit_so400m_patch14_siglip_gap_224",
    "vit_base_patch14_reg1_tipsv2",
    "vit_base_patch32_clip_224",
    "vit_large_patch14_clip_quickgelu_336",
    "vit_small_patch16_dinov3",
    "vit_base_patch16_dinov3_qkvb",
    "vit_small_plus_patch16_dinov3_qkvb",
    "vit_pe_core_base_patch16_224",
]
SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 4}


def relative_difference(ours, theirs) -> float:
    return float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize(
    ("image_size", "num_classes"), [((16, 16), 0), ((12, 20), 5)], ids=["pooled", "oblong"]
)
@pytest.mark.parametrize("name", KINDS)
def test_the_outputs_are_timms_and_the_weights_go_both_ways(timm, name, image_size, num_classes):
    if MODELS[name].distilled:
        num_classes = 5  # without classes timm averages two tokens, and we give the first
    spec = dataclasses.replace(
        MODELS[name], **SMALL, image_size=image_size, num_classes=num_classes
    )
    theirs = timm_model(timm, name, spec, scale=0.3)
    tensors = {key: tensor.numpy() for key, tensor in theirs.state_dict().items()}
    ours, images = build(spec), random_images(spec)
    fill(ours, Checkpoint(Path("timm"), tensors, {}))
    outputs, features = jax.jit(lambda x: (ours(x), ours.forward_features(x)))(images)
    expected = run_timm(theirs, images)
    assert relative_difference(outputs, expected) < 5e-6
    assert relative_difference(features, run_timm(theirs, images, features=True)) < 5e-6

    import torch

    back = timm_model(timm, name, spec, seed=1)
    saved = {key: torch.from_numpy(np.array(array)) for key, array in to_timm(ours).items()}
    back.load_state_dict(saved, strict=True)
    np.testing.assert_array_equal(run_timm(back, images), expected)


ACTIVATIONS = {
    "GELU": "gelu",
    "GELUTanh": "gelu_tanh",
    "QuickGELU": "quick_gelu",
    "SiLU": "swiglu",
}


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_the_activation_and_the_epsilon_are_timms(timm, name):
    import torch

    spec = MODELS[name]
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=spec.num_classes)
    theirs = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    assert expected_shapes(spec) == theirs
    block = model.blocks[0]
    assert ACTIVATIONS[type(block.mlp.act).__name__] == spec.activation
    assert block.norm1.eps == spec.norm_eps


@pytest.mark.parametrize("name", NAMES)
def test_the_pixels_and_the_classes_of_a_name_and_its_tags_are_timms(timm, name):
    configs = timm.models._registry._model_default_cfgs[name]
    for tag in [None, *(tag for tag in configs.tags if tag and tag not in UNKNOWN_TAGS)]:
        theirs = configs.default if tag is None else configs.cfgs[tag]
        ours = model_spec(name if tag is None else f"{name}.{tag}")
        for field in ("mean", "std", "crop_pct", "num_classes", "interpolation"):
            assert getattr(ours, field) == getattr(theirs, field), (tag, field)
        assert ours.image_size == theirs.input_size[1:]


UNKNOWN_TAGS = {"bamboo"}  # of one model alone


def test_no_name_and_no_tag_belongs_to_two_families():
    assert sum(len(family.models) for family in FAMILIES) == len(MODELS)
    assert sum(len(family.tags) for family in FAMILIES) == len(TAGS)


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
