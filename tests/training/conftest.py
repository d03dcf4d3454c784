"""A tiny run: 40 images in batches of 8, 5 steps an epoch."""

import dataclasses
import functools

import pytest
from etils import epath
from flax import nnx
from tiny import tiny_dataset, tiny_model, tiny_spec

from renyi_jax.config import check_config, default_config
from renyi_jax.pruning import PruningConfig

PRUNING = PruningConfig(criterion=("renyi", "random"), blocks=(1, 2), keep_rate=0.7)


@pytest.fixture(scope="session")
def dataset():
    return dataclasses.replace(tiny_dataset(), train=tiny_dataset(40, masks=False).test)


@pytest.fixture(scope="session")
def make_model():
    """Copies of a model in which everything that is random in training is at work."""
    model = tiny_model(PRUNING, tiny_spec(depth=2))
    model.patch_drop_rate = 0.25
    for block in model.blocks:
        block.drop_path.rate = block.mlp.dropout.rate = 0.2
    return functools.partial(nnx.clone, model)


@pytest.fixture(scope="session")
def make_config():
    def make(seed=0, **fields):
        config = default_config()
        config.seed = seed
        config.data.update({"batch_size": 8, "flip": True})
        config.train.update({"epochs": 4, "log_every_steps": 2, "warmup_epochs": 0.5})
        for place, value in fields.items():
            group, name = place.split("__")
            config[group][name] = value
        return check_config(config)

    return make


@pytest.fixture
def workdir(tmp_path):
    return epath.Path(tmp_path)
