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
        ema: the moving average of the weights; None where there is none.
    """

    # Not typed as arrays: JAX and Orbax also put abstract values in their places.
    step: Any
    params: Any
    opt_state: Any
    ema: Any = None

    @classmethod
    def create(
        cls, params: Any, optimizer: optax.GradientTransformation, ema: bool = False
    ) -> "TrainState":
        """The state before the first step."""
        average = jax.tree.map(jnp.copy, params) if ema else None
        return cls(jnp.zeros((), jnp.int32), params, optimizer.init(params), average)

    @property
    def evaluated(self) -> Any:
        """The weights to evaluate and to keep: the moving average, if there is one."""
        return self.params if self.ema is None else self.ema
