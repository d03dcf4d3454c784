"""Writes small weights as other projects write them, and what their own models make of images.

Run it again, from the repository, where a table of `renyi_jax.weights.projects` is new; it needs
what requirements-parity.txt names:

  PYTHONPATH=.:tests python tests/weights/write_project_files.py
"""

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from parity import TINY, import_timm, random_images, run_timm, tiny_spec

from renyi_jax.models import MODELS, ModelSpec

FOLDER = Path(__file__).parent / "data" / "projects"

_SHAPE = {
    "hidden_size": TINY["embed_dim"],
    "num_hidden_layers": TINY["depth"],
    "num_attention_heads": TINY["num_heads"],
    "patch_size": TINY["patch_size"],
    "image_size": TINY["image_size"][0],
}
_MLP = {"intermediate_size": 4 * TINY["embed_dim"]}


class Source(NamedTuple):
    """A model of another project: the kind of ours, how it differs, and what writes its files.

    Attributes:
        model: ours.
        write: writes the files into a folder, and returns what the model makes of the images: its
            outputs, or without a head all tokens after the last norm.
        changes: of the spec of our model at the size of `TINY`.
    """

    model: str
    write: Callable[[Path, np.ndarray], np.ndarray]
    changes: dict[str, Any] = {}  # noqa: RUF012

    def spec(self) -> ModelSpec:
        """Our model at a size of kilobytes, with a head if it has one of its own."""
        spec = MODELS[self.model]
        tiny = TINY if spec.num_classes else TINY | _HEADLESS
        return dataclasses.replace(spec, **(tiny | self.changes))


def import_transformers() -> ModuleType:
    """transformers, which imports torchvision; timm's import makes that possible."""
    import_timm()
    return importlib.import_module("transformers")


def _transformers(model: str, config: str, **options):
    def write(folder: Path, images: np.ndarray) -> np.ndarray:
        import torch

        transformers = import_transformers()
        built = getattr(transformers, model)(getattr(transformers, config)(**options))
        _randomize(built)
        built.eval().save_pretrained(folder, max_shard_size="6KB")
        with torch.no_grad():
            outputs = built(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
        kinds = ("logits", "image_embeds", "last_hidden_state")
        return next(outputs[kind] for kind in kinds if outputs.get(kind) is not None).numpy()

    return write


def _augreg(folder: Path, images: np.ndarray) -> np.ndarray:
    """As Google wrote them; timm, whose models they became, reads them."""
    draw = np.random.default_rng(0)
    width, heads, patch, classes = (
        TINY[name] for name in ("embed_dim", "num_heads", "patch_size", "num_classes")
    )
    each = (heads, width // heads)
    shapes: dict[str, tuple[int, ...]] = {
        "cls": (1, 1, width),
        "embedding/kernel": (patch, patch, 3, width),
        "embedding/bias": (width,),
        "Transformer/posembed_input/pos_embedding": (1, 1 + (16 // patch) ** 2, width),
        "Transformer/encoder_norm/scale": (width,),
        "Transformer/encoder_norm/bias": (width,),
        "head/kernel": (width, classes),
        "head/bias": (classes,),
    }
    for block in range(TINY["depth"]):
        place = f"Transformer/encoderblock_{block}"
        for norm in (f"{place}/LayerNorm_0", f"{place}/LayerNorm_2"):
            shapes |= {f"{norm}/scale": (width,), f"{norm}/bias": (width,)}
        attention = f"{place}/MultiHeadDotProductAttention_1"
        for name in ("query", "key", "value"):
            shapes |= {f"{attention}/{name}/kernel": (width, *each)}
            shapes |= {f"{attention}/{name}/bias": each}
        shapes |= {f"{attention}/out/kernel": (*each, width), f"{attention}/out/bias": (width,)}
        for number, (inputs, outputs) in enumerate(((width, 4 * width), (4 * width, width))):
            dense = f"{place}/MlpBlock_3/Dense_{number}"
            shapes |= {f"{dense}/kernel": (inputs, outputs), f"{dense}/bias": (outputs,)}
    arrays = {
        name: draw.standard_normal(shape).astype(np.float32) * 0.3 for name, shape in shapes.items()
    }
    np.savez(folder / "model.npz", **arrays)
    model = _timm_model("vit_tiny_patch16_224", classes)
    model.load_pretrained(folder / "model.npz")
    return run_timm(model, images)


def _dinov2(folder: Path, images: np.ndarray) -> np.ndarray:
    """As facebookresearch's own models are saved; timm's conversion of them is the reference."""
    import torch

    model = _timm_model("vit_small_patch14_reg4_dinov2", 0)
    from timm.models.vision_transformer import checkpoint_filter_fn

    _randomize(model)
    weights = model.state_dict()
    theirs = {name: tensor for name, tensor in weights.items() if name != "reg_token"}
    theirs["register_tokens"] = weights["reg_token"]
    theirs["pos_embed"] = torch.cat([torch.randn(1, 1, 8), weights["pos_embed"]], dim=1)
    theirs["mask_token"] = torch.zeros(1, 8)
    torch.save(theirs, folder / "model.pth")
    model.load_state_dict(checkpoint_filter_fn(dict(theirs), model))
    return run_timm(model, images, features=True)


def _dinov3(folder: Path, images: np.ndarray, gated: bool = False) -> np.ndarray:
    """As facebookresearch's own models are saved; timm's conversion of them is the reference."""
    import torch

    name = f"vit_small{'_plus' if gated else ''}_patch16_dinov3_qkvb"
    model = _timm_model(name, 0)
    _randomize(model)
    from timm.models.eva import checkpoint_filter_fn

    spelled = {"reg_token": "storage_tokens", "gamma_1": "ls1.gamma", "gamma_2": "ls2.gamma"}
    spelled |= {"fc1_g": "w1", "fc1_x": "w2", "fc2": "w3"} if gated else {}
    weights = model.state_dict()
    theirs = {"mask_token": torch.zeros(1, 8), "rope_embed.periods": torch.ones(1)}
    for ours, tensor in weights.items():
        if ours.endswith("q_bias"):
            values = weights[ours.replace("q_bias", "v_bias")]
            name = ours.replace("q_bias", "qkv.bias")
            theirs[name] = torch.cat([tensor, torch.randn(8), values])
            theirs[f"{name}_mask"] = torch.cat([torch.ones(8), torch.zeros(8), torch.ones(8)])
        elif not ours.endswith(("v_bias", "k_bias")):
            end = next((part for part in spelled if f".{part}" in f".{ours}"), None)
            theirs[ours.replace(end, spelled[end]) if end else ours] = tensor
    torch.save(theirs, folder / "model.pth")
    model.load_state_dict(checkpoint_filter_fn(dict(theirs), model))
    return run_timm(model, images, features=True)


def _dinov3_gated(folder: Path, images: np.ndarray) -> np.ndarray:
    return _dinov3(folder, images, gated=True)


def _timm_model(name: str, num_classes: int):
    shape = {name: TINY[name] for name in ("patch_size", "embed_dim", "depth", "num_heads")}
    size = TINY["image_size"]
    return import_timm().create_model(name, img_size=size, num_classes=num_classes, **shape).eval()


def _randomize(model) -> None:
    """Every parameter, so that it matters: norms and LayerScale begin as the identity or nearly."""
    import torch

    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)


_HEADLESS = {"num_classes": 0}
_CLASSIFIER = _SHAPE | _MLP | {"num_labels": TINY["num_classes"]}
_REGISTERS = {"num_register_tokens": 4}

SOURCES = {
    "vit": Source(
        "vit_tiny_patch16_224",
        _transformers("ViTForImageClassification", "ViTConfig", **_CLASSIFIER),
    ),
    "vit_backbone": Source(
        "vit_tiny_patch16_224", _transformers("ViTModel", "ViTConfig", **_SHAPE, **_MLP), _HEADLESS
    ),
    "deit": Source(
        "deit_tiny_distilled_patch16_224",
        _transformers("DeiTForImageClassificationWithTeacher", "DeiTConfig", **_CLASSIFIER),
    ),
    "dinov2": Source(
        "vit_small_patch14_dinov2", _transformers("Dinov2Model", "Dinov2Config", **_SHAPE)
    ),
    "dinov2_with_registers": Source(
        "vit_small_patch14_reg4_dinov2",
        _transformers("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig", **_SHAPE),
    ),
    "dinov3": Source(
        "vit_small_patch16_dinov3_qkvb",
        _transformers("DINOv3ViTModel", "DINOv3ViTConfig", **_SHAPE, **_MLP, **_REGISTERS),
    ),
    "dinov3_gated": Source(
        "vit_small_plus_patch16_dinov3_qkvb",
        _transformers(
            *("DINOv3ViTModel", "DINOv3ViTConfig"),
            **(_SHAPE | _MLP | _REGISTERS | {"use_gated_mlp": True, "hidden_act": "silu"}),
        ),
    ),
    "siglip": Source(
        "vit_base_patch32_siglip_256",
        _transformers("SiglipVisionModel", "SiglipVisionConfig", **_SHAPE, **_MLP),
    ),
    "siglip_without_pooling": Source(
        "vit_base_patch32_siglip_gap_256",
        _transformers(
            *("SiglipVisionModel", "SiglipVisionConfig"),
            **(_SHAPE | _MLP | {"vision_use_head": False}),
        ),
    ),
    "clip": Source(
        "vit_base_patch16_clip_quickgelu_224",
        _transformers(
            *("CLIPVisionModelWithProjection", "CLIPVisionConfig"),
            **_SHAPE,
            **_MLP,
            projection_dim=TINY["num_classes"],
        ),
        {"num_classes": TINY["num_classes"]},
    ),
    "augreg": Source("vit_tiny_patch16_224", _augreg),
    "facebook_dinov2": Source("vit_small_patch14_reg4_dinov2", _dinov2),
    "facebook_dinov3": Source("vit_small_patch16_dinov3_qkvb", _dinov3),
    "facebook_dinov3_gated": Source("vit_small_plus_patch16_dinov3_qkvb", _dinov3_gated),
}


def write(name: str, folder: Path) -> np.ndarray:
    """Writes the files of a source into a folder, and returns what its model says of IMAGES."""
    folder.mkdir(parents=True, exist_ok=True)
    return SOURCES[name].write(folder, IMAGES)


IMAGES = random_images(tiny_spec("plain"))


if __name__ == "__main__":
    np.savez(FOLDER / "outputs.npz", **{name: write(name, FOLDER / name) for name in SOURCES})
