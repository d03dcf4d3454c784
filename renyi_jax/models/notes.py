"""What is said of weights beside the weights: in the metadata of safetensors, or in a config.json.

The files of this project say all of it themselves.
"""

import json
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from renyi_jax.common.fields import MAX_CLASSES, Field, integer, number, one_of, several
from renyi_jax.errors import UserError
from renyi_jax.images import INTERPOLATIONS
from renyi_jax.models.classes import check_class_names
from renyi_jax.models.layers import ACTIVATIONS
from renyi_jax.models.registry import model_spec
from renyi_jax.models.vit import VisionTransformer
from renyi_jax.pruning import PruningConfig

Triple = tuple[float, ...]

PIXELS = ("mean", "std", "crop_pct", "interpolation")
"""The fields of `ModelSpec` that weights decide, and no tensor shows."""

SHAPE = ("embed_dim", "depth", "num_heads", "patch_size")
"""Those that the tensors have to agree with."""


class Notes(NamedTuple):
    """What is known of a model; None for what is not."""

    model: str | None = None  # its name
    family: str | None = None  # a word of the names that it may have
    # (height, width) in pixels, of its positional embedding
    image_size: tuple[int, int] | None = None
    num_classes: int | None = None  # outputs of its classifier
    class_names: tuple[str, ...] | None = None  # in the order of the classes
    pruning: PruningConfig | None = None  # that it was trained with
    # of the pixels that it takes, like all from here on as in `ModelSpec`
    mean: Triple | None = None
    std: Triple | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    activation: str | None = None
    embed_dim: int | None = None
    depth: int | None = None
    num_heads: int | None = None
    patch_size: int | None = None

    def known(self, fields: Sequence[str]) -> dict[str, Any]:
        """Returns those of the fields that are known, by their names."""
        return {name: value for name in fields if (value := getattr(self, name)) is not None}


def write_notes(
    model: VisionTransformer, class_names: Sequence[str] | None = None
) -> dict[str, str]:
    """Returns the metadata of a file with the weights of `model`, which `read_notes` reads.

    Raises UserError: there is not one class name for each class.
    """
    spec = model.spec
    height, width = spec.image_size
    metadata = {"format": "pt", "image_size": f"{height}x{width}"}  # "format" is for other programs
    if spec.name:
        metadata["model"] = spec.name
        named = model_spec(spec.name)
        for field in PIXELS:
            if getattr(spec, field) != getattr(named, field):
                value = getattr(spec, field)
                metadata[field] = value if isinstance(value, str) else json.dumps(value)
    if model.pruning is not None:
        metadata["pruning"] = json.dumps(model.pruning.to_json())
    if class_names is not None:
        check_class_names(class_names, spec.num_classes)
        metadata["class_names"] = json.dumps(list(class_names), ensure_ascii=False)
    return metadata


def read_notes(metadata: Mapping[str, str], source: object) -> Notes:
    """Returns what the metadata of a file say.

    Raises UserError: a note that cannot be understood.
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


def _parse_pruning(text: str) -> PruningConfig:
    def parse_int(digits: str) -> int:
        if len(digits) > 15:
            raise ValueError(f"the number {digits[:20]}... is too large")
        return int(digits)

    return PruningConfig.from_json(json.loads(text, parse_int=parse_int))


def _parse_name(text: str) -> str:
    if not text.isprintable():
        raise ValueError(f"{text!r} is no name of a model")
    return text


def _parse_image_size(text: str) -> tuple[int, int]:
    size = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if not size:
        raise ValueError(f"{text!r}, expected HEIGHTxWIDTH in pixels")
    return int(size[1]), int(size[2])


def _parse_class_names(text: str) -> tuple[str, ...]:
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("expected a list of names")
    "".join(names).encode()  # half a character can be written in JSON, and not be printed
    return tuple(names)


def _parser_of(field: Field, length: int | None = None) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = json.loads(text)
        try:
            parsed = field.parse(value)
        except ValueError as error:
            raise ValueError(f"{text}, expected {field.expected}") from error
        if length is not None and len(parsed) != length:
            raise ValueError(f"{text}, expected {length} numbers")
        return parsed

    return parse


_COUNT = _parser_of(integer(1, 1, 1 << 20))

_FIELDS: dict[str, tuple[Callable[[str], Any], int]] = {
    "model": (_parse_name, 100),
    "family": (_parse_name, 100),
    "image_size": (_parse_image_size, 11),
    "num_classes": (_parser_of(integer(0, 0, MAX_CLASSES)), 20),
    "class_names": (_parse_class_names, 1 << 24),
    "pruning": (_parse_pruning, 10_000),
    "mean": (_parser_of(several((), number(0.0, "[0, 1]")), 3), 200),
    "std": (_parser_of(several((), number(1.0, "(0, 1]")), 3), 200),
    "crop_pct": (_parser_of(number(1.0, "(0, 1]")), 50),
    "interpolation": (lambda text: one_of("bicubic", INTERPOLATIONS).parse(text), 20),
    "activation": (lambda text: one_of("gelu", ACTIVATIONS).parse(text), 20),
    **dict.fromkeys(SHAPE, (_COUNT, 20)),
}
"""The parser of each field of `Notes`, and the most characters that it may have."""
