"""`ModelSpec`: the whole shape of a model in one place."""

import dataclasses

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
        distilled: a distillation token with a head of its own (DeiT).
        num_registers: register tokens (Darcet et al. 2024).
        layer_scale: initial LayerScale, or None for no LayerScale (Touvron et al. 2021).
        prefix_embedded: whether the positional embedding has rows for the prefix tokens.
        mlp_ratio: hidden width of the MLP over `embed_dim`.
        mean: per-channel mean that images are normalised with, for pixels in [0, 1].
        std: per-channel standard deviation, likewise.
        crop_pct: share of the resized image that the evaluation crop takes.
        interpolation: with which images are resized.
        name: under which `create_model` knows it, with the tag that says its pixels; None for a
            shape without a name.
    """

    embed_dim: int
    depth: int
    num_heads: int
    patch_size: int = 16
    image_size: tuple[int, int] = (224, 224)
    num_classes: int = 1000
    distilled: bool = False
    num_registers: int = 0
    layer_scale: float | None = None
    prefix_embedded: bool = True
    mlp_ratio: int = 4
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    crop_pct: float = 0.9
    interpolation: str = "bicubic"
    name: str | None = dataclasses.field(default=None, compare=False)

    @property
    def num_prefix(self) -> int:
        """Prefix tokens: the class token, the distillation token, the registers."""
        return 1 + self.distilled + self.num_registers

    @property
    def mlp_dim(self) -> int:
        """Hidden width of the MLP."""
        return self.mlp_ratio * self.embed_dim

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
