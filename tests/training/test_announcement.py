"""What main says before it starts."""

import dataclasses

import pytest
from tiny import tiny_dataset, tiny_model, tiny_spec

from renyi_jax.config import check_config, default_config
from renyi_jax.pruning import PruningConfig
from renyi_jax.training.setup import announcement

PRUNED = PruningConfig(blocks=(1, 2), keep_rate=0.5, alpha=4.0)


def announced(pruning=PRUNED, **fields):
    config = default_config()
    config.update_from_flattened_dict(fields)
    dataset = dataclasses.replace(tiny_dataset(), train=tiny_dataset().test)
    spec = tiny_spec(image_size=(16, 16))
    return announcement(tiny_model(pruning, spec), dataset, check_config(config))


def test_a_start_is_told_with_its_weights_device_images_and_steps():
    words = announced(**{"data.batch_size": 8, "train.epochs": 2, "model.weights": "a.safetensors"})
    assert words.startswith("vit_nano_patch4_56 from a.safetensors, on 1 x cpu")
    assert "16 x 16 pixels" in words and "23 test images" in words
    assert f"{2 * (23 // 8)} steps of 8 images (2 epochs)" in words


def test_the_pruning_is_told_with_its_cost():
    assert "drop, renyi, alpha 4.0, keep rate 0.5, in blocks 1, 2;" in announced()
    assert "pruning:  none\n" in announced(None)
    merged = announced(PruningConfig(reducer="merge", r=2, blocks=(1,)))
    assert "merge, " in merged and "r = 2, in blocks 1;" in merged


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"train.epochs": 0}, "training: none"),
        ({"train.epochs": 1, "train.patience": 3, "data.batch_size": 8}, "at most "),
        ({"train.epochs": 1, "data.batch_size": 4096}, "1 steps of 23 images (1 epoch)"),
    ],
)
def test_a_training_of_another_length_is_told(fields, words):
    assert words in announced(**fields)
