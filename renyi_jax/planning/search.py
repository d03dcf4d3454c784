"""The search: many candidates on few images, few on many."""

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from renyi_jax.errors import UserError
from renyi_jax.models.spec import ModelSpec
from renyi_jax.planning.candidates import Candidate, Drawer, Space
from renyi_jax.planning.cost import Budget
from renyi_jax.planning.judge import Judge, Spent
from renyi_jax.pruning import PruningConfig

GENERATIONS = 4
"""Of candidates that differ from the best so far."""

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
    published: Sequence[Candidate] = (),
    starts: Sequence[Candidate] = (),
    seed: int = 0,
    told: Callable[[Spent, float], None] = lambda spent, new: None,
) -> list[Judged]:
    """Returns all that were judged, those that came furthest first, of these the best first.

    A half of the candidates is drawn, and judged on few images; the best eighth goes on to twice as
    many or more. There the other half comes in, by generations: each candidate differs in one
    respect from one of the best so far. Then the best go on to more images, and to all. What is
    published goes on to all images in any case: few images tell little, and the best on all of
    them is to be no worse there than what everybody knows.

    Args:
        judge: of the images.
        spec: of the model.
        space: to choose from.
        budget: to spend.
        images: the first of the judge's that choose.
        candidates: in all.
        published: what the best is to be measured by, the first of those judged.
        starts: that are among those of the first half too.
        seed: decides what is drawn.
        told: called with what was spent, and how many candidates were new.

    Raises:
        UserError: the model can run nothing of the space, or nothing that spends the budget.
    """
    drawer = Drawer(spec, space, budget, seed)
    rounds = schedule(candidates, images, judge.batch_size)
    first = _unique([*published, *starts], iter(drawer.draw, _NEVER), rounds[0].size)
    if not first:
        raise UserError(
            f"Of all that the search may choose from, nothing costs {budget.words}: allow other"
            " reducers, more blocks, or another budget."
        )
    found: dict[PruningConfig, Judged] = {}
    always = {each.pruning for each in published}

    def go_on(chosen: Sequence[Candidate], count: int) -> list[Judged]:
        """Judges candidates that have come equally far on `count` images; the best first."""
        known = np.stack(
            [found[each.pruning].losses if each.pruning in found else _NONE for each in chosen]
        )
        new = 0.0 if known.size else 1 / count
        more = judge(
            [each.pruning for each in chosen],
            *(known.shape[1], count),
            told=lambda spent: told(spent, new * spent.passes),
        )
        judged = [Judged(*each) for each in zip(chosen, np.concatenate([known, more], axis=1))]
        found.update({each.candidate.pruning: each for each in judged})
        return sorted(judged, key=_mean)

    best = go_on(first, rounds[0].images)
    for number, each in enumerate(rounds[1:], start=1):
        kept = [one for one in best[each.size :] if one.candidate.pruning in always]
        best = go_on([one.candidate for one in [*best[: each.size], *kept]], each.images)
        if number == 1:
            for new in _parts(candidates - len(first), GENERATIONS):
                near = [one.candidate for one in best[: max(1, candidates // 16)]]
                safe = [one.candidate for one in best if one.candidate.pruning in always][:1]
                near += [each for each in safe if each not in near]
                neighbours = (drawer.neighbour(near[n % len(near)]) for n in itertools.count())
                unseen = (one for one in neighbours if one is None or one.pruning not in found)
                if second := _unique((), unseen, new):
                    best = sorted([*best, *go_on(second, each.images)], key=_mean)
    return sorted(found.values(), key=lambda each: (-len(each.losses), _mean(each)))


def choose(judged: Sequence[Judged], published: Sequence[Candidate] = ()) -> Judged:
    """Returns the one that is surest to be ahead of the best that is published, or that one.

    The best of many is flattered by the images that chose it. So of those that came furthest the
    one is returned whose mean gain over the best published one, image by image, is the largest
    after its standard error is taken off, if that leaves any.

    Args:
        judged: what `search` returned.
        published: that saw all images; none where none may be chosen, and the best is returned.
    """
    furthest = [each for each in judged if len(each.losses) == len(judged[0].losses)]
    known = {each.pruning for each in published}
    safe = next((each for each in furthest if each.candidate.pruning in known), None)
    if safe is None:
        return judged[0]

    def sure_gain(each: Judged) -> float:
        # Infinite losses count as so large that differences can be taken.
        losses = np.clip([safe.losses, each.losses], None, _LARGEST).astype(np.float64)
        gain = losses[0] - losses[1]
        return gain.mean() - gain.std(ddof=1) / math.sqrt(len(gain))

    return max([safe, *furthest], key=sure_gain)


class Round(NamedTuple):
    """How many candidates see how many images."""

    size: int
    images: int


def schedule(candidates: int, images: int, batch_size: int) -> list[Round]:
    """Returns the rounds of a search; in the second, the other half of the candidates comes in."""
    return [
        Round(
            max(1, candidates // part),
            min(images, batch_size * math.ceil(images / share / batch_size)),
        )
        for part, share in ((2, 64), (8, 16), (8, 4), (32, 1))
    ]


def passes(candidates: int, images: int, batch_size: int, published: int = 0) -> int:
    """Returns how often an image goes through a pruned model in a search, at the most."""
    first, second, *others = rounds = schedule(candidates, images, batch_size)
    new = [after.images - before.images for before, after in itertools.pairwise(rounds)]
    total = first.size * first.images + (candidates - first.size) * second.images
    sizes = (each.size + published for each in (second, *others))
    return total + sum(size * count for size, count in zip(sizes, new))


class Forecast:
    """Tells the seconds that are left, by what was spent so far.

    Args:
        candidates: that come in all, each of which may need programs of its own.
        passes: in all.
    """

    def __init__(self, candidates: int, passes: int):
        self._left = np.array([candidates, passes], float)
        self._done, self._seconds = np.zeros(2), np.zeros(2)
        self._since = time.monotonic()

    def tell(self, spent: Spent, candidates: float = 0.0) -> None:
        """Takes in what was spent, and how many candidates were new."""
        self._left -= (candidates, spent.passes)
        self._since = time.monotonic()
        if spent.running:  # else it was found in the store
            self._done += (candidates, spent.passes)
            self._seconds += (spent.compiling, spent.running)

    def __call__(self) -> float | None:
        """Returns the seconds left; None before any are known."""
        if not self._done[1]:
            return None
        each = self._seconds / np.maximum(1, self._done)
        seconds = float(each @ np.maximum(0, self._left))
        return max(0.0, seconds - (time.monotonic() - self._since))


def _parts(total: int, parts: int) -> list[int]:
    """Nearly equal whole numbers of that sum, without zeros."""
    return [size for part in range(parts) if (size := (total + part) // parts)]


_LARGEST = 1e30
_NONE = np.zeros(0, np.float32)
_NEVER = object()


def _mean(judged: Judged) -> float:
    return float(judged.losses.mean())


def _unique(
    starts: Sequence[Candidate], drawn: Iterator[Candidate | None], count: int
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
