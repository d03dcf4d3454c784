"""Set-up of the whole suite: the CPU, and shapes in signatures checked on every call."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook("renyi_jax", "beartype.beartype")
