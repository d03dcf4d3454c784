"""Sums of the columns of attention on a TPU: the kernel beside XLA's pass, which it stands in for.

    python benchmarks/tpu_columns.py [--topology=v5e:2x2]

Compiles both for one chip that is not there, for the attention of DeiT-S in bfloat16, and prints
the bytes that each moves, by XLA's count, and its temporary memory. Nothing is run.

Needs the compiler for TPUs (requirements-tpu.txt).
"""

import math

import jax
import jax.numpy as jnp
from absl import flags
from jax.sharding import SingleDeviceSharding

from renyi_jax.attention import ColumnSums, chunked, columns, pallas_tpu
from renyi_jax.cli import commands
from renyi_jax.measuring.roofline import read_program, topology_devices

_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2", "Of which one chip is compiled for.")

SHAPES = (64, 197, 6, 64), (1, 4097, 6, 64)  # images, tokens, heads and their width


def main() -> None:
    device = SingleDeviceSharding(topology_devices(_TOPOLOGY.value)[0])
    print("| images | tokens | by | MB moved | MiB of temporary memory |")
    print("|---" * 5 + "|")
    for shape in SHAPES:
        images, tokens, heads, _ = shape
        token = jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=device)
        weight = jax.ShapeDtypeStruct((images, heads, tokens - 1), jnp.float32, sharding=device)
        turns = math.ceil((tokens - 1) / chunked.QUERIES)  # of XLA's loop, which it counts once
        for name, sums, count in (
            ("kernel", pallas_tpu.column_sums, 1),
            ("XLA", columns.column_sums, turns),
        ):

            def run(query, key, weights, sums=sums):
                return sums(query, key, 1, ColumnSums(), weights)

            compiled = jax.jit(run).lower(token, token, weight).compile()
            program = read_program(compiled, count)
            print(
                f"| {images} | {tokens:,} | {name} | {program.moved_bytes / 1e6:,.0f}"
                f" | {program.temporary_bytes / 2**20:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    commands.run(main)
