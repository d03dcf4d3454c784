"""`PruningConfig`: where a ViT is pruned, by which score, and how much."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, no_type_check

from renyi_jax.errors import UserError, nearest
from renyi_jax.pruning.criteria import CRITERIA
from renyi_jax.pruning.reducers import REDUCERS

HEADS = ("mean", "average_first")


class PruningStage(NamedTuple):
    """One pruned block: everything that is static while it runs."""

    index: int
    criterion: str
    keep_rate: float
    reducer: str
    normalize: bool
    heads: str


@no_type_check  # takes what users write, and tells them by itself what is wrong with it
@dataclasses.dataclass(frozen=True)
class PruningConfig:
    """Which blocks are pruned, and how; hashable, so that it can be static under `jit`.

    Attributes:
        criterion: name in `CRITERIA`, or one per pruned block.
        alpha: order of the entropy in (0, inf], or one per pruned block. Only a default: the
            model takes another order at run time without compiling again.
        keep_rate: share of the patches kept by each pruned block, in (0, 1], or one per block.
        blocks: pruned blocks, counted from 1, ascending.
        reducer: name in `REDUCERS`.
        normalize: renormalise the attention over the patch keys. Without it the mass that went to
            the prefix tokens enters the score, and the entropy diverges as alpha nears 1.
        heads: "mean" of the per-head entropies, or "average_first".

    Raises:
        UserError: a field has a value that cannot be run; all of them are told at once.
    """

    criterion: str | tuple[str, ...] = "renyi"
    alpha: float | tuple[float, ...] = 2.0
    keep_rate: float | tuple[float, ...] = 0.7
    blocks: tuple[int, ...] = (4, 7, 10)
    reducer: str = "drop"
    normalize: bool = True
    heads: str = "mean"

    def __post_init__(self):
        for field in ("criterion", "alpha", "keep_rate", "blocks"):
            value = getattr(self, field)
            if isinstance(value, Iterable) and not isinstance(value, str):
                object.__setattr__(self, field, tuple(value))
        problems = list(self._problems())
        if problems:
            raise UserError("PruningConfig: " + " ".join(problems))

    def _problems(self) -> Iterable[str]:
        blocks = self.blocks
        if not isinstance(blocks, tuple) or not all(_is_integer(block) for block in blocks):
            yield f"blocks must be a tuple of integers, got {blocks!r}."
            return
        if not blocks or blocks[0] < 1 or any(b <= a for a, b in itertools.pairwise(blocks)):
            yield f"blocks must be ascending and counted from 1, got {blocks}."
        for field in ("criterion", "alpha", "keep_rate"):
            value = getattr(self, field)
            if isinstance(value, tuple) and len(value) != len(blocks):
                yield f"{field} has {len(value)} values for {len(blocks)} pruned blocks: {value}."
        for name in _as_tuple(self.criterion):
            if name not in CRITERIA:
                yield _unknown("criterion", name, CRITERIA)
        for alpha in _as_tuple(self.alpha):
            if not _is_number(alpha) or not alpha > 0:
                yield f"alpha must be a number in (0, inf], got {alpha!r}."
        for rate in _as_tuple(self.keep_rate):
            if not _is_number(rate) or not 0 < rate <= 1:
                yield f"keep_rate must lie in (0, 1], got {rate!r}."
        if self.reducer not in REDUCERS:
            yield _unknown("reducer", self.reducer, REDUCERS)
        if self.heads not in HEADS:
            yield _unknown("heads", self.heads, HEADS)
        if not isinstance(self.normalize, bool):
            yield f"normalize must be True or False, got {self.normalize!r}."

    def per_block(self, field: str) -> tuple[Any, ...]:
        """`field` as one value per pruned block."""
        value = getattr(self, field)
        return value if isinstance(value, tuple) else (value,) * len(self.blocks)

    def stages(self) -> dict[int, PruningStage]:
        """The pruned blocks by their number, counted from 1."""
        rows = zip(self.blocks, self.per_block("criterion"), self.per_block("keep_rate"))
        return {
            block: PruningStage(index, criterion, rate, self.reducer, self.normalize, self.heads)
            for index, (block, criterion, rate) in enumerate(rows)
        }


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)


def _unknown(field: str, name: Any, known: Sequence[str] | dict[str, Any]) -> str:
    return f"unknown {field} {name!r}; known: {', '.join(known)}." + nearest(str(name), known)
