"""The entropy within the program of attention against that of logits that were written."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renyi_jax.attention import (
    Needs,
    RowEntropy,
    attend,
    attention_logits,
    backend,
    plain,
    xla_cpu,
)
from renyi_jax.entropy import attention_entropy

OF_THEIR_OWN = (1 - 1e-3, 1 - 1e-6, 1.0, 1 + 1.2e-7, 1.0001, 1.19, 1.21, 2.0)
"""Orders that are computed by other formulas than most, or lie beside them."""


def tokens(seed, length, scale=1.0, dtype=jnp.float32, width=8):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(3, 2, length, 2, width)) * scale, dtype)


@jax.jit
def answer(query, key, value, alpha):
    """What is attended, its entropy, and that of the logits."""
    attended, entropy = backend.attention(query, key, value, 1, RowEntropy(alpha))
    return attended, entropy, attention_entropy(attention_logits(query, key), alpha, 1)


@settings(max_examples=30, deadline=None)
@given(
    length=st.sampled_from([2, 60]),
    alpha=st.sampled_from(OF_THEIR_OWN) | st.floats(0.02, 300) | st.just(np.inf),
    scale=st.sampled_from([0.0, 0.1, 1.0, 5.0]),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
)
def test_any_order_agrees_with_the_entropy_of_the_logits(length, alpha, scale, dtype):
    query, key, value = tokens(length, length, scale, dtype)
    attended, entropy, expected = answer(query, key, value, jnp.float32(alpha))
    np.testing.assert_allclose(entropy, expected, rtol=1e-5, atol=1e-5)
    assert attended.dtype == dtype and entropy.dtype == jnp.float32


def test_gradients_are_those_of_the_entropy_of_the_logits():
    query, key, value = tokens(0, length=20)

    def apart(query, key, alpha):
        return attend(query, key, value, 1, Needs(RowEntropy(alpha)))[1].entropy.std()

    def together(query, key, alpha):
        return attention_entropy(attention_logits(query, key), alpha, num_prefix=1).std()

    gradients = [jax.jit(jax.grad(each, argnums=(0, 1, 2))) for each in (apart, together)]
    for alpha in (0.3, 1.0, 2.0):
        actual, expected = (gradient(query, key, jnp.float32(alpha)) for gradient in gradients)
        for one, other in zip(actual, expected):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_another_order_compiles_nothing(count_compilations):
    operands = tokens(1, length=12)
    run = jax.jit(lambda alpha: backend.attention(*operands, 1, RowEntropy(alpha)))
    with count_compilations() as names:
        for alpha in (0.5, 1.0, 1.01, 8.0, np.inf):
            run(np.float32(alpha))
    assert len(names) == 1


def test_an_order_outside_its_range_that_comes_traced_gives_nan():
    operands = tokens(1, length=12)
    run = jax.jit(lambda alpha: backend.attention(*operands, 1, RowEntropy(alpha)))
    for alpha in (0.0, -1.0, np.nan):
        attended, entropy = run(jnp.float32(alpha))
        assert np.isnan(entropy).all() and np.isfinite(attended).all()


@pytest.mark.parametrize("num_prefix, prefix_keys", [(1, False), (3, False), (2, True)])
def test_any_share_of_the_prefix_tokens(num_prefix, prefix_keys):
    """Whether they draw next to all attention or none, values and entropies are the plain ones."""

    @jax.jit
    def both(query, key, value, alpha):
        asked = RowEntropy(alpha, prefix_keys=prefix_keys)
        operands = query, key, value, num_prefix, asked
        return xla_cpu.attention(*operands), plain.attention_and_entropy(*operands)

    query, key, value = tokens(2, length=20)
    query = query.at[..., 0].set(8**0.5)
    for gap, alpha in itertools.product([-200.0, 0.0, 200.0], [0.5, 1.0, 1.1, 2.0, 3.0]):
        apart = key.at[:, num_prefix:, :, 0].set(0).at[:, :num_prefix, :, 0].set(gap)
        actual, expected = both(query, apart, value, jnp.float32(alpha))
        atol = 1e-5 + 2e-7 * abs(gap)  # float32 rounds large logits so
        for one, other in zip(actual, expected):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=atol)


def test_orders_that_are_mapped_over_and_known_when_compiling():
    orders = (0.5, 1.0, 2.0, 8.0)
    query, key, value = tokens(1, length=60)

    def entropy(query, key, alpha):
        return attend(query, key, value, 1, Needs(RowEntropy(alpha)))[1].entropy.mean(axis=1)

    @jax.jit
    def mapped(query, key):
        return jax.vmap(lambda alpha: entropy(query, key, alpha))(jnp.array(orders))

    alone = jax.jit(entropy)
    expected = [alone(query, key, jnp.float32(alpha)) for alpha in orders]
    np.testing.assert_allclose(mapped(query, key), expected, rtol=1e-5, atol=1e-6)
