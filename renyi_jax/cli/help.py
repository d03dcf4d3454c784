"""What --help adds to the flags of a command: the names that the flags take, from their tables."""

import inspect
import itertools
import textwrap
from collections.abc import Collection, Iterator

from renyi_jax.common.fields import Field
from renyi_jax.config import FIELDS
from renyi_jax.models.registry import MODELS
from renyi_jax.pruning import CRITERIA, REDUCERS, Criterion


def vocabulary(flags: Collection[str]) -> str:
    """Lists the names that a command with these flags takes, each kind under its heading."""
    sections = []
    if "model" in flags or "config" in flags:
        sections.append(("Models", models_by_family()))
    if {"criterion", "criteria", "config"} & set(flags):
        sections.append(("Criteria", _criteria()))
        sections.append(("Reducers", ", ".join(REDUCERS)))
    if "config" in flags:
        sections.append(("Fields, as in --config.train.epochs=3", "\n".join(_fields())))
    return "\n".join(f"{heading}:\n{textwrap.indent(text, '  ')}\n" for heading, text in sections)


def models_by_family() -> str:
    """A line for each family, with its sizes in braces."""

    def family(name: str) -> tuple[str, ...]:
        kind, _, *rest = name.split("_")
        return (kind, *rest)

    lines = []
    for (kind, *rest), names in itertools.groupby(MODELS, family):
        sizes = [name.split("_")[1] for name in names]
        size = "{" + ",".join(sizes) + "}" if len(sizes) > 1 else sizes[0]
        lines.append("_".join((kind, size, *rest)))
    return "\n".join(lines)


def _criteria() -> str:
    width = max(map(len, CRITERIA))
    return "\n".join(f"{name:{width}}  {_scored_by(row)}" for name, row in CRITERIA.items())


def _scored_by(criterion: Criterion) -> str:
    words = (inspect.getdoc(criterion.score) or "").splitlines()[0].removeprefix("Returns ")
    is_fixed = criterion.is_entropy and "alpha" not in criterion.options
    return words + (f" Order alpha = {criterion.order(2.0):g}." if is_fixed else "")


def _fields() -> Iterator[str]:
    for group, fields in FIELDS.items():
        named = {group: fields} if isinstance(fields, Field) else fields
        for name, field in named.items():
            place = name if isinstance(fields, Field) else f"{group}.{name}"
            yield f"{place}: {_shorter(field.expected)}; {field.default!r} by default"


def _shorter(words: str) -> str:
    for table, name in ((MODELS, "the models"), (CRITERIA, "the criteria")):
        words = words.replace(", ".join(table), f"{name} above")
    return words
