"""What a model makes of every test image under many prunings; finished cells are not run again.

A cell is one model under one pruning, judged image by image. It is named by what decides its
numbers: the weights and the test images by their content, the pruning, and what else has a say.
"""

import functools
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from jaxtyping import Bool
from tqdm import tqdm

from renyi_jax.common.progress import phase, progress
from renyi_jax.common.store import Identity, Store
from renyi_jax.common.version import __version__
from renyi_jax.config import Config
from renyi_jax.data import Dataset, fingerprint
from renyi_jax.errors import UserError
from renyi_jax.evaluation.programs import (
    Batch,
    Programs,
    Read,
    Setting,
    evaluate_batch,
    outcome_shapes,
)
from renyi_jax.models import VisionTransformer, weights_of
from renyi_jax.models.flops import count_flops
from renyi_jax.models.weights import weights_digest
from renyi_jax.parallel import BatchPlacement, put, replicated, shared_batch
from renyi_jax.pruning.sweep import describe, draws, program_of
from renyi_jax.training.setup import test_batches

TOGETHER = 5
"""Programs that share a pass over the images: more share more, and lose more when killed."""


class Reading(NamedTuple):
    """What is read of every image, as `Programs` takes it, and the shapes of that for one image."""

    read: Read
    shapes: Callable[[Setting], Any]


OUTCOMES = Reading(evaluate_batch, outcome_shapes)


def judge(
    model: VisionTransformer,
    dataset: Dataset,
    config: Config,
    settings: Sequence[Setting],
    seed: int,
    store: Store | None,
    programs: Programs,
    reading: Reading = OUTCOMES,
    *,
    fuses: bool = False,
    compute: bool = True,
    names: Sequence[Identity] | None = None,
) -> list[Any]:
    """Reads every test image under every setting, or loads what was read before.

    Args:
        config: read are `model`, `data.num_workers`, `data.crop_pct` and `evaluate.batch_size`.
        seed: decides what criteria draw.
        store: of finished cells; None keeps nothing.
        programs: of this model or another of its shape, for the same reading.
        fuses: compile all settings of a pass as one program that shares what they have in common;
            else each has a program, which other weights and `timing` reuse.
        names: of the cells in the store; by default what `identify` says.

    Returns:
        For each setting what was read, in the order of the test split, without undecodable images.
            None where a cell is missing and, in all processes but the first, where it was loaded.

    Raises UserError: an empty test split.
    """
    if not len(dataset.test):
        raise UserError(f"The test split of {dataset.name} is empty (config.data.test_split).")
    found: list[Any] = [None] * len(settings)
    if store is not None:
        names = names or identify(model, dataset, config, settings, seed)
        shapes = [reading.shapes(setting) for setting in settings]
        found = [load_cell(store, *each, len(dataset.test)) for each in zip(names, shapes)]
    missing = agreed_missing(found)
    if not missing or not compute:
        return found
    run = _Run(model, dataset, config, seed, programs, fuses)
    logging.info(
        "%d of %d prunings to judge (%d to compile), on %d images.",
        *(len(missing), len(settings), len(_by_program(settings, missing)), len(dataset.test)),
    )
    if not fuses:
        logging.info("That takes about %s.", run.estimate([settings[each] for each in missing]))
    for places in _passes(settings, missing):
        left = sum(each is None for each in found)
        name = f"Evaluating {len(places)} of {left} prunings"
        cells, valid = run([settings[each] for each in places], name)
        for place, cell in zip(places, cells):
            found[place] = _of_valid(cell, valid)
            if store is not None and names and jax.process_index() == 0:
                store.save(names[place], {**cell._asdict(), _VALID: valid})
    return found


def identify(
    model: VisionTransformer,
    dataset: Dataset,
    config: Config,
    settings: Iterable[Setting],
    seed: int,
) -> list[Identity]:
    """What decides the cells of these settings, as JSON has it."""
    common = {
        "version": __version__,
        "weights": weights_digest(model),
        "model": [config.model.name, config.model.image_size, config.model.dtype],
        "images": fingerprint_of(dataset.test),
        "crop_pct": config.data.crop_pct,
        "pixels": [model.spec.mean, model.spec.std, model.spec.crop_pct, model.spec.interpolation],
        "batch_size": config.evaluate.batch_size,
        "device": jax.devices()[0].device_kind,
    }
    cells = [
        {**common, "setting": describe(setting), "seed": seed if draws(setting) else None}
        for setting in settings
    ]
    return json.loads(json.dumps(cells))


def agreed_missing(found: Sequence[Any]) -> list[int]:
    """The places of what the first process did not find, in all processes."""
    is_missing = np.array([each is None for each in found])
    return np.flatnonzero(multihost_utils.broadcast_one_to_all(is_missing)).tolist()


def evaluation_batches(
    model: VisionTransformer, dataset: Dataset, config: Config, programs: Programs
) -> Iterator[Batch]:
    """Returns the batches of the test split on the mesh, of a size that its devices can share.

    What fills them up, and what cannot be decoded, is not `valid`.
    """
    mesh = programs.mesh
    place = BatchPlacement(mesh, shared_batch(mesh, config.evaluate.batch_size))
    return map(place, test_batches(model, dataset, config, place, config.data.num_workers))


class _Run:
    """The passes of one model over the test images."""

    def __init__(
        self,
        model: VisionTransformer,
        dataset: Dataset,
        config: Config,
        seed: int,
        programs: Programs,
        fuses: bool,
    ):
        self._programs, self._fuses = programs, fuses
        self._batches = functools.partial(evaluation_batches, model, dataset, config, programs)
        self._spec, self._images = model.spec, len(dataset.test)
        self._params = put(weights_of(model), replicated(programs.mesh))
        self._key = jax.random.key(seed)

    def estimate(self, settings: Sequence[Setting]) -> str:
        """The time that they take, by the first batch under the first of them."""
        batch = next(self._batches())
        started = time.perf_counter()
        run = self._programs.get(settings[:1], self._params, batch, self._key).run
        compiled = time.perf_counter()
        for _ in range(2):  # the first call warms up
            begin = time.perf_counter()
            jax.block_until_ready(run(self._params, batch, self._key))
        seconds = time.perf_counter() - begin
        costs = [count_flops(self._spec, setting) for setting in settings]
        seconds *= sum(costs) / costs[0] * -(-self._images // len(batch["label"]))
        seconds += (compiled - started) * len(_by_program(settings, range(1, len(settings))))
        return tqdm.format_interval(seconds)

    def __call__(
        self, settings: Sequence[Setting], name: str
    ) -> tuple[list[Any], Bool[np.ndarray, "images"]]:
        """What is read under each setting, in one pass, and which images could be decoded."""
        groups = [settings] if self._fuses else [[setting] for setting in settings]
        whole = jax.jit(lambda valid: valid, out_shardings=replicated(self._programs.mesh))
        collected: list[Any] = []
        pending: Any = None
        batches = self._batches()
        first = next(batches)
        total = -(-self._images // len(first["label"]))
        batches = itertools.chain([first], batches)
        for number, batch in enumerate(progress(batches, name, unit="batch", total=total)):
            key = jax.random.fold_in(self._key, number)
            programs = [self._programs.get(group, self._params, batch, key) for group in groups]
            read = [program.run(self._params, batch, key) for program in programs]
            # The device may run one batch ahead, not more: batches in flight are in its memory.
            if number:
                collected.append(jax.device_get(pending))
            pending = list(itertools.chain.from_iterable(read)), whole(batch["valid"])
        collected.append(jax.device_get(pending))
        return jax.tree.map(lambda *parts: np.concatenate(parts)[: self._images], *collected)


def _passes(settings: Sequence[Setting], missing: Sequence[int]) -> Iterator[list[int]]:
    """The places of the missing settings that are judged in one pass, side by side."""
    by_first_cut: dict[int, list[list[int]]] = {}
    for program, places in _by_program(settings, missing).items():
        by_first_cut.setdefault(program.blocks[0] if program else 0, []).append(places)
    for alike in by_first_cut.values():
        for first in range(0, len(alike), TOGETHER):
            yield list(itertools.chain.from_iterable(alike[first : first + TOGETHER]))


def _by_program(settings: Sequence[Setting], places: Iterable[int]) -> dict[Setting, list[int]]:
    """The places of the settings that differ in their orders alone."""
    programs: dict[Setting, list[int]] = {}
    for place in places:
        programs.setdefault(program_of(settings[place]), []).append(place)
    return programs


_VALID = "valid"  # the array of a cell that says which images could be decoded


def load_cell(store: Store, name: Identity, shapes: Any, images: int) -> Any:
    """Returns what `judge` saved under a name, of so many images; None where nothing is."""
    of_one = {**shapes._asdict(), _VALID: jax.ShapeDtypeStruct((), np.bool_)}
    held = store.load(
        name, {k: jax.ShapeDtypeStruct((images, *s.shape), s.dtype) for k, s in of_one.items()}
    )
    if held is None:
        return None
    valid = held.pop(_VALID)
    return _of_valid(type(shapes)(**held), valid)


def _of_valid(cell: Any, valid: Bool[np.ndarray, "images"]) -> Any:
    return jax.tree.map(lambda field: field[valid], cell)


@functools.lru_cache(maxsize=4)
def fingerprint_of(records: Any) -> str:
    """The `fingerprint` of all records of a split."""
    with phase("Reading the test images"):
        return fingerprint(records, sampled=len(records))
