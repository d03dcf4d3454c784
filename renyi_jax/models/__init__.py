"""The ViT, its variants, and the registry behind `create_model`."""

from renyi_jax.models.attention_maps import (
    AttentionStatistics,
    attention_maps,
    attention_statistics,
    entropy_maps,
)
from renyi_jax.models.embed import normalize_images, patches_on_object
from renyi_jax.models.flops import flops
from renyi_jax.models.forward import Forward, weights_of
from renyi_jax.models.load import Loaded, load
from renyi_jax.models.registry import MODELS, create_model, list_models
from renyi_jax.models.spec import ModelSpec
from renyi_jax.models.vit import VisionTransformer
from renyi_jax.models.weights import fill, load_weights, save_weights, to_timm
