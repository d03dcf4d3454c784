"""How fast the programs of prunings run, in turns with the unpruned model's."""

import functools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from renyi_jax.common.progress import phase
from renyi_jax.common.store import Identity, Store
from renyi_jax.common.version import __version__
from renyi_jax.data import Dataset
from renyi_jax.evaluation.judging import Config, agreed_missing, evaluation_batches
from renyi_jax.evaluation.programs import Programs, Setting
from renyi_jax.measuring.throughput import seconds_per_call
from renyi_jax.models import VisionTransformer, weights_of
from renyi_jax.parallel import put, replicated
from renyi_jax.pruning.sweep import describe, program_of


class Timing(NamedTuple):
    """The median throughput of a program's step, and of the unpruned model's in turns with it.

    `peak_memory` is in bytes, as in `Program`.
    """

    images_per_second: float
    plain_images_per_second: float
    peak_memory: int | None


_SHAPES = dict.fromkeys(Timing._fields, jax.ShapeDtypeStruct((), np.float64))


def time_programs(
    model: VisionTransformer,
    dataset: Dataset,
    config: Config,
    settings: Sequence[Setting],
    store: Store | None,
    programs: Programs,
) -> dict[Setting, Timing]:
    """Times the program of every setting, or loads what was measured before.

    Returns them by program (`program_of`); loaded ones in process 0 alone. Weights and orders do
    not matter. Programs timed at different times are compared by their speed-up over the unpruned
    model beside them, not by what else the machine did.
    """
    names = list(dict.fromkeys(map(program_of, settings)))
    identities = [_identity(name, model, config, programs) for name in names]
    found: list[Timing | None] = [None] * len(names)
    if store is not None:
        held = [store.load(identity, _SHAPES) for identity in identities]
        found = [None if each is None else _from_arrays(each) for each in held]
    missing = agreed_missing(found)
    if missing:
        measured = _measure(model, dataset, config, [names[each] for each in missing], programs)
        for place, timing in zip(missing, measured):
            found[place] = timing
            if store is not None and jax.process_index() == 0:
                store.save(identities[place], _to_arrays(timing))
    return {name: timing for name, timing in zip(names, found) if timing is not None}


def _identity(
    program: Setting, model: VisionTransformer, config: Config, programs: Programs
) -> Identity:
    identity = {
        "version": __version__,
        "timed": describe(program),
        "model": [config.model.name, config.model.image_size, config.model.dtype],
        "num_classes": model.spec.num_classes,
        "batch_size": config.evaluate.batch_size,
        "mesh": dict(programs.mesh.shape),
        "device": jax.devices()[0].device_kind,
        "jax": jax.__version__,
    }
    return json.loads(json.dumps(identity))


def _measure(
    model: VisionTransformer,
    dataset: Dataset,
    config: Config,
    names: Sequence[Setting],
    programs: Programs,
) -> list[Timing]:
    params = put(weights_of(model), replicated(programs.mesh))
    key = jax.random.key(0)
    batch = next(evaluation_batches(model, dataset, config, programs))
    timed = {name: programs.get([name], params, batch, key) for name in (*names, None)}
    calls = {
        name: functools.partial(program.run, params, batch, key) for name, program in timed.items()
    }
    for call in calls.values():
        jax.block_until_ready(call())  # warms up
    # Of several processes each has a clock of its own, and all must make the same rounds.
    budget = 3.0 if jax.process_count() == 1 else 0.0
    with phase("Timing", budget * len(calls)):
        seconds = seconds_per_call(calls, budget=budget)
    speeds = {name: len(batch["label"]) / of_batch for name, of_batch in seconds.items()}
    return [Timing(speeds[name], speeds[None], timed[name].peak_memory) for name in names]


def _to_arrays(timing: Timing) -> dict[str, Any]:
    fields = timing._asdict()
    return {name: np.float64(np.nan if value is None else value) for name, value in fields.items()}


def _from_arrays(arrays: dict[str, np.ndarray]) -> Timing | None:
    """None where a speed is not one."""
    fast, plain, memory = (float(arrays[name]) for name in Timing._fields)
    if not (0 < fast < np.inf and 0 < plain < np.inf):
        return None
    return Timing(fast, plain, int(memory) if np.isfinite(memory) else None)
