"""How a table of names turns the weights of another project into timm's."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from renyi_jax.weights.names import NAMES

Tensors = dict[str, np.ndarray]
Rows = Mapping[str, str | tuple[str, ...]]
"""timm's names of tensors, or of modules, whose weight and bias follow them, and those of another
project; {} is the number of a block. Where theirs are several, timm has them stacked in one."""

TIMM = {timm: (timm,) for timm, _ in NAMES.values()} | {"mask_token": ("mask_token",)}

_TOKENS = ("cls_token", "dist_token", "reg_token", "pos_embed")


class Project(NamedTuple):
    """A table of names, and what names alone do not say.

    Attributes:
        title: what messages call it.
        names: timm's names of tensors, and for each those of the project.
        family: a word in the names of its models, which tensors alone may leave open.
        unused: tensors that no model has here.
        spell: the name of a file as the table spells it.
        layout: an array of the file, given with its name, as torch would hold it.
        arrange: what else is to be done to tensors that have timm's names.
    """

    title: str
    names: Mapping[str, tuple[str, ...]]
    family: str | None = None
    unused: frozenset[str] = frozenset()
    spell: Callable[[str], str] = str
    layout: Callable[[str, np.ndarray], np.ndarray] = lambda name, array: array
    arrange: Callable[[Tensors], Tensors] = lambda tensors: tensors

    @property
    def anchor(self) -> str:
        """The name of the patch embedding, by which files are recognised."""
        return self.names["patch_embed.proj.weight"][0]

    def sources(self, present: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Returns timm's names of what a file holds, with those that the table has for them."""
        present = set(map(self.spell, present))
        numbers = {int(n) for name in present for n in re.findall(r"[._](\d{1,3})\.", name)}
        found = {}
        for ours, theirs in self.names.items():
            for number in sorted(numbers) if "{}" in ours else (0,):
                names = tuple(name.format(number) for name in theirs)
                if present.issuperset(names):
                    found[ours.format(number)] = names
        return found

    def known(self, present: Iterable[str]) -> int:
        """Returns how many of the names of a file the table has."""
        return len({name for names in self.sources(present).values() for name in names})

    def to_timm(self, tensors: Tensors) -> Tensors:
        """Returns the tensors by timm's names; those without a row keep their own."""
        sources = self.sources(tensors)
        tensors = {self.spell(name): array for name, array in tensors.items()}
        taken = {name for names in sources.values() for name in names} | self.unused
        renamed = {name: array for name, array in tensors.items() if name not in taken}
        for ours, names in sources.items():
            parts = [self.layout(name, tensors[name]) for name in names]
            array = parts[0] if len(parts) == 1 else np.concatenate(parts)
            is_token = ours in _TOKENS and 0 < array.ndim < 3  # timm's have a batch of one
            renamed[ours] = array.reshape(1, -1, array.shape[-1]) if is_token else array
        return self.arrange(renamed)


def rows(
    names: Rows, weight: Callable[[str], str] = lambda module: "weight"
) -> dict[str, tuple[str, ...]]:
    """Returns the rows of tensors; `weight` says what the project calls that of a module."""
    found = {}
    for ours, theirs in names.items():
        theirs = (theirs,) if isinstance(theirs, str) else theirs
        if f"{ours}.weight" in TIMM:
            for end, called in (("weight", weight(ours)), ("bias", "bias")):
                found[f"{ours}.{end}"] = tuple(f"{name}.{called}" for name in theirs)
        else:
            found[ours] = theirs
    return found
