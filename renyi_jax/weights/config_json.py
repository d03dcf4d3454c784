"""What timm and transformers write beside weights, as the notes of this project's own files."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIGS = ("config.json", "preprocessor_config.json")

_LARGEST = 1 << 20
_RESAMPLINGS = {2: "bilinear", 3: "bicubic"}  # as Pillow numbers them
_KNOWN = tuple(_RESAMPLINGS.values())
_ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "quick_gelu": "quick_gelu"}
_UNNAMED = re.compile(r"LABEL_\d+")


def notes_beside(weights: Path) -> dict[str, str]:
    """Returns the notes that the config.json in the folder of `weights` amounts to, JSON in each.

    None, if there is no such file, or one of another program.
    """
    try:
        config = _read(weights.with_name(CONFIGS[0]))
        if isinstance(config.get("architecture"), str):
            notes = _of_timm(config)
        elif isinstance(config.get("model_type"), str):
            notes = _of_transformers(config, _read(weights.with_name(CONFIGS[1])))
        else:
            return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in notes.items()
        if value is not None
    }


def _of_timm(config: Mapping[str, Any]) -> dict[str, Any]:
    pixels = config.get("pretrained_cfg", config)  # older files have both in one
    name, tag = config["architecture"], pixels.get("tag")
    size = config.get("model_args", {}).get("img_size") or pixels.get("input_size", ())[1:]
    return {
        "model": f"{name}.{tag}" if tag else name,
        "image_size": _noted(size),
        "num_classes": config.get("num_classes", pixels.get("num_classes")),
        "class_names": _in_order(config.get("label_names", pixels.get("label_names"))),
        **{field: pixels.get(field) for field in ("mean", "std", "crop_pct")},
        "interpolation": name if (name := pixels.get("interpolation")) in _KNOWN else None,
    }


def _of_transformers(config: Mapping[str, Any], pixels: Mapping[str, Any]) -> dict[str, Any]:
    classifies = any("Classification" in name for name in config.get("architectures") or ())
    labels = _in_order(config.get("id2label")) if classifies else None
    is_named = labels and not all(_UNNAMED.fullmatch(label) for label in labels)
    shape = config.get("vision_config", config)
    resized, crop = (_height_width(pixels.get(name)) for name in ("size", "crop_size"))
    share = crop[0] / resized[0] if pixels.get("do_center_crop") and resized and crop else 1.0
    normalizes = pixels.get("do_normalize", True)
    return {
        "family": config["model_type"].split("_")[0],
        "image_size": _noted(shape.get("image_size")),
        "num_classes": len(labels) if labels else None,
        "class_names": labels if is_named else None,
        "mean": pixels.get("image_mean") if normalizes else [0, 0, 0],
        "std": pixels.get("image_std") if normalizes else [1, 1, 1],
        "crop_pct": min(1.0, share) if pixels else None,
        "interpolation": _RESAMPLINGS.get(pixels.get("resample", 0)),
        "activation": _ACTIVATIONS.get(shape.get("hidden_act")),
        "embed_dim": shape.get("hidden_size"),
        "depth": shape.get("num_hidden_layers"),
        "num_heads": shape.get("num_attention_heads"),
        "patch_size": shape.get("patch_size"),
    }


def _read(path: Path) -> dict[str, Any]:
    """The object in a file of JSON; an empty one, if there is no such file."""
    if not path.is_file() or path.stat().st_size > _LARGEST:
        return {}
    read = json.loads(path.read_bytes())
    return read if isinstance(read, dict) else {}


def _height_width(size: Any) -> tuple[int, int] | None:
    """Both sides, from one, from both, or from a dictionary with either."""
    if isinstance(size, dict):
        size = size.get("shortest_edge") or (size["height"], size["width"])
    if not size:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _noted(size: Any) -> str | None:
    sides = _height_width(size)
    return sides and f"{sides[0]}x{sides[1]}"


def _in_order(labels: Any) -> list[str] | None:
    """The names of a list, or of a dictionary from the labels."""
    if isinstance(labels, dict):
        labels = [labels[str(label)] for label in range(len(labels))]
    return list(labels) if labels else None
