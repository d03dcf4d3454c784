"""What a file of weights says of its model, beside the weights: safetensors metadata, JSON in it.

Files of timm say nothing.
"""

import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from renyi_jax.errors import UserError
from renyi_jax.models.vit import VisionTransformer
from renyi_jax.pruning import PruningConfig


class Notes(NamedTuple):
    """What is known of a model; None for what is not.

    Attributes:
        model: its name.
        image_size: (height, width) in pixels, of its positional embedding.
        pruning: that it was trained with.
        class_names: in the order of the classes.
    """

    model: str | None = None
    image_size: tuple[int, int] | None = None
    pruning: PruningConfig | None = None
    class_names: tuple[str, ...] | None = None


def write_notes(
    model: VisionTransformer, class_names: Sequence[str] | None = None
) -> dict[str, str]:
    """Returns the metadata of a file with the weights of `model`, which `read_notes` reads.

    Raises:
        UserError: there is not one class name for each class.
    """
    height, width = model.spec.image_size
    metadata = {"format": "pt", "image_size": f"{height}x{width}"}  # "format" is for other programs
    if model.spec.name:
        metadata["model"] = model.spec.name
    if model.pruning is not None:
        metadata["pruning"] = json.dumps(model.pruning.to_json())
    if class_names is not None:
        if len(class_names) != model.spec.num_classes:
            raise UserError(
                f"There are {len(class_names)} class names, and the model has"
                f" {model.spec.num_classes} classes; expected one name for each."
            )
        metadata["class_names"] = json.dumps(list(class_names), ensure_ascii=False)
    return metadata


def read_notes(metadata: Mapping[str, str], source: object) -> Notes:
    """Returns what the metadata of a file say.

    Args:
        metadata: of a `Checkpoint`.
        source: names the file in errors.

    Raises:
        UserError: a note that cannot be understood.
    """
    notes = {}
    for field, (parse, longest) in _FIELDS.items():
        if (text := metadata.get(field)) is None:
            continue
        try:
            if len(text) > longest:
                raise ValueError(f"it has {len(text):,} characters")
            notes[field] = parse(text)
        except (ValueError, TypeError, RecursionError) as error:
            reason = textwrap.shorten(str(error), 300, placeholder=" ...")
            raise UserError(
                f"{source} notes its {field} in a way that is not understood here ({reason}); was"
                " it written by a newer version?"
            ) from error
    return Notes(**notes)


def _parse_model(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} is no name of a model")
    return text


def _parse_image_size(text: str) -> tuple[int, int]:
    size = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if not size:
        raise ValueError(f"{text!r}, expected HEIGHTxWIDTH in pixels")
    return int(size[1]), int(size[2])


def _parse_pruning(text: str) -> PruningConfig:
    return PruningConfig.from_json(_json(text))


def _parse_class_names(text: str) -> tuple[str, ...]:
    names = _json(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("expected a list of names")
    "".join(names).encode()  # half a character can be written in JSON, and not be printed
    return tuple(names)


def _json(text: str) -> Any:
    def parse_int(digits: str) -> int:
        if len(digits) > 15:
            raise ValueError(f"the number {digits[:20]}... is too large")
        return int(digits)

    return json.loads(text, parse_int=parse_int)


_FIELDS: dict[str, tuple[Callable[[str], Any], int]] = {
    "model": (_parse_model, 100),
    "image_size": (_parse_image_size, 11),
    "pruning": (_parse_pruning, 10_000),
    "class_names": (_parse_class_names, 1 << 24),
}
"""The parser of each field of `Notes`, and the most characters that it may have."""
