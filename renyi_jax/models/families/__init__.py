"""The families of models: one file each, with its rows, its tags and its names of weights."""

from renyi_jax.models.families.clip import CLIP
from renyi_jax.models.families.deit import DEIT
from renyi_jax.models.families.dinov2 import DINOV2
from renyi_jax.models.families.dinov3 import DINOV3
from renyi_jax.models.families.family import Family
from renyi_jax.models.families.nano import NANO
from renyi_jax.models.families.pe_core import PE_CORE
from renyi_jax.models.families.plain import PLAIN
from renyi_jax.models.families.siglip import SIGLIP
from renyi_jax.models.families.tips import TIPS

FAMILIES: tuple[Family, ...] = (
    PLAIN,
    DEIT,
    DINOV2,
    DINOV3,
    SIGLIP,
    TIPS,
    CLIP,
    PE_CORE,
    NANO,
)
