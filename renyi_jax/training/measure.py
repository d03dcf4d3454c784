"""What the steps of a config ask of one device, found by compiling them."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh

from renyi_jax.measuring.roofline import (
    Chip,
    Program,
    bytes_per_device,
    bytes_refused,
    largest_fitting,
    read_program,
    roofline,
)
from renyi_jax.models import VisionTransformer
from renyi_jax.parallel import on_mesh, spread
from renyi_jax.training.lowering import AbstractCall, train_step_call, validation_step_call

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Step:
    """A step to compile.

    Attributes:
        field: of the config that holds its batch size.
        batch_size: of all devices together.
        call: the step for a model and a batch size.
        turns: of the loop that the step spends its time in.
    """

    name: str
    field: str
    batch_size: int
    call: Callable[[VisionTransformer, int], AbstractCall]
    turns: int


def steps_of(config: Any, mesh: Mesh) -> list[Step]:
    """The training and the validation step of a config."""
    shards = spread(mesh)
    return [
        Step(
            "train",
            "config.data.batch_size",
            config.data.batch_size,
            lambda model, batch_size: train_step_call(model, config, mesh, batch_size),
            config.train.accumulate_steps,
        ),
        Step(
            "evaluate",
            "config.evaluate.batch_size",
            -(-config.evaluate.batch_size // shards) * shards,  # as validation rounds it up
            lambda model, batch_size: validation_step_call(model, config, mesh, batch_size),
            1,
        ),
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
