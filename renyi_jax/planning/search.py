"""The search: many candidates on few images, few on many."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from renyi_jax.common.progress import progress_bar
from renyi_jax.errors import UserError
from renyi_jax.models.spec import ModelSpec
from renyi_jax.planning.candidates import Candidate, Drawer, Space
from renyi_jax.planning.cost import Budget
from renyi_jax.planning.judge import Judge
from renyi_jax.pruning import PruningConfig

ROUNDS = 3
SHRINK = 4
"""Each round has so many times fewer candidates, and as many times more images."""

_TRIES = 40
"""Draws for each candidate, before the space counts as empty."""


class Judged(NamedTuple):
    """A candidate, and its loss on each of the images that it was judged on."""

    candidate: Candidate
    losses: Float[np.ndarray, "images"]


def images_needed(candidates: int) -> int:
    """Returns how many images each half needs, to tell the best of so many candidates apart.

    A paired test of `n` images has no p-value below `2^(1 - n)` (all signs alike), and of so many
    candidates the best one counts at 0.05 over their number (Bonferroni).
    """
    return 1 + math.ceil(math.log2(candidates / 0.05))


def search(
    judge: Judge,
    spec: ModelSpec,
    space: Space,
    budget: Budget,
    *,
    images: int,
    candidates: int,
    starts: Iterable[Candidate] = (),
    seed: int = 0,
) -> list[Judged]:
    """Returns all that were judged, those that came furthest first, of these the best first.

    A half of the candidates is drawn. The other half differs from the best of these in one respect
    each. Then the best quarter goes on to four times the images, twice.

    Args:
        judge: of the images.
        spec: of the model.
        space: to choose from.
        budget: to spend.
        images: the first of the judge's that choose.
        candidates: in all.
        starts: that are among those of the first half.
        seed: decides what is drawn.

    Raises:
        UserError: the model can run nothing of the space, or nothing that spends the budget.
    """
    drawer = Drawer(spec, space, budget, seed)
    sizes = [max(1, candidates // SHRINK**number) for number in range(ROUNDS)]
    batches = [
        images / SHRINK ** (ROUNDS - 1 - number) / judge.batch_size for number in range(ROUNDS)
    ]
    counts = [min(images, judge.batch_size * math.ceil(each)) for each in batches]
    first = _unique(starts, iter(drawer.draw, _NEVER), max(1, candidates // 2))
    if not first:
        raise UserError(
            f"Of all that the search may choose from, nothing costs {budget.words}: allow other"
            " reducers, more blocks, or another budget."
        )
    new = [count - before for count, before in zip(counts, (0, *counts))]
    total = sum(size * count for size, count in zip(sizes, new))
    found: dict[PruningConfig, Judged] = {}
    with progress_bar(f"Planning for {budget.words}", total, unit="image", smoothing=0.0) as bar:

        def go_on(chosen: Sequence[Candidate], count: int) -> list[Judged]:
            """Judges candidates that have come equally far on `count` images; the best first."""
            known = [
                found[each.pruning].losses if each.pruning in found else _NONE for each in chosen
            ]
            parts = [np.stack(known)]
            for part in judge([each.pruning for each in chosen], parts[0].shape[1], count):
                parts.append(part)
                bar.update(part.size)
            losses = np.concatenate(parts, axis=1)
            judged = [Judged(*each) for each in zip(chosen, losses)]
            found.update({each.candidate.pruning: each for each in judged})
            return sorted(judged, key=_mean)

        best = go_on(first, counts[0])
        near = [each.candidate for each in best[: max(1, sizes[0] // 8)]]
        neighbours = (drawer.neighbour(near[n % len(near)]) for n in range(10**9))
        unseen = (each for each in neighbours if each is None or each.pruning not in found)
        second = _unique((), unseen, sizes[0] - len(first))
        best = sorted([*best, *(go_on(second, counts[0]) if second else ())], key=_mean)
        for size, count in zip(sizes[1:], counts[1:]):
            best = go_on([each.candidate for each in best[:size]], count)
    return sorted(found.values(), key=lambda each: (-len(each.losses), _mean(each)))


_NONE = np.zeros(0, np.float32)
_NEVER = object()


def _mean(judged: Judged) -> float:
    return float(judged.losses.mean())


def _unique(
    starts: Iterable[Candidate], drawn: Iterator[Candidate | None], count: int
) -> list[Candidate]:
    """So many that differ, the starts first; fewer where no more are found."""
    found = {each.pruning: each for each in starts}
    for _ in range(_TRIES * count):
        if len(found) >= count:
            break
        candidate = next(drawn)
        if candidate is not None:
            found.setdefault(candidate.pruning, candidate)
    return list(found.values())
