"""The steps and the shapes that they take, from a config alone: what a compiler needs."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from renyi_jax.models import VisionTransformer, weights_of
from renyi_jax.parallel import BATCH_AXES, check_spread, state_shardings
from renyi_jax.training.optimizer import learning_rate_schedule, make_optimizer
from renyi_jax.training.setup import model_for
from renyi_jax.training.state import TrainState
from renyi_jax.training.step import make_count_correct, make_train_step

# The schedule needs some length of an epoch; the programs of any two differ in one constant.
_STEPS_PER_EPOCH = 1000


@dataclasses.dataclass(frozen=True)
class AbstractCall:
    """A jitted function, and arguments that have shapes, types and shardings, and no values.

    Trace it under `on_mesh`: with `jax.jit`'s own `function.lower(*arguments)`, or `jax.export`.
    """

    function: Callable
    arguments: tuple[Any, ...]


def abstract_model(config: Any, num_classes: int) -> VisionTransformer:
    """The model of `config.model` and `config.pruning`, with shapes for weights."""
    return nnx.eval_shape(lambda: model_for(num_classes, config))


def abstract_state(model: VisionTransformer, config: Any, mesh: Mesh) -> TrainState:
    """The state that training starts with, as it lies on the mesh."""
    optimizer = _optimizer(config, config.data.batch_size)
    params = weights_of(model)
    state = jax.eval_shape(
        lambda params: TrainState.create(params, optimizer, config.train), params
    )
    return jax.tree.map(_placed, state, state_shardings(mesh, state))


def train_step_call(
    model: VisionTransformer, config: Any, mesh: Mesh, batch_size: int
) -> AbstractCall:
    """Returns the training step on a batch; raises UserError if the mesh cannot share the batch."""
    state = abstract_state(model, config, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    step = make_train_step(model, _optimizer(config, batch_size), config, shardings)
    return AbstractCall(step, (state, _batch(model, mesh, batch_size)))


def validation_step_call(
    model: VisionTransformer, config: Any, mesh: Mesh, batch_size: int
) -> AbstractCall:
    """The validation step; arguments and errors as for `train_step_call`."""
    params = abstract_state(model, config, mesh).evaluated
    batch = _batch(model, mesh, batch_size)
    batch["valid"] = jax.ShapeDtypeStruct((batch_size,), jnp.bool, sharding=batch["label"].sharding)
    return AbstractCall(make_count_correct(model), (params, batch))


def _optimizer(config: Any, batch_size: int):
    return make_optimizer(
        config.train, learning_rate_schedule(config.train, batch_size, _STEPS_PER_EPOCH)
    )


def _batch(model: VisionTransformer, mesh: Mesh, batch_size: int) -> dict[str, Any]:
    check_spread(mesh, batch_size)
    sharding = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
    images = (batch_size, *model.spec.image_size, 3)
    return {
        "image": jax.ShapeDtypeStruct(images, jnp.uint8, sharding=sharding),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32, sharding=sharding),
    }


def _placed(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
