"""What a family of models is: rows by timm's names, and what the tags behind a name change."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from renyi_jax.models.spec import ModelSpec

WIDTHS = {
    "tiny": {"embed_dim": 192, "depth": 12, "num_heads": 3},
    "small": {"embed_dim": 384, "depth": 12, "num_heads": 6},
    "base": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "large": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
    "so400m": {"embed_dim": 1152, "depth": 27, "num_heads": 16, "mlp_ratio": 3.7362},
    "huge": {"embed_dim": 1280, "depth": 32, "num_heads": 16},
}

HALF = (0.5, 0.5, 0.5)


class Family(NamedTuple):
    """Models of one kind."""

    models: dict[str, ModelSpec]  # the shapes by name
    # what the part of a name behind its dot changes of the shape, by the tag, or by the whole name
    # where it is not the same for all
    tags: Mapping[str, dict[str, Any]] = MappingProxyType({})


def rows(pattern: str, *sizes: str, **shape: Any) -> dict[str, ModelSpec]:
    """Returns a row for each of `sizes`, which takes the place of {} in `pattern`."""
    return {pattern.format(size): ModelSpec(**(WIDTHS[size] | shape)) for size in sizes}


def square(side: int) -> tuple[int, int]:
    """Returns the image size of square images."""
    return side, side
