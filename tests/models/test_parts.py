"""Models of every part in what is not their outputs: their cost, their attention, their export."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import PARTS, tiny_model, tiny_spec

import renyi_jax
from renyi_jax import flops
from renyi_jax.attention import Needs, backend
from renyi_jax.models import MODELS, to_timm
from renyi_jax.models.layers import Linear, Mlp, QkvLinear
from renyi_jax.parallel import make_mesh
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


def grid_of(pruning, spec):
    """The grid of features, the last tokens and the trace of a pruned model."""
    model, images = tiny_model(pruning, spec), images_of(spec)
    run = jax.jit(
        lambda x: (
            model.forward_features(x, grid=True),
            model.forward_features(x),
            model(x, return_trace=True)[1],
        )
    )
    grid, tokens, trace = jax.device_get(run(images))
    assert grid.shape == (2, *spec.grid_size, spec.embed_dim)
    return grid.reshape(2, spec.num_patches, -1), tokens[:, spec.num_prefix :], trace


@pytest.mark.parametrize("reducer", ["drop", "fuse"])
def test_the_grid_has_what_is_left_and_what_is_gone_as_it_left(reducer):
    spec = tiny_spec(**PARTS["rotary, gated"])
    pruning = PruningConfig(blocks=(1,), reducer=reducer, keep_mass=0.8)
    grid, tokens, (stage,) = grid_of(pruning, spec)

    model, images = tiny_model(pruning, spec), images_of(spec)
    entering = model.begin(jnp.asarray(images))
    block = model.blocks[0]
    branch = block.attn(block.norm1(entering.values), entering, Needs(), deterministic=True)[0]
    left = model.norm((entering.values + block.ls1(branch))[:, spec.num_prefix :])
    for image in range(2):
        kept = stage.kept[image]
        there = kept >= 0
        gone = np.setdiff1d(np.arange(spec.num_patches), kept)
        assert 0 < there.sum() < spec.num_patches
        np.testing.assert_allclose(
            grid[image, kept[there]], tokens[image, there], rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(grid[image, gone], left[image, gone], rtol=1e-4, atol=1e-4)


def test_a_merged_patch_has_in_the_grid_what_its_group_has():
    spec = tiny_spec(**PARTS["rotary and learned"])
    grid, tokens, trace = grid_of(PruningConfig(reducer="merge", r=5, blocks=(1, 2)), spec)
    for image in range(2):
        kept = trace[-1].kept[image]
        np.testing.assert_allclose(grid[image, kept], tokens[image], rtol=1e-5, atol=1e-5)
        assert len(np.unique(grid[image].round(4), axis=0)) == len(kept) == spec.num_patches - 10


def test_without_pruning_the_grid_is_that_of_the_patches():
    spec = tiny_spec(**PARTS["attention pooling"])
    grid, tokens, _ = grid_of(None, spec)
    np.testing.assert_array_equal(grid, tokens)


def test_the_attention_of_the_pooling_query_is_a_softmax_over_the_tokens():
    spec = tiny_spec(**PARTS["attention pooling"])
    pool = tiny_model(None, spec).attn_pool
    values = np.random.default_rng(0).normal(size=(2, spec.num_patches, spec.embed_dim))
    dense = lambda layer, x: x @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])  # noqa: E731
    query = dense(pool.q, np.asarray(pool.latent[...])).reshape(pool.num_heads, -1)
    key = dense(pool.kv, values)[..., : spec.embed_dim].reshape(2, -1, *query.shape)
    logits = np.einsum("he,bnhe->bhn", query, key) / np.sqrt(query.shape[1])
    wanted = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    attention = pool.attention(jnp.asarray(values, jnp.float32))
    np.testing.assert_allclose(attention, wanted, rtol=1e-4)


@pytest.mark.parametrize("part", PARTS)
def test_every_parameter_of_every_part_is_trained(part):
    spec = tiny_spec(**PARTS[part])
    graph, weights = nnx.split(tiny_model(PruningConfig(blocks=(1,), reducer="fuse"), spec))

    def loss(weights, images):
        model = nnx.merge(graph, weights)
        return (model(images, train=True, rngs=nnx.Rngs(0)) ** 2).sum()

    gradients = jax.jit(jax.grad(loss))(weights, images_of(spec))
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all() and np.any(gradient), jax.tree_util.keystr(path)


def test_rotary_positions_alone_are_loaded_at_the_size_that_a_file_notes(tmp_path, monkeypatch):
    name = "vit_small_patch16_dinov3"
    small = dataclasses.replace(MODELS[name], embed_dim=16, depth=1, num_heads=2)
    monkeypatch.setitem(MODELS, name, small)
    model = renyi_jax.create_model(name, image_size=(32, 64), rngs=nnx.Rngs(0))
    renyi_jax.save_weights(model, tmp_path / "a.safetensors")
    loaded = renyi_jax.load(tmp_path / "a.safetensors").model
    assert loaded.spec == model.spec and loaded.spec.image_size == (32, 64)
    for name, tensor in to_timm(loaded).items():
        np.testing.assert_array_equal(tensor, to_timm(model)[name])


def test_the_maps_of_a_model_without_prefix_tokens_have_every_patch():
    spec = tiny_spec(**PARTS["mean of the patches"])
    maps = renyi_jax.entropy_maps(tiny_model(None, spec), images_of(spec), [2.0])
    assert maps.shape == (1, spec.depth, 2, *spec.grid_size)
    assert (maps > 0).all() and (maps <= np.log(spec.num_patches) + 1e-5).all()


def test_layers_and_their_gradients_are_the_same_on_a_mesh():
    spec = tiny_spec(embed_dim=12, num_heads=3)
    inputs = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 12)), jnp.float32)
    layers = [QkvLinear(spec, jnp.float32, nnx.Rngs(0)), Mlp(spec, 0.3, jnp.float32, nnx.Rngs(1))]
    graph, state = nnx.split(nnx.List(layers))

    def loss(state):
        qkv, mlp = nnx.merge(graph, state)
        query, key, value = qkv(inputs)
        mixed = (query * key + value).reshape(inputs.shape)
        return (mlp(mixed, train=True, rngs=nnx.Rngs(dropout=1)) ** 2).sum()

    mesh = make_mesh({"data": 1, "fsdp": 1, "tensor": 1})
    results = []
    for on_mesh in (False, True):
        with jax.set_mesh(mesh) if on_mesh else contextlib.nullcontext():
            results.append(jax.jit(jax.value_and_grad(loss))(state))
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4), *results
    )


def test_a_layer_of_bfloat16_rounds_once_on_cpu_and_has_gradients_of_bfloat16_products():
    layer = Linear(257, 3, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    layer.kernel[...], layer.bias[...] = jnp.ones((257, 3)), jnp.full(3, -256.0)
    inputs = jnp.ones((2, 257), jnp.bfloat16)
    assert (jax.jit(lambda inputs: layer(inputs))(inputs) == 1).all()  # 257 is none of bfloat16
    program = jax.make_jaxpr(jax.grad(lambda inputs: layer(inputs).sum()))(inputs)
    products = [each for each in program.eqns if each.primitive.name == "dot_general"]
    assert products and all(each.outvars[0].aval.dtype == jnp.bfloat16 for each in products)
