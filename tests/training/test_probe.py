import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiny import tiny_model, tiny_spec

from renyi_jax.models import normalize_images
from renyi_jax.parallel import make_mesh
from renyi_jax.pruning import PruningConfig
from renyi_jax.training.probe import fit_head, probe
from renyi_jax.training.stopping import Stopped

PRUNING = PruningConfig(blocks=(1, 2), keep_rate=0.7)


def penalized_loss(kernel, bias, features, labels, smoothing):
    targets = optax.smooth_labels(jax.nn.one_hot(labels, len(bias)), smoothing)
    loss = optax.softmax_cross_entropy(features @ kernel + bias, targets).mean()
    spread = jnp.mean((features - features.mean(axis=0)) ** 2)
    return loss + spread * jnp.sum(kernel**2) / (2 * len(labels))


@pytest.mark.parametrize("shift, stretch", [(0, 1), (5, 30), (-100, 0.01)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_head_is_where_the_gradient_of_the_penalized_loss_vanishes(shift, stretch, smoothing):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    features = rng.normal(size=(60, 8)) + np.eye(8)[labels]
    features = shift + stretch * features
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(penalized_loss, argnums=(0, 1)))
        head = fit_head(features, labels, 3, smoothing)
        zeros = np.zeros((8, 3)), np.zeros(3)
        before = optax.tree.norm(gradient(*zeros, features, labels, smoothing))
        after = optax.tree.norm(gradient(*head, features, labels, smoothing))
    assert after < 1e-4 * before


def test_features_that_are_all_alike_give_the_frequencies_of_the_classes():
    labels = np.array([0, 0, 0, 1])
    head = fit_head(np.full((4, 5), 2.0), labels, 2)
    probabilities = jax.nn.softmax(2 * head.kernel.sum(axis=0) + head.bias)
    np.testing.assert_allclose(probabilities, [0.75, 0.25], atol=1e-5)


@pytest.mark.parametrize("distilled", [False, True])
def test_a_probed_model_is_at_the_optimum_of_its_heads_and_otherwise_unchanged(
    distilled, dataset, make_config
):
    before = tiny_model(PRUNING, tiny_spec(depth=2, distilled=distilled))
    model = nnx.clone(before)
    # More images than a batch holds, and a last batch that is not full.
    config = make_config(evaluate__batch_size=16)
    probe(model, dataset, config, make_mesh(config.mesh.to_dict()))

    def split(model):
        params = nnx.to_pure_dict(nnx.state(model))
        return {name: params.pop(name) for name in ("head", "head_dist") if name in params}, params

    heads, body = split(model)
    jax.tree.map(np.testing.assert_array_equal, body, split(before)[1])
    examples = [dataset.train[index] for index in range(len(dataset.train))]
    pixels, labels = (np.stack([each[key] for each in examples]) for key in ("image", "label"))
    images = normalize_images(jnp.asarray(pixels), model.spec.mean, model.spec.std)
    features, logits = jax.jit(lambda x: (model.forward_features(x), model(x)))(images)
    tokens = features[:, : len(heads)].reshape(len(labels), -1) / len(heads)
    kernel = jnp.concatenate([head["kernel"] for head in heads.values()])
    bias = heads["head"]["bias"]
    np.testing.assert_allclose(tokens @ kernel + bias, logits, atol=1e-4)
    gradient = jax.jit(jax.grad(penalized_loss, argnums=(0, 1)))
    smoothing = config.train.label_smoothing
    at_zero = gradient(0 * kernel, 0 * bias, tokens, labels, smoothing)
    found = gradient(kernel, bias, tokens, labels, smoothing)
    assert optax.tree.norm(found) < 1e-3 * optax.tree.norm(at_zero)


def test_classes_that_no_image_has_keep_finite_weights(dataset, make_config):
    model = tiny_model(PRUNING, dataclasses.replace(tiny_spec(depth=2), num_classes=12))
    config = make_config()
    probe(model, dataset, config, make_mesh(config.mesh.to_dict()))
    assert jnp.isfinite(model.head.kernel[...]).all() and jnp.isfinite(model.head.bias[...]).all()


def test_a_probe_that_is_told_to_stop_leaves_the_model_as_it_is(dataset, make_config):
    model = tiny_model(PRUNING, tiny_spec(depth=2))
    before = np.asarray(model.head.kernel[...])
    config = make_config()
    with pytest.raises(Stopped):
        probe(model, dataset, config, make_mesh(config.mesh.to_dict()), lambda: True)
    np.testing.assert_array_equal(model.head.kernel[...], before)
