"""From what a user types to the file of weights, and what is noted beside it."""

import importlib.resources
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from renyi_jax.errors import UserError, nearest

INDEX = "model.safetensors.index.json"
"""Which file holds which tensor, where large weights lie in several."""

FILES = ("model.safetensors", INDEX, "pytorch_model.bin", "model.pth")
"""What a directory or a repository of the hub is searched for, in this order."""

_SHARDS = "model-*-of-*.safetensors"
_HUB = re.compile(r"(?:hf[_-]hub:|(?=timm/))(?P<repository>[^@]+)(?:@(?P<revision>.+))?")
_EMBEDDED = "embedded:"
_EXPECTED = (
    f"Expected a file, a directory with one of {', '.join(FILES)}, hf_hub:OWNER/NAME, or"
    f" {_EMBEDDED}NAME."
)


def locate(source: str | Path) -> Path:
    """Finds the file that `source` stands for.

    Args:
        source: a file; a directory that holds one of `FILES`; `hf_hub:owner/name[@revision]`, or
            `timm/name`, on the Hugging Face hub, which is asked for its config.json too; or
            `embedded:NAME`, shipped in this package.

    Raises UserError: there is no such file, it is no regular one, or the hub cannot be reached and
    the local cache does not have it.
    """
    text = os.fspath(source)
    if text.startswith(_EMBEDDED):
        return _embedded(text.removeprefix(_EMBEDDED))
    if not text.strip() or "\0" in text:
        raise UserError(f"No weights at {text!r}. {_EXPECTED}")
    path = Path(os.path.expanduser(text))
    try:
        if path.is_dir():
            path = _in_directory(path)
        if path.is_file():
            return path
        if path.exists():  # such as a pipe, which would be waited for
            raise UserError(f"{path} is no regular file. {_EXPECTED}")
        if match := _HUB.fullmatch(text):
            return _download(match["repository"], match["revision"])
        siblings = [sibling.name for sibling in path.parent.glob("*")]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    raise UserError(f"No weights at {text!r}.{nearest(path.name, siblings)} {_EXPECTED}")


def timm_repository(source: str | Path) -> str | None:
    """Returns the name of the model that a repository of timm on the hub is called after."""
    match = _HUB.fullmatch(os.fspath(source))
    is_timm = match and match["repository"].startswith("timm/") and not Path(source).exists()
    return match["repository"].removeprefix("timm/") if match and is_timm else None


def _embedded(name: str) -> Path:
    folder = Path(str(importlib.resources.files("renyi_jax"))) / "assets"
    names = sorted(path.stem for path in folder.glob("*.safetensors"))
    if name not in names:
        raise UserError(
            f"No weights named {name!r} are shipped; shipped: {', '.join(names) or 'none'}."
            + nearest(name, names)
        )
    return folder / f"{name}.safetensors"


def _in_directory(folder: Path) -> Path:
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    unfinished = (
        f" A run writes {FILES[0]} into its workdir when it ends: start renyi_jax.main again to let"
        " it go on to its end."
    )
    is_run = (folder / "checkpoints").is_dir() or folder.name == "checkpoints"
    raise UserError(
        f"No weights in the directory {folder}: it has none of {', '.join(FILES)}."
        + (unfinished if is_run else "")
    )


def _download(repository: str, revision: str | None) -> Path:
    """The file in the hub's own cache, where it is brought to if the hub can be reached."""
    try:
        # Safetensors first: the other files may hold the same weights once more.
        for names in ([*CONFIGS, *FILES[:2], _SHARDS], *([name] for name in FILES[2:])):
            folder = Path(snapshot_download(repository, revision=revision, allow_patterns=names))
            for name in FILES:
                if (folder / name).is_file():
                    return folder / name
    except LocalEntryNotFoundError:
        raise UserError(
            f"{repository!r} is not in the local cache, and the Hugging Face hub cannot be reached."
            " Download the file elsewhere, and name it."
        ) from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"The Hugging Face hub does not give {repository!r}: {reason}") from None
    raise UserError(f"{repository!r} on the Hugging Face hub has none of {', '.join(FILES)}.")


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
