"""A model from a file of weights alone."""

from json import dumps
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hub import cache_of_hub
from huggingface_hub import constants

import renyi_jax
from renyi_jax.errors import UserError
from renyi_jax.inference import Classifier
from renyi_jax.models import MODELS, Loaded, normalize_images, to_timm
from renyi_jax.models.compatibility import expected_shapes
from renyi_jax.models.load import model_of
from renyi_jax.models.notes import write_notes
from renyi_jax.models.registry import model_spec
from renyi_jax.pruning import PruningConfig
from renyi_jax.weights import Checkpoint, read_checkpoint, write_checkpoint

NAME = "vit_nano_patch4_56"
EMBEDDED = f"embedded:{NAME}"
PRUNING = PruningConfig(keep_rate=0.5, blocks=(2, 5))
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """As a run leaves it: a model of 3 classes, for images of 32 x 64."""
    model = renyi_jax.create_model(
        NAME, num_classes=3, image_size=(32, 64), pruning=PRUNING, rngs=nnx.Rngs(0)
    )
    folder = tmp_path_factory.mktemp("run")
    renyi_jax.save_weights(model, folder / "model.safetensors", class_names=("a", "b", "c"))
    return folder, model


@pytest.fixture
def changed(workdir, tmp_path):
    """Writes the weights of the workdir with other notes and tensors; None takes one away."""

    def write(notes=None, **tensors):
        _, model = workdir
        metadata = write_notes(model, ("a", "b", "c")) | (notes or {})
        entries = to_timm(model) | {name.replace("__", "."): each for name, each in tensors.items()}
        write_checkpoint(
            tmp_path / "changed.safetensors",
            {name: tensor for name, tensor in entries.items() if tensor is not None},
            {name: text for name, text in metadata.items() if text is not None},
        )
        return tmp_path / "changed.safetensors"

    return write


def test_a_workdir_gives_its_model_with_its_pruning_classes_and_preprocessing(workdir):
    folder, model = workdir
    loaded = renyi_jax.load(str(folder))
    assert loaded.model.pruning == PRUNING and loaded.class_names == ("a", "b", "c")
    assert loaded.model.spec == model.spec
    normalised = normalize_images(jnp.asarray(PIXELS), model.spec.mean, model.spec.std)
    np.testing.assert_array_equal(loaded(jnp.asarray(PIXELS)), model(normalised))
    np.testing.assert_array_equal(loaded(normalised), model(normalised))


def test_what_is_loaded_classifies(workdir):
    (prediction,) = Classifier(*renyi_jax.load(workdir[0]))([PIXELS[0]])
    assert set(prediction.class_names) == {"a", "b", "c"}
    assert renyi_jax.inference.Classifier is Classifier


def test_weights_that_are_shipped_say_what_they_are_of():
    loaded = renyi_jax.load(EMBEDDED)
    assert isinstance(loaded, Loaded) and loaded.model.spec.num_classes == 10


def test_a_file_of_timm_needs_the_model_s_name_and_lists_those_that_fit(changed):
    path = changed(dict.fromkeys(("model", "image_size", "pruning", "class_names")), pos_embed=None)
    with pytest.raises(UserError, match=r"does not say which model.*--model=NAME.*nearest model"):
        renyi_jax.load(path)
    with pytest.raises(UserError, match=r"Did you mean 'vit_nano_patch4_56'"):
        renyi_jax.load(path, model="vit_mano_patch4_56")


def test_the_name_of_timm_s_config_beside_a_file_is_enough(changed):
    path = changed(dict.fromkeys(("model", "pruning", "class_names")))
    path.with_name("config.json").write_text(f'{{"architecture": "{NAME}"}}')
    loaded = renyi_jax.load(path)
    assert loaded.model.spec.image_size == (32, 64)
    assert loaded.model.pruning is None and loaded.class_names is None


def test_size_classes_and_name_may_be_others_than_those_of_the_file(workdir):
    loaded = renyi_jax.load(
        workdir[0], model=f"{NAME}.a_tag", num_classes=0, image_size=28, dtype="bfloat16"
    )
    assert loaded.model.spec.image_size == (28, 28) and loaded.class_names is None
    assert loaded.model.dtype == jnp.bfloat16


CONFIG = {
    "architecture": NAME,
    "num_classes": 3,
    "label_names": ["x", "y", "z"],
    "pretrained_cfg": {
        "tag": "mae",
        "input_size": [3, 32, 64],
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "crop_pct": 0.8,
        "interpolation": "bilinear",
    },
}
BARE = dict.fromkeys(("model", "image_size", "pruning", "class_names"))


def test_a_name_on_the_hub_needs_no_more_than_its_config(changed, tmp_path, monkeypatch):
    data = {"model.safetensors": changed(BARE).read_bytes(), "config.json": dumps(CONFIG).encode()}
    cache_of_hub(tmp_path, "someone/nano", data)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    loaded = renyi_jax.load("hf_hub:someone/nano")
    spec = loaded.model.spec
    assert (spec.name, spec.image_size, spec.num_classes) == (f"{NAME}.mae", (32, 64), 3)
    assert loaded.class_names == ("x", "y", "z")
    assert spec.mean == (0.1, 0.2, 0.3) and spec.std == (0.4, 0.5, 0.6)
    assert (spec.crop_pct, spec.interpolation) == (0.8, "bilinear")

    # What is saved keeps them, without the config.
    renyi_jax.save_weights(loaded.model, tmp_path / "again.safetensors")
    again = renyi_jax.load(tmp_path / "again.safetensors").model.spec
    assert again == spec
    # A model that is named overrules the name, and not the pixels.
    other = renyi_jax.load("hf_hub:someone/nano", model=NAME).model.spec
    assert other.name == NAME and other.mean == spec.mean
    # The pixels that a model is fine-tuned with are those of the weights that it starts from.
    model = renyi_jax.create_model(NAME, num_classes=7, image_size=(32, 64), rngs=nnx.Rngs(0))
    renyi_jax.load_weights(model, "hf_hub:someone/nano")
    assert model.spec.mean == spec.mean and model.spec.num_classes == 7
    renyi_jax.load_weights(model, EMBEDDED)
    assert model.spec.mean == MODELS[NAME].mean


def test_weights_without_a_name_are_of_the_one_model_that_they_fit(changed):
    assert renyi_jax.load(changed(BARE | {"image_size": "32x64"})).model.spec.name == NAME


@pytest.mark.parametrize(
    ("family", "image_size", "taken"),
    [
        (None, None, None),
        ("vit", None, "vit_base_patch16_224"),
        ("deit", None, "deit_base_patch16_224"),
        ("deit", "384x384", "deit_base_patch16_384"),
        ("siglip", None, None),
    ],
)
def test_of_several_models_the_family_and_the_size_choose(family, image_size, taken):
    side = int(image_size.split("x")[0]) if image_size else 224
    shapes = expected_shapes(model_spec("deit_base_patch16_224", image_size=side))
    tensors = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    metadata = {"family": family, "image_size": image_size}
    checkpoint = Checkpoint(Path("a.pth"), tensors, {k: v for k, v in metadata.items() if v})
    if taken:
        assert model_of(checkpoint) == taken
        return
    with pytest.raises(UserError, match=r"a\.pth does not say which .* fits vit_base_patch16_224,"):
        model_of(checkpoint)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"num_classes": 4}, "4 classes are noted, and its classifier has 3"),
        ({"label_names": ["x"]}, "1 names of classes are noted, and its classifier has 3"),
        ({"model_args": {"img_size": 64}}, "for images of 64 x 64 pixels"),
        ({"architecture": "resnet50"}, "Unknown model 'resnet50"),
        ({"architecture": "deit_small_patch16_224"}, "does not fit deit_small_patch16_224"),
        (
            {"model_type": "vit", "num_hidden_layers": 6},
            "depth 6 is noted, and its tensors have 12",
        ),
        ({"model_type": "vit", "hidden_size": 65}, "embed_dim 65 is noted"),
        ({"pretrained_cfg": {"mean": [0.5, 0.5]}}, "notes its mean"),
        ({"pretrained_cfg": {"std": [0, 0, 0]}}, "notes its std"),
    ],
    ids=str,
)
def test_a_config_that_contradicts_the_tensors_is_refused(changed, config, reason):
    path = changed(BARE | ({"image_size": "32x64"} if "model_type" in config else {}))
    whole = config if "model_type" in config else CONFIG | config
    path.with_name("config.json").write_text(dumps(whole))
    with pytest.raises(UserError) as raised:
        renyi_jax.load(path)
    assert reason in str(raised.value)


def test_a_head_that_the_config_tells_and_the_file_lacks_is_missed(changed):
    path = changed(BARE, head__weight=None, head__bias=None)
    path.with_name("config.json").write_text(dumps(CONFIG))
    with pytest.raises(UserError, match="3 classes are noted, and it has no classifier"):
        renyi_jax.load(path)


@pytest.mark.parametrize(
    ("notes", "tensors", "reason"),
    [
        ({"image_size": "30x64"}, {}, "for images of 30 x 64 pixels"),
        ({"pruning": '{"blocks": [4, 99]}'}, {}, "99"),
        ({}, {"head__weight": None}, "missing: head.weight"),
        ({"class_names": None}, {"head__weight": np.zeros((10**9, 0), np.float32)}, "head.weight"),
        ({}, {"pos_embed": np.zeros((1, 10**8 + 1, 0), np.float32)}, "pos_embed"),
        ({"image_size": None}, {"pos_embed": np.zeros((1, 10**8 + 1, 0), np.float32)}, "pos_embed"),
        ({}, {"pos_embed": np.float32(1)}, "pos_embed"),
    ],
    ids=str,
)
def test_a_file_that_contradicts_itself_is_refused(changed, notes, tensors, reason):
    with pytest.raises(UserError) as raised:
        renyi_jax.load(changed(notes, **tensors))
    assert reason in str(raised.value)


def test_timm_s_tags_choose_the_pixels_that_the_weights_expect():
    spec = renyi_jax.models.registry.model_spec
    plain = spec("vit_small_patch16_224")
    assert spec("vit_small_patch16_224.augreg_in1k") == plain
    assert spec("vit_small_patch14_dinov2.lvd142m") == spec("vit_small_patch14_dinov2")
    assert spec("vit_small_patch16_224.dino").mean == spec("deit_small_patch16_224").mean
    for tagged in ("vit_small_patch16_224.dino", "vit_large_patch16_224.mae"):
        name = spec(tagged).name  # of what is noted in a file, the same pixels follow
        assert name and spec(name, num_classes=0) == spec(tagged)
    with pytest.raises(UserError, match=r"Unknown model 'resnet50\.a1_in1k'"):
        spec("resnet50.a1_in1k")


@pytest.mark.parity
@pytest.mark.parametrize(
    "name",
    [
        "vit_small_patch16_224.augreg_in21k_ft_in1k",
        "vit_base_patch16_224.dino",
        "vit_large_patch16_224.mae",
        "deit_small_patch16_224.fb_in1k",
        "deit3_small_patch16_224.fb_in1k",
        "deit3_base_patch16_224.fb_in22k_ft_in1k",
        "vit_base_patch14_reg4_dinov2.lvd142m",
    ],
)
def test_a_tagged_name_is_what_it_is_in_timm(timm, name):
    ours, theirs = renyi_jax.models.registry.model_spec(name), timm.models.get_pretrained_cfg(name)
    assert ours.mean == theirs.mean and ours.std == theirs.std
    assert ours.crop_pct == theirs.crop_pct and ours.num_classes == theirs.num_classes
    assert ours.image_size == theirs.input_size[1:]


def test_the_state_that_is_asked_for_is_loaded(workdir, tmp_path):
    _, model = workdir
    average = {f"ema.{name}": tensor + 1 for name, tensor in to_timm(model).items()}
    path = tmp_path / "both.safetensors"
    write_checkpoint(path, to_timm(model) | average, write_notes(model))
    bias = to_timm(model)["norm.bias"]
    np.testing.assert_array_equal(to_timm(renyi_jax.load(path).model)["norm.bias"], bias + 1)
    plain = renyi_jax.load(path, state=".").model
    np.testing.assert_array_equal(to_timm(plain)["norm.bias"], bias)
    renyi_jax.load_weights(plain, path)
    np.testing.assert_array_equal(to_timm(plain)["norm.bias"], bias + 1)
    assert read_checkpoint(path, ".").tensors.keys() == to_timm(model).keys()
