import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiny import tiny_model, tiny_spec

from renyi_jax.config import check_config, default_config
from renyi_jax.training import decays, learning_rate_schedule, make_optimizer


def options(**fields):
    config = default_config()
    config.train.update(fields)
    return check_config(config).train


def test_the_learning_rate_warms_up_in_a_line_and_falls_along_a_cosine():
    train = options(epochs=10, warmup_epochs=2, learning_rate=0.1, final_learning_rate=0.5)
    schedule = learning_rate_schedule(train, batch_size=8, steps_per_epoch=5)
    rates = [float(schedule(step)) for step in range(51)]
    np.testing.assert_allclose(rates[:11], np.linspace(0, 0.1, 11), atol=1e-8)
    cosine = 0.05 + 0.05 * (1 + np.cos(np.pi * np.arange(41) / 40)) / 2
    np.testing.assert_allclose(rates[10:], cosine, rtol=1e-5)


def test_without_warm_up_the_first_step_has_the_highest_rate():
    schedule = learning_rate_schedule(options(epochs=2, warmup_epochs=0), 8, 5)
    assert float(schedule(0)) == pytest.approx(1e-3)
    assert float(schedule(10)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("epochs, steps_per_epoch", [(1, 1), (1, 2), (1, 3), (2, 1), (0, 5)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_few_steps_end_in_a_rate_above_zero_however_long_the_warm_up(
    epochs, steps_per_epoch, share
):
    train = options(epochs=epochs, warmup_epochs=share * epochs, learning_rate=0.1)
    schedule = learning_rate_schedule(train, 8, steps_per_epoch)
    assert float(schedule(max(1, epochs * steps_per_epoch) - 1)) > 0


def test_the_learning_rate_scales_with_the_batch_only_where_a_base_is_given():
    for base, expected in ((0, 0.1), (512, 0.05)):
        train = options(learning_rate=0.1, base_batch_size=base)
        assert float(learning_rate_schedule(train, 256, 5)(0)) == pytest.approx(expected)


def test_weight_decay_acts_on_the_matrices_of_dense_layers_alone():
    spec = tiny_spec(layer_scale=1e-5, num_registers=2, distilled=True)
    model = nnx.eval_shape(lambda: tiny_model(spec=spec))
    mask = decays(nnx.to_pure_dict(nnx.state(model)))
    for path, decayed in jax.tree_util.tree_leaves_with_path(mask):
        assert decayed == (path[-1].key == "kernel"), path


def test_the_optimizer_clips_the_gradient_and_decays_the_weights():
    train = options(clip_norm=1.0, weight_decay=0.5, b1=0.0, b2=0.0)
    optimizer = make_optimizer(train, optax.constant_schedule(0.1))
    params = {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}
    gradients = {"kernel": jnp.full((1, 1), 300.0), "bias": jnp.full(1, 400.0)}
    clipped, _ = optax.clip_by_global_norm(1.0).update(gradients, optax.EmptyState())
    np.testing.assert_allclose([clipped["kernel"][0, 0], clipped["bias"][0]], [0.6, 0.8], rtol=1e-6)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    # AdamW without memory moves by the sign of the gradient, and by the decay.
    np.testing.assert_allclose(updates["bias"], -0.1, rtol=1e-5)
    np.testing.assert_allclose(updates["kernel"], -0.1 * (1 + 0.5), rtol=1e-5)
