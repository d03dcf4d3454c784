from pathlib import Path

import numpy as np
import pytest

from renyi_jax.weights import read_checkpoint, resize_pos_embed

DATA = Path(__file__).parent / "data"
GRIDS = [
    ((14, 14), (24, 24)),
    ((37, 37), (16, 16)),
    ((14, 14), (7, 20)),
    ((3, 9), (9, 3)),
    ((4, 4), (1, 2)),
    ((2, 2), (30, 3)),
    ((1, 1), (5, 4)),
]


def _embedding(grid, num_prefix, width=6):
    rng = np.random.default_rng(0)
    shape = (1, num_prefix + grid[0] * grid[1], width)
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parity
@pytest.mark.parametrize("num_prefix", [0, 1, 2])
@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_the_resized_embedding_is_timms(timm, old, new, num_prefix):
    import torch

    embedding = _embedding(old, num_prefix)
    theirs = timm.layers.resample_abs_pos_embed(
        torch.from_numpy(embedding), list(new), list(old), num_prefix
    )
    ours = resize_pos_embed(embedding, old, new, num_prefix)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize(("size", "grid"), [("larger", (6, 8)), ("smaller", (2, 3))])
def test_the_resized_embedding_is_the_one_that_timm_wrote(size, grid):
    embedding = read_checkpoint(DATA / "plain.safetensors").tensors["pos_embed"]
    theirs = np.load(DATA / "resized.npz")[f"{size}_pos_embed"]
    np.testing.assert_allclose(resize_pos_embed(embedding, (4, 4), grid, 1), theirs, atol=1e-5)


def test_prefix_rows_are_kept_and_the_same_grid_changes_nothing():
    embedding = _embedding((4, 4), 2)
    resized = resize_pos_embed(embedding, (4, 4), (5, 3), 2)
    np.testing.assert_array_equal(resized[:, :2], embedding[:, :2])
    assert resize_pos_embed(embedding, (4, 4), (4, 4), 2) is embedding


@pytest.mark.parametrize(("old", "new"), GRIDS)
def test_a_constant_embedding_stays_constant_up_to_the_edges(old, new):
    embedding = np.full((1, old[0] * old[1], 2), 0.75, np.float32)
    np.testing.assert_allclose(resize_pos_embed(embedding, old, new, 0), 0.75, atol=1e-6)
