"""What XLA and the C library are told about train steps on a CPU."""

import ctypes
import os
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


def keep_memory() -> None:
    """Lets glibc keep what XLA frees for the next step, unless the user tunes malloc.

    It would map the memory of each step anew, and the system clear it page by page, which takes an
    eighth of the step and more (docs/speed/tables.md). For a process that trains, at its start.
    """
    if {"GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "LD_PRELOAD"} & set(os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # which other systems lack
    if mallopt is not None:
        # From malloc.h: one arena, which alone can keep large blocks; none mapped; none given back.
        for parameter, value in ((-8, 1), (-4, 0), (-1, -1)):
            mallopt(parameter, value)
