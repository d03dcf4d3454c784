"""Other people's models, to be timed beside ours where they are installed."""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from renyi_jax.errors import UserError, nearest

Forward = Callable[[np.ndarray], Any]


def check_peers(names: Sequence[str]) -> None:
    """Raises `UserError` for a peer that is not known, or not installed."""
    for name in names:
        if name not in PEERS:
            raise UserError(
                f"Unknown peer {name!r}; known: {', '.join(PEERS)}.{nearest(name, PEERS)}"
            )
        missing = [each for each in ("torch", "timm") if importlib.util.find_spec(each) is None]
        if missing:
            raise UserError(
                f"--peers={name} needs {' and '.join(missing)}:"
                " pip install -r requirements-parity.txt"
            )


def timm(model: str, image_size: tuple[int, int], dtype: str) -> Forward:
    """The model of timm with this name, in eager PyTorch on the CPU, with random weights.

    Raises:
        UserError: timm does not know the model.
    """
    import timm as library
    import torch

    if model not in library.list_models():
        raise UserError(f"timm has no model {model!r}; leave --peers=timm out.")
    network = library.create_model(model, img_size=image_size).eval().to(getattr(torch, dtype))

    def forward(images: np.ndarray) -> Any:
        with torch.inference_mode():
            pixels = torch.from_numpy(images).permute(0, 3, 1, 2).to(getattr(torch, dtype))
            return network(pixels)

    return forward


PEERS: dict[str, Callable[[str, tuple[int, int], str], Forward]] = {"timm": timm}
