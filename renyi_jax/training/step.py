"""A step of training and one of validation, each compiled as one program."""

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray

from renyi_jax.common.progress import progress
from renyi_jax.data import Dataset
from renyi_jax.data.augment import mixup_cutmix
from renyi_jax.entropy import attention_entropy
from renyi_jax.models import Forward, VisionTransformer
from renyi_jax.parallel import BATCH_AXES, BatchPlacement, constrain, shared_batch
from renyi_jax.training import xla_cpu
from renyi_jax.training.setup import test_batches
from renyi_jax.training.state import TrainState

Batch = Mapping[str, Any]
Metrics = dict[str, Float[Array, ""]]


def make_train_step(
    model: VisionTransformer,
    optimizer: optax.GradientTransformation,
    config: Any,
    shardings: TrainState | None = None,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """Compiles a training step: from a state and a batch to the next state and the batch's metrics.

    The state that goes in is donated. Randomness is a function of the seed and the step alone. The
    seed is the config's, or an argument `seed` of the step, which is compiled for all seeds then.

    Args:
        model: its shape and pruning; its weights come with the state.
        shardings: of the state that comes out, by `state_shardings`; run it on that mesh.
    """
    options = config.train
    forward = Forward.of(model)
    mix = functools.partial(
        mixup_cutmix,
        mixup=config.data.mixup,
        cutmix=config.data.cutmix,
        probability=config.data.mix_probability,
        cutmix_probability=config.data.cutmix_probability,
    )
    gradients_of = _accumulated(make_loss(model, config), options.accumulate_steps)

    def train_step(
        state: TrainState, batch: Batch, seed: Any = config.seed
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        mixing, key = jax.random.split(key)
        images = forward.normalize(batch["image"])
        targets = jax.nn.one_hot(batch["label"], forward.spec.num_classes)
        targets = optax.smooth_labels(targets, options.label_smoothing)
        images, targets = mix(mixing, images, targets)
        examples = {"image": images, "target": targets, "label": batch["label"]}
        gradients, metrics = gradients_of(state.params, examples, key)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics["grad_norm"] = optax.tree.norm(gradients)
        ema = state.ema
        if ema is not None:
            ema = moving_average(ema, params, state.step, options.ema_decay)
        return TrainState(state.step + 1, params, opt_state, ema, state.best), metrics

    return jax.jit(
        train_step,
        donate_argnums=0,
        out_shardings=None if shardings is None else (shardings, None),
        compiler_options=xla_cpu.compiler_options(model.dtype, shardings),
    )


def make_loss(
    model: VisionTransformer, config: Any
) -> Callable[[Any, Batch, PRNGKeyArray], tuple[Float[Array, ""], Metrics]]:
    """Returns the loss on normalised `image` [b, height, width, 3] and `target` [b, classes].

    Cross entropy, plus `train.entropy_weight` times the mean Rényi entropy (nats) of the attention
    that patches pay in `train.entropy_blocks`, over images, heads and patches.
    """
    forward = Forward.of(model)
    options = config.train

    def read(number: int, logits: Float[Array, "b h n n"]) -> Float[Array, ""] | None:
        if number not in options.entropy_blocks:
            return None
        return attention_entropy(logits, options.entropy_alpha, model.spec.num_prefix).mean()

    def loss_and_metrics(params: Any, examples: Batch, key: PRNGKeyArray):
        dropout, pruning = jax.random.split(key)
        logits, entropies = forward.read_attention(
            params,
            examples["image"],
            read if options.entropy_weight else None,
            train=True,
            rngs=nnx.Rngs(dropout=dropout, pruning=pruning),
        )
        loss = optax.softmax_cross_entropy(logits, examples["target"]).mean()
        accuracy = (logits.argmax(axis=-1) == examples["label"]).mean()
        metrics = {"loss": loss, "accuracy": accuracy}
        if options.entropy_weight:
            metrics["entropy"] = jnp.stack(jax.tree.leaves(entropies)).mean()
            loss += options.entropy_weight * metrics["entropy"]
        return loss, metrics

    return loss_and_metrics


def _accumulated(loss_and_metrics: Callable, num_parts: int) -> Callable:
    """Gradients and metrics of a batch that is taken in `num_parts` parts, one after the other."""
    differentiate = jax.grad(loss_and_metrics, has_aux=True)
    if num_parts == 1:
        return differentiate

    def part(array: Array) -> Array:
        # Every device gives some of its images to each part.
        array = array.reshape(-1, num_parts, *array.shape[1:])
        return constrain(jnp.moveaxis(array, 1, 0), None, BATCH_AXES)

    def gradients_of(params: Any, examples: Batch, key: PRNGKeyArray):
        parts = jax.tree.map(part, examples), jax.random.split(key, num_parts)

        def add(total: Any, examples_and_key: Any):
            gradients, metrics = differentiate(params, *examples_and_key)
            return jax.tree.map(jnp.add, total, gradients), metrics

        total, metrics = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)
        gradients = jax.tree.map(lambda sum: sum / num_parts, total)
        return gradients, jax.tree.map(jnp.mean, metrics)

    return gradients_of


def moving_average(average: Any, params: Any, step: Int[Array, ""], decay: float) -> Any:
    """Returns the moving average of the weights one step on; its decay rises from 0.1."""
    rate = 1 - jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda mean, new: mean + rate * (new - mean), average, params)


def make_count_correct(
    model: VisionTransformer,
) -> Callable[[Any, Batch], Int[Array, "2"]]:
    """A compiled function from weights and a batch to the numbers of examples right, and of all."""
    forward = Forward.of(model)

    @jax.jit
    def count_correct(params: Any, batch: Batch) -> Int[Array, "2"]:
        predicted = forward(params, batch["image"]).argmax(axis=-1)
        right = (predicted == batch["label"]) & batch["valid"]
        return jnp.stack([right.sum(), batch["valid"].sum()])

    return count_correct


def make_validation(
    model: VisionTransformer, dataset: Dataset, config: Any, mesh: Mesh
) -> Callable[[Any, Callable[[], bool]], float | None]:
    """Returns a function from weights to top-1 on the test split, or on its first batches.

    Its second argument says, between two batches, whether to give up, which returns None. The batch
    grows to a multiple of the devices of the mesh.
    """
    count_correct = make_count_correct(model)
    place = BatchPlacement(mesh, shared_batch(mesh, config.evaluate.batch_size))

    def accuracy(params: Any, is_over: Callable[[], bool]) -> float | None:
        batches = test_batches(model, dataset, config, place)
        total = -(-len(dataset.test) // place.batch_size)
        total = min(total, config.train.evaluate_batches or total)
        counts = []
        for batch in progress(
            itertools.islice(batches, total), "Validating", unit="batch", total=total
        ):
            if is_over():
                return None
            counts.append(count_correct(params, place(batch)))
            # One batch at most is computed while the next is prepared: what is shown is done.
            jax.block_until_ready(counts[-2:][0])
        correct, valid = np.sum(jax.device_get(counts), axis=0)
        return float(correct / valid)

    return accuracy
