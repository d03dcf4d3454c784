"""`PruningConfig`: where a ViT is pruned, by which score, and how much."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, no_type_check

from renyi_jax.errors import UserError, nearest
from renyi_jax.pruning.criteria import CRITERIA
from renyi_jax.pruning.keep import keep_count
from renyi_jax.pruning.merging import KEY_SIMILARITY
from renyi_jax.pruning.reducers import REDUCERS

HEADS = ("mean", "average_first")

MERGE = "merge"
"""The reducer that chooses by itself, by `renyi_jax.pruning.merging`."""

PER_BLOCK = ("criterion", "alpha", "keep_rate", "keep_mass", "r")
"""The fields that take one value, or one per pruned block."""


class PruningStage(NamedTuple):
    """One pruned block: everything that is static while it runs."""

    index: int
    criterion: str
    keep_rate: float
    reducer: str
    normalize: bool
    heads: str
    keep_mass: float = 1.0
    r: int | None = None
    prefix_keys: bool = False
    reverse: bool = False

    def count(self, num_patches: int) -> int:
        """Of the patches that enter, those that leave: with `keep_mass`, those at most."""
        if self.r is not None:
            return num_patches - min(self.r, num_patches // 2)
        return keep_count(num_patches, self.keep_rate)

    @property
    def changes_nothing(self) -> bool:
        """Whether all patches leave it, however many there are."""
        everything = self.r == 0 or (self.r is None and self.keep_rate == 1)
        return everything and self.keep_mass == 1


@no_type_check  # takes what users write, and tells them by itself what is wrong with it
@dataclasses.dataclass(frozen=True)
class PruningConfig:
    """Which blocks are pruned, and how; hashable, so that it can be static under `jit`.

    Attributes:
        criterion: name in `CRITERIA`, or one per pruned block; "renyi" by default. Reducer "merge"
            takes none: there it is `KEY_SIMILARITY`.
        alpha: order of the entropy, or of the column norm, in (0, inf]; or one per pruned block.
            Only a default: the model takes another order at run time without compiling again.
        keep_rate: share of the patches kept by each pruned block, in (0, 1], or one per block.
        blocks: pruned blocks, counted from 1, ascending.
        reducer: name in `REDUCERS`, or "merge", which pairs similar patches and averages them
            (ToMe) and can at most halve their number.
        normalize: renormalise the attention over the patch keys, where the criterion reads what
            patches pay. Without it the mass that went to the prefix tokens enters the score, and
            the entropy diverges as alpha nears 1.
        heads: "mean" of the per-head scores, or "average_first".
        keep_mass: adaptive keep counts. Of each image a pruned block keeps the fewest patches, the
            best first, that hold this share of the mass `log n - H` of its `n` patches, and no
            more than `keep_rate` allows: the image's other places are masked, and what is fused
            takes in their patches. In (0, 1], or one per block; at 1, every image keeps what
            `keep_rate` says.
        r: patches that "merge" merges away in each pruned block, or one number per block, as ToMe
            counts them; at most half go, whatever it says. Takes the place of `keep_rate`.
        prefix_keys: count, in an entropy, also the attention that patches pay to the prefix tokens.
        reverse: keep the patches of least importance: for an entropy, the highest.

    Raises:
        UserError: a field has a value that cannot be run, or two do not go together; all of it is
            told at once.
    """

    criterion: str | tuple[str, ...] | None = None
    alpha: float | tuple[float, ...] = 2.0
    keep_rate: float | tuple[float, ...] = 0.7
    blocks: tuple[int, ...] = (4, 7, 10)
    reducer: str = "drop"
    normalize: bool = True
    heads: str = "mean"
    keep_mass: float | tuple[float, ...] = 1.0
    r: int | tuple[int, ...] | None = None
    prefix_keys: bool = False
    reverse: bool = False

    def __post_init__(self):
        if self.criterion is None:
            default = KEY_SIMILARITY if self.reducer == MERGE else "renyi"
            object.__setattr__(self, "criterion", default)
        for field in (*PER_BLOCK, "blocks"):
            value = getattr(self, field)
            if isinstance(value, Iterable) and not isinstance(value, str):
                object.__setattr__(self, field, tuple(value))
        problems = list(self._problems()) or list(self._senseless_pairs())
        if problems:
            raise UserError("PruningConfig: " + " ".join(dict.fromkeys(problems)))

    def _problems(self) -> Iterable[str]:
        blocks = self.blocks
        if not isinstance(blocks, tuple) or not all(_is_integer(block) for block in blocks):
            yield f"blocks must be a tuple of integers, got {blocks!r}."
            return
        if not blocks or blocks[0] < 1 or any(b <= a for a, b in itertools.pairwise(blocks)):
            yield f"blocks must be ascending and counted from 1, got {blocks}."
        for field in PER_BLOCK:
            value = getattr(self, field)
            if isinstance(value, tuple) and len(value) != len(blocks):
                yield f"{field} has {len(value)} values for {len(blocks)} pruned blocks: {value}."
        for name in _as_tuple(self.criterion):
            if name not in CRITERIA and name != KEY_SIMILARITY:
                yield _unknown("criterion", name, CRITERIA)
        for alpha in _as_tuple(self.alpha):
            if not _is_number(alpha) or not alpha > 0:
                yield f"alpha must be a number in (0, inf], got {alpha!r}."
        for field in ("keep_rate", "keep_mass"):
            for share in _as_tuple(getattr(self, field)):
                if not _is_number(share) or not 0 < share <= 1:
                    yield f"{field} must lie in (0, 1], got {share!r}."
        for r in _as_tuple(self.r):
            if r is not None and not (_is_integer(r) and r >= 0):
                yield f"r must be an integer of at least 0, got {r!r}."
        if self.reducer not in (*REDUCERS, MERGE):
            yield _unknown("reducer", self.reducer, (*REDUCERS, MERGE))
        if self.heads not in HEADS:
            yield _unknown("heads", self.heads, HEADS)
        for field in ("normalize", "prefix_keys", "reverse"):
            if not isinstance(getattr(self, field), bool):
                yield f"{field} must be True or False, got {getattr(self, field)!r}."

    def _senseless_pairs(self) -> Iterable[str]:
        """Why fields that are right by themselves do not go together."""
        named = set(_as_tuple(self.criterion)) - {KEY_SIMILARITY}
        if self.reducer == MERGE:
            if named:
                yield (
                    "reducer 'merge' pairs patches by the similarity of their keys and scores none:"
                    f" leave out criterion={self.criterion!r}, or choose reducer 'drop' or 'fuse'."
                )
            if self.r is None and min(_as_tuple(self.keep_rate)) < 0.5:
                yield (
                    "reducer 'merge' pairs patches off, so a block keeps at least half of them:"
                    f" keep_rate must be at least 0.5, got {self.keep_rate!r}."
                )
            if self.reverse:
                yield "reverse=True turns a ranking round, and reducer 'merge' ranks no patches."
        else:
            if KEY_SIMILARITY in _as_tuple(self.criterion):
                yield (
                    f"criterion {KEY_SIMILARITY!r} says which patches to merge into which:"
                    f" it needs reducer 'merge', got {self.reducer!r}."
                )
            if self.r is not None:
                yield (
                    "r is the number of patches that reducer 'merge' merges away: with reducer"
                    f" {self.reducer!r} give keep_rate."
                )
        yield from self._senseless_adaptation()

    def _senseless_adaptation(self) -> Iterable[str]:
        adapts = [mass < 1 for mass in self.per_block("keep_mass")]
        if not any(adapts):
            return
        if self.reducer == MERGE:
            yield (
                "keep_mass below 1 masks the patches that an image does not need, and reducer"
                " 'merge' makes one token of several: choose 'drop' or 'fuse'."
            )
        if not self.normalize:
            yield "keep_mass below 1 needs normalize=True: only then is log n - H a mass."
        if self.prefix_keys:
            yield "keep_mass below 1 needs prefix_keys=False: its log n counts patches alone."
        if self.reverse:
            yield "keep_mass below 1 needs reverse=False: it keeps what holds the most mass."
        for place, name in enumerate(self.per_block("criterion")):
            criterion = CRITERIA.get(name)
            if criterion is None:
                continue
            if adapts[place] and not criterion.is_entropy:
                yield f"keep_mass below 1 measures entropy, which criterion {name!r} does not."
            if any(adapts[:place]) and criterion.reads == "column":
                yield (
                    f"criterion {name!r} sums over the patches of an image, and keep_mass below 1"
                    " in an earlier block has masked some of them away."
                )

    def per_block(self, field: str) -> tuple[Any, ...]:
        """`field` as one value per pruned block."""
        value = getattr(self, field)
        return value if isinstance(value, tuple) else (value,) * len(self.blocks)

    def stages(self) -> dict[int, PruningStage]:
        """The pruned blocks by their number, counted from 1."""
        columns = (self.per_block(field) for field in ("criterion", "keep_rate", "keep_mass", "r"))
        rows = enumerate(zip(self.blocks, *columns))
        return {
            block: PruningStage(
                index,
                criterion,
                rate,
                self.reducer,
                self.normalize,
                self.heads,
                mass,
                r,
                self.prefix_keys,
                self.reverse,
            )
            for index, (block, criterion, rate, mass, r) in rows
        }


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _unknown(field: str, name: Any, known: Sequence[str] | dict[str, Any]) -> str:
    return f"unknown {field} {name!r}; known: {', '.join(known)}." + nearest(str(name), known)
