"""`ModelSpec`: the whole shape of a model in one place."""

import dataclasses

from renyi_jax.models.rotary import Rotary

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Everything that a name stands for, and the pixels that its weights expect."""

    embed_dim: int  # width of a token
    depth: int  # number of blocks
    num_heads: int  # attention heads per block
    patch_size: int = 16  # side of a patch in pixels
    image_size: tuple[int, int] = (224, 224)  # (height, width) in pixels
    num_classes: int = 1000  # outputs of the head; 0 is no head
    class_token: bool = True  # whether there is one
    distilled: bool = False  # a distillation token with a head of its own (DeiT)
    num_registers: int = 0  # register tokens (Darcet et al. 2024).
    # what the head sees of the tokens: one of `head.POOLS`, or "map" for `AttentionPool`
    pool: str = "token"
    pool_heads: int | None = None  # heads of the attention pooling; `num_heads` by default
    pool_prefix: bool = False  # whether the attention pooling also reads the prefix tokens
    learned_positions: bool = True  # whether a learned positional embedding is added to the patches
    prefix_embedded: bool = True  # whether it has rows for the prefix tokens
    # how queries and keys are turned by their positions; None for not at all
    rotary: Rotary | None = None
    # initial LayerScale, or None for no LayerScale (Touvron et al. 2021).
    layer_scale: float | None = None
    # a norm before the first block, and a patch embedding without a bias (CLIP)
    pre_norm: bool = False
    fc_norm: bool = False  # the last norm comes after the pooling, in the place of before
    norm_eps: float = 1e-6  # epsilon of every norm
    activation: str = "gelu"  # of the MLPs, one of `layers.ACTIVATIONS`, or "swiglu" for `SwiGlu`
    mlp_ratio: float = 4.0  # hidden width of the MLP over `embed_dim`, which is rounded down
    # which of query, key and value have a bias, by their letters: "qkv", "qv" or ""
    qkv_bias: str = "qkv"
    # per-channel mean that images are normalised with, for pixels in [0, 1]
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD  # per-channel standard deviation, likewise
    crop_pct: float = 0.9  # share of the resized image that the evaluation crop takes
    interpolation: str = "bicubic"  # with which images are resized
    # weights that timm calls otherwise in this family than in most: pairs of the usual name and the
    # family's, as in `weights.NAMES`
    renamed: tuple[tuple[str, str], ...] = ()
    # under which `create_model` knows it, with the tag that says its pixels; None for a shape
    # without a name
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
