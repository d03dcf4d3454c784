"""The fields of a run: what they are, and whether a config can be run."""

from renyi_jax.config.check import (
    check_config,
    deciding_differences,
    pruning_config,
    recipe,
    to_json,
    unknown_field,
)
from renyi_jax.config.fields import FIELDS, Config, default_config
