"""`python -m renyi_jax.convert` as a user runs it."""

import subprocess
import sys

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


def convert(**flags):
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    return subprocess.run(
        [sys.executable, "-m", "renyi_jax.convert", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_workdir_becomes_one_file_with_the_same_logits(source, model, tmp_path):
    output = tmp_path / "new" / "ours.safetensors"
    result = convert(model=NAME, weights=source, out=output)
    assert result.returncode == 0, result.stderr
    assert f"Wrote {output}: {NAME}, 56 x 56 pixels, 7 classes, float32." in result.stdout
    loaded = renyi_jax.create_model(NAME, num_classes=7, rngs=nnx.Rngs(1))
    renyi_jax.load_weights(loaded, output)
    images = jnp.ones((1, 56, 56, 3))
    np.testing.assert_array_equal(loaded(images), model(images))


def test_size_classes_and_precision_can_be_changed_on_the_way(source, tmp_path):
    output = tmp_path / "ours.safetensors"
    result = convert(
        model=NAME,
        weights=source / "model.safetensors",
        out=output,
        image_size="32,64",
        num_classes=0,
        dtype="bfloat16",
    )
    assert result.returncode == 0, result.stderr
    assert "resized from 14 x 14 to 8 x 16" in result.stderr
    checkpoint = read_checkpoint(output)
    assert checkpoint.tensors["pos_embed"].shape == (1, 1 + 8 * 16, 64)
    assert "head.weight" not in checkpoint.tensors
    assert checkpoint.metadata["image_size"] == "32x64"

    again = tmp_path / "again.safetensors"
    assert convert(model=NAME, weights=output, out=again).returncode == 0
    assert read_checkpoint(again).metadata["image_size"] == "32x64"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "vit_mano_patch4_56"}, "Did you mean 'vit_nano_patch4_56'?"),
        ({"model": "vit_tiny_patch16_224"}, "The file fits vit_nano_patch4_56."),
        ({"out": "ours.pth"}, "ends in .safetensors"),
        ({"image_size": "big"}, "--image_size=big"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(source, tmp_path, changes, message):
    flags = {"model": NAME, "weights": source, "out": tmp_path / "ours.safetensors"} | changes
    result = convert(**flags)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_the_weights_are_not_overwritten(source):
    before = (source / "model.safetensors").read_bytes()
    result = convert(model=NAME, weights=source, out=source / "model.safetensors", num_classes=3)
    assert result.returncode == 2
    assert "is the file of --weights" in result.stderr
    assert (source / "model.safetensors").read_bytes() == before
