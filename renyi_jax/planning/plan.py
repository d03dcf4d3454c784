"""`find_plan`: the pruning of a model that loses least at a budget, chosen by measurement."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, Shaped

from renyi_jax.common.files import output_file, write_json
from renyi_jax.common.progress import time_left
from renyi_jax.common.statistics import interval
from renyi_jax.common.store import Store
from renyi_jax.common.version import __version__
from renyi_jax.errors import UserError
from renyi_jax.models import VisionTransformer
from renyi_jax.planning.candidates import (
    EVERYTHING,
    Candidate,
    Drawer,
    Space,
    baselines,
    may_choose,
    methods,
)
from renyi_jax.planning.cost import Budget, Cost, gmacs_of, share_budget
from renyi_jax.planning.judge import Judge, images_digest
from renyi_jax.planning.search import Forecast, Judged, choose, images_needed, passes, search
from renyi_jax.pruning import PruningConfig

Row = dict[str, Any]

_BEST = 12
"""Of one budget, tried at the next."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """A pruning that was chosen by measurement.

    Attributes:
        pruning: what to prune by.
        budget: that it spends, in words.
        gmacs: 10^9 multiply-adds of one image.
        score: its mean loss on the images that judge, which had no part in choosing it.
        objective: what the loss is.
        rows: the plan and what it was compared with, on the images that judge: `name`, `pruning`,
            `gmacs`, `cost` (in the budget's unit), `score` and its 95 % `interval`; and of the
            others the `difference`, the plan's score minus theirs, image by image, with its
            `difference_interval`.
        made_from: digests of the weights and the images, how many of these chose and judged, how
            many candidates there were, and the versions.
    """

    pruning: PruningConfig
    budget: str
    gmacs: float
    score: float
    objective: str
    rows: tuple[Row, ...]
    made_from: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Returns what `save` writes."""
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return {**fields, "pruning": self.pruning.to_json()}

    def save(self, path: str | Path) -> None:
        """Writes JSON, whole or not at all, which `PruningConfig.load` reads.

        Raises:
            UserError: the file cannot be written.
        """
        write_json(output_file("path", path), self.to_json())


class Found(NamedTuple):
    """A plan, and all that was judged to find it, those that came furthest first."""

    plan: Plan
    judged: list[Judged]


def find_plan(
    model: VisionTransformer,
    images: Shaped[np.ndarray, "n height width 3"],
    budget: float = 0.5,
    *,
    labels: Int[np.ndarray, "n"] | None = None,
    candidates: int = 200,
    space: Space = EVERYTHING,
    batch_size: int = 16,
    seed: int = 0,
) -> Plan:
    """Finds the pruning that loses least at a share of the multiply-adds, without training.

    Half of the images choose it, and the other half judge it. The loss is the negative log
    likelihood of the labels; without labels the divergence of the logits from the unpruned model's,
    and of a model without a head 1 minus the cosine of its features with the unpruned model's.

    Args:
        model: with its weights; its own pruning makes no difference.
        images: uint8 pixels of the model's size.
        budget: share of the unpruned multiply-adds, in (0, 1].
        labels: the classes of the images.
        candidates: prunings to try.
        space: what they may be.
        batch_size: images at a time.
        seed: decides which images choose, and what is tried.

    Raises:
        UserError: the budget cannot be met, there are too few images for so many candidates, or
            they do not have the model's size.
    """
    (found,) = find_plans(
        model,
        images,
        [share_budget(model.spec, budget)],
        labels=labels,
        candidates=candidates,
        space=space,
        batch_size=batch_size,
        seed=seed,
    )
    return found.plan


def find_plans(
    model: VisionTransformer,
    images: Shaped[np.ndarray, "n height width 3"],
    budgets: Sequence[Budget],
    *,
    labels: Int[np.ndarray, "n"] | None = None,
    candidates: int = 200,
    space: Space = EVERYTHING,
    batch_size: int = 16,
    seed: int = 0,
    store: Store | None = None,
) -> list[Found]:
    """Finds one plan for each budget; the best of one budget are tried at the next.

    Args:
        model: as for `find_plan`, like the other arguments that are not named here.
        budgets: to spend.
        store: where finished work is found, and kept.

    Raises:
        UserError: as `find_plan`, and where the model can run nothing of the space.
    """
    methods(model.spec, space)
    needed = images_needed(candidates)
    if len(images) < 2 * needed:
        raise UserError(
            f"{len(images)} images cannot tell {candidates} candidates apart: expected at least"
            f" {2 * needed}, of which half choose and half judge; or fewer candidates."
        )
    if images.dtype != np.uint8 or images.shape[1:3] != model.spec.image_size:
        height, width = model.spec.image_size
        raise UserError(
            f"An array of {images.dtype} and shape {images.shape} is not what a plan is made from;"
            f" expected uint8 pixels [n, {height}, {width}, 3]."
        )
    order = np.random.default_rng(seed).permutation(len(images))
    images, labels = images[order], None if labels is None else labels[order]
    judge = Judge(model, images, labels, batch_size, store)
    half = len(images) // 2
    made_from = {
        "weights": judge.weights,
        "images": images_digest(images, labels),
        "choosing": half,
        "judging": len(images) - half,
        "candidates": candidates,
        "seed": seed,
        "renyi_jax": __version__,
        "jax": jax.__version__,
        "device": jax.devices()[0].device_kind,
    }
    published = [baselines(model.spec, budget) for budget in budgets]
    compared = sum(len(each) + 2 for each in published)  # the plan, and the unpruned model
    forecast = Forecast(
        candidates * len(budgets),
        sum(passes(candidates, half, batch_size, len(each)) for each in published)
        + compared * (len(images) - half),
    )
    found: list[Found] = []
    with time_left("Planning", forecast):
        for budget, others in zip(budgets, published):
            known = [
                Candidate(each, (1.0,) * len(each.stages))
                for each in others.values()
                if may_choose(model.spec, space, each)
            ]
            starts: list[Candidate] = []
            if found:
                like = Drawer(model.spec, space, budget, seed).like
                starts += filter(None, (like(each.candidate) for each in found[-1].judged[:_BEST]))
            judged = search(
                judge,
                model.spec,
                space,
                budget,
                images=half,
                candidates=candidates,
                published=known,
                starts=starts,
                seed=seed,
                told=forecast.tell,
            )
            best = choose(judged, known).candidate.pruning
            named = {"plan": best, **others, "unpruned": None}
            losses = judge(list(named.values()), half, len(images), forecast.tell)
            rows = _rows(named, losses, budget, gmacs_of(model.spec))
            plan = Plan(
                pruning=best,
                budget=budget.words,
                gmacs=rows[0]["gmacs"],
                score=rows[0]["score"],
                objective=judge.objective.name,
                rows=tuple(rows),
                made_from=made_from,
            )
            found.append(Found(plan, judged))
    return found


def _rows(
    named: dict[str, PruningConfig | None],
    losses: Float[np.ndarray, "prunings images"],
    budget: Budget,
    gmacs: Cost,
) -> list[Row]:
    """One row for each pruning, the plan first, as `Plan` has them."""
    rows = []
    for (name, pruning), of_images in zip(named.items(), losses.astype(np.float64)):
        stages = pruning.stages if pruning else ()
        row = {
            "name": name,
            "pruning": pruning and pruning.to_json(),
            "gmacs": gmacs(stages),
            "cost": budget.cost(stages),
            "score": float(of_images.mean()),
            "interval": _interval(of_images),
        }
        if rows:
            change = losses[0].astype(np.float64) - of_images
            row |= {"difference": float(change.mean()), "difference_interval": _interval(change)}
        rows.append(row)
    return rows


def _interval(values: Float[np.ndarray, "images"]) -> list[float] | None:
    """By bootstrap; None where a loss is infinite."""
    return list(interval(values[None])) if np.isfinite(values).all() else None
