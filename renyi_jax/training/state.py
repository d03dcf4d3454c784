"""`TrainState`: all that a step changes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int32


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """A pytree of arrays, which a checkpoint holds as it is.

    Attributes:
        step: steps done.
        params: the weights, as `nnx.to_pure_dict` names them.
        opt_state: the optimiser's.
    """

    step: Int32[Array, ""]
    params: Any
    opt_state: optax.OptState

    @classmethod
    def create(cls, params: Any, optimizer: optax.GradientTransformation) -> "TrainState":
        """The state before the first step."""
        return cls(jnp.zeros((), jnp.int32), params, optimizer.init(params))
