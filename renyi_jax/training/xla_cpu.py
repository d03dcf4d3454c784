"""What XLA is told about a train step on a CPU."""

from typing import Any

import jax
import jax.numpy as jnp


def compiler_options(dtype: Any, shardings: Any = None) -> dict[str, Any]:
    """Returns the options for `jax.jit` of a train step.

    oneDNN multiplies transposed matrices of bfloat16, as gradients need them, where XLA would
    multiply them in float32. In float32, and without gradients, it is no faster
    (docs/speed/tables.md). JAX cannot keep such a program in its compilation cache, and warns.

    Args:
        dtype: of the computation.
        shardings: of the state; None for the default device.
    """
    sharding = next(iter(jax.tree.leaves(shardings)), None)
    devices = jax.devices() if sharding is None else sharding.device_set
    is_cpu = next(iter(devices)).platform == "cpu"
    if not is_cpu or dtype != jnp.bfloat16:
        return {}
    return {"xla_cpu_experimental_onednn_custom_call": True}
