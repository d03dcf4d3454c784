"""Finds the pruning that loses least at a budget, for a model and images, without training.

Tries prunings of some blocks, by any criterion, order and reducer that the model can run,
all at the budget: many on a few images, few on many. Half of the images choose; the other half
judge the best beside published methods of the same cost. With labels the loss is their negative log
likelihood, without labels the distance from what the unpruned model says.

  python -m renyi_jax.plan --weights=runs/quickstart --config=configs/quickstart.py \\
      --budget=0.7,0.5 --out=runs/plan
  python -m renyi_jax.plan --model=vit_small_patch14_dinov2 --weights=dinov2.safetensors \\
      --image_size=224 --image=photos --budget=0.5 --out=runs/plan

OUT has the plan, for --plan of other commands, results.json with all that was judged, and
report/index.html. Start the command again to go on where it was stopped.
"""

import dataclasses
from typing import Any

import numpy as np
from absl import flags
from etils import epath
from jaxtyping import Int

from renyi_jax.cli import commands
from renyi_jax.cli.config import define_config, parse_flags, read_config
from renyi_jax.cli.images import define_images, find_images, tell_refused
from renyi_jax.cli.model import define_image_size, define_state, define_weights
from renyi_jax.cli.values import define
from renyi_jax.common.extras import lacking
from renyi_jax.common.fields import MAX_BATCH, integer, number, one_of, several
from renyi_jax.common.files import output_folder
from renyi_jax.common.store import Store
from renyi_jax.errors import UserError
from renyi_jax.evaluation.classes import in_classes_of
from renyi_jax.models import Loaded, VisionTransformer, load
from renyi_jax.models.flops import require_forward
from renyi_jax.models.registry import DTYPES
from renyi_jax.planning import Space, find_plans
from renyi_jax.planning.candidates import ALPHAS, default_criteria, methods
from renyi_jax.planning.cost import Budget, gmacs_budget, share_budget
from renyi_jax.planning.images import Pixels, read_files, read_records
from renyi_jax.planning.latency import latency_budget
from renyi_jax.planning.plan import Found
from renyi_jax.planning.results import words_of, write_plans
from renyi_jax.pruning import CRITERIA, DEFAULT_CRITERION, OPTIONS
from renyi_jax.pruning.reducers import REDUCERS
from renyi_jax.weights import read_checkpoint

_CONFIG = define_config()
_MODEL = flags.DEFINE_string("model", None, "Name of the model; that noted in the weights.")
_WEIGHTS = define_weights("; those of the config by default")
_STATE = define_state()
_IMAGE_SIZE = define_image_size()
_DTYPE = flags.DEFINE_enum("dtype", "float32", list(DTYPES), "Of the computation.")
_IMAGES = define_images()
_SPLIT = flags.DEFINE_enum(
    "split", "train", ["train", "test"], "Of the config's data, from which the images are taken."
)
_NUM_IMAGES = define("num_images", integer(1000, 2), "Half of which choose, and half judge.")

_SHARES = several((), number(0.5, "(0, 1]"))
_BUDGETS = define(
    "budget", _SHARES, "Shares of the unpruned multiply-adds, one plan each; 0.5 by default."
)
_GMACS = define(
    "gmacs", several((), number(1.0, "(0, inf)")), "Or 10^9 multiply-adds of an image, likewise."
)
_LATENCIES = define(
    "latency_ms",
    several((), number(1.0, "(0, inf)")),
    "Or milliseconds for a batch of --batch_size on this device, as its blocks are timed now.",
)
_THROUGHPUTS = define(
    "throughput", several((), number(1.0, "(0, inf)")), "Or images per second, likewise."
)
_CANDIDATES = define("candidates", integer(200, 1, 100_000), "Prunings to try for each budget.")
_CRITERIA = define(
    "criteria",
    several((), one_of(DEFAULT_CRITERION, CRITERIA)),
    f"To choose from: {', '.join(default_criteria())} by default, if the model can.",
)
_ALPHAS = define("alphas", several(ALPHAS, OPTIONS["alpha"].field), "Orders to choose from.")
_REDUCERS = define(
    "reducers", several(tuple(REDUCERS), OPTIONS["reducer"].field), "To choose from."
)
_KEEP_MASSES = define(
    "keep_masses",
    several((1.0,), OPTIONS["keep_mass"].field),
    "To choose from; below 1 are adaptive keep counts, which cost what their masked places do.",
)
_BLOCKS = define(
    "blocks", several((), integer(1, at_least=1)), "That may be pruned; all by default."
)
_MOST_BLOCKS = define(
    "most_blocks", integer(0, at_least=0), "Pruned at the most; 0 for any number."
)
_SEED = define("seed", integer(0, at_least=0), "Decides which images choose, and what is tried.")
_BATCH_SIZE = define("batch_size", integer(16, 1, MAX_BATCH), "Images at a time.")
_OUT = flags.DEFINE_string(
    "out", None, "Folder of the results; made if there is none.", required=True
)


Source = tuple[Loaded, Pixels, Int[np.ndarray, "n"] | None]
"""A model, the images that it is planned on, and their labels where they are known."""


def main() -> None:
    out = output_folder("--out", _OUT.value)
    if bool(_IMAGES.value) == (_CONFIG.value is not None):
        raise UserError("Give --config=FILE, whose data are taken, or --image=FOLDER: one of both.")
    loaded, images, labels = _of_images() if _IMAGES.value else _of_config()
    space = Space(
        criteria=tuple(_CRITERIA.value),
        alphas=tuple(_ALPHAS.value),
        reducers=tuple(_REDUCERS.value),
        keep_masses=tuple(_KEEP_MASSES.value),
        blocks=tuple(_BLOCKS.value),
        most_blocks=_MOST_BLOCKS.value,
    )
    budgets = _budgets(loaded.model, space)
    found = find_plans(
        loaded.model,
        images,
        list(budgets.values()),
        labels=labels,
        candidates=_CANDIDATES.value,
        space=space,
        batch_size=_BATCH_SIZE.value,
        seed=_SEED.value,
        store=Store(out / "cells"),
    )
    plans = dict(zip(budgets, found))
    report = _report(out, plans, loaded, images)
    write_plans(out, plans, loaded.model)
    for name, each in plans.items():
        print(f"{words_of(each.plan)}\nPlan:    {out / name}")
    print(f"Results: {out / 'results.json'}\nReport:  {report}")


def _report(out: epath.Path, plans: dict[str, Found], loaded: Loaded, images: Pixels) -> str:
    """Draws the page, and returns where it is, or what is lacking to draw it."""
    if words := lacking("plot", "matplotlib"):
        return f"none. {words}"
    from renyi_jax.planning.report import write_page

    use = ["python", "-m", "renyi_jax.predict", f"--weights={_weights()}", "--image=photo.jpg"]
    write_page(out, plans, loaded.model, images, loaded.class_names, use)
    return str(out / "report" / "index.html")


def _budgets(model: VisionTransformer, space: Space) -> dict[str, Budget]:
    """The budgets, by the names of the files of their plans."""
    spec, batch_size = model.spec, _BATCH_SIZE.value
    latencies = [(f"{limit:g}_ms", limit / 1e3) for limit in _LATENCIES.value]
    latencies += [(f"{speed:g}_per_second", batch_size / speed) for speed in _THROUGHPUTS.value]
    shares = _BUDGETS.value or (() if _GMACS.value or latencies else (0.5,))
    given = {f"{share:g}": share_budget(spec, share) for share in shares}
    given |= {f"{limit:g}_gmacs": gmacs_budget(spec, limit) for limit in _GMACS.value}
    usable = methods(spec, space)
    given |= {
        name: latency_budget(model, usable, batch_size, seconds) for name, seconds in latencies
    }
    if len(given) == 1:
        return {"plan.json": next(iter(given.values()))}
    return {f"plan_{name}.json": budget for name, budget in given.items()}


def _weights() -> str:
    config: Any = _CONFIG.value
    given = _WEIGHTS.value or (config.model.weights if config is not None else "")
    if not given:
        raise UserError("Give --weights=FILE, the weights of the model to plan for.")
    return given


def _load(name: str | None, image_size: Any, dtype: str, state: str | None) -> Loaded:
    loaded = load(_weights(), model=name, image_size=image_size, dtype=dtype, state=state)
    require_forward(loaded.model.spec, _BATCH_SIZE.value, f"--batch_size={_BATCH_SIZE.value}")
    return loaded


def _of_images() -> Source:
    files, refused = find_images(_IMAGES.value)
    loaded = _load(_MODEL.value, _IMAGE_SIZE.value or None, _DTYPE.value, _STATE.value)
    images, more = read_files(files, loaded.model.spec, _NUM_IMAGES.value, _SEED.value)
    refused += more
    tell_refused(refused, len(images) + len(refused))
    return loaded, images, None


def _of_config() -> Source:
    from renyi_jax.data.datasets import load_dataset  # which brings the libraries of training

    config: Any = read_config(_CONFIG)
    # The name that the weights note goes before the config's, whose default says nothing.
    state = _STATE.value or config.model.state or None
    size = _IMAGE_SIZE.value or config.model.image_size or None
    loaded = _load(_MODEL.value or config.model.name, size, config.model.dtype, state)
    dataset = load_dataset(config.data)
    if _SPLIT.value == "train":
        dataset = dataclasses.replace(dataset, test=dataset.train)
    if loaded.model.spec.num_classes:
        checkpoint = read_checkpoint(_weights(), state)
        dataset = in_classes_of(checkpoint, dataset, loaded.class_names, config.model.num_classes)
    spec, seed = loaded.model.spec, _SEED.value
    images, labels = read_records(dataset.test, spec, _NUM_IMAGES.value, seed, config.data.crop_pct)
    return loaded, images, labels


if __name__ == "__main__":
    commands.run(main, parse_flags)
