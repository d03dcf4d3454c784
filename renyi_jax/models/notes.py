"""What a file of weights says of its model, beside the weights: safetensors metadata, JSON in it.

Files of timm say nothing.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from renyi_jax.errors import UserError
from renyi_jax.models.fit import model_name
from renyi_jax.models.vit import VisionTransformer
from renyi_jax.pruning import PruningConfig


class Notes(NamedTuple):
    """What is known of a model; None for what is not.

    Attributes:
        model: its name.
        pruning: that it was trained with.
        class_names: in the order of the classes.
    """

    model: str | None = None
    pruning: PruningConfig | None = None
    class_names: tuple[str, ...] | None = None


def write_notes(
    model: VisionTransformer, class_names: Sequence[str] | None = None
) -> dict[str, str]:
    """The metadata of a file with the weights of `model`: what `read_notes` reads, its image size,
    and what other programs want to find ("format")."""
    height, width = model.spec.image_size
    metadata = {"format": "pt", "image_size": f"{height}x{width}"}
    if name := model_name(model.spec):
        metadata["model"] = name
    if model.pruning is not None:
        metadata["pruning"] = json.dumps(pruning_fields(model.pruning))
    if class_names is not None:
        metadata["class_names"] = json.dumps(list(class_names), ensure_ascii=False)
    return metadata


def read_notes(metadata: Mapping[str, str], source: object) -> Notes:
    """What the metadata of a file say.

    Args:
        metadata: of a `Checkpoint`.
        source: names the file in errors.

    Raises:
        UserError: a note of this project that cannot be understood.
    """
    pruning, names = metadata.get("pruning"), metadata.get("class_names")
    try:
        fields = json.loads(pruning) if pruning else None
        return Notes(
            metadata.get("model"),
            None if fields is None else PruningConfig(**_values(fields)),
            None if names is None else tuple(map(str, json.loads(names))),
        )
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{source} notes its pruning or its classes in a way that is not understood here"
            f" ({error}); was it written by a newer version?"
        ) from error


def pruning_fields(pruning: PruningConfig) -> dict[str, Any]:
    """A pruning as JSON holds it: lists for tuples, and "inf"."""
    return _values(dataclasses.asdict(pruning), list, math.inf, "inf")


def _values(value: Any, sequence: Any = tuple, old: Any = "inf", new: Any = math.inf) -> Any:
    """The value with all sequences of one type, and `new` in the place of `old`."""
    if isinstance(value, dict):
        return {name: _values(entry, sequence, old, new) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return sequence(_values(entry, sequence, old, new) for entry in value)
    return new if value == old else value
