"""`TrainState`: all that a step changes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """A pytree of arrays, which a checkpoint holds as it is.

    Attributes:
        step: steps done, an int32 scalar.
        params: the weights, as `nnx.to_pure_dict` names them.
        opt_state: the optimiser's.
    """

    # Not typed as arrays: JAX and Orbax also put abstract values in their places.
    step: Any
    params: Any
    opt_state: Any

    @classmethod
    def create(cls, params: Any, optimizer: optax.GradientTransformation) -> "TrainState":
        """The state before the first step."""
        return cls(jnp.zeros((), jnp.int32), params, optimizer.init(params))
