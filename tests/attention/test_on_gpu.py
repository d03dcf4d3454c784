"""What a GPU runs, on one, against numpy in float64; skips where there is none.

JAX_PLATFORMS=cuda,cpu python -m pytest tests/attention/test_on_gpu.py
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from renyi_jax.attention import (
    ColumnSums,
    Needs,
    RowEntropy,
    attend,
    chunked,
    library,
    pallas_gpu,
    plain,
    streaming,
)
from renyi_jax.models import create_model
from renyi_jax.pruning import PruningConfig

pytestmark = pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a GPU")

TOKENS = (197, 577, 1025, 4097)
ORDERS = (0.3, 1.0, 2.0, np.inf)
PREFIX = 1


def _streaming(kernels, query, key, value, entropy_of):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(streaming, "forward", kernels[0])
        monkeypatch.setattr(streaming, "backward", kernels[1])
        return streaming.attention(query, key, value, PREFIX, entropy_of)


def _attend(query, key, value, entropy_of):
    attended, evidence = attend(query, key, value, PREFIX, Needs(entropy_of))
    return attended, evidence.entropy


KERNELS = tuple(map(streaming.with_scalars, (pallas_gpu.forward, pallas_gpu.backward)))
IMPLEMENTATIONS: dict[str, Any] = {
    "pallas": functools.partial(_streaming, KERNELS),
    "chunked": functools.partial(_streaming, (chunked.forward, chunked.backward)),
    "attend": _attend,
}


def operands(tokens, dtype, width=64, heads=2):
    rng = np.random.default_rng(tokens)
    query, key, value = rng.normal(size=(3, 1, tokens, heads, width)) * 1.5
    return [jnp.asarray(each, dtype) for each in (query, key, value)]


def expected(query, key, value, alpha):
    """Attention and the entropy of the patches' rows, literally, in float64."""
    query, key, value = (np.asarray(each, np.float64)[0] for each in (query, key, value))
    query, key, value = (np.swapaxes(each, 0, 1) for each in (query, key, value))
    logits = query @ np.swapaxes(key, 1, 2) / np.sqrt(query.shape[-1])
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    attended = np.swapaxes(weights / weights.sum(-1, keepdims=True) @ value, 0, 1)
    a = weights[:, PREFIX:, PREFIX:]
    a = a / a.sum(-1, keepdims=True)
    if alpha == 1:
        return attended, -np.sum(np.where(a > 0, a * np.log(np.maximum(a, 1e-300)), 0), -1)
    if alpha == np.inf:
        return attended, -np.log(a.max(-1))
    return attended, np.log(np.sum(a**alpha, -1)) / (1 - alpha)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("name", IMPLEMENTATIONS)
def test_output_and_entropy_are_those_of_float64(name, tokens, dtype):
    arrays = operands(tokens, dtype)
    run = jax.jit(lambda q, k, v, alpha: IMPLEMENTATIONS[name](q, k, v, RowEntropy(alpha)))
    tolerance = 1e-4 if dtype == "float32" else 2e-2
    with jax.default_matmul_precision("highest"):
        for alpha in ORDERS if tokens < 1000 else (2.0,):
            attended, entropy = run(*arrays, jnp.float32(alpha))
            wanted, wanted_entropy = expected(*arrays, alpha)
            np.testing.assert_allclose(
                np.asarray(attended[0], np.float64), wanted, rtol=tolerance, atol=tolerance
            )
            np.testing.assert_allclose(entropy[0], wanted_entropy, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tokens", TOKENS)
def test_sums_of_columns_are_those_of_float64(tokens, dtype):
    query, key, value = operands(tokens, dtype)
    run = jax.jit(lambda q, k, v: attend(q, k, v, PREFIX, Needs(columns=ColumnSums()))[1].columns)
    with jax.default_matmul_precision("highest"):
        actual = np.exp(run(query, key, value)[0])
    query, key = (np.swapaxes(np.asarray(each, np.float64)[0], 0, 1) for each in (query, key))
    logits = query @ np.swapaxes(key, 1, 2) / np.sqrt(query.shape[-1])
    a = np.exp(logits - logits.max(-1, keepdims=True))[:, PREFIX:, PREFIX:]
    wanted = (a / a.sum(-1, keepdims=True)).sum(axis=1)
    np.testing.assert_allclose(actual, wanted, rtol=1e-4 if dtype == "float32" else 2e-2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("with_entropy", [False, True])
@pytest.mark.parametrize("name", ["pallas", "attend"])
def test_gradients_are_those_of_attention_that_holds_its_logits(name, with_entropy, tokens, dtype):
    arrays = operands(tokens, dtype)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=(2, tokens)), jnp.float32)

    def total(query, key, value, alpha, attention):
        asked = RowEntropy(alpha) if with_entropy else None
        attended, entropy = attention(query, key, value, asked)
        sums = jnp.einsum("bnhd,n->", attended.astype(jnp.float32), weights[0])
        if entropy is not None:
            sums += jnp.einsum("bhn,n->", entropy, weights[1][PREFIX:])
        return sums

    def held(query, key, value, asked):
        query, key, value = (each.astype(jnp.float32) for each in (query, key, value))
        if asked is None:
            return plain.attention(query, key, value)[0], None
        return plain.attention_and_entropy(query, key, value, PREFIX, asked)

    gradient = jax.jit(jax.grad(total, argnums=(0, 1, 2)), static_argnums=4)
    tolerance = 2e-4 if dtype == "float32" else 2e-2
    with jax.default_matmul_precision("highest"):
        actual = gradient(*arrays, jnp.float32(2.0), IMPLEMENTATIONS[name])
        wanted = gradient(*arrays, jnp.float32(2.0), held)
    for one, other in zip(actual, wanted):
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        assert np.linalg.norm(one - other) < tolerance * np.linalg.norm(other)


@pytest.mark.parametrize("tokens", TOKENS)
def test_the_fused_attention_of_the_library_is_attention(tokens):
    arrays = operands(tokens, "bfloat16")
    assert library.takes(arrays[0]) and not library.takes(arrays[0].astype(jnp.float32))
    attended = jax.jit(library.attention)(*arrays)
    wanted, _ = expected(*arrays, 2.0)
    np.testing.assert_allclose(np.asarray(attended[0], np.float64), wanted, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("side", [56, 112])
def test_a_pruned_model_keeps_on_the_gpu_the_patches_that_it_keeps_on_the_cpu(side):
    pruning = PruningConfig(criterion="renyi", keep_rate=0.7, blocks=(2, 3))
    model = create_model("vit_nano_patch4_56", image_size=side, pruning=pruning, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(model)
    images = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype(np.float32)

    @jax.jit
    def run(params, images):
        return nnx.merge(graphdef, params)(images, return_trace=True)

    outputs = []
    with jax.default_matmul_precision("highest"):
        for device in (jax.devices("gpu")[0], jax.devices("cpu")[0]):
            outputs.append(run(jax.device_put(params, device), jax.device_put(images, device)))
    (logits, trace), (cpu_logits, cpu_trace) = outputs
    np.testing.assert_allclose(logits, np.asarray(cpu_logits), rtol=1e-3, atol=1e-4)
    for stage, cpu_stage in zip(trace, cpu_trace):
        # Scores of random weights lie close together; rounding may swap the last place.
        overlap = [len(np.intersect1d(a, b)) for a, b in zip(stage.kept, cpu_stage.kept)]
        assert min(overlap) >= 0.97 * stage.kept.shape[1]
