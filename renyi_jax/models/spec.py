"""`ModelSpec`: the whole shape of a model in one place."""

import dataclasses

from renyi_jax.models.rotary import Rotary

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Everything that a name stands for, and the pixels that its weights expect.

    Attributes:
        embed_dim: width of a token.
        depth: number of blocks.
        num_heads: attention heads per block.
        patch_size: side of a patch in pixels.
        image_size: (height, width) in pixels.
        num_classes: outputs of the head; 0 is no head.
        class_token: whether there is one.
        distilled: a distillation token with a head of its own (DeiT).
        num_registers: register tokens (Darcet et al. 2024).
        pool: what the head sees of the tokens: one of `head.POOLS`, or "map" for `AttentionPool`.
        pool_heads: heads of the attention pooling; `num_heads` by default.
        pool_prefix: whether the attention pooling also reads the prefix tokens.
        learned_positions: whether a learned positional embedding is added to the patches.
        prefix_embedded: whether it has rows for the prefix tokens.
        rotary: how queries and keys are turned by their positions; None for not at all.
        layer_scale: initial LayerScale, or None for no LayerScale (Touvron et al. 2021).
        pre_norm: a norm before the first block, and a patch embedding without a bias (CLIP).
        fc_norm: the last norm comes after the pooling, in the place of before.
        norm_eps: epsilon of every norm.
        activation: of the MLPs, one of `layers.ACTIVATIONS`, or "swiglu" for `SwiGlu`.
        mlp_ratio: hidden width of the MLP over `embed_dim`, which is rounded down.
        qkv_bias: which of query, key and value have a bias, by their letters: "qkv", "qv" or "".
        mean: per-channel mean that images are normalised with, for pixels in [0, 1].
        std: per-channel standard deviation, likewise.
        crop_pct: share of the resized image that the evaluation crop takes.
        interpolation: with which images are resized.
        name: under which `create_model` knows it, with the tag that says its pixels; None for a
            shape without a name.
        renamed: weights that timm calls otherwise in this family than in most: pairs of the usual
            name and the family's, as in `weights.NAMES`.
    """

    embed_dim: int
    depth: int
    num_heads: int
    patch_size: int = 16
    image_size: tuple[int, int] = (224, 224)
    num_classes: int = 1000
    class_token: bool = True
    distilled: bool = False
    num_registers: int = 0
    pool: str = "token"
    pool_heads: int | None = None
    pool_prefix: bool = False
    learned_positions: bool = True
    prefix_embedded: bool = True
    rotary: Rotary | None = None
    layer_scale: float | None = None
    pre_norm: bool = False
    fc_norm: bool = False
    norm_eps: float = 1e-6
    activation: str = "gelu"
    mlp_ratio: float = 4.0
    qkv_bias: str = "qkv"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    crop_pct: float = 0.9
    interpolation: str = "bicubic"
    renamed: tuple[tuple[str, str], ...] = ()
    name: str | None = dataclasses.field(default=None, compare=False)

    @property
    def num_prefix(self) -> int:
        """Prefix tokens: the class token, the distillation token, the registers."""
        return self.class_token + self.distilled + self.num_registers

    @property
    def mlp_dim(self) -> int:
        """Hidden width of the MLP."""
        return int(self.mlp_ratio * self.embed_dim)

    @property
    def head_dim(self) -> int:
        """Width of an attention head."""
        return self.embed_dim // self.num_heads

    @property
    def grid_size(self) -> tuple[int, int]:
        """Patches per column and per row."""
        height, width = self.image_size
        return height // self.patch_size, width // self.patch_size

    @property
    def num_patches(self) -> int:
        """Patches of one image."""
        rows, columns = self.grid_size
        return rows * columns
