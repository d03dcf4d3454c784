"""The names of parameters: ours, timm's and other projects', and how their arrays differ."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float


class Layout(NamedTuple):
    """How an array turns from timm's shape into ours and back; each works on numpy and JAX."""

    to_ours: Callable[[Any], Any]
    to_timm: Callable[[Any], Any]


def _patches_to_ours(weight):
    """A convolution's `[d, 3, p, p]` as the dense `[p * p * 3, d]`: row, column, channel."""
    return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])


def _patches_to_timm(kernel):
    side = math.isqrt(kernel.shape[0] // 3)
    return kernel.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)


SAME = Layout(lambda array: array, lambda array: array)
DENSE = Layout(lambda weight: weight.T, lambda kernel: kernel.T)
PATCHES = Layout(_patches_to_ours, _patches_to_timm)

_DENSE = (
    *("blocks.{}.attn.qkv", "blocks.{}.attn.proj"),
    *(f"blocks.{{}}.mlp.{name}" for name in ("fc1", "fc1_g", "fc1_x", "fc2")),
    *(f"attn_pool.{name}" for name in ("q", "kv", "proj", "mlp.fc1", "mlp.fc2")),
    *("head", "head_dist"),
)
_NORMS = ("blocks.{}.norm1", "blocks.{}.norm2", "norm_pre", "norm", "attn_pool.norm", "fc_norm")
_TOKENS = ("cls_token", "dist_token", "reg_token", "pos_embed")

# Ours: (timm's, layout); {} is the block's number, counted from 0.
NAMES: dict[str, tuple[str, Layout]] = {
    **{name: (name, SAME) for name in (*_TOKENS, "attn_pool.latent")},
    **{f"blocks.{{}}.{ls}.gamma": (f"blocks.{{}}.{ls}.gamma", SAME) for ls in ("ls1", "ls2")},
    **{f"{norm}.scale": (f"{norm}.weight", SAME) for norm in _NORMS},
    **{f"{layer}.kernel": (f"{layer}.weight", DENSE) for layer in _DENSE},
    "patch_embed.proj.kernel": ("patch_embed.proj.weight", PATCHES),
    **{f"{each}.bias": (f"{each}.bias", SAME) for each in ("patch_embed.proj", *_NORMS, *_DENSE)},
    **{f"blocks.{{}}.attn.qkv.{q}_bias": (f"blocks.{{}}.attn.{q}_bias", SAME) for q in "qv"},
}

CLASSIFIER = frozenset(timm for timm, _ in NAMES.values() if timm.startswith("head"))
"""timm's names of what depends on the number of classes."""

IGNORED = frozenset({"mask_token"})
"""Tensors of published files that only pre-training needs; timm ignores them too."""


ROTARY_TABLE = "rope_embed.periods"
"""Periods of rotary positions in published files, a quarter as many as a head is wide."""


def timm_name(ours: str, renamed: Iterable[tuple[str, str]] = ()) -> tuple[str, Layout]:
    """timm's name of our parameter, such as `blocks.3.norm1.scale`, and the layout between them.

    Args:
        renamed: of a family in which timm has other names: pairs of that of `NAMES` and that one.
    """
    template, number = split_block(ours)
    timm, layout = NAMES[template]
    return dict(renamed).get(timm, timm).format(number), layout


def split_block(name: str) -> tuple[str, int | None]:
    """`blocks.3.norm1.bias` as `("blocks.{}.norm1.bias", 3)`; None for what is in no block."""
    match = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    return (f"blocks.{{}}.{match[2]}", int(match[1])) if match else (name, None)


Tensors = dict[str, np.ndarray]
Rows = Mapping[str, str | tuple[str, ...]]
"""timm's names of tensors, or of modules, whose weight and bias follow them, and those of another
project; {} is the number of a block. Where theirs are several, timm has them stacked in one."""

TIMM = {timm: (timm,) for timm, _ in NAMES.values()} | {"mask_token": ("mask_token",)}


class Project(NamedTuple):
    """A table of names, and what names alone do not say."""

    title: str  # what messages call it
    # timm's names of tensors, and for each those of the project
    names: Mapping[str, tuple[str, ...]]
    # a word in the names of its models, which tensors alone may leave open
    family: str | None = None
    unused: frozenset[str] = frozenset()  # tensors that no model has here
    spell: Callable[[str], str] = str  # the name of a file as the table spells it
    # an array of the file, given with its name, as torch would hold it
    layout: Callable[[str, np.ndarray], np.ndarray] = lambda name, array: array
    # what else is to be done to tensors that have timm's names
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


Grid = tuple[int, int]


def resize_pos_embed(
    embedding: Float[np.ndarray, "1 n d"], old_grid: Grid, new_grid: Grid, num_prefix: int
) -> Float[np.ndarray, "1 m d"]:
    """Bicubic interpolation with antialiasing, as timm's `resample_abs_pos_embed`.

    Args:
        embedding: `num_prefix` rows that are kept as they are, then the grid in row-major order.
        old_grid: (rows, columns) of `embedding`.
        new_grid: (rows, columns) of the result.
        num_prefix: rows for prefix tokens; 0 where those have no positional embedding.
    """
    if old_grid == new_grid:
        return embedding
    prefix, patches = embedding[:, :num_prefix], embedding[:, num_prefix:]
    width = embedding.shape[-1]
    resized = jax.image.resize(
        patches.reshape(*old_grid, width), (*new_grid, width), "cubic", antialias=True
    )
    return np.concatenate([prefix, np.asarray(resized).reshape(1, -1, width)], axis=1)
