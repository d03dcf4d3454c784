"""What the options of a training step do to its mathematics."""

import os
import platform
import resource
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from children import PYTHONPATH
from flax import nnx
from tiny import tiny_model, tiny_spec

from renyi_jax.entropy import attention_entropy
from renyi_jax.models import normalize_images
from renyi_jax.pruning import PruningConfig
from renyi_jax.training import TrainState, layer_scales, make_loss, make_optimizer, make_train_step
from renyi_jax.training.hooks import keep_rate_levels
from renyi_jax.training.xla_cpu import compiler_options

RNG = np.random.default_rng(0)
BATCH = {
    "image": RNG.integers(0, 256, (8, 16, 16, 3)).astype(np.uint8),
    "label": RNG.integers(0, 10, 8).astype(np.int32),
}


@pytest.fixture(scope="module")
def model():
    return tiny_model(PruningConfig(blocks=(1, 2), keep_rate=0.7), tiny_spec(depth=2))


def params_of(model):
    return jax.tree.map(jnp.copy, nnx.to_pure_dict(nnx.state(model)))


def run(model, config, steps=1):
    """The state after some steps on one batch, and the metrics of the last."""
    optimizer = make_optimizer(config.train, optax.constant_schedule(1e-2))
    state = TrainState.create(params_of(model), optimizer, config.train)
    step = make_train_step(model, optimizer, config)
    states = []
    for _ in range(steps):
        state, metrics = step(state, BATCH)
        states.append(jax.tree.map(np.asarray, state))
    return states, metrics


@pytest.fixture(scope="module")
def plain(model, make_config):
    """The state after one step without any option, and its metrics."""
    (state,), metrics = run(model, make_config())
    return state, metrics


def close(left, right, **tolerances):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerances), left, right)


def test_a_batch_in_parts_has_the_gradient_of_the_whole(plain, model, make_config):
    whole, metrics = plain
    (parts,), metrics_of_parts = run(model, make_config(train__accumulate_steps=4))
    close(metrics, metrics_of_parts, rtol=1e-5)
    # Of Adam's first moment, which is a tenth of the gradient; the step itself divides by its size.
    close(whole.opt_state[1][0].mu, parts.opt_state[1][0].mu, rtol=1e-3, atol=1e-6)


def test_recomputing_activations_changes_no_gradient(model, make_config):
    images = jnp.asarray(RNG.normal(size=(8, 16, 16, 3)), jnp.float32)
    target = jax.nn.one_hot(BATCH["label"], 10)
    examples = {"image": images, "target": target, "label": BATCH["label"]}
    gradients = []
    for policy in ("none", "blocks", "elementwise"):
        model.remat = policy
        loss = make_loss(model, make_config())
        gradient = jax.jit(jax.grad(lambda p: loss(p, examples, jax.random.key(0))[0]))  # noqa: B023
        gradients.append(gradient(params_of(model)))
    model.remat = "none"
    for gradient in gradients[1:]:
        close(gradients[0], gradient, rtol=1e-4, atol=1e-6)


def test_the_moving_average_is_that_of_the_weights_after_each_step(model, make_config):
    states, _ = run(model, make_config(train__ema_decay=0.3), steps=4)
    expected = jax.tree.map(np.asarray, params_of(model))
    for step, state in enumerate(states):
        decay = min(0.3, (1 + step) / (10 + step))
        expected = jax.tree.map(lambda e, p, d=decay: d * e + (1 - d) * p, expected, state.params)
        close(state.ema, expected, rtol=1e-5, atol=1e-7)
        assert state.evaluated is state.ema


def test_layers_learn_by_powers_of_the_decay(plain, model, make_config):
    scales = layer_scales(params_of(model), 0.5)
    assert scales["head"]["kernel"] == scales["norm"]["scale"] == 1
    assert scales["blocks"][1]["mlp"]["fc1"]["kernel"] == 0.5
    assert scales["blocks"][0]["attn"]["qkv"]["bias"] == 0.25
    assert scales["pos_embed"] == scales["cls_token"] == 0.125

    before = params_of(model)
    (decayed,), _ = run(model, make_config(train__layer_decay=0.5))
    moved = [jax.tree.map(jnp.subtract, state.params, before) for state in (plain[0], decayed)]
    expected = jax.tree.map(jnp.multiply, moved[0], scales)
    close(moved[1], expected, rtol=1e-3, atol=1e-6)


def test_a_seed_that_is_an_argument_compiles_nothing_anew(model, make_config):
    programs = []
    ((expected,), _) = run(model, make_config(seed=1))
    for seed in (0, 1):
        config = make_config(seed=seed)
        optimizer = make_optimizer(config.train, optax.constant_schedule(1e-2))
        state = TrainState.create(params_of(model), optimizer, config.train)
        step = make_train_step(model, optimizer, config)
        programs.append(step.lower(state, BATCH, seed=np.uint32(seed)).as_text())
        given, _ = step(state, BATCH, seed=np.uint32(1))
        close(given.params, expected.params, rtol=1e-6, atol=0)
    assert programs[0] == programs[1]


def test_the_regulariser_is_the_mean_entropy_of_its_blocks(model, make_config):
    options = {"train__entropy_alpha": 3.0, "train__entropy_blocks": (2,)}
    _, metrics = run(model, make_config(train__entropy_weight=0.25, **options))
    images = normalize_images(jnp.asarray(BATCH["image"]), model.spec.mean, model.spec.std)

    def read(number, logits):
        return attention_entropy(logits, 3.0).mean()

    _, (_, expected) = jax.jit(lambda x: model.read_attention(x, read))(images)
    np.testing.assert_allclose(metrics["entropy"], expected, rtol=1e-4)

    examples = {"image": images, "target": jax.nn.one_hot(BATCH["label"], 10)} | {
        "label": BATCH["label"]
    }
    losses = {}
    for weight in (0.0, 0.25):
        loss = make_loss(model, make_config(train__entropy_weight=weight, **options))
        losses[weight] = jax.jit(loss)(params_of(model), examples, jax.random.key(0))[0]
    np.testing.assert_allclose(losses[0.25] - losses[0.0], 0.25 * expected, rtol=1e-3)


def test_the_regulariser_moves_the_entropy_where_its_sign_says(model, make_config):
    """After as many steps, a penalty leaves less of it than a reward."""
    last = {}
    for weight in (3.0, -3.0):
        config = make_config(train__entropy_weight=weight, train__entropy_blocks=(1, 2))
        last[weight] = run(model, config, steps=8)[1]["entropy"]
    assert last[3.0] < last[-3.0]


def test_the_keep_rate_falls_to_its_target_in_as_many_levels_as_asked_for(make_config):
    pruning = PruningConfig(blocks=(1, 2), keep_rate=(0.7, 0.5))
    options = make_config(train__keep_rate_epochs=3, train__keep_rate_levels=4).train
    levels = keep_rate_levels(pruning, options, steps_per_epoch=10)
    assert [level.first_step for level in levels] == [0, 10, 20, 30]
    rates = np.array([level.pruning.per_block("keep_rate") for level in levels])
    np.testing.assert_allclose(rates[:, 0], [1, 0.925, 0.775, 0.7])
    np.testing.assert_allclose(rates[:, 1], [1, 0.875, 0.625, 0.5])
    assert levels[-1].pruning == pruning


def test_without_a_schedule_the_target_holds_from_the_start(make_config):
    pruning = PruningConfig(blocks=(1, 2))
    for fields in ({}, {"train__keep_rate_epochs": 3, "train__keep_rate_levels": 1}):
        assert keep_rate_levels(pruning, make_config(**fields).train, 10) == [(0, pruning)]
    scheduled = make_config(train__keep_rate_epochs=3).train
    assert keep_rate_levels(None, scheduled, 10) == [(0, None)]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_options_of_a_step_leave_the_gradient_of_a_layer_as_it_is(dtype):
    inputs, cotangents = jnp.asarray(RNG.normal(size=(2, 512, 256)), dtype)
    options = compiler_options(dtype)
    assert bool(options) == (dtype == jnp.bfloat16 and jax.default_backend() == "cpu")
    product = jax.jit(lambda x, g: x.T @ g, compiler_options=options)(inputs, cotangents)
    expected = np.float64(inputs).T @ np.float64(cotangents)
    np.testing.assert_allclose(np.float64(product), expected, rtol=8e-3, atol=0.1)


@pytest.mark.skipif(
    jax.__version_info__ < (0, 12), reason="XLA of JAX 0.10 ignores what keeps blocks apart"
)
def test_a_block_more_takes_the_same_arithmetic_in_a_model_of_any_depth(make_config):
    """The residual sums of later blocks are not computed again for each block before them."""

    def products(depth):
        config, model = make_config(), tiny_model(None, tiny_spec(depth=depth))
        optimizer = make_optimizer(config.train, optax.constant_schedule(1e-2))
        state = TrainState.create(params_of(model), optimizer, config.train)
        step = make_train_step(model, optimizer, config)
        return step.lower(state, BATCH).compile().as_text().count(" multiply(")

    shallow, middle, deep = map(products, (2, 4, 6))
    assert deep - middle == pytest.approx(middle - shallow, rel=0.1)


_CALLS = """
import resource, jax, jax.numpy as jnp
from renyi_jax.training.xla_cpu import keep_memory

keep_memory()
call = jax.jit(jnp.exp)
matrix = jnp.ones((4096, 4096))  # as large as the result of each call, 64 MiB
faults = []
for _ in range(60):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    call(matrix).block_until_ready()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults[-10:]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="its malloc is what is told")
@pytest.mark.parametrize(("own", "mapped_anew"), [({}, False), ({"MALLOC_ARENA_MAX": "2"}, True)])
def test_a_call_is_given_the_memory_of_the_last_unless_the_user_tunes_malloc(own, mapped_anew):
    result = subprocess.run(
        [sys.executable, "-c", _CALLS],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": PYTHONPATH} | own,
    )
    pages = 4096 * 4096 * 4 / resource.getpagesize()
    assert (int(result.stdout) > pages / 2) == mapped_anew
