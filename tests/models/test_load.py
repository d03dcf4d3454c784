"""A model from a file of weights alone."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import renyi_jax
from renyi_jax.errors import UserError
from renyi_jax.inference import Classifier
from renyi_jax.models import Loaded, normalize_images, to_timm
from renyi_jax.models.notes import write_notes
from renyi_jax.pruning import PruningConfig
from renyi_jax.weights import read_checkpoint, write_checkpoint

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


@pytest.mark.parametrize(
    ("notes", "tensors", "reason"),
    [
        ({"model": "resnet50"}, {}, "Unknown model 'resnet50'"),
        ({"class_names": '["a"]'}, {}, "names of 1 classes, and its classifier has 3"),
        ({"image_size": "64x64"}, {}, "for images of 64 x 64 pixels"),
        ({"image_size": "30x64"}, {}, "for images of 30 x 64 pixels"),
        ({"pruning": '{"blocks": [4, 99]}'}, {}, "99"),
        ({}, {"head__bias": np.float32(1)}, "misshapen: head.bias"),
        ({}, {"head__weight": None}, "missing: head.weight"),
        ({}, {"head__bias": None}, "missing: head.bias"),
        ({"class_names": None}, {"head__weight": np.zeros((10**9, 0), np.float32)}, "head.weight"),
        ({}, {"pos_embed": np.zeros((1, 10**8 + 1, 0), np.float32)}, "pos_embed"),
        ({"image_size": None}, {"pos_embed": np.zeros((1, 10**8 + 1, 0), np.float32)}, "pos_embed"),
        ({}, {"pos_embed": np.float32(1)}, "pos_embed"),
        (
            {},
            {"norm__bias": np.full(64, np.nan, np.float32)},
            "not finite in float32, in norm.bias",
        ),
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
