"""Models of every part in what is not their outputs: their cost, their attention, their export."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import PARTS, tiny_model, tiny_spec

from renyi_jax import flops
from renyi_jax.attention import backend
from renyi_jax.pruning import PruningConfig


def images_of(spec, count=2):
    shape = (count, *spec.image_size, 3)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("pruning", [None, PruningConfig(criterion="random", blocks=(1, 2))])
@pytest.mark.parametrize("part", PARTS)
def test_the_multiply_adds_counted_by_hand_are_those_that_xla_counts(part, pruning):
    spec = tiny_spec(**PARTS[part] | {"embed_dim": 384, "num_heads": 4, "pool_heads": 4})
    model = tiny_model(pruning, spec)
    counted = jax.jit(lambda x: model(x)).lower(images_of(spec, 1)).cost_analysis()
    assert counted["flops"] == pytest.approx(2 * flops(model), rel=0.03)


@pytest.mark.parametrize("part", ["rotary, gated", "rotary and learned"])
def test_streaming_attention_turns_the_tokens_that_are_left(part, monkeypatch):
    spec = tiny_spec(**PARTS[part])
    model, images = tiny_model(PruningConfig(blocks=(1, 2), keep_rate=0.6), spec), images_of(spec)
    expected = jax.jit(lambda x: model(x))(images)
    monkeypatch.setattr(backend, "PLAIN_TOKENS", 0)
    streamed = jax.jit(lambda x: model(x, return_trace=True))(images)[0]
    np.testing.assert_allclose(streamed, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("part", ["attention pooling", "rotary and learned"])
def test_an_exported_model_of_any_batch_size_and_order_is_the_model(part):
    spec = tiny_spec(**PARTS[part])
    model = tiny_model(PruningConfig(blocks=(1, 3), reducer="fuse"), spec)
    (batch,) = jax.export.symbolic_shape("batch")
    inputs = (
        jax.ShapeDtypeStruct((batch, *spec.image_size, 3), jnp.float32),
        jax.ShapeDtypeStruct((), jnp.float32),
    )
    exported = jax.export.export(jax.jit(lambda x, alpha: model(x, alpha)))(*inputs)
    loaded = jax.export.deserialize(exported.serialize())
    images = images_of(spec, 3)
    expected = jax.jit(lambda x: model(x, 4.0))(images)
    np.testing.assert_allclose(
        loaded.call(images, jnp.float32(4.0)), expected, rtol=1e-5, atol=1e-5
    )
