"""The names that other projects give to weights: one table each, from timm's names to theirs.

A row is a tensor, or a module, whose weight and bias follow it; {} is the number of a block. Where
theirs are several, timm has them stacked in one.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from renyi_jax.weights.names import CLASSIFIER, NAMES

Tensors = dict[str, np.ndarray]
Rows = Mapping[str, str | tuple[str, ...]]

_TIMM = frozenset(timm for timm, _ in NAMES.values()) | {"mask_token"}
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


def recognize(names: Collection[str]) -> Project | None:
    """Returns the project that knows most of the names, if they have its patch embedding."""
    own = [project for project in PROJECTS if project.anchor in names]
    return max(own, key=lambda project: _known(project, names), default=None)


def nearest_project(names: Collection[str]) -> str:
    """Returns a sentence that tells the project with most of the names; "" if it has few."""
    inner = {name.partition(".")[2] for name in names}  # a model of which this is a part
    counts = {
        project.title: max(_known(project, names), _known(project, inner)) for project in PROJECTS
    }
    best = max(counts, key=counts.__getitem__)
    if 4 * counts[best] < len(names):
        return ""
    return f"Its names are nearest to those of {best}: {counts[best]} of {len(names)}."


def _known(project: Project, names: Collection[str]) -> int:
    return len({name for each in project.sources(names).values() for name in each})


def _rows(names: Rows, weight: Callable[[str], str] = lambda module: "weight"):
    """The rows of tensors; `weight` says what the project calls that of a module."""
    rows = {}
    for ours, theirs in names.items():
        theirs = (theirs,) if isinstance(theirs, str) else theirs
        if ours in _TIMM:
            rows[ours] = theirs
        else:
            for end, called in (("weight", weight(ours)), ("bias", "bias")):
                rows[f"{ours}.{end}"] = tuple(f"{name}.{called}" for name in theirs)
    return rows


def _qkv(pattern: str, query: str = "query", key: str = "key", value: str = "value"):
    return tuple(pattern.replace("*", name) for name in (query, key, value))


def _fold_class_position(tensors: Tensors) -> Tensors:
    """With registers, timm embeds patches alone, and adds its place to the class token."""
    if tensors.keys() >= {"reg_token", "cls_token", "pos_embed"}:
        first, rest = np.split(tensors["pos_embed"], [1], axis=1)
        tensors |= {"cls_token": tensors["cls_token"] + first, "pos_embed": rest}
    return tensors


_VIT = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "blocks.{}.norm1": "encoder.layer.{}.layernorm_before",
    "blocks.{}.attn.qkv": _qkv("encoder.layer.{}.attention.attention.*"),
    "blocks.{}.attn.proj": "encoder.layer.{}.attention.output.dense",
    "blocks.{}.norm2": "encoder.layer.{}.layernorm_after",
    "blocks.{}.mlp.fc1": "encoder.layer.{}.intermediate.dense",
    "blocks.{}.mlp.fc2": "encoder.layer.{}.output.dense",
    "norm": "layernorm",
    "head": "classifier",
}
_DEIT = _VIT | {
    "dist_token": "embeddings.distillation_token",
    "head": "cls_classifier",
    "head_dist": "distillation_classifier",
}
_DINOV2 = _VIT | {
    "reg_token": "embeddings.register_tokens",
    "mask_token": "embeddings.mask_token",
    "blocks.{}.norm1": "encoder.layer.{}.norm1",
    "blocks.{}.ls1.gamma": "encoder.layer.{}.layer_scale1.lambda1",
    "blocks.{}.norm2": "encoder.layer.{}.norm2",
    "blocks.{}.mlp.fc1": "encoder.layer.{}.mlp.fc1",
    "blocks.{}.mlp.fc2": "encoder.layer.{}.mlp.fc2",
    "blocks.{}.ls2.gamma": "encoder.layer.{}.layer_scale2.lambda1",
}
_POOLER = frozenset({"pooler.dense.weight", "pooler.dense.bias"})

_AUGREG = {
    "cls_token": "cls",
    "pos_embed": "Transformer.posembed_input.pos_embedding",
    "patch_embed.proj": "embedding",
    "blocks.{}.norm1": "Transformer.encoderblock_{}.LayerNorm_0",
    "blocks.{}.attn.qkv": _qkv("Transformer.encoderblock_{}.MultiHeadDotProductAttention_1.*"),
    "blocks.{}.attn.proj": "Transformer.encoderblock_{}.MultiHeadDotProductAttention_1.out",
    "blocks.{}.norm2": "Transformer.encoderblock_{}.LayerNorm_2",
    "blocks.{}.mlp.fc1": "Transformer.encoderblock_{}.MlpBlock_3.Dense_0",
    "blocks.{}.mlp.fc2": "Transformer.encoderblock_{}.MlpBlock_3.Dense_1",
    "norm": "Transformer.encoder_norm",
    "head": "head",
}


def _flax_to_torch(name: str, array: np.ndarray) -> np.ndarray:
    """Kernels have their outputs last, and the heads of attention an axis of their own."""
    if name.endswith(".bias"):
        return array.reshape(-1)
    if not name.endswith(".kernel"):
        return array
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    if ".out." in name:
        return array.reshape(-1, array.shape[-1]).T
    return array.reshape(len(array), -1).T


_IDENTITY = {name: (name,) for name in sorted(_TIMM)}

PROJECTS = (
    Project("timm", _IDENTITY),
    Project(
        "facebookresearch's DINOv2",
        _IDENTITY | {"reg_token": ("register_tokens",)},
        # Training checkpoints have their blocks in chunks.
        spell=lambda name: re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", name),
        arrange=_fold_class_position,
    ),
    Project("transformers' ViT", _rows(_VIT), "vit", _POOLER),
    Project("transformers' DeiT", _rows(_DEIT), "deit", _POOLER),
    Project("transformers' DINOv2", _rows(_DINOV2), arrange=_fold_class_position),
    Project(
        "Google's AugReg",
        _rows(_AUGREG, lambda module: "scale" if "norm" in module else "kernel"),
        "vit",
        layout=_flax_to_torch,
    ),
)

ANCHORS = tuple(dict.fromkeys(project.anchor for project in PROJECTS))
"""The names by which the weights of a ViT are recognised, whatever wrappers put before them."""

HEADS = frozenset(
    name for project in PROJECTS for ours in CLASSIFIER for name in project.names.get(ours, ())
)
"""The names of classifiers, which may lie beside a backbone that has a prefix."""
