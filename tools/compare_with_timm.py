"""Holds models against timm's of the same names, with the same random weights and images.

    python tools/compare_with_timm.py vit_base_patch16_siglip_224 vit_small_patch16_dinov3:256x384

prints, for each name and image size, the largest difference of any output over the largest output.
Needs torch and timm, which requirements-parity.txt names.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from flax import nnx

import renyi_jax
from renyi_jax.measuring.torch_peers import import_timm
from renyi_jax.models import fill
from renyi_jax.weights import Checkpoint


def randomize(model, seed: int = 0) -> None:
    """Makes every parameter random enough to matter: as initialised, LayerScale is nearly zero."""
    import torch

    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        is_scale = "gamma" in name
        parameter.data = 0.5 + 0.2 * noise if is_scale else parameter.data + 0.05 * noise


def difference(name: str, image_size: tuple[int, int]) -> float:
    """Returns the largest difference of any output over timm's largest output."""
    import torch

    theirs = import_timm().create_model(name, img_size=image_size, num_classes=0).eval()
    randomize(theirs)
    ours = renyi_jax.create_model(name, image_size=image_size, num_classes=0, rngs=nnx.Rngs(0))
    tensors = {key: tensor.numpy() for key, tensor in theirs.state_dict().items()}
    fill(ours, Checkpoint(Path("timm"), tensors, {}))
    images = np.random.default_rng(0).standard_normal((1, *image_size, 3)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    outputs = np.asarray(jax.jit(lambda x: ours(x))(images))
    return float(np.abs(outputs - expected).max() / np.abs(expected).max())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="NAME[:HxW]")
    for argument in parser.parse_args().models:
        name, _, size = argument.partition(":")
        size = tuple(map(int, size.split("x"))) if size else None
        size = size or renyi_jax.models.MODELS[name].image_size
        print(f"{name} {size[0]} x {size[1]}: {difference(name, size):.1e}")
