"""Files of weights in timm's names: reading, writing, and the names and shapes on either side."""

from renyi_jax.weights.files import Checkpoint, read_checkpoint, read_metadata, write_checkpoint
from renyi_jax.weights.names import (
    CLASSIFIER,
    IGNORED,
    NAMES,
    ROTARY_TABLE,
    resize_pos_embed,
    split_block,
    timm_name,
)
from renyi_jax.weights.projects import nearest_project
