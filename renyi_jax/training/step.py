"""One step of training, and one of validation, each compiled as one program."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from renyi_jax.data.mix import mixup_cutmix
from renyi_jax.models import VisionTransformer, normalize_images
from renyi_jax.training.state import TrainState

Batch = Mapping[str, Any]
Metrics = dict[str, Float[Array, ""]]


def make_train_step(
    model: VisionTransformer, optimizer: optax.GradientTransformation, config: Any
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """A compiled function from a state and a batch to the next state and the batch's metrics.

    The state that goes in is donated: its arrays cannot be used again. Randomness is a function of
    the seed and the step alone.

    Args:
        model: its shape; its weights come with the state.
        optimizer: of `make_optimizer`.
        config: of `check_config`; read are the seed, the label smoothing, mixup and CutMix.
    """
    graphdef = nnx.graphdef(model)
    spec = model.spec
    mix = functools.partial(
        mixup_cutmix,
        mixup=config.data.mixup,
        cutmix=config.data.cutmix,
        probability=config.data.mix_probability,
        cutmix_probability=config.data.cutmix_probability,
    )

    def loss_and_accuracy(params: Any, batch: Batch, key: PRNGKeyArray):
        dropout, pruning, mixing = jax.random.split(key, 3)
        rngs = nnx.Rngs(dropout=dropout, pruning=pruning)
        images = normalize_images(batch["image"], spec.mean, spec.std)
        targets = jax.nn.one_hot(batch["label"], spec.num_classes)
        targets = optax.smooth_labels(targets, config.train.label_smoothing)
        images, targets = mix(mixing, images, targets)
        logits = nnx.merge(graphdef, params)(images, train=True, rngs=rngs)
        loss = optax.softmax_cross_entropy(logits, targets).mean()
        return loss, (logits.argmax(axis=-1) == batch["label"]).mean()

    @functools.partial(jax.jit, donate_argnums=0)
    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        (loss, accuracy), gradients = jax.value_and_grad(loss_and_accuracy, has_aux=True)(
            state.params, batch, key
        )
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {
            "loss": loss,
            "accuracy": accuracy,
            "grad_norm": optax.tree.norm(gradients),
        }
        return TrainState(state.step + 1, params, opt_state), metrics

    return train_step


def make_count_correct(
    model: VisionTransformer,
) -> Callable[[Any, Batch], Int[Array, ""]]:
    """A compiled function from weights and a batch to the number of valid examples right."""
    graphdef = nnx.graphdef(model)
    spec = model.spec

    @jax.jit
    def count_correct(params: Any, batch: Batch) -> Int[Array, ""]:
        images = normalize_images(batch["image"], spec.mean, spec.std)
        predicted = nnx.merge(graphdef, params)(images).argmax(axis=-1)
        return jnp.sum((predicted == batch["label"]) & batch["valid"])

    return count_correct
