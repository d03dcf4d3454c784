"""A machine whose clock the test winds."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


class Machine:
    """A clock, and calls that take time on it."""

    def __init__(self):
        self.now = 0.0
        self.history: list[str] = []

    def clock(self) -> float:
        return self.now

    def call(self, name: str, *seconds: float) -> Callable[[], jax.Array]:
        """A call that takes so many seconds, one number after the other; the last stays."""
        waits = list(seconds)

        def run() -> jax.Array:
            self.history.append(name)
            self.now += waits.pop(0) if len(waits) > 1 else waits[0]
            return jnp.zeros(())

        return run
