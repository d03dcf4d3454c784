"""`TrainState`: all that a step changes."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Best:
    """The weights with the highest accuracy on test images so far, the earliest of equals."""

    params: Any
    accuracy: Any  # a float32 scalar; -1 before the first validation
    step: Any  # an int32 scalar


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """A pytree of arrays, saved in checkpoints as it is."""

    # Not typed as arrays: JAX and Orbax also put abstract values in their places.
    step: Any  # steps done, an int32 scalar
    params: Any  # the weights, as `weights_of` names them
    opt_state: Any
    ema: Any = None  # the moving average of the weights; None where there is none
    best: Any = None  # a `Best`; None where the last weights are kept

    @classmethod
    def create(
        cls, params: Any, optimizer: optax.GradientTransformation, options: Any
    ) -> "TrainState":
        """Returns the state before the first step."""
        step = jnp.zeros((), jnp.int32)

        def copy() -> Any:
            return jax.tree.map(jnp.copy, params)

        return cls(
            step,
            params,
            optimizer.init(params),
            ema=copy() if options.ema_decay else None,
            best=Best(copy(), jnp.float32(-1), step) if options.patience else None,
        )

    @property
    def evaluated(self) -> Any:
        """The weights to evaluate: the moving average, if there is one."""
        return self.params if self.ema is None else self.ema

    @property
    def kept(self) -> Any:
        """The weights that a run ends with: the best ones, if they are known."""
        return self.evaluated if self.best is None else self.best.params
