"""Entropy-based patch pruning for Vision Transformers in JAX."""

import importlib
import os
import sys
from typing import Any

# As long as Python imports the packages of a command.
if sys.argv and os.path.basename(sys.argv[0]) in ("-m", "renyi-jax"):
    from renyi_jax.common import extras, signals

    signals.note()
    sys.excepthook = extras.tell

from renyi_jax import entropy, pruning
from renyi_jax.common.version import __version__
from renyi_jax.models import (
    attention_maps,
    create_model,
    entropy_maps,
    flops,
    list_models,
    load,
    load_weights,
    save_weights,
)
from renyi_jax.pruning import PruningConfig

__all__ = [
    "PruningConfig",
    "__version__",
    "attention_maps",
    "create_model",
    "entropy",
    "entropy_maps",
    "flops",
    "list_models",
    "load",
    "load_weights",
    "pruning",
    "save_weights",
]


def __getattr__(name: str) -> Any:
    """Imports what takes a second only when it is asked for: `renyi_jax.inference` draws images,
    and `renyi_jax.planning` figures."""
    if name == "inference":
        return importlib.import_module("renyi_jax.inference")
    if name in ("Plan", "find_plan"):
        return getattr(importlib.import_module("renyi_jax.planning"), name)
    raise AttributeError(f"module 'renyi_jax' has no attribute {name!r}")
