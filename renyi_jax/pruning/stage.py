"""`Stage`: one pruned block, and every option of pruning, each written down once."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from renyi_jax.attention import ColumnSums, Evidence, Needs, RowEntropy
from renyi_jax.common.fields import Field, flag, integer, number, one_of, optional
from renyi_jax.pruning.criteria import CRITERIA, DEFAULT_CRITERION, Alpha, Criterion, Scores
from renyi_jax.pruning.keep import keep_count
from renyi_jax.pruning.reducers import DEFAULT_REDUCER, REDUCERS, Reducer
from renyi_jax.pruning.tokens import Tokens

HEADS = ("mean", "average_first")


class Option(NamedTuple):
    """What is known of one option, from which configs, flags, sweeps and tables are made."""

    field: Field  # its default and its range
    help: str  # what it does
    sweep: str | None  # the name of a list of its values; None where no sweep goes over it
    # what a table says of a value that is not the default; None where it has a column
    word: str | None = None


def _criterion() -> Field:
    """A name in `CRITERIA`, or None for what the reducer goes by, or a row that is on trial."""
    names = one_of(DEFAULT_CRITERION, CRITERIA)
    own = [row.own_criterion for row in REDUCERS.values() if row.own_criterion]

    def parse(value: Any) -> Any:
        return value if isinstance(value, Criterion) or value in own else names.parse(value)

    return Field(None, f"{names.expected}, or None", lambda v: None if v is None else parse(v))


def _option(field: Field, help: str, sweep: str | None, word: str | None = None) -> Any:
    option = Option(field, help, sweep, word)
    return dataclasses.field(default=field.default, metadata={"option": option})


@dataclasses.dataclass(frozen=True)
class Stage:
    """One pruned block: what is static while it runs, and the default of alpha, which is not.

    `options()` has the meaning of each field; `PruningConfig` checks them.
    """

    block: int
    keep_rate: float = _option(
        number(0.7, "(0, 1]"), "share of the patches that is kept; 1 prunes nothing", "keep_rates"
    )
    keep_mass: float = _option(
        number(1.0, "(0, 1]"),
        "adaptive keep counts: of each image the fewest patches, the best first, that hold this"
        " share of the mass log n - H of its n patches, and no more than keep_rate allows",
        "keep_masses",
    )
    criterion: Any = _option(_criterion(), "how patches are scored", "criteria")
    reducer: str = _option(
        one_of(DEFAULT_REDUCER, REDUCERS),
        "what becomes of the patches that are not kept",
        "reducers",
    )
    normalize: bool = _option(
        flag(True),
        "renormalise the attention over the patch keys, where the criterion reads what patches"
        " pay; without it an entropy diverges as alpha nears 1",
        "normalize",
        "not normalised",
    )
    heads: str = _option(
        one_of("mean", HEADS),
        "the mean of the per-head scores, or the score of the averaged attention",
        "heads",
        "heads averaged first",
    )
    prefix_keys: bool = _option(
        flag(False),
        "count, in an entropy, also the attention that patches pay to the prefix tokens",
        "prefix_keys",
        "with prefix keys",
    )
    reverse: bool = _option(
        flag(False), "keep the patches of least importance", "reverse", "reversed"
    )
    alpha: Alpha = _option(
        number(2.0, "(0, inf]"),
        "order of the entropy, or of the column norm; only a default: the model takes another at"
        " run time without compiling again",
        "alphas",
    )
    r: int | None = _option(
        optional(integer(0, at_least=0)),
        "patches that reducer merge merges away, as ToMe counts them, at most half; takes the"
        " place of keep_rate",
        None,
    )

    @property
    def reducer_row(self) -> Reducer:
        """The reducer."""
        return REDUCERS[self.reducer]

    @property
    def criterion_row(self) -> Criterion | None:
        """What scores the patches; None where the reducer goes by something of its own."""
        if isinstance(self.criterion, Criterion):
            return self.criterion
        return CRITERIA.get(self.criterion)

    def count(self, num_patches: int) -> int:
        """Returns how many patches leave, of those that enter: with `keep_mass`, those at most."""
        if self.r is not None:
            return num_patches - min(self.r, num_patches // 2)
        return keep_count(num_patches, self.keep_rate)

    def keeps_all(self, num_patches: int) -> bool:
        """Whether so many patches leave as they came."""
        return self.count(num_patches) == num_patches and self.keep_mass == 1

    @property
    def changes_nothing(self) -> bool:
        """Whether all patches leave, however many there are."""
        everything = self.r == 0 or (self.r is None and self.keep_rate == 1)
        return everything and self.keep_mass == 1

    def matters(self, option: str) -> bool:
        """Whether the option makes a difference beside the others."""
        row = self.criterion_row
        if option in ("alpha", "normalize", "heads", "prefix_keys"):
            ignored = option == "normalize" and self.prefix_keys and self.matters("prefix_keys")
            return row is not None and option in row.options and not ignored
        if option == "reverse":
            return row is not None
        return option != "keep_rate" or self.r is None

    @property
    def can_adapt(self) -> bool:
        """Whether images may keep as many patches as their entropy asks for."""
        return not list(self._cannot_adapt())

    def problems(self) -> Iterator[str]:
        """Yields why options that are right by themselves do not go together."""
        own = self.reducer_row.own_criterion
        if own and self.criterion != own:
            yield (
                f"reducer {self.reducer!r} goes by {own} and takes no criterion: leave out"
                f" criterion={str(self.criterion)!r}, or choose another reducer."
            )
        elif not own and self.criterion_row is None:
            yield f"criterion {self.criterion!r} does not go with reducer {self.reducer!r}."
        yield from self.reducer_row.refuses(self)
        if self.keep_mass < 1:
            yield from (f"keep_mass below 1 {reason}" for reason in self._cannot_adapt())

    def _cannot_adapt(self) -> Iterator[str]:
        if self.criterion_row is not None and not self.criterion_row.is_entropy:
            yield f"measures entropy, which criterion {str(self.criterion)!r} does not."
        if not self.normalize:
            yield "needs normalize=True: only then is log n - H a mass."
        if self.prefix_keys:
            yield "needs prefix_keys=False: its log n counts patches alone."
        if self.reverse:
            yield "needs reverse=False: it keeps what holds the most mass."

    def needs(self) -> Needs:
        """Returns what the criterion and the reducer read of the attention."""
        row = self.criterion_row
        asked: dict[str, Any] = dict.fromkeys(self.reducer_row.needs, True)
        if row is not None:
            shapes = {name: getattr(self, name) for name in row.shapes if name != "alpha"}
            asked |= dict.fromkeys(row.needs, True)
            if "entropy" in row.needs:
                asked["entropy"] = RowEntropy(row.order(self.alpha), **shapes)
            if "columns" in row.needs:
                sharp = "entropy" in row.needs
                asked["columns"] = ColumnSums(row.power(self.alpha), sharp=sharp, **shapes)
        return Needs(**asked)

    def score(self, evidence: Evidence, tokens: Tokens) -> Scores | None:
        """Returns the importance of every patch, -inf for masked ones; None without a criterion."""
        row = self.criterion_row
        if row is None:
            return None
        scores = row.score(evidence, **{name: getattr(self, name) for name in row.takes})
        scores = -scores if self.reverse else scores
        if tokens.sizes is None:
            return scores
        return jnp.where(tokens.sizes[:, tokens.num_prefix :] > 0, scores, -jnp.inf)

    def plan(self, scores: Float[Array, "b m"] | None, evidence: Evidence, tokens: Tokens) -> Any:
        """Returns the reducer's plan: which patches go on, and by which scores."""
        count = self.count(tokens.positions.shape[1])
        return self.reducer_row.plan(scores, evidence, count, self.keep_mass)

    def apply(self, tokens: Tokens, plan: Any) -> Tokens:
        """Returns the tokens that go on. With every patch kept, they are the tokens that came."""
        if self.keeps_all(tokens.positions.shape[1]):
            return tokens
        record = tokens.recorded().record
        carriers = self.reducer_row.carriers
        if record is not None and carriers is not None:
            record = record.merged(tokens.positions, carriers(plan))
        return self.reducer_row.apply(tokens, plan)._replace(record=record)

    def at(self, alpha: Alpha) -> "Stage":
        """Returns the stage with the order of one run, which may be traced."""
        return dataclasses.replace(self, alpha=alpha)

    def left(self, patches: int) -> int:
        """Returns the tokens that leave it, of so many that enter, prefix tokens not counted."""
        extra = 0 if self.keeps_all(patches) else self.reducer_row.extra_tokens
        return self.count(patches) + extra

    def multiply_adds(
        self, num_prefix: int, patches: int, left: int, embed_dim: int, num_heads: int
    ) -> int:
        """Returns those of one image that choosing among `patches` and reducing them costs."""
        if self.keeps_all(patches):
            return 0
        row = self.criterion_row
        scoring = row.multiply_adds(num_heads, num_prefix + patches, patches) if row else 0
        head_dim = embed_dim // num_heads
        return scoring + self.reducer_row.multiply_adds(patches, left, embed_dim, head_dim)


def options() -> dict[str, Option]:
    """Returns the options of a stage by their names, those that a sweep changes slowest first."""
    return {
        field.name: field.metadata["option"]
        for field in dataclasses.fields(Stage)
        if "option" in field.metadata
    }
