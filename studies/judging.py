"""Runs a model over test images under many prunings; finished cells are saved, and not run again.

Prunings of the same blocks compute the same until the first cut. So several of them are compiled as
one program, in which the compiler finds what they share, and the orders of one criterion run as one
batch from the first cut on. Nothing is timed here.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from absl import logging
from flax import nnx

from renyi_jax.data import Dataset
from renyi_jax.evaluation.run import Setting, evaluation_batches
from renyi_jax.evaluation.settings import describe, program_of
from renyi_jax.evaluation.store import Identity, Store
from renyi_jax.models import VisionTransformer, load_weights
from renyi_jax.parallel import BatchPlacement, make_mesh, on_mesh, put, replicated
from renyi_jax.pruning import PruningConfig
from renyi_jax.weights.locate import locate
from studies.plans import Entry

TOGETHER = 5
"""Programs that are compiled as one: more share more, and lose more when they are killed."""

Read = Callable[..., Any]


def judge(
    model: VisionTransformer,
    dataset: Dataset,
    config: Any,
    entries: Sequence[Entry],
    store: Store,
    read: Read,
    kind: Any,
    compute: bool = True,
) -> dict[Entry, Any]:
    """What `read` tells of every test image under every entry, as one `kind` for each.

    Args:
        model: of the shape of `config.model.weights`; gets them if anything is to be computed.
        dataset: whose test split is judged.
        config: as `run_evaluations` reads it.
        entries: the prunings.
        store: where finished cells are found, and new ones saved.
        read: `(graphdef, params, batch, alphas, key)` to a `kind` of arrays, one entry per image.
        kind: a NamedTuple.
        compute: whether missing cells are computed; otherwise they are left out.
    """
    weights = hashlib.sha256(locate(config.model.weights).read_bytes()).hexdigest()
    settings = [entry.pruning for entry in entries]
    names = [identify(weights, config, dataset, setting) for setting in settings]
    held = [store.load(name, kind._fields) for name in names]
    found = [arrays and kind(**arrays) for arrays in held]
    missing = [place for place, cell in enumerate(found) if cell is None]
    if missing and compute:
        load_weights(model, config.model.weights)
    for places in _groups(settings, missing if compute else ()):
        logging.info("%d of %d cells to go.", sum(c is None for c in found), len(settings))
        group = [settings[place] for place in places]
        for place, cell in zip(places, _run(model, dataset, config, group, read, kind)):
            store.save(names[place], cell._asdict())
            found[place] = cell
    return {entry: cell for entry, cell in zip(entries, found) if cell is not None}


def identify(weights: str, config: Any, dataset: Dataset, setting: Setting) -> Identity:
    """What decides a cell: the weights by their digest, the images, the pruning, the seed."""
    data = config.data
    fields = {
        "weights": weights,
        "model": [config.model.name, config.model.image_size, config.model.dtype],
        "data": [data.name, data.builder_config, data.test_split, data.crop_pct, len(dataset.test)],
        "pruning": _changes(setting),
        "seed": config.seed,
        "batch_size": config.evaluate.batch_size,
    }
    return json.loads(json.dumps(fields))


def _changes(setting: Setting) -> dict[str, Any] | None:
    """The fields that differ from the defaults; so a field that is new changes no cell."""
    if setting is None:
        return None
    default = PruningConfig().to_json()
    fields = setting.to_json() | {"alpha": describe(setting)["alpha"]}
    return {name: value for name, value in fields.items() if value != default[name]}


def _groups(settings: Sequence[Setting], missing: Sequence[int]) -> Iterator[list[int]]:
    """The places of the missing settings, those that are judged together side by side."""
    programs = _by_program([settings[place] for place in missing])
    by_first_cut: dict[int, list[list[int]]] = {}
    for program, numbers in programs.items():
        places = [missing[number] for number in numbers]
        by_first_cut.setdefault(program.blocks[0] if program else 0, []).append(places)
    for alike in by_first_cut.values():
        for first in range(0, len(alike), TOGETHER):
            yield list(itertools.chain.from_iterable(alike[first : first + TOGETHER]))


def _by_program(settings: Sequence[Setting]) -> dict[Setting, list[int]]:
    """The places of the settings that differ in their orders alone."""
    programs: dict[Setting, list[int]] = {}
    for place, setting in enumerate(settings):
        programs.setdefault(program_of(setting), []).append(place)
    return programs


def _run(
    model: VisionTransformer,
    dataset: Dataset,
    config: Any,
    settings: Sequence[Setting],
    read: Read,
    kind: Any,
) -> list[Any]:
    """One `kind` for each setting, all of one program."""
    mesh = make_mesh(config.mesh.to_dict())
    place = BatchPlacement(mesh, config.evaluate.batch_size)
    params = put(nnx.split(model)[1], replicated(mesh))
    programs = _by_program(settings)
    graphs = [nnx.split(model.with_pruning(program))[0] for program in programs]
    orders = [np.stack([_orders(settings[n]) for n in numbers]) for numbers in programs.values()]

    def step(params: Any, batch: Any, key: Any) -> list[Any]:
        return [
            jax.vmap(lambda alphas, g=graph: read(g, params, batch, alphas, key))(each)
            for graph, each in zip(graphs, orders)
        ]

    parts: list[list[Any]] = [[] for _ in settings]
    key = jax.random.key(config.seed)
    with on_mesh(mesh):
        compiled = jax.jit(step, out_shardings=replicated(mesh))
        for number, batch in enumerate(evaluation_batches(model, dataset, config, place)):
            results = compiled(params, place(batch), jax.random.fold_in(key, number))
            valid = len(dataset.test) - number * place.batch_size
            for places, of_program in zip(programs.values(), jax.device_get(results)):
                for row, setting in enumerate(places):
                    arrays = (np.asarray(field)[row, :valid] for field in of_program)
                    parts[setting].append(kind(*arrays))
    return [kind(*map(np.concatenate, zip(*each))) for each in parts]


def _orders(setting: Setting) -> np.ndarray:
    return np.asarray(setting.per_block("alpha") if setting else (), np.float32)
