"""Streaming attention against the plain one: values, entropies, gradients, on every path."""

import functools

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
    chunked,
    pallas_gpu,
    pallas_tpu,
    plain,
    streaming,
    tpu_tiles,
    xla_cpu,
)
from renyi_jax.entropy import attention_entropy

ORDERS = (0.3, 1 - 1e-4, 1.0, 1 + 1.2e-7, 2.0, 50.0, np.inf)


def interpreted(kernel):
    """A kernel of `streaming` as it is called on its device."""
    return streaming.with_scalars(functools.partial(kernel, interpret=True))


IMPLEMENTATIONS = {
    "chunked": (chunked.forward, chunked.backward),
    "pallas_gpu": (interpreted(pallas_gpu.forward), interpreted(pallas_gpu.backward)),
    "pallas_tpu": None,  # no parts of `streaming`, but all of it
    "xla_cpu": (chunked.forward, chunked.backward),  # for the gradient alone
}


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request, monkeypatch):
    """Every implementation in turn, with parts so small that a few tokens need several."""
    return use(request.param, monkeypatch)


def streaming_forward(*operands):
    return streaming._stream_forward(*operands)[0]


def use(name, monkeypatch):
    if name == "pallas_tpu":
        monkeypatch.setattr(tpu_tiles, "MOST_QUERIES", 64)
        return functools.partial(pallas_tpu.attention, interpret=True)
    forward, backward = IMPLEMENTATIONS[name]
    monkeypatch.setattr(streaming, "forward", forward)
    monkeypatch.setattr(streaming, "backward", backward)
    monkeypatch.setattr(chunked, "QUERIES", 48)
    if name != "xla_cpu":
        monkeypatch.setattr(xla_cpu, "stream", streaming_forward)
    return streaming.attention


def tokens(seed, length, width=8, scale=1.5, dtype=jnp.float32, batch=1, heads=2):
    rng = np.random.default_rng(seed)
    shape = (3, batch, length, heads, width)
    return tuple(jnp.asarray(rng.normal(size=shape) * scale, dtype))


def both(attention, query, key, value, num_prefix, entropy_of):
    """What streams, and what does not."""
    streamed = attention(query, key, value, num_prefix, entropy_of)
    if entropy_of is None:
        return streamed, (plain.attention(query, key, value)[0], None)
    return streamed, plain.attention_and_entropy(query, key, value, num_prefix, entropy_of)


def compiled(attention, num_prefix, **options):
    """`both`, of an order; without one, of no entropy."""

    @jax.jit
    def run(query, key, value, alpha=None):
        entropy_of = None if alpha is None else RowEntropy(alpha, **options)
        return both(attention, query, key, value, num_prefix, entropy_of)

    return run


def test_output_and_entropy_of_every_order_are_those_of_plain_attention(implementation):
    operands, run = tokens(0, length=150), compiled(implementation, num_prefix=3)
    for alpha in ORDERS:
        (output, entropy), (plain_output, plain_entropy) = run(*operands, jnp.float32(alpha))
        np.testing.assert_allclose(output, plain_output, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(entropy, plain_entropy, rtol=1e-5)


@settings(max_examples=8)
@given(
    length=st.integers(2, 300),
    width=st.sampled_from([8, 24, 64]),
    num_prefix=st.integers(0, 5),
    exponent=st.floats(-1.5, 2),
    scale=st.sampled_from([0.01, 1.0, 4.0]),
    name=st.sampled_from(sorted(IMPLEMENTATIONS)),
    dtype=st.sampled_from([jnp.float32, jnp.bfloat16]),
    options=st.sampled_from([{}, {"normalize": False}, {"prefix_keys": True}]),
)
def test_any_shape_order_and_dtype_agrees_with_plain_attention(
    length, width, num_prefix, exponent, scale, name, dtype, options
):
    operands = tokens(length, length, width, scale, dtype, heads=1)
    num_prefix = min(num_prefix, length - 1)
    if name == "pallas_tpu" and not pallas_tpu.takes(
        operands[0], num_prefix, RowEntropy(2.0, **options)
    ):
        name = "chunked"
    with pytest.MonkeyPatch.context() as monkeypatch:
        run = compiled(use(name, monkeypatch), num_prefix, **options)
        (output, entropy), (plain_output, plain_entropy) = run(*operands, jnp.float32(10**exponent))
    assert output.dtype == dtype and entropy.dtype == jnp.float32
    output, plain_output = output.astype(jnp.float32), plain_output.astype(jnp.float32)
    tolerance = 1e-4 if dtype == jnp.float32 else 2e-2
    np.testing.assert_allclose(output, plain_output, rtol=tolerance, atol=tolerance * scale)
    # The logits themselves differ by a rounding of the product, and large ones by more.
    np.testing.assert_allclose(entropy, plain_entropy, rtol=2e-4, atol=1e-4)


def test_without_a_question_the_output_is_that_of_plain_attention(implementation):
    (output, entropy), (expected, _) = compiled(implementation, num_prefix=0)(
        *tokens(1, length=140)
    )
    assert entropy is None
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)


def test_the_entropy_of_a_peaked_row_keeps_its_digits_wherever_the_peak_lies(implementation):
    length = 128
    run = jax.jit(lambda *operands: implementation(*operands[:3], 0, RowEntropy(operands[3])))
    for lead in (0.0, 14.0, 30.0):
        logits = np.random.default_rng(0).normal(size=(length, length)).astype(np.float32)
        logits[np.arange(length), np.arange(length)] += lead
        # With one-hot queries, whose scale is undone, the keys are the logits.
        query = length**0.5 * jnp.eye(length)[None, :, None]
        key = jnp.asarray(logits.T)[None, :, None]
        for alpha in (0.5, 1.0, 1.001, 4.0):
            _, entropy = run(query, key, query, jnp.float32(alpha))
            expected = attention_entropy(logits, alpha, num_prefix=0)
            np.testing.assert_allclose(entropy[0, 0], expected, rtol=1e-5)


def test_gradients_of_every_order_agree_with_plain_attention(implementation):
    operands = tokens(2, length=130, scale=1.0)
    weights = np.random.default_rng(3).normal(size=(2, 130)).astype(np.float32)

    def total(query, key, value, alpha, streamed):
        pair = both(implementation, query, key, value, 2, RowEntropy(alpha))
        output, entropy = pair[0] if streamed else pair[1]
        total = jnp.einsum("bnhd,n->", output, weights[0])
        return total + jnp.einsum("bhn,n->", entropy, weights[1][2:])

    gradient = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3)), static_argnums=4)
    for alpha in (0.3, 1 - 1e-4, 1.0, 2.0, 50.0):
        streamed, plainly = (
            gradient(*operands, jnp.float32(alpha), each) for each in (True, False)
        )
        for actual, expected in zip(streamed, plainly):
            largest = abs(expected).max()
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * largest)


def test_gradients_without_an_entropy_agree_with_plain_attention(implementation):
    operands = tokens(2, length=130, scale=1.0)

    def total(query, key, value, streamed):
        return jnp.sum(
            both(implementation, query, key, value, 0, None)[0 if streamed else 1][0] ** 2
        )

    gradient = jax.jit(jax.grad(total, argnums=(0, 1, 2)), static_argnums=3)
    for actual, expected in zip(gradient(*operands, True), gradient(*operands, False)):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * abs(expected).max())


def test_no_array_of_the_size_of_the_attention_matrix_is_held():
    length = 6000
    shape = jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32)

    def total(query, key, value, alpha):
        output, evidence = attend(query, key, value, 1, Needs(RowEntropy(alpha)))
        return output.sum() + evidence.entropy.sum()

    step = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2)))
    compiled = step.lower(shape, shape, shape, jax.ShapeDtypeStruct((), jnp.float32)).compile()
    assert f"{length},{length}" not in compiled.as_text()
    assert compiled.memory_analysis().temp_size_in_bytes < length * length * 4


def test_another_order_compiles_nothing(count_compilations):
    query, key, value = tokens(4, length=700, heads=1)
    run = jax.jit(lambda alpha: attend(query, key, value, 1, Needs(RowEntropy(alpha)))[1].entropy)
    with count_compilations() as names:
        entropies = [run(np.float32(alpha)) for alpha in (0.5, 1.0, 4.0, np.inf)]
    assert len(names) == 1
    assert len({np.asarray(each).tobytes() for each in entropies}) == 4
