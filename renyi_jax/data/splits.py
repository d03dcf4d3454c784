"""Which examples an expression such as "train[:90%]+test[:50]" stands for."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import tensorflow_datasets as tfds

from renyi_jax.errors import UserError, nearest

_SYNONYMS = (("train", "training"), ("test", "val", "validation", "valid"))

_PART = re.compile(r"\s*([\w-]+)\s*(.*?)\s*")


class Part(NamedTuple):
    """The examples `start` to `stop` of a split."""

    split: str
    start: int
    stop: int


def split_names(expression: str, known: Iterable[str]) -> list[str]:
    """The splits that an expression names, as `known` spells them: "val" and "validation" stand
    for each other, and for "test" where there is none."""
    return [_known(name, known) for name, _ in _parts(expression)]


def synonyms(name: str) -> tuple[str, ...]:
    """All names that stand for the same split, the given one first."""
    for group in _SYNONYMS:
        if name.lower() in group:
            return (name, *group)
    return (name,)


def resolve_split(expression: str, sizes: Mapping[str, int], field: str, owner: str) -> list[Part]:
    """Returns the examples that an expression in TFDS' syntax stands for.

    `sizes` are those of all splits; `field` and `owner` are named in messages.

    Raises UserError: an expression that cannot be read, an unknown split, or no examples.
    """
    where = f"config.data.{field}={expression!r}"
    have = ", ".join(f"{name} ({size})" for name, size in sizes.items()) or "none"
    spelled = "+".join(_known(name, sizes) + rest for name, rest in _parts(expression))
    for name in split_names(expression, sizes):
        if name not in sizes and name != "all":
            raise UserError(
                f"{where} is not a split of {owner}.{nearest(name, sizes)} Known: {have}."
            )
    if spelled in sizes:
        parts = [Part(spelled, 0, sizes[spelled])]
    else:
        infos = {name: tfds.core.SplitInfo(name, [size], 0) for name, size in sizes.items()}
        try:
            found = tfds.core.ReadInstruction.from_spec(spelled).to_absolute(infos)
        except Exception as error:  # TFDS raises many, after its own words
            raise UserError(
                f"{where} cannot be read as part of {owner}, which has {have}; expected a split,"
                " or a part of it as in train[:90%] or train[100:200], or several with + between."
            ) from error
        parts = [
            Part(each.splitname, *slice(each.from_, each.to).indices(sizes[each.splitname])[:2])
            for each in found
        ]
    if any(part.start >= part.stop for part in parts):
        raise UserError(f"{where} stands for no example of {owner}, which has {have}.")
    return parts


def _parts(expression: str) -> list[tuple[str, str]]:
    """Names, and what follows each of them."""
    matches = [_PART.fullmatch(part) for part in expression.split("+")]
    return [(match[1], match[2]) if match else (expression, "") for match in matches]


def _known(name: str, known: Iterable[str]) -> str:
    spelled = {each.lower(): each for each in reversed(list(known))}
    for synonym in synonyms(name):
        if synonym in known or synonym.lower() in spelled:
            return synonym if synonym in known else spelled[synonym.lower()]
    return name
