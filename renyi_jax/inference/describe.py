"""What has to be known of a model to give it images, as JSON holds it."""

from typing import Any

from renyi_jax.models import VisionTransformer, flops


def describe(model: VisionTransformer) -> dict[str, Any]:
    """The model, its pixels and its pruning; an infinite alpha is "inf"."""
    spec = model.spec
    return {
        "model": spec.name,
        "num_classes": spec.num_classes,
        "image_size": list(spec.image_size),
        "crop_pct": spec.crop_pct,
        "interpolation": spec.interpolation,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "pruning": model.pruning and model.pruning.to_json(),
        "gmacs": flops(model) / 1e9,
    }
