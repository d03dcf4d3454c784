"""What scanning equal blocks would bring: the blocks of a ViT compiled one by one, and scanned.

    python benchmarks/tpu_scanned_blocks.py [--topology=v5e:2x2] [--keep_rates=1,0.7]

Takes the blocks of DeiT-S with a loss on their output and its gradient, without patch embedding and
optimiser, and compiles them for one chip: as the model has them, and with every run of blocks that
are not pruned as one `lax.scan` over stacked weights. Prints the processor time of the compilation,
on which the machine's other work has less influence than on the time by the clock, and the
temporary memory of the program. Nothing is run.

Needs the compiler for TPUs (requirements-tpu.txt).
"""

import functools
import itertools
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from flax import nnx
from jax.sharding import SingleDeviceSharding

from renyi_jax.attention import Needs
from renyi_jax.cli import commands
from renyi_jax.measuring.roofline import read_program, topology_devices
from renyi_jax.models.block import Block, Step
from renyi_jax.models.registry import model_spec
from renyi_jax.pruning import PruningConfig, Stage, Tokens

_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2", "Of which one chip is compiled for.")
_MODEL = flags.DEFINE_string("model", "deit_small_patch16_224", "Name of the model.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Images of a chip.")
_KEEP_RATES = flags.DEFINE_list("keep_rates", ["1", "0.7"], "Of the pruned blocks.")

Runs = list[tuple[Stage | None, int]]
"""Pruning, and a number of blocks that follow each other and have equal shapes."""


def runs_of(stages: Sequence[Stage | None]) -> Runs:
    groups = itertools.groupby(stages, lambda stage: stage and stage.block)
    grouped = [list(group) for _, group in groups]
    return [(group[0], len(group)) for group in grouped]


def encode(block: Any, runs: Runs, states: Sequence[Any], tokens: Tokens) -> Tokens:
    for (stage, length), state in zip(runs, states, strict=True):
        step = functools.partial(one_block, block, stage)
        tokens = step(tokens, state)[0] if length == 1 else jax.lax.scan(step, tokens, state)[0]
    return tokens


def one_block(block: Any, stage: Stage | None, tokens: Tokens, state: Any) -> tuple[Tokens, None]:
    step = Step(None if stage is None else stage.at(jnp.float32(2)), None, Needs())
    return nnx.merge(block, state)(tokens, step, train=False, rngs=None)[0], None


def main() -> None:
    device = SingleDeviceSharding(topology_devices(_TOPOLOGY.value)[0])
    spec = model_spec(_MODEL.value)
    block, state = nnx.split(
        nnx.eval_shape(lambda: Block(spec, 0.0, 0.0, jnp.bfloat16, nnx.Rngs(0)))
    )

    def weights(length: int) -> Any:
        stack = (length,) if length > 1 else ()
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(stack + leaf.shape, leaf.dtype, sharding=device),
            state,
        )

    shape = (_BATCH_SIZE.value, spec.num_patches + spec.num_prefix, spec.embed_dim)
    values = jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=device)
    print("| keep rate | blocks | bodies | processor time, s | temporary memory, MiB |")
    print("|---" * 5 + "|")
    for rate in map(float, _KEEP_RATES.value):
        pruned = PruningConfig(keep_rate=rate).by_block if rate < 1 else {}
        stages = [pruned.get(number) for number in range(1, spec.depth + 1)]
        single: Runs = [(stage, 1) for stage in stages]
        for way, runs in {"one by one": single, "scanned": runs_of(stages)}.items():

            def loss(states: Sequence[Any], values: jax.Array, runs: Runs = runs) -> jax.Array:
                patches = jnp.arange(spec.num_patches)
                positions = jnp.broadcast_to(patches, (len(values), spec.num_patches))
                tokens = encode(block, runs, states, Tokens(values, positions))
                return jnp.square(tokens.values.astype(jnp.float32)).mean()

            states = [weights(length) for _, length in runs]
            lowered = jax.jit(jax.grad(loss)).lower(states, values)
            started = time.process_time()
            compiled = lowered.compile()
            seconds = time.process_time() - started
            memory = read_program(compiled).temporary_bytes / 2**20
            print(f"| {rate:g} | {way} | {len(runs)} | {seconds:.0f} | {memory:,.0f} |", flush=True)


if __name__ == "__main__":
    commands.run(main)
