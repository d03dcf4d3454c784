"""A batch that is taken through the model in parts gives what it gives as a whole."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import tiny_model

from renyi_jax.models import Forward, microbatch, weights_of
from renyi_jax.pruning import PruningConfig

TOKENS = 17
"""Of an image of `tiny_model`."""


def images(count):
    return np.random.default_rng(0).normal(size=(count, 16, 16, 3)).astype(np.float32)


@pytest.mark.parametrize("batch", [3, 8, 21])
def test_parts_give_what_the_whole_gives(monkeypatch, batch):
    model = tiny_model(PruningConfig(blocks=(1, 2), keep_rate=0.6))

    def run(tokens):
        monkeypatch.setattr(microbatch, "MICROBATCH_TOKENS", tokens)
        forward = jax.jit(functools.partial(Forward.of(model), return_trace=True))
        return forward(weights_of(model), images(batch))

    outputs, trace = run(2 * TOKENS)
    whole, whole_trace = run(10**6)
    np.testing.assert_allclose(outputs, whole, rtol=1e-4, atol=1e-5)
    for parts, together in zip(trace, whole_trace, strict=True):
        np.testing.assert_allclose(parts.scores, together.scores, atol=1e-5)
        np.testing.assert_array_equal(parts.kept, together.kept)


def test_parts_draw_the_random_scores_of_the_whole(monkeypatch):
    monkeypatch.setattr(microbatch, "MICROBATCH_TOKENS", TOKENS)
    drawn = tiny_model(PruningConfig(blocks=(2,), criterion="random"))

    def run(weights, images):
        key = nnx.Rngs(pruning=3)
        return Forward.of(drawn)(weights, images, return_trace=True, rngs=key)[1]

    compiled = jax.jit(run)
    (many,), (eager,) = (each(weights_of(drawn), images(9)) for each in (compiled, run))
    np.testing.assert_array_equal(many.scores, eager.scores)
    assert len(np.unique(many.scores, axis=0)) == 9
    (few,) = compiled(weights_of(drawn), images(9)[:2])
    np.testing.assert_array_equal(few.scores, many.scores[:2])


@pytest.mark.parametrize(("tokens", "at_once"), [(40, 4), (41, 1)])
def test_only_images_of_few_tokens_are_held_side_by_side(monkeypatch, tokens, at_once):
    monkeypatch.setattr(microbatch, "MICROBATCH_TOKENS", 40)
    held = []

    def run(images):
        held.append(len(images))
        return images.sum(axis=(1, 2, 3))

    images = jnp.arange(8.0)[:, None, None, None] * jnp.array([1.0, 0.0, 0.0])
    sums = jax.jit(lambda images: microbatch.in_microbatches(run, images, tokens))(images)
    np.testing.assert_array_equal(sums, np.arange(8))
    assert held.count(1) == at_once


def test_a_function_that_is_not_compiled_takes_the_whole_batch(monkeypatch):
    monkeypatch.setattr(microbatch, "MICROBATCH_TOKENS", 1)
    held = []
    microbatch.in_microbatches(lambda images: held.append(len(images)), jnp.ones((8, 2, 2, 3)), 1)
    assert held == [8]
