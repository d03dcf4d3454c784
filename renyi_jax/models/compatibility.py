"""Whether a file of weights fits a model: names and shapes alone, no arrays."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from renyi_jax.models.registry import MODELS, model_spec
from renyi_jax.models.spec import ModelSpec
from renyi_jax.models.vit import VisionTransformer
from renyi_jax.weights import (
    CLASSIFIER,
    IGNORED,
    ROTARY_TABLE,
    nearest_project,
    split_block,
    timm_name,
)

Shape = tuple[int, ...]
Grid = tuple[int, int]
Size = tuple[int, int]

_LISTED = 24


class Fit(NamedTuple):
    """How the tensors of a file go into a model."""

    names: Collection[str]  # the tensors to load; the model's other parameters stay as they are
    grid: Grid | None  # the patch grid of the file's positional embedding
    notes: tuple[str, ...]  # what is not loaded as it lies, one sentence each
    problems: tuple[str, ...]  # why the file does not fit, one line each; empty if it does
    unexpected: int  # the number of tensors that are missing, misshapen or not in the model


def expected_shapes(spec: ModelSpec) -> dict[str, Shape]:
    """The names and shapes that timm's model of this spec has."""
    # Blocks are alike, the positional embedding alone grows with the image, and the classifier with
    # the classes: one small model is built, without its arrays, and stands for all of its kind.
    small = dataclasses.replace(
        spec,
        depth=1,
        image_size=(spec.patch_size, spec.patch_size),
        num_classes=min(1, spec.num_classes),
        mean=(),
        std=(),
        crop_pct=1.0,
        interpolation="",
    )
    shapes = {}
    for name, shape in _shapes(small):
        if name == "pos_embed":
            shape = (1, shape[1] - 1 + spec.num_patches, shape[2])
        if name in CLASSIFIER:
            shape = (spec.num_classes, *shape[1:])
        template, number = split_block(name)
        repeats = range(1 if number is None else spec.depth)
        shapes |= {template.format(block): shape for block in repeats}
    return shapes


@functools.cache
def _shapes(spec: ModelSpec) -> tuple[tuple[str, Shape], ...]:
    """The names and shapes of a model that is as it is built."""
    model = nnx.eval_shape(
        lambda: VisionTransformer(
            spec,
            pruning=None,
            dtype=jnp.float32,
            drop_path_rate=0.0,
            dropout_rate=0.0,
            patch_drop_rate=0.0,
            rngs=nnx.Rngs(0),
        )
    )
    shapes = []
    for path, parameter in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        name, layout = timm_name(".".join(map(str, path)), spec.renamed)
        ours = jax.ShapeDtypeStruct(parameter.shape, jnp.float32)
        shapes.append((name, jax.eval_shape(layout.to_timm, ours).shape))
    return tuple(shapes)


def source_grid(spec: ModelSpec, shapes: Mapping[str, Shape], noted: Size | None) -> Grid | None:
    """Returns the patch grid of a file's positional embedding, or None where it cannot be known.

    It is what the file says; else the default grid of the model or, as in timm, a square; and where
    neither has as many patches, the grid of `spec`. Of a model without such an embedding it is what
    the file says, or unknown.

    Args:
        shapes: of the file's tensors, by timm's names.
        noted: the (height, width) in pixels that the file says.
    """
    candidates = []
    if noted is not None:
        patch = spec.patch_size
        is_tiled = noted[0] % patch == 0 == noted[1] % patch
        candidates = [(noted[0] // patch, noted[1] // patch)] if is_tiled else []
        if not spec.learned_positions:
            return candidates[0] if is_tiled else None
    shape = shapes.get("pos_embed", ())
    if len(shape) != 3:
        return None
    count = shape[1] - (spec.num_prefix if spec.prefix_embedded else 0)
    if noted is None:
        side = math.isqrt(max(count, 0))
        candidates = [(side, side), spec.grid_size]
        if spec.name is not None:
            candidates.insert(0, model_spec(spec.name).grid_size)
    return next((grid for grid in candidates if count > 0 and math.prod(grid) == count), None)


def file_classes(shapes: Mapping[str, Shape]) -> int | None:
    """Returns the number of classes of a file's classifier; None if it has no classifier."""
    shape = next((shapes[name] for name in ("head.weight", "head.bias") if name in shapes), None)
    return None if shape is None else (*shape, 1)[0]


def fit(spec: ModelSpec, shapes: Mapping[str, Shape], noted: Size | None = None) -> Fit:
    """Compares a file with a model; arguments as in `source_grid`."""
    expected = dict(expected_shapes(spec))
    found = {name: shape for name, shape in shapes.items() if name not in IGNORED}
    if spec.rotary and ROTARY_TABLE in found:  # which no model keeps, but of one size
        expected[ROTARY_TABLE] = (spec.head_dim // 4,)
    notes = []
    if note := _classifier_note(expected, found):
        notes.append(note)
        for name in CLASSIFIER:
            expected.pop(name, None)
            found.pop(name, None)

    grid = source_grid(spec, found, noted)
    embedding = found.get("pos_embed")
    if embedding is not None and grid is not None:
        lies_otherwise = grid != spec.grid_size and math.prod(grid) == spec.num_patches
        if noted is None and (grid[0] != grid[1] or lies_otherwise):
            notes.append(
                "The file does not say how its patches lie: its positional embedding is taken for"
                f" {_times(grid)} of them."
            )
        if grid != spec.grid_size:
            notes.append(
                f"The positional embedding is resized from {_times(grid)} to"
                f" {_times(spec.grid_size)} patches."
            )
        rows = embedding[1] - math.prod(grid) + spec.num_patches
        found["pos_embed"] = (embedding[0], rows, embedding[2])

    depth = len({block for _, block in map(split_block, found)} - {None})
    shared = min(depth, spec.depth)  # of blocks beyond them one line tells all
    missing = {name for name in expected.keys() - found.keys() if _block(name) < shared}
    extra = {name for name in found.keys() - expected.keys() if _block(name) < shared}
    misshapen = {
        name: f"{_times(shapes[name])}, expected {_times(expected[name])}"
        for name in expected.keys() & found.keys()
        if expected[name] != found[name]
    }
    if embedding is not None and grid is None and noted is not None:
        misshapen["pos_embed"] = f"{_times(embedding)}, for images of {_times(noted)} pixels"
    problems = (
        *((f"{depth} blocks, expected {spec.depth}",) if depth != spec.depth else ()),
        *_listed("missing", ((name, _times(expected[name])) for name in missing)),
        *_listed("not in the model", ((name, _times(found[name])) for name in extra)),
        *_listed("misshapen", misshapen.items()),
    )
    unexpected = len(expected.keys() ^ found.keys()) + len(misshapen)
    return Fit(expected.keys(), grid, tuple(notes), problems, unexpected)


def fitting_models(shapes: Mapping[str, Shape], noted: Size | None = None) -> list[str]:
    """Returns the names of the models that a file fits."""
    return [
        name for name in _of_same_patches(shapes) if not fit(MODELS[name], shapes, noted).unexpected
    ]


def advise(shapes: Mapping[str, Shape], noted: Size | None = None) -> str:
    """Returns a sentence that names the models that a file fits, or what it is nearest to."""
    if fitting := fitting_models(shapes, noted):
        return f"The file fits {', '.join(fitting)}."
    candidates = _of_same_patches(shapes) or list(MODELS)
    unexpected = {name: fit(MODELS[name], shapes, noted).unexpected for name in candidates}
    best = min(unexpected, key=unexpected.__getitem__)
    if unexpected[best] <= len(expected_shapes(MODELS[best])) // 2:
        return f"The nearest model is {best}: {unexpected[best]} of its tensors differ."
    return " ".join(filter(None, ("The file fits no model known here.", nearest_project(shapes))))


def _of_same_patches(shapes: Mapping[str, Shape]) -> list[str]:
    """The models with a patch embedding of the file's shape: to compare with all takes seconds."""
    embedding = shapes.get("patch_embed.proj.weight")
    return [
        name
        for name, spec in MODELS.items()
        if embedding == (spec.embed_dim, 3, spec.patch_size, spec.patch_size)
    ]


def _block(name: str) -> int:
    """The number of the block that a tensor is in; -1 for none."""
    number = split_block(name)[1]
    return -1 if number is None else number


def _classifier_note(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> str | None:
    """Why the classifier is not loaded; None if it is to be compared like all the rest."""
    wanted = {name: expected[name] for name in CLASSIFIER & expected.keys()}
    given = {name: found[name] for name in CLASSIFIER & found.keys()}
    if not given:
        return "The file has no classifier: the model's stays as it is." if wanted else None
    classes, ours = file_classes(found), file_classes(expected)
    if not wanted:
        return f"The file's classifier of {classes} classes is left out."
    if classes == ours or given != {name: (classes, *wanted[name][1:]) for name in wanted}:
        return None
    return (
        f"The file's classifier has {classes} classes and the model's {ours}: the model's stays as"
        " it is."
    )


def _listed(kind: str, entries: Iterable[tuple[str, str]]) -> Iterator[str]:
    """One line for every kind of tensor: equal ones of several blocks share a line."""
    blocks: dict[tuple[str, str], list[int]] = {}
    for name, remark in entries:
        template, number = split_block(name)
        blocks.setdefault((template, remark), []).extend([] if number is None else [number])
    lines = sorted(
        f"{kind}: {template.format(_ranges(numbers))} ({remark})"
        for (template, remark), numbers in blocks.items()
    )
    yield from lines[:_LISTED]
    if len(lines) > _LISTED:
        yield f"{kind}: {len(lines) - _LISTED} more"


def _ranges(numbers: Iterable[int]) -> str:
    """`0-3,7` for 0, 1, 2, 3, 7."""
    runs = itertools.groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0])
    ends = [[number for _, number in run] for _, run in runs]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in ends)


def _times(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
