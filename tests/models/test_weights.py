"""Weights into a model and out again, on files that timm wrote; torch is not needed."""

import dataclasses
import logging
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import logging as absl_logging
from flax import nnx
from parity import KINDS, build, tiny_spec

import renyi_jax
from renyi_jax.errors import UserError
from renyi_jax.models import to_timm
from renyi_jax.models.compatibility import expected_shapes
from renyi_jax.models.registry import model_spec
from renyi_jax.models.weights import check_fit
from renyi_jax.weights import Checkpoint, read_checkpoint, write_checkpoint

DATA = Path(__file__).parents[1] / "weights" / "data"
LOGITS = np.load(DATA / "logits.npz")
IMAGES = jnp.asarray(LOGITS["images"])


@pytest.fixture
def logged(caplog):
    """The messages that were logged at the level of commands."""
    before = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.INFO)
    logger = absl_logging.get_absl_logger()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO, logger=logger.name):
        yield lambda: [record.getMessage() for record in caplog.records]
    logger.removeHandler(caplog.handler)
    absl_logging.set_verbosity(before)


@pytest.fixture
def changed(tmp_path):
    """Writes a committed file with some tensors replaced, or left out where None."""

    def write(kind, metadata=None, **changes):
        tensors = read_checkpoint(DATA / f"{kind}.safetensors").tensors
        for name, tensor in changes.items():
            tensors[name] = tensor
        tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        write_checkpoint(tmp_path / "changed.safetensors", tensors, metadata or {})
        return tmp_path / "changed.safetensors"

    return write


def _problems(model, path):
    with pytest.raises(UserError) as raised:
        renyi_jax.load_weights(model, path)
    return str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_timm_gives_the_logits_of_timm(kind):
    model = build(tiny_spec(kind))
    renyi_jax.load_weights(model, DATA / f"{kind}.safetensors")
    np.testing.assert_allclose(model(IMAGES), LOGITS[kind], atol=1e-5)


@pytest.mark.parametrize("name", ["wrapped.pth", "wrapped.legacy.pth"])
def test_a_file_of_torch_gives_the_logits_of_timm(name):
    model = build(tiny_spec("plain"))
    renyi_jax.load_weights(model, DATA / name)
    np.testing.assert_allclose(model(IMAGES), LOGITS["plain"], atol=1e-5)


@pytest.mark.parametrize(("size", "image_size"), [("larger", (24, 32)), ("smaller", (8, 12))])
def test_at_another_image_size_the_logits_are_those_of_timm_at_that_size(size, image_size, logged):
    resized = np.load(DATA / "resized.npz")
    model = build(tiny_spec("plain", image_size=image_size))
    renyi_jax.load_weights(model, DATA / "plain.safetensors")
    np.testing.assert_allclose(
        model(jnp.asarray(resized[f"{size}_images"])), resized[size], atol=1e-5
    )
    assert "resized from 4 x 4" in logged()[0]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_saved_is_what_timm_wrote(kind, tmp_path):
    model = build(tiny_spec(kind))
    renyi_jax.load_weights(model, DATA / f"{kind}.safetensors")
    renyi_jax.save_weights(model, tmp_path / "ours.safetensors")
    saved = read_checkpoint(tmp_path / "ours.safetensors").tensors
    theirs = read_checkpoint(DATA / f"{kind}.safetensors").tensors
    assert saved.keys() == theirs.keys()
    for name in saved:
        np.testing.assert_array_equal(saved[name], theirs[name], err_msg=name)


def test_half_precision_weights_become_float32_parameters_of_the_same_logits():
    for dtype, tolerance in (("float16", 0.02), ("bfloat16", 0.2)):
        model = build(tiny_spec("plain"))
        renyi_jax.load_weights(model, DATA / f"plain.{dtype}.safetensors")
        assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))} == {
            np.dtype(np.float32)
        }
        np.testing.assert_allclose(model(IMAGES), LOGITS["plain"], atol=tolerance)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_are_saved_in_the_precision_asked_for(dtype, tmp_path):
    model = build(tiny_spec("plain"))
    renyi_jax.save_weights(model, tmp_path / "half.safetensors", dtype)
    renyi_jax.save_weights(model, tmp_path / "full.safetensors")
    half, full = (
        (tmp_path / name).stat().st_size for name in ("half.safetensors", "full.safetensors")
    )
    assert half < 0.7 * full
    loaded = build(tiny_spec("plain"), seed=1)
    renyi_jax.load_weights(loaded, tmp_path / "half.safetensors")
    for name, tensor in to_timm(loaded).items():
        np.testing.assert_allclose(tensor, to_timm(model)[name], rtol=0.01, err_msg=name)


def test_an_unknown_precision_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(UserError, match="Did you mean 'bfloat16'"):
        renyi_jax.save_weights(build(tiny_spec("plain")), tmp_path / "a.safetensors", "bfloat-16")


@pytest.mark.parametrize("kind", ["plain", "distilled"])
def test_another_number_of_classes_keeps_the_new_heads_and_loads_the_rest(kind, logged):
    model = build(tiny_spec(kind, num_classes=3))
    fresh = {name: tensor for name, tensor in to_timm(model).items() if "head" in name}
    renyi_jax.load_weights(model, DATA / f"{kind}.safetensors")
    theirs = read_checkpoint(DATA / f"{kind}.safetensors").tensors
    for name, tensor in to_timm(model).items():
        np.testing.assert_array_equal(tensor, fresh.get(name, theirs[name]), err_msg=name)
    assert "classifier has 5 classes and the model's 3" in logged()[0]


def test_a_model_without_head_leaves_out_that_of_the_file(logged):
    model = build(tiny_spec("plain", num_classes=0))
    renyi_jax.load_weights(model, DATA / "plain.safetensors")
    assert "classifier of 5 classes is left out" in logged()[0]


def test_a_file_without_head_leaves_that_of_the_model(changed, logged):
    model = build(tiny_spec("plain"))
    fresh = to_timm(model)["head.weight"]
    renyi_jax.load_weights(model, changed("plain", **{"head.weight": None, "head.bias": None}))
    np.testing.assert_array_equal(to_timm(model)["head.weight"], fresh)
    assert "has no classifier" in logged()[0]


def test_half_a_head_is_a_mistake_and_not_another_number_of_classes(changed):
    model = build(tiny_spec("plain"))
    assert "missing: head.bias (5)" in _problems(model, changed("plain", **{"head.bias": None}))


def test_the_mask_token_of_pretraining_is_ignored(changed):
    model = build(tiny_spec("registers"))
    renyi_jax.load_weights(model, changed("registers", mask_token=np.zeros((1, 8), np.float32)))
    np.testing.assert_allclose(model(IMAGES), LOGITS["registers"], atol=1e-5)


def test_every_missing_extra_and_misshapen_tensor_is_told_at_once(changed):
    model = build(tiny_spec("plain"))
    before = to_timm(model)
    path = changed(
        "plain",
        **{
            "cls_token": None,
            "blocks.0.norm1.bias": None,
            "blocks.1.norm1.bias": None,
            "blocks.1.mlp.fc3.weight": np.zeros((2, 3), np.float32),
            "decoder.bias": np.zeros(4, np.float32),
            "norm.weight": np.zeros(7, np.float32),
        },
    )
    message = _problems(model, path)
    for line in (
        f"{path} does not fit",
        "missing: cls_token (1 x 1 x 8)",
        "missing: blocks.0-1.norm1.bias (8)",
        "not in the model: blocks.1.mlp.fc3.weight (2 x 3)",
        "not in the model: decoder.bias (4)",
        "misshapen: norm.weight (7, expected 8)",
    ):
        assert line in message
    for name, tensor in to_timm(model).items():
        np.testing.assert_array_equal(tensor, before[name], err_msg=f"{name} has been changed")


def test_a_long_list_is_shortened(changed):
    extra = {f"layer{i}.weight": np.zeros(1, np.float32) for i in range(200)}
    message = _problems(build(tiny_spec("plain")), changed("plain", **extra))
    assert "not in the model: 176 more" in message
    assert len(message.splitlines()) < 40


def test_an_embedding_without_room_for_the_prefix_is_misshapen(changed):
    embedding = np.zeros((1, 16, 8), np.float32)
    message = _problems(build(tiny_spec("plain")), changed("plain", pos_embed=embedding))
    assert "misshapen: pos_embed (1 x 16 x 8, expected 1 x 17 x 8)" in message


def _misfit(asked, tensors):
    """What is told of tensors that do not fit the model of a name."""
    with pytest.raises(UserError) as raised:
        check_fit(model_spec(asked), Checkpoint(Path("a.safetensors"), tensors, {}))
    return str(raised.value)


def _tensors_of(name, **changes):
    shapes = expected_shapes(model_spec(name, **changes))
    return {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("asked", ["deit3_small_patch16_224", "vit_small_patch14_reg4_dinov2"])
def test_the_wrong_model_brings_the_names_of_those_that_fit(asked):
    message = _misfit(asked, _tensors_of("deit_tiny_patch16_224", num_classes=7))
    assert f"does not fit {asked}:" in message
    fitting = message.rpartition("The file fits ")[2].rstrip(".").split(", ")
    assert {"vit_tiny_patch16_224", "deit_tiny_patch16_224"} <= set(fitting)
    assert all("_tiny_patch16_" in name for name in fitting)


def test_a_file_that_fits_nothing_brings_the_nearest_model_if_there_is_one():
    name = "vit_tiny_patch16_224"
    tensors = _tensors_of(name)
    del tensors["cls_token"]
    message = _misfit(name, tensors)
    assert message.endswith("The nearest model is vit_tiny_patch16_224: 1 of its tensors differ.")
    message = _misfit(name, {"conv1.weight": np.zeros(3)})
    assert message.endswith("The file fits no model known here.")


def test_as_many_patches_as_a_square_has_are_one_unless_the_file_tells(changed, logged):
    embedding = np.random.default_rng(0).standard_normal((1, 1 + 16, 8)).astype(np.float32)
    wide = build(tiny_spec("plain", image_size=(8, 32)))
    renyi_jax.load_weights(wide, changed("plain", pos_embed=embedding))
    assert not np.allclose(to_timm(wide)["pos_embed"], embedding)
    assert "does not say how its patches lie" in logged()[0]
    assert "resized from 4 x 4 to 2 x 8" in logged()[-1]

    told = changed("plain", metadata={"image_size": "8x32"}, pos_embed=embedding)
    renyi_jax.load_weights(wide, told)
    np.testing.assert_array_equal(to_timm(wide)["pos_embed"], embedding)
    square = build(tiny_spec("plain"))
    renyi_jax.load_weights(square, told)
    assert not np.allclose(to_timm(square)["pos_embed"], embedding)
    assert "resized from 2 x 8 to 4 x 4" in logged()[-1]


def test_a_grid_that_can_be_no_square_is_the_model_s_and_that_is_said(changed, logged):
    embedding = np.random.default_rng(0).standard_normal((1, 1 + 12, 8)).astype(np.float32)
    model = build(tiny_spec("plain", image_size=(12, 16)))
    renyi_jax.load_weights(model, changed("plain", pos_embed=embedding))
    np.testing.assert_array_equal(to_timm(model)["pos_embed"], embedding)
    assert "does not say how its patches lie" in logged()[0]
    other = build(tiny_spec("plain", image_size=(24, 8 * 4)))
    assert "misshapen: pos_embed" in _problems(other, changed("plain", pos_embed=embedding))


@pytest.mark.parametrize("size", ["16x32", "17x16", "8x8"])
def test_a_file_that_contradicts_itself_about_its_patches_is_refused(changed, size):
    message = _problems(build(tiny_spec("plain")), changed("plain", metadata={"image_size": size}))
    assert f"pos_embed (1 x 17 x 8, for images of {size.replace('x', ' x ')} pixels)" in message


@pytest.mark.parametrize(
    ("value", "dtype"), [(np.nan, np.float32), (-np.inf, np.float16), (1e300, np.float64)]
)
def test_weights_that_are_not_finite_in_float32_are_refused_by_name(tmp_path, value, dtype):
    tensors = dict(read_checkpoint(DATA / "plain.safetensors").tensors)
    tensors["norm.weight"] = tensors["norm.weight"].astype(dtype)
    tensors["norm.weight"][2:4] = value
    write_checkpoint(tmp_path / "a.safetensors", tensors, {})
    model = build(tiny_spec("plain"))
    before = to_timm(model)
    message = _problems(model, tmp_path / "a.safetensors")
    assert "has 2 numbers that are not finite in float32, in norm.weight" in message
    for name, tensor in to_timm(model).items():
        np.testing.assert_array_equal(tensor, before[name], err_msg=f"{name} has been changed")


def test_what_a_model_does_not_use_need_not_be_finite(changed):
    mask = np.full((1, 8), np.nan, np.float32)
    renyi_jax.load_weights(build(tiny_spec("registers")), changed("registers", mask_token=mask))


def test_weights_that_a_precision_cannot_hold_are_not_written_in_it(tmp_path):
    model = build(tiny_spec("plain"))
    model.norm.scale[...] = jnp.full(8, 1e5)
    with pytest.raises(UserError, match=r"norm\.weight has numbers up to 1e\+05"):
        renyi_jax.save_weights(model, tmp_path / "a.safetensors", "float16")
    assert not list(tmp_path.iterdir())
    renyi_jax.save_weights(model, tmp_path / "a.safetensors", "bfloat16")


@pytest.mark.parametrize("shape", [(), (0,), (5, 1)])
def test_a_classifier_of_no_shape_is_misshapen(changed, shape):
    bias = np.zeros(shape, np.float32)
    assert "misshapen: head.bias" in _problems(
        build(tiny_spec("plain")), changed("plain", **{"head.bias": bias})
    )


def test_the_same_weights_and_notes_make_the_same_bytes(tmp_path):
    pruning = renyi_jax.PruningConfig(blocks=(1,))
    for seed in range(8):  # a file of as many notes in an order of chance would differ
        model = build(tiny_spec("plain")).with_pruning(pruning)
        renyi_jax.save_weights(model, tmp_path / f"{seed}", class_names=list("abcde"))
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_named_model_takes_its_own_count_of_patches_for_its_own_grid(tmp_path):
    model = renyi_jax.create_model("vit_tiny_patch16_224", rngs=nnx.Rngs(0))
    write_checkpoint(tmp_path / "a.safetensors", to_timm(model), {})
    wide = renyi_jax.create_model("vit_tiny_patch16_224", image_size=(112, 448), rngs=nnx.Rngs(1))
    renyi_jax.load_weights(wide, tmp_path / "a.safetensors")
    assert not np.allclose(to_timm(wide)["pos_embed"], to_timm(model)["pos_embed"])


def test_a_file_with_another_patch_size_does_not_fit():
    spec = dataclasses.replace(tiny_spec("plain"), patch_size=8)
    message = _problems(build(spec), DATA / "plain.safetensors")
    assert "misshapen: patch_embed.proj.weight (8 x 3 x 4 x 4, expected 8 x 3 x 8 x 8)" in message


def place(leaf):
    return leaf.sharding, leaf.committed


def test_parameters_stay_on_their_devices_and_a_saved_file_names_its_model(tmp_path):
    model = renyi_jax.create_model("vit_tiny_patch16_224", image_size=(32, 64), rngs=nnx.Rngs(0))
    where = jax.tree.map(place, nnx.state(model, nnx.Param))
    renyi_jax.save_weights(model, tmp_path / "a.safetensors")
    renyi_jax.load_weights(model, tmp_path / "a.safetensors")
    assert jax.tree.map(place, nnx.state(model, nnx.Param)) == where
    metadata = read_checkpoint(tmp_path / "a.safetensors").metadata
    assert metadata == {"format": "pt", "model": "vit_tiny_patch16_224", "image_size": "32x64"}
