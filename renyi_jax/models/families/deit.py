"""DeiT, with and without distillation (arXiv 2012.12877), and DeiT III (arXiv 2204.07118)."""

from renyi_jax.models.families.family import Family, rows, square

DEIT = Family(
    models={
        **rows("deit_{}_patch16_224", "tiny", "small", "base"),
        **rows("deit_{}_patch16_384", "base", image_size=square(384), crop_pct=1.0),
        **rows("deit_{}_distilled_patch16_224", "tiny", "small", "base", distilled=True),
        **rows("deit3_{}_patch16_224", "small", "base", layer_scale=1e-6, prefix_embedded=False),
    },
    tags={"fb_in22k_ft_in1k": {"crop_pct": 1.0}},
)
