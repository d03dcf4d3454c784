"""`python -m renyi_jax.convert` as a user runs it."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import renyi_jax
from renyi_jax.weights import read_checkpoint

NAME = "vit_nano_patch4_56"


@pytest.fixture(scope="module")
def model():
    return renyi_jax.create_model(NAME, num_classes=7, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def source(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("workdir")
    renyi_jax.save_weights(model, folder / "model.safetensors")
    return folder


@pytest.fixture
def convert(run_child):
    def converting(**flags):
        return run_child("convert", *(f"--{name}={value}" for name, value in flags.items()))

    return converting


def test_a_workdir_becomes_one_file_with_the_same_logits(convert, source, model, tmp_path):
    output = tmp_path / "new" / "ours.safetensors"
    result = convert(model=NAME, weights=source, out=output)
    assert result.status == 0, result.stderr
    assert f"Wrote {output}: {NAME}, 56 x 56 pixels, 7 classes, float32." in result.stdout
    loaded = renyi_jax.create_model(NAME, num_classes=7, rngs=nnx.Rngs(1))
    renyi_jax.load_weights(loaded, output)
    images = jnp.ones((1, 56, 56, 3))
    np.testing.assert_array_equal(loaded(images), model(images))


def test_size_classes_and_precision_can_be_changed_on_the_way(convert, source, tmp_path):
    output = tmp_path / "ours.safetensors"
    result = convert(
        model=NAME,
        weights=source / "model.safetensors",
        out=output,
        image_size="32,64",
        num_classes=0,
        dtype="bfloat16",
    )
    assert result.status == 0, result.stderr
    assert "resized from 14 x 14 to 8 x 16" in result.stderr
    checkpoint = read_checkpoint(output)
    assert checkpoint.tensors["pos_embed"].shape == (1, 1 + 8 * 16, 64)
    assert "head.weight" not in checkpoint.tensors
    assert checkpoint.metadata["image_size"] == "32x64"

    again = tmp_path / "again.safetensors"
    assert convert(model=NAME, weights=output, out=again).status == 0
    assert read_checkpoint(again).metadata["image_size"] == "32x64"
