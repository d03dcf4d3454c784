"""The steps of a config, compiled from shapes alone: what they ask of a device, and how long."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from renyi_jax.config import check_config, default_config
from renyi_jax.measuring.roofline import (
    Chip,
    Program,
    bytes_per_device,
    bytes_refused,
    largest_fitting,
    read_program,
    roofline,
)
from renyi_jax.models import VisionTransformer, weights_of
from renyi_jax.parallel import (
    BATCH_AXES,
    check_spread,
    on_mesh,
    shared_batch,
    spread,
    state_shardings,
)
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
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state,
        state_shardings(mesh, state),
    )


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


Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Step:
    """A step to compile."""

    name: str
    field: str  # of the config that holds its batch size
    batch_size: int  # of all devices together
    # the step for a model and a batch size; raises UserError if the mesh cannot share the batch
    call: Callable[[VisionTransformer, int], AbstractCall]
    turns: int  # of the loop that the step spends its time in


def steps_of(config: Any, mesh: Mesh) -> list[Step]:
    """The training and the validation step of a config."""

    def train(model: VisionTransformer, batch_size: int) -> AbstractCall:
        state = abstract_state(model, config, mesh)
        shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
        step = make_train_step(model, _optimizer(config, batch_size), config, shardings)
        return AbstractCall(step, (state, _batch(model, mesh, batch_size)))

    def evaluate(model: VisionTransformer, batch_size: int) -> AbstractCall:
        params = abstract_state(model, config, mesh).evaluated
        batch = _batch(model, mesh, batch_size)
        valid = jax.ShapeDtypeStruct((batch_size,), jnp.bool, sharding=batch["label"].sharding)
        return AbstractCall(make_count_correct(model), (params, batch | {"valid": valid}))

    trained, turns = config.data.batch_size, config.train.accumulate_steps
    evaluated = shared_batch(mesh, config.evaluate.batch_size)  # as validation rounds it up
    return [
        Step("train", "config.data.batch_size", trained, train, turns),
        Step("evaluate", "config.evaluate.batch_size", evaluated, evaluate, 1),
    ]


def measure(step: Step, model: VisionTransformer, mesh: Mesh, chip: Chip) -> Row:
    """Compiles a step for the devices of the mesh; a row of results.json.

    Bytes and FLOPs are those of one device and one step.
    """
    call = step.call(model, step.batch_size)
    state = call.arguments[0]
    weights = bytes_per_device(getattr(state, "params", state))
    row: Row = {
        "step": step.name,
        "batch_size": step.batch_size,
        "batch_size_field": step.field,
        "weights_bytes": weights,
        "optimizer_bytes": bytes_per_device(state) - weights,
        "hbm_bytes": chip.hbm_bytes,
    }
    started = time.perf_counter()
    program = _compile(call, mesh, step.turns)
    row["compile_seconds"] = time.perf_counter() - started
    needed = program.peak_bytes if isinstance(program, Program) else program
    row["fits"] = needed <= chip.hbm_bytes
    if isinstance(program, Program):
        bound = roofline(chip, program.flops, program.moved_bytes, program.sent_bytes)
        batch_bytes = program.argument_bytes - row["weights_bytes"] - row["optimizer_bytes"]
        row |= {
            "batch_bytes": batch_bytes,
            "activation_bytes": program.temporary_bytes,
            "program_bytes": program.code_bytes,
            "peak_bytes": program.peak_bytes,
            "flops": program.flops,
            "moved_bytes": program.moved_bytes,
            "sent_bytes": program.sent_bytes,
            "collectives": [dataclasses.asdict(each) for each in program.collectives],
            "seconds": dataclasses.asdict(bound),
            "bound": bound.by,
            "images_per_second": step.batch_size / bound.seconds,
        }
    if not row["fits"]:

        def needs(batch_size: int) -> int | float:
            smaller = _compile(step.call(model, batch_size), mesh)
            return smaller.peak_bytes if isinstance(smaller, Program) else smaller

        row["largest_batch_size"] = largest_fitting(
            needs, chip.hbm_bytes, step.batch_size, spread(mesh) * step.turns, needed
        )
    return row


def _compile(call: AbstractCall, mesh: Mesh, turns: int = 1) -> Program | float:
    """The program; of one too large for a device, the bytes that the compiler says it needs."""
    with on_mesh(mesh):
        lowered = call.function.lower(*call.arguments)
    try:
        return read_program(lowered.compile(), turns)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return bytes_refused(str(error))


def timed_train_step(
    model: VisionTransformer, batch_size: int
) -> tuple[jax.stages.Compiled, Callable[[], Any]]:
    """Returns XLA's program of a step on random pixels, and a call that makes the next step.

    The config is the default: AdamW on clipped gradients, smoothed labels, nothing mixed. The first
    call consumes the weights of `model`.
    """
    config: Any = check_config(default_config())
    optimizer = make_optimizer(config.train, lambda step: jnp.float32(config.train.learning_rate))
    rng = np.random.default_rng(0)
    shape = (batch_size, *model.spec.image_size, 3)
    batch = {
        "image": jnp.asarray(rng.integers(0, 256, shape, dtype=np.uint8)),
        "label": jnp.arange(batch_size) % model.spec.num_classes,
    }
    state = TrainState.create(weights_of(model), optimizer, config.train)
    step = make_train_step(model, optimizer, config).lower(state, batch).compile()

    def run() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return step, run
