"""Three ways to take the kept patches out of all, as XLA's compiler for TPUs judges them.

    python benchmarks/tpu_gather.py [--topology=v5e:2x2] [--batch_size=64]

Compiles each of them for one chip, forward and with the gradient, at the three pruned blocks of
DeiT-S, and prints the cycles that the compiler estimates for its fusions, the bytes that they move,
and what the program is made of. Nothing is run.

Needs the compiler for TPUs (requirements-tpu.txt).
"""

import collections
import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
from absl import flags
from jax.sharding import SingleDeviceSharding

from renyi_jax.cli import commands
from renyi_jax.measuring.roofline import read_program, topology_devices
from renyi_jax.pruning import keep_counts

_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2", "Of which one chip is compiled for.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images of a chip.")
_PATCHES = flags.DEFINE_integer("patches", 196, "That enter the first pruned block.")
_WIDTH = flags.DEFINE_integer("width", 384, "Of a token.")
_KEEP_RATE = flags.DEFINE_float("keep_rate", 0.7, "Of each pruned block.")


def gather(tokens: jax.Array, kept: jax.Array) -> jax.Array:
    return jnp.take_along_axis(tokens, kept[..., None], axis=1, mode="promise_in_bounds")


def product(tokens: jax.Array, kept: jax.Array) -> jax.Array:
    return jax.nn.one_hot(kept, tokens.shape[1], dtype=tokens.dtype) @ tokens


def sorting(tokens: jax.Array, kept: jax.Array) -> jax.Array:
    """The kept patches first, each in its place; then the others."""
    places = jnp.arange(tokens.shape[1])
    is_kept = (places == kept[..., None]).any(axis=1)
    order = jnp.where(is_kept, places, places + tokens.shape[1])
    order = jnp.broadcast_to(order[..., None], tokens.shape)
    return jax.lax.sort((order, tokens), dimension=1, num_keys=1)[1][:, : kept.shape[1]]


def with_gradient(take: Callable[..., jax.Array]) -> Callable[..., tuple[jax.Array, jax.Array]]:
    def both(tokens: jax.Array, kept: jax.Array, cotangent: jax.Array):
        taken, pull = jax.vjp(lambda tokens: take(tokens, kept), tokens)
        return taken, pull(cotangent)[0]

    return both


def main() -> None:
    device = SingleDeviceSharding(topology_devices(_TOPOLOGY.value)[0])

    def shape(*sizes: int, dtype=jnp.bfloat16) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, dtype, sharding=device)

    print("| patches | way | step | thousand cycles | MB moved | MFLOP | made of |")
    print("|---" * 7 + "|")
    batch, width, patches = _BATCH_SIZE.value, _WIDTH.value, _PATCHES.value
    for count in keep_counts(patches, _KEEP_RATE.value):
        tokens, taken = shape(batch, patches, width), shape(batch, count, width)
        kept = shape(batch, count, dtype=jnp.int32)
        for take in (gather, product, sorting):
            steps = {
                "forward": (take, (tokens, kept)),
                "and gradient": (with_gradient(take), (tokens, kept, taken)),
            }
            for step, (function, arguments) in steps.items():
                compiled = jax.jit(function).lower(*arguments).compile()
                program, hlo = read_program(compiled), compiled.as_text() or ""
                print(
                    f"| {patches} -> {count} | {take.__name__} | {step} | {_cycles(hlo) / 1e3:,.0f}"
                    f" | {program.moved_bytes / 1e6:.1f} | {program.flops / 1e6:,.0f}"
                    f" | {_made_of(hlo)} |",
                    flush=True,
                )
        patches = count


def _cycles(hlo: str) -> int:
    return sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', hlo)))


_OPERATIONS = ("gather", "scatter", "sort", "convolution", "custom-call", "while")


def _made_of(hlo: str) -> str:
    found = collections.Counter(re.findall(rf" ({'|'.join(_OPERATIONS)})\(", hlo))
    return ", ".join(f"{count} {name}" for name, count in found.items()) or "fusions"


if __name__ == "__main__":
    commands.run(main)
