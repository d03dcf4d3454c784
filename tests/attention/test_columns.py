"""Sums of the columns of attention, against the matrix itself."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

from renyi_jax.attention import (
    ColumnSums,
    Needs,
    RowEntropy,
    attend,
    backend,
    chunked,
    pallas_gpu,
    pallas_tpu,
    plain,
    tpu_tiles,
)
from renyi_jax.attention.columns import column_sums, forward_by, of_logits
from renyi_jax.pruning.criteria import CRITERIA
from renyi_jax.pruning.stage import Stage


def operands(seed, length, scale=1.5, dtype=jnp.float32):
    shape = (3, 1, length, 2, 8)
    return tuple(jnp.asarray(np.random.default_rng(seed).normal(size=shape) * scale, dtype))


def literally(query, key, num_prefix, power, normalize, weights, sizes=None):
    """The same from the matrix that is held."""
    a = jax.nn.softmax(plain.attention_logits(query, key, sizes), axis=-1)
    a = a[:, :, num_prefix:, num_prefix:]
    if normalize:
        a = a / a.sum(axis=-1, keepdims=True)
    return jnp.einsum("bhi,bhij->bhj", weights, a**power)


@pytest.mark.parametrize(
    ("num_prefix", "normalize", "sized", "queries"),
    [(0, True, False, 256), (1, True, True, None), (2, False, False, 16), (1, False, True, None)],
)
def test_sums_and_their_gradients_are_those_of_the_matrix(
    num_prefix, normalize, sized, queries, monkeypatch
):
    """By parts of so many queries, or of logits that are held."""
    monkeypatch.setattr(chunked, "QUERIES", queries)
    length, rng = 50, np.random.default_rng(0)
    query, key, _ = operands(0, length)
    draw = lambda *shape: jnp.asarray(rng.uniform(0.1, 1, size=shape), jnp.float32)  # noqa: E731
    weights, cotangent = draw(2, 1, 2, length - num_prefix)
    sizes = jnp.asarray(rng.integers(1, 4, size=(1, length)), jnp.float32) if sized else None

    @jax.jit
    def both(power):
        asked = ColumnSums(power, normalize)

        def sums(query, key, weights):
            if queries is not None:
                return jnp.exp(column_sums(query, key, num_prefix, asked, weights))
            logits = plain.attention_logits(query, key, sizes)
            return jnp.exp(of_logits(logits, num_prefix, asked, weights))

        def held(query, key, weights):
            return literally(query, key, num_prefix, power, normalize, weights, sizes)

        pairs = (jax.vjp(function, query, key, weights) for function in (sums, held))
        return [(sums, *pull(cotangent)) for sums, pull in pairs]

    for power in (0.3, 1.0, 2.0, 6.0):
        for actual, wanted in zip(*both(power)):
            np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5 * abs(wanted).max())


@pytest.mark.parametrize("scale", [0.5, 4.0])
@pytest.mark.parametrize("num_prefix", [0, 2])
def test_a_second_pass_on_cpu_sums_as_the_matrix_does(num_prefix, scale, monkeypatch):
    """Of all rows alike, of sharp ones, and of what is not normalised; also its gradients."""
    monkeypatch.setattr(chunked, "QUERIES", 32)
    monkeypatch.setattr(backend, "PLAIN_TOKENS", 0)
    query, key, value = operands(0, 150, scale)
    asked = ColumnSums(), ColumnSums(2.0, sharp=True), ColumnSums(3.0, normalize=False)
    cotangent = jnp.asarray(np.random.default_rng(0).normal(size=(3, 1, 2, 150 - num_prefix)))

    def streamed(query, key, value):
        _, entropy, sums = backend.attention_and_columns(
            query, key, value, num_prefix, RowEntropy(2.0), asked
        )
        return entropy, jnp.exp(jnp.stack(sums))

    def held(query, key, value):
        _, entropy = plain.attention_and_entropy(query, key, value, num_prefix, RowEntropy(2.0))
        rows = [jnp.exp(-entropy) if each.sharp else jnp.ones_like(entropy) for each in asked]
        sums = [
            literally(query, key, num_prefix, each.power, each.normalize, weights)
            for each, weights in zip(asked, rows)
        ]
        return entropy, jnp.stack(sums)

    (entropy, sums), (wanted, wanted_sums) = (
        jax.jit(run)(query, key, value) for run in (streamed, held)
    )
    np.testing.assert_allclose(entropy, wanted, rtol=1e-5)
    for each, actual, wanted in zip(asked, sums, wanted_sums):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5 * each.power)
    slopes = [
        jax.jit(jax.grad(lambda *operands, run=run: jnp.vdot(run(*operands)[1], cotangent), (0, 1)))
        for run in (streamed, held)
    ]
    for actual, wanted in zip(*(slope(query, key, value) for slope in slopes)):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=2e-5 * abs(wanted).max())


@pytest.mark.parametrize(
    ("kernels", "num_prefix", "normalize"),
    [(pallas_tpu, 2, True), (pallas_tpu, 2, False), (pallas_gpu, 2, True), (pallas_gpu, 0, False)],
)
def test_kernels_sum_as_the_matrix_does(kernels, num_prefix, normalize, monkeypatch):
    monkeypatch.setattr(tpu_tiles, "MOST_QUERIES", 64)
    length, rng = 150, np.random.default_rng(0)
    query, key, _ = operands(0, length, scale=1.0)
    draw = lambda: jnp.asarray(rng.uniform(0.1, 1, (1, 2, length - num_prefix)), jnp.float32)  # noqa: E731
    weights, cotangent = draw(), draw()

    def run(implementation, query, key, weights, power):
        asked = ColumnSums(power, normalize)
        return implementation(query, key, num_prefix, asked, weights)

    kernel = functools.partial(run, functools.partial(kernels.column_sums, interpret=True))
    streamed = forward_by(kernel, functools.partial(run, column_sums))

    @jax.jit
    def both(power):
        def held(query, key, weights, power):
            return literally(query, key, num_prefix, power, normalize, weights)

        pairs = [
            jax.vjp(function, query, key, weights, power)
            for function in (lambda *operands: jnp.exp(streamed(*operands)), held)
        ]
        return [(sums, *pull(cotangent)) for sums, pull in pairs]

    for power in (0.5, 1.0, 3.0):
        for actual, wanted in zip(*both(power)):
            np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5 * abs(wanted).max())


@pytest.mark.parametrize(
    ("platform", "kernels", "mark"),
    [("tpu", pallas_tpu, "tpu_custom"), ("cuda", pallas_gpu, "triton")],
)
def test_kernels_are_lowered_for_their_device(platform, kernels, mark):
    tokens = jax.ShapeDtypeStruct((2, 197, 6, 64), jnp.bfloat16)
    weights = jax.ShapeDtypeStruct((2, 6, 196), jnp.float32)
    run = jax.jit(lambda q, k, weights: kernels.column_sums(q, k, 1, ColumnSums(), weights))
    # Triton wants to know the card.
    card = AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=None, platform="cuda")
    seen = use_abstract_mesh(AbstractMesh((1,), ("data",), abstract_device=card))
    with seen if platform == "cuda" else contextlib.nullcontext():
        lowered = run.trace(tokens, tokens, weights).lower(lowering_platforms=(platform,))
    assert mark in lowered.as_text()


@pytest.mark.parametrize("plain_tokens", [640, 0])
def test_the_largest_attention_is_the_limit_of_great_powers(plain_tokens, monkeypatch):
    monkeypatch.setattr(backend, "PLAIN_TOKENS", plain_tokens)
    # Rows that fill the last chunk up attend to all alike, more than any row to the least patch.
    monkeypatch.setattr(chunked, "QUERIES", 32)
    query, key, value = operands(0, 40, scale=4.0)
    stage = Stage(block=1, criterion="column_norm", alpha=np.inf)
    _, evidence = attend(query, key, value, 1, stage.needs())
    scores = CRITERIA["column_norm"].score(evidence, alpha=np.inf)
    a = jax.nn.softmax(plain.attention_logits(query, key)[:, :, 1:, 1:], axis=-1)
    assert a.max(axis=2).min() < 1 / 40
    np.testing.assert_allclose(scores, a.max(axis=2).mean(axis=1), rtol=1e-5)


@pytest.mark.parametrize("criterion", sorted(CRITERIA))
def test_no_criterion_holds_the_attention_matrix_of_many_tokens(criterion):
    length = 4000
    shape = jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32)
    needs = Stage(block=1, criterion=criterion).needs()

    def run(query, key, value):
        attended, evidence = attend(query, key, value, 1, needs._replace(draws=False))
        return attended, [each for each in evidence[1:] if each is not None]

    compiled = jax.jit(run).lower(shape, shape, shape).compile()
    assert f"{length},{length}" not in compiled.as_text()
    assert f"{length - 1},{length - 1}" not in compiled.as_text()
    assert compiled.memory_analysis().temp_size_in_bytes < length * length * 4


def test_without_a_class_token_its_row_is_what_patches_pay_on_average():
    query, key, value = operands(1, 30)
    sizes = jnp.asarray(np.random.default_rng(2).integers(1, 4, size=(1, 30)), jnp.float32)
    _, evidence = attend(query, key, value, 2, Needs(class_row=True), sizes, class_token=False)
    shares = sizes[:, None, 2:] / sizes[:, 2:].sum()
    wanted = literally(query, key, 2, 1.0, False, jnp.broadcast_to(shares, (1, 2, 28)), sizes)
    np.testing.assert_allclose(evidence.class_row, wanted, rtol=1e-5)


def test_sharp_rows_weigh_more():
    query, key, value = operands(3, 30)
    needs = Needs(RowEntropy(2.0), ColumnSums(sharp=True))
    _, evidence = attend(query, key, value, 1, needs)
    wanted = literally(query, key, 1, 1.0, True, jnp.exp(-evidence.entropy))
    np.testing.assert_allclose(jnp.exp(evidence.columns), wanted, rtol=1e-5)
