"""Holds pruned models against the code that the authors of EViT and ToMe published.

Both sides have the same weights, drawn at random so that attention is far from even, and see the
same noise. Printed is the largest difference of any logit, over the largest logit. Needs
requirements-parity.txt, and a checkout of either or both:

    git clone https://github.com/youweiliang/evit
    git clone https://github.com/facebookresearch/ToMe
    python tools/compare_with_originals.py --evit=evit --tome=ToMe
"""

import argparse
import copy
import importlib
import pathlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from renyi_jax import PruningConfig
from renyi_jax.measuring.side_by_side import Group, random_model
from renyi_jax.measuring.torch_peers import import_timm
from renyi_jax.models.weights import fill
from renyi_jax.weights import Checkpoint

BLOCKS = (4, 7, 10)
"""Where EViT prunes."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--evit", help="a checkout of github.com/youweiliang/evit")
    parser.add_argument("--tome", help="a checkout of github.com/facebookresearch/ToMe")
    parser.add_argument("--models", default="deit_small_patch16_224")
    parser.add_argument("--keep_rates", default="0.9,0.7,0.5,0.3", help="of EViT")
    parser.add_argument("--r", default="8,13,16", help="of ToMe, in every block")
    arguments = parser.parse_args()
    if not (arguments.evit or arguments.tome):
        parser.error("give --evit=DIR, or --tome=DIR, or both")
    try:
        timm = import_timm()
        import torch
    except ImportError as error:
        parser.error(f"{error}: it needs what requirements-parity.txt lists")
    noise = np.random.default_rng(1).normal(size=(2, 224, 224, 3)).astype(np.float32)
    for name in arguments.models.split(","):
        original = _random_model(timm, name)
        tensors = {key: value.numpy() for key, value in original.state_dict().items()}
        plain = random_model(Group(name, (224, 224), "float32", 1))
        fill(plain, Checkpoint(pathlib.Path(name), tensors, {}))
        for label, pruning, theirs in _pairs(original, arguments):
            with torch.no_grad():
                expected = theirs(torch.from_numpy(noise.transpose(0, 3, 1, 2).copy())).numpy()
            ours = plain.with_pruning(pruning)
            actual = np.asarray(
                nnx.jit(lambda model, images: model(images))(ours, jnp.asarray(noise))
            )
            difference = np.abs(actual - expected).max() / np.abs(expected).max()
            print(f"{name}  {label:28} {difference:.1e}", flush=True)
            jax.clear_caches()


def _random_model(timm: types.ModuleType, name: str) -> Any:
    import torch

    torch.manual_seed(0)
    model = timm.create_model(name)
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith(("qkv.weight", "head.weight")):
            torch.nn.init.normal_(parameter, std=0.08)
    return model.eval()


def _pairs(original: Any, arguments: argparse.Namespace) -> Iterator[tuple]:
    """What is compared: its name, our pruning, and their model."""
    if arguments.evit:
        build = _evit(arguments.evit)
        for reducer in ("drop", "fuse"):
            for rate in map(float, arguments.keep_rates.split(",")):
                pruning = PruningConfig(
                    criterion="cls_attention", keep_rate=rate, blocks=BLOCKS, reducer=reducer
                )
                yield f"EViT, {reducer}, keep rate {rate}", pruning, build(original, pruning)
    if arguments.tome:
        build = _tome(arguments.tome)
        for r in map(int, arguments.r.split(",")):
            blocks = tuple(range(1, len(original.blocks) + 1))
            yield (
                f"ToMe, r = {r}",
                PruningConfig(reducer="merge", blocks=blocks, r=r),
                build(original, r),
            )


def _evit(checkout: str) -> Callable[[Any, PruningConfig], Any]:
    sys.path.insert(0, checkout)
    # It counts multiply-adds with this, which is not asked for here.
    sys.modules.setdefault("torchprofile", types.SimpleNamespace(profile_macs=None))  # type: ignore
    evit = importlib.import_module("evit")

    def build(original: Any, pruning: PruningConfig) -> Any:
        rates = [1.0] * len(original.blocks)
        for block in pruning.blocks:
            rates[block - 1] = pruning.keep_rate
        model = evit.EViT(
            embed_dim=original.embed_dim,
            depth=len(original.blocks),
            num_heads=original.blocks[0].attn.num_heads,
            num_classes=original.num_classes,
            keep_rate=tuple(rates),
            fuse_token=pruning.reducer == "fuse",
        )
        model.load_state_dict(original.state_dict())
        return model.eval()

    return build


def _tome(checkout: str) -> Callable[[Any, int], Any]:
    sys.path.insert(0, checkout)
    patch = importlib.import_module("tome.patch.timm")

    def build(original: Any, r: int) -> Any:
        model = copy.deepcopy(original)
        patch.apply_patch(model, prop_attn=True)
        model.r = r
        return model

    return build


if __name__ == "__main__":
    main()
