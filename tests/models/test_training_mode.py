"""What acts in training alone: dropout, stochastic depth, patch dropout."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import tiny_spec

from renyi_jax.errors import UserError
from renyi_jax.models import VisionTransformer
from renyi_jax.pruning import PruningConfig

NO_DROPS = {"drop_path_rate": 0.0, "dropout_rate": 0.0, "patch_drop_rate": 0.0}


def make_model(pruning: PruningConfig | None = None, **rates: float | bool) -> VisionTransformer:
    return VisionTransformer(
        tiny_spec(), pruning=pruning, dtype=jnp.float32, rngs=nnx.Rngs(0), **{**NO_DROPS, **rates}
    )


@pytest.fixture
def images(rng) -> jnp.ndarray:
    return jnp.asarray(rng.normal(size=(4, 16, 16, 3)), jnp.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("rate", NO_DROPS)
def test_each_kind_of_dropping_changes_training_and_leaves_evaluation_alone(rate, images):
    model = make_model(**{rate: 0.5})
    first, second = (model(images, train=True, rngs=nnx.Rngs(dropout=seed)) for seed in (0, 1))
    assert not jnp.allclose(first, second)
    np.testing.assert_array_equal(model(images), make_model()(images))


def test_training_without_a_source_of_randomness_is_refused(images):
    with pytest.raises(UserError, match="rngs"):
        make_model(dropout_rate=0.1)(images, train=True)


def test_stochastic_depth_drops_the_whole_branch_of_an_image_or_nothing_of_it(images):
    block = make_model(drop_path_rate=0.5).blocks[-1]
    branch = jnp.ones((64, 17, 16))
    dropped = block.drop_path(branch, rngs=nnx.Rngs(dropout=0), deterministic=False)
    per_image = np.unique(np.asarray(dropped).reshape(64, -1), axis=1)
    assert per_image.shape == (64, 1)
    assert set(per_image.ravel()) == {0.0, 2.0}


def test_patch_dropout_keeps_the_order_and_drops_patches_of_one_colour_first_if_asked(rng):
    flat = np.sort(rng.permutation(16)[:8])
    grid = rng.normal(size=(4, 4, 4, 4, 3))  # row, y, column, x, channel
    rows, columns = np.divmod(flat, 4)
    grid[rows, :, columns] = rng.normal(size=(8, 1, 1, 3))
    image = jnp.asarray(grid.reshape(1, 16, 16, 3), jnp.float32)
    model = make_model(patch_drop_rate=0.25, plain_patches_first=True)
    tokens = model._embed(image, train=True, rngs=nnx.Rngs(dropout=0))
    kept = set(np.asarray(tokens.positions[0]).tolist())
    assert len(kept) == 12
    assert set(range(16)) - set(flat.tolist()) <= kept
    every = model._embed(image, train=False, rngs=None)
    np.testing.assert_array_equal(
        tokens.values[0, 1:], every.values[0, 1:][np.sort(np.asarray(list(kept)))]
    )


def test_pruning_keeps_its_positions_in_the_grid_after_patch_dropout(images):
    pruning = PruningConfig(keep_rate=0.5, blocks=(1, 2))
    model = make_model(pruning, patch_drop_rate=0.5)
    rngs = nnx.Rngs(dropout=0)
    _, trace = model(images, return_trace=True, train=True, rngs=rngs)
    entered = model._embed(images, train=True, rngs=nnx.Rngs(dropout=0)).positions
    for earlier, later in ((entered, trace[0].kept), (trace[0].kept, trace[1].kept)):
        for image in range(4):
            assert set(later[image].tolist()) <= set(earlier[image].tolist())
