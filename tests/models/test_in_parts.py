"""A batch that is taken through the model in parts gives what it gives as a whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from renyi_jax.models import create_model, in_parts
from renyi_jax.pruning import PruningConfig


@pytest.fixture
def model():
    pruning = PruningConfig(blocks=(2, 4), keep_rate=0.6)
    return create_model("vit_nano_patch4_56", num_classes=3, pruning=pruning, rngs=nnx.Rngs(0))


def images(count):
    return np.random.default_rng(0).normal(size=(count, 56, 56, 3)).astype(np.float32)


@pytest.mark.parametrize("batch", [3, 8, 21])
def test_parts_give_what_the_whole_gives(model, monkeypatch, batch):
    graphdef, state = nnx.split(model)

    @jax.jit
    def run(state, images):
        return nnx.merge(graphdef, state)(images, return_trace=True)

    monkeypatch.setattr(in_parts, "PART_TOKENS", 2 * 197)
    outputs, trace = run(state, images(batch))
    monkeypatch.setattr(in_parts, "PART_TOKENS", 10**6)
    jax.clear_caches()
    whole, whole_trace = run(state, images(batch))
    np.testing.assert_allclose(outputs, whole, atol=1e-5)
    for parts, together in zip(trace, whole_trace, strict=True):
        np.testing.assert_allclose(parts.scores, together.scores, atol=1e-5)
        np.testing.assert_array_equal(parts.kept, together.kept)


def test_parts_draw_the_random_scores_of_the_whole(model, monkeypatch):
    monkeypatch.setattr(in_parts, "PART_TOKENS", 197)
    drawn = model.with_pruning(PruningConfig(blocks=(2,), criterion="random"))
    graphdef, state = nnx.split(drawn)

    def run(state, images):
        return nnx.merge(graphdef, state)(images, return_trace=True, rngs=nnx.Rngs(pruning=3))

    (compiled,), (eager,) = jax.jit(run)(state, images(9))[1], run(state, jnp.asarray(images(9)))[1]
    np.testing.assert_array_equal(compiled.scores, eager.scores)
    assert len(np.unique(compiled.scores, axis=0)) == 9
    (few,) = jax.jit(run)(state, images(9)[:2])[1]
    np.testing.assert_array_equal(few.scores, compiled.scores[:2])


@pytest.mark.parametrize(("tokens", "at_once"), [(40, 4), (41, 1)])
def test_only_images_of_few_tokens_are_held_side_by_side(monkeypatch, tokens, at_once):
    monkeypatch.setattr(in_parts, "PART_TOKENS", 40)
    held = []

    def run(images):
        held.append(len(images))
        return images.sum(axis=(1, 2, 3))

    images = jnp.arange(8.0)[:, None, None, None] * jnp.array([1.0, 0.0, 0.0])
    sums = jax.jit(lambda images: in_parts.in_parts(run, images, tokens))(images)
    np.testing.assert_array_equal(sums, np.arange(8))
    assert held.count(1) == at_once


def test_a_function_that_is_not_compiled_takes_the_whole_batch(monkeypatch):
    monkeypatch.setattr(in_parts, "PART_TOKENS", 1)
    held = []
    in_parts.in_parts(lambda images: held.append(len(images)), jnp.ones((8, 2, 2, 3)), 1)
    assert held == [8]
