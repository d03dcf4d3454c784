"""Which of the weights that a file holds are taken, and under which names."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from renyi_jax.errors import UserError, nearest
from renyi_jax.weights.projects import ANCHORS, HEADS

_ANCHORS = (*ANCHORS, "cls_token", "pos_embed", "blocks.0.norm1.weight")

_LONGEST = 300
_EMA = re.compile(r"(?:^|[._])ema(?:[._]|$)", re.IGNORECASE)
_PREFERRED = ("state_dict", "model", "model_state_dict", ".")


class Entry(NamedTuple):
    """A tensor of a file that is not read yet: its shape, and what reads it."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


Entries = Mapping[str, Entry]


class State(NamedTuple):
    """The weights that are taken: their name in the file, and their tensors by timm's names."""

    name: str
    entries: Entries
    others: tuple[str, ...]


def choose_state(groups: Mapping[str, Entries], wanted: str | None, path: Path) -> State:
    """Chooses the moving average (EMA), as timm does, or else the plain weights, unless told.

    Prefixes such as `module.` or `model.` are taken off.

    Args:
        groups: entries by the keys that lead to them, with dots between; "" is the top level.
        wanted: the name of a state, or the beginning of one.

    Raises UserError: there is no state of that name, or several are there and none is preferred.
    """
    for name in {*groups, *(name for entries in groups.values() for name in entries)}:
        if not (name.isprintable() and len(name) <= _LONGEST):
            raise UserError(f"{path} is damaged: it has a tensor or a group named {name[:40]!r}.")
    states = {name or ".": entries for name, entries in _states(groups).items()}
    names = tuple(states)
    if wanted is not None:
        chosen = [name for name in names if _is_in(name, wanted)]
        problem = f"no weights named {wanted!r}" if not chosen else f"several weights in {wanted!r}"
    else:
        chosen = [name for name in names if _EMA.search(name)]
        for preferred in _PREFERRED:
            chosen = chosen or [name for name in names if _is_in(name, preferred)]
        chosen = chosen or list(names)
        problem = "several sets of weights"
    if len(chosen) != 1:
        hint = nearest(wanted or "", (*names, *(name.split(".")[0] for name in names)))
        raise UserError(
            f"{path} holds {problem}; it has {', '.join(names[:20])}.{hint} Choose one by"
            " state=NAME (--state=NAME in commands)."
        )
    return State(chosen[0], states[chosen[0]], tuple(name for name in names if name != chosen[0]))


def _is_in(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def _states(groups: Mapping[str, Entries]) -> dict[str, Entries]:
    """The groups, or the parts of them with a prefix of their own, that hold a ViT if any does."""
    for anchor in _ANCHORS:
        states = {}
        for label, entries in groups.items():
            places = [name.removesuffix(anchor) for name in entries if anchor in _tails(name)]
            for prefix, part in _parts(entries, places).items():
                states[".".join(filter(None, (label, prefix.rstrip("."))))] = part
        if states:
            return states
    return dict(groups)


def _parts(entries: Entries, prefixes: Sequence[str]) -> Mapping[str, Entries]:
    """The entries by the longest prefix that each has, without it."""
    parts: dict[str, dict[str, Entry]] = {prefix: {} for prefix in prefixes}
    for name, entry in entries.items():
        for tail in _tails(name):
            prefix = name.removesuffix(tail)
            if prefix in parts:
                parts[prefix][tail] = entry
                break
        else:  # a classifier may lie beside a backbone
            beside = [tail for tail in _tails(name) if tail in HEADS]
            if beside and len(parts) == 1 and prefixes[0].startswith(name.removesuffix(beside[0])):
                parts[prefixes[0]].setdefault(beside[0], entry)
    return parts


def _tails(name: str) -> list[str]:
    """`c`, `b.c` and `a.b.c` of `a.b.c`."""
    words = name.split(".")
    return [".".join(words[start:]) for start in range(len(words) - 1, -1, -1)]
