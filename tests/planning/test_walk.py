"""Many prunings of one model, run together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_model, tiny_spec

from renyi_jax.models.vit import VisionTransformer
from renyi_jax.planning.walk import Walk
from renyi_jax.pruning import PruningConfig

PRUNINGS = [
    None,
    PruningConfig(blocks=(1, 2), keep_rate=0.5),
    PruningConfig(blocks=(1, 3), keep_rate=0.5),
    PruningConfig(blocks=(1, 3), keep_rate=0.5, alpha=(2.0, 0.5)),
    PruningConfig(blocks=(2,), keep_rate=0.4, criterion="cls_attention", reducer="fuse"),
    PruningConfig(blocks=(2,), keep_rate=0.6, reducer="merge"),
    PruningConfig(blocks=(2,), keep_rate=0.6, criterion="random"),
]
IMAGES = jnp.asarray(np.random.default_rng(1).normal(size=(3, 16, 16, 3)), jnp.float32)


def run(model, prunings):
    walk = Walk(model, 3)
    route = walk.route(prunings)
    walk.compile(route)
    return walk(IMAGES, route)


def test_prunings_that_run_together_give_what_each_gives_alone():
    model = tiny_model()
    together = run(model, PRUNINGS)
    for pruning, outputs in zip(PRUNINGS, together):
        alone = jax.jit(model.with_pruning(pruning).__call__)(IMAGES)
        np.testing.assert_allclose(outputs, alone, rtol=1e-4, atol=1e-5)


def test_what_prunings_share_runs_once():
    route = Walk(tiny_model(), 3).route(PRUNINGS[:4])
    # Unpruned 1, 2, 3; pruned 1; of the first pruned 2, 3; of both others plain 2, pruned 3 each.
    assert sorted(each.number for each in route.runs) == [1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert len(set(route.ends)) == 4


def test_another_order_block_or_weights_compile_nothing():
    walk = Walk(tiny_model(), 5)
    # What attends, unpruned, pruned and with half of the patches; what transforms all of them and
    # half; and what prunes.
    assert walk.compile(walk.route([None, PruningConfig(blocks=(1,), keep_rate=0.5)])) == 6
    others = [
        PruningConfig(blocks=(1,), keep_rate=0.5, alpha=alpha) for alpha in (0.1, 1.0, float("inf"))
    ]
    others.append(PruningConfig(blocks=(2,), keep_rate=0.5))
    for model in (tiny_model(), tiny_model(seed=1)):
        again = Walk(model, 5)
        assert again.compile(again.route(others)) == 0


@pytest.mark.parametrize("num_classes", [0, 10])
def test_a_model_without_a_head_gives_its_features(num_classes):
    model = tiny_model(spec=tiny_spec(num_classes=num_classes))
    (outputs,) = run(model, [None])
    assert isinstance(model, VisionTransformer)
    assert outputs.shape == (3, num_classes or 16)
