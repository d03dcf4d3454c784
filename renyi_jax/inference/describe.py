"""What has to be known of a model to give it pictures, as JSON holds it."""

import dataclasses
import math
from typing import Any

from renyi_jax.models import VisionTransformer, flops
from renyi_jax.models.fit import model_name


def describe(model: VisionTransformer) -> dict[str, Any]:
    """The model, its pixels and its pruning; an infinite alpha is "inf"."""
    spec = model.spec
    return {
        "model": model_name(spec),
        "num_classes": spec.num_classes,
        "image_size": list(spec.image_size),
        "crop_pct": spec.crop_pct,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "pruning": model.pruning and _plain(dataclasses.asdict(model.pruning)),
        "gmacs": flops(model) / 1e9,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return "inf" if value == math.inf else value
