"""A tiny Fashion-MNIST in its true format, and the data set built from it."""

import ml_collections
import numpy as np
import pytest

from renyi_jax.config import check_config, default_config
from renyi_jax.data import fashion_mnist
from renyi_jax.data.datasets import load_dataset

NUM_TRAIN, NUM_TEST = 60, 23


@pytest.fixture(scope="session")
def configure():
    """A function from some fields to `config.data`, with the defaults of the others."""

    def make(**fields):
        config = default_config()
        config.data.update(fields)
        return ml_collections.ConfigDict(check_config(config).data)

    return make


@pytest.fixture(scope="session")
def idx_folder(tmp_path_factory):
    """The four published files, with discs of random grey levels for garments."""
    folder = tmp_path_factory.mktemp("idx")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28] - 13.5
    for split, size in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        disc = (y**2 + x**2)[None] < rng.uniform(16, 180, (size, 1, 1))
        images = np.where(disc, rng.integers(1, 256, (size, 28, 28)), 0).astype(np.uint8)
        labels = rng.integers(0, 10, size).astype(np.uint8)
        for name, array in zip(fashion_mnist.FILES[split], (images, labels), strict=True):
            fashion_mnist.write_idx(folder / name, array)
    return folder


@pytest.fixture(scope="session")
def data_config(configure, idx_folder, tmp_path_factory):
    return configure(
        builder_config="full",
        data_dir=str(tmp_path_factory.mktemp("prepared")),
        manual_dir=str(idx_folder),
        flip=True,
    )


@pytest.fixture(scope="session")
def dataset(data_config):
    return load_dataset(data_config)
