"""`PruningConfig`: where a ViT is pruned, by which score, and how much."""

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from etils import epath

from renyi_jax.common.fields import per_block
from renyi_jax.common.files import write_json
from renyi_jax.errors import UserError, nearest
from renyi_jax.pruning.criteria import DEFAULT_CRITERION, Criterion
from renyi_jax.pruning.reducers import REDUCERS
from renyi_jax.pruning.stage import Option, Stage, options

OPTIONS: dict[str, Option] = options()  # the options of every pruned block, by name

BLOCKS = (4, 7, 10)


@dataclasses.dataclass(frozen=True, init=False)
class PruningConfig:
    """The pruned blocks, one `Stage` each; hashable, so that it can be static under `jit`.

    As in `PruningConfig(criterion="renyi", alpha=2.0, keep_rate=0.7, blocks=(4, 7, 10))`, every
    option of `Stage` is written as one value, or one per pruned block, and reads back so.
    `dataclasses.replace` changes options too.

    Raises:
        UserError: an option is unknown or has a value that cannot be run, or two do not go
            together; all of it is told at once.
    """

    stages: tuple[Stage, ...]  # the pruned blocks, in order

    def __init__(self, *, stages: tuple[Stage, ...] = (), **given: Any):
        if problems := list(_unknown(given)):
            raise UserError("PruningConfig: " + " ".join(problems))
        blocks = given.pop("blocks", tuple(stage.block for stage in stages) or BLOCKS)
        values = {name: option.field.default for name, option in OPTIONS.items()}
        if stages:
            values |= {name: _collapsed(getattr(each, name) for each in stages) for name in OPTIONS}
        built, problems = _build(blocks, values | given)
        problems = problems or list(_problems_together(built))
        if problems:
            raise UserError("PruningConfig: " + " ".join(dict.fromkeys(problems)))
        object.__setattr__(self, "stages", built)

    def __getattr__(self, name: str) -> Any:
        """An option as one value, or a tuple of one per pruned block where they differ."""
        if name not in OPTIONS:
            raise AttributeError(f"PruningConfig has no option {name!r}.{nearest(name, OPTIONS)}")
        return _collapsed(self.per_block(name))

    def __repr__(self) -> str:
        shown = {"blocks": self.blocks} | {name: getattr(self, name) for name in OPTIONS}
        told = {name: value for name, value in shown.items() if value != _defaults().get(name)}
        return f"PruningConfig({', '.join(f'{name}={value!r}' for name, value in told.items())})"

    @property
    def blocks(self) -> tuple[int, ...]:
        """The pruned blocks, counted from 1."""
        return tuple(stage.block for stage in self.stages)

    @property
    def by_block(self) -> dict[int, Stage]:
        """The pruned blocks by their number."""
        return {stage.block: stage for stage in self.stages}

    def per_block(self, name: str) -> tuple[Any, ...]:
        """Returns an option as one value per pruned block."""
        return tuple(getattr(stage, name) for stage in self.stages)

    def matters(self, name: str) -> bool:
        """Whether an option makes a difference in some block."""
        return any(stage.matters(name) for stage in self.stages)

    @property
    def changes_nothing(self) -> bool:
        """Whether all patches leave all blocks, however many there are."""
        return all(stage.changes_nothing for stage in self.stages)

    @property
    def ranks(self) -> bool:
        """Whether a criterion scores the patches in every block."""
        return all(stage.criterion_row is not None for stage in self.stages)

    @property
    def adapts(self) -> bool:
        """Whether the images keep as many patches as each of them needs."""
        return any(stage.keep_mass < 1 for stage in self.stages)

    def changed(self, **given: Any) -> "PruningConfig":
        """Returns it with other options, without what belongs to a reducer that gives way.

        A keep rate takes the place of a number of merges. Errors as in `PruningConfig`.
        """
        if own_criteria(given.get("reducer", self.reducer)) != own_criteria(self.reducer):
            given = {"criterion": None, "r": None} | given
        if "keep_rate" in given:
            given = {"r": None} | given
        return dataclasses.replace(self, **given)

    def to_json(self) -> dict[str, Any]:
        """Returns the options as JSON holds them: lists for tuples, "inf" for infinity."""
        shown = {"blocks": self.blocks} | {name: getattr(self, name) for name in OPTIONS}
        return {name: to_json(value) for name, value in shown.items()}

    @classmethod
    def from_json(cls, fields: Any) -> "PruningConfig":
        """Returns what `to_json` wrote.

        Raises UserError: it is no such thing.
        """
        if not isinstance(fields, Mapping):
            raise UserError(f"expected the options of a pruning by their names, got {fields!r:.80}")
        return cls(**{str(name): value for name, value in fields.items()})

    def save(self, path: str | Path) -> None:
        """Writes JSON, whole or not at all.

        Raises UserError: the file cannot be written.
        """
        write_json(epath.Path(path).expanduser(), {"pruning": self.to_json()})

    @classmethod
    def load(cls, path: str | Path) -> "PruningConfig":
        """Reads what `save` wrote, or another JSON file with a pruning under "pruning".

        Raises:
            UserError: there is no such file, or it holds no pruning.
        """
        try:
            held = json.loads(Path(path).expanduser().read_text("utf-8"))
            return cls.from_json(held["pruning"])
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}.") from error
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            reason = str(error).removesuffix(".")
            raise UserError(f"{path} holds no pruning under 'pruning': {reason}.") from error


def to_json(value: Any) -> Any:
    """Returns the value of an option as JSON holds it."""
    if isinstance(value, tuple):
        return [to_json(each) for each in value]
    if isinstance(value, Criterion):
        return str(value)
    return "inf" if value == math.inf else value


def _unknown(given: Mapping[str, Any]) -> Iterator[str]:
    known = ("blocks", *OPTIONS)
    for name in given:
        if name not in known:
            hint = nearest(name, known) or f" Known: {', '.join(known)}."
            yield f"there is no option {name!r}.{hint}"


def _build(blocks: Any, given: Mapping[str, Any]) -> tuple[tuple[Stage, ...], list[str]]:
    """The stages, and what is wrong with single values."""
    problems = []
    blocks = tuple(blocks) if isinstance(blocks, Iterable) and not isinstance(blocks, str) else ()
    numbers = [isinstance(each, int) and not isinstance(each, bool) for each in blocks]
    if not blocks or not all(numbers):
        return (), [f"blocks must be a tuple of integers, at least one, got {blocks!r}."]
    if blocks[0] < 1 or any(later <= block for block, later in itertools.pairwise(blocks)):
        problems.append(f"blocks must be ascending and counted from 1, got {blocks}.")
    columns = {}
    for name, value in given.items():
        try:
            value = per_block(OPTIONS[name].field).parse(_listed(value))
        except (ValueError, TypeError) as error:
            hint = str(error) if str(error).startswith(" Did") else ""
            expected = OPTIONS[name].field.expected
            problems.append(f"{name}={value!r}: expected {expected}.{hint}")
            continue
        values = value if isinstance(value, tuple) else (value,) * len(blocks)
        if len(values) != len(blocks):
            problems.append(
                f"{name} has {len(values)} values for {len(blocks)} pruned blocks: {value}."
            )
        columns[name] = values
    if problems:
        return (), problems
    rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
    return tuple(_stage(block, row) for block, row in zip(blocks, rows)), []


def _listed(value: Any) -> Any:
    is_many = isinstance(value, Iterable) and not isinstance(value, (str, Criterion))
    return list(value) if is_many else value


def _stage(block: int, values: dict[str, Any]) -> Stage:
    stage = Stage(block, **values)
    if stage.criterion is None:
        default = stage.reducer_row.own_criterion or DEFAULT_CRITERION
        stage = dataclasses.replace(stage, criterion=default)
    return stage


def _problems_together(stages: tuple[Stage, ...]) -> Iterator[str]:
    masked = False
    for stage in stages:
        yield from stage.problems()
        row = stage.criterion_row
        if masked and (row is None or row.sums_patches):
            name = stage.reducer if row is None else str(stage.criterion)
            yield (
                f"{name!r} goes over all patches of an image, and keep_mass below 1 in an earlier"
                " block has masked some of them away."
            )
        masked = masked or stage.keep_mass < 1


def own_criteria(reducers: str | tuple[str, ...]) -> list[str | None]:
    """What the reducers go by in the place of a criterion; unknown ones are refused elsewhere."""
    names = reducers if isinstance(reducers, tuple) else (reducers,)
    return [REDUCERS[name].own_criterion for name in names if name in REDUCERS]


def _collapsed(values: Iterable[Any]) -> Any:
    values = tuple(values)
    return values[0] if all(value == values[0] for value in values) else values


def _defaults() -> dict[str, Any]:
    plain = PruningConfig()
    return {"blocks": BLOCKS} | {name: getattr(plain, name) for name in OPTIONS}
