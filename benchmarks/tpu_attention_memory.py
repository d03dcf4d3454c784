"""Memory of a TPU with and without the attention matrix, by compiling for a chip that is not there.

    python benchmarks/tpu_attention_memory.py [--image_size=1024] [--versions=streamed,plain]

Compiles the evaluation step (a forward pass) and the training step for one chip, with streaming
attention and with the plain one, and prints the temporary memory of each, the bytes that it moves,
and the shapes of the size of the attention matrix that occur in the optimised program. Ends with
status 1 where attention that streams by itself holds such an array, or needs more than 1/8 of the
memory.

Needs the compiler for TPUs (requirements-tpu.txt).
"""

import contextlib
import re
import sys
import time
from typing import Any

import jax
from absl import flags

from renyi_jax.attention import backend
from renyi_jax.cli import commands
from renyi_jax.config import check_config, default_config
from renyi_jax.measuring.roofline import read_program, topology_devices
from renyi_jax.parallel import make_mesh, on_mesh
from renyi_jax.training.lowering import abstract_model, steps_of

_TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x2", "Of which one chip is compiled for.")
_MODEL = flags.DEFINE_string("model", "deit_small_patch16_224", "Name of the model.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 1024, "Side of the images, in pixels.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 1, "Images of a step.")
_KEEP_RATE = flags.DEFINE_float("keep_rate", 0.7, "Of the pruned blocks.")
_CRITERION = flags.DEFINE_string("criterion", "renyi", "By which patches are kept.")
_VERSIONS = flags.DEFINE_list("versions", ["streamed", "plain"], "Which are compiled.")
_REMAT = flags.DEFINE_string("remat", "none", "`config.model.remat` of the training step.")
_STEPS = flags.DEFINE_list("steps", ["evaluate", "train"], "Which are compiled.")

SHARE = 1 / 8


def main() -> None:
    config = _config()
    mesh = make_mesh(config.mesh.to_dict(), topology_devices(_TOPOLOGY.value)[:1])
    model = abstract_model(config, num_classes=1000)
    tokens = model.spec.num_patches + model.spec.num_prefix
    print(f"{_MODEL.value}, {_IMAGE_SIZE.value} pixels, {tokens} tokens, {_TOPOLOGY.value}")
    streams_by_itself = tokens > backend.PLAIN_TOKENS
    too_much = False
    for step in steps_of(config, mesh):
        if step.name not in _STEPS.value:
            continue
        memory = {}
        for version in _VERSIONS.value:
            is_plain = version == "plain"
            started = time.perf_counter()
            request = step.call(model, _BATCH_SIZE.value)
            plainly = backend.plain_products() if is_plain else contextlib.nullcontext()
            with on_mesh(mesh), plainly:
                lowered = request.function.lower(*request.arguments)
            compiled = lowered.compile()
            seconds = time.perf_counter() - started
            program = read_program(compiled)
            memory[version] = program.temporary_bytes
            # Of few tokens, other axes are as long.
            squares = _squares(compiled, tokens) if streams_by_itself else []
            found = f", n x n: {', '.join(squares) or 'none'}" if streams_by_itself else ""
            print(
                f"{step.name}, {version}: {memory[version] / 2**20:,.1f} MiB of temporary memory,"
                f" {program.moved_bytes / 1e9:,.1f} GB moved{found}"
                f" (compiled in {seconds:.0f} s)",
                flush=True,
            )
            too_much |= version == "streamed" and bool(squares)
        if {"streamed", "plain"} <= memory.keys():
            share = memory["streamed"] / memory["plain"]
            print(f"{step.name}: 1/{1 / share:.1f} of the memory")
            too_much |= streams_by_itself and share > SHARE
    sys.exit(too_much)


def _config() -> Any:
    config = default_config()
    config.model.update(
        {"name": _MODEL.value, "image_size": _IMAGE_SIZE.value, "dtype": "bfloat16"}
    )
    config.pruning.update({"keep_rate": _KEEP_RATE.value, "criterion": _CRITERION.value})
    config.data.batch_size = config.evaluate.batch_size = _BATCH_SIZE.value
    config.model.remat = _REMAT.value
    return check_config(config)


def _squares(compiled: jax.stages.Compiled, tokens: int) -> list[str]:
    """The types of arrays with two axes of all tokens, or of a few less or more."""

    def is_square(sizes: str) -> bool:
        # Without the prefix, or filled up to a multiple of 512.
        long = [size for size in map(int, sizes.split(",")) if tokens - 2 <= size < tokens + 512]
        return len(long) > 1

    shapes = set(re.findall(r"\b(?:[a-z]+\d+\w*|pred)\[[\d,]+\]", compiled.as_text() or ""))
    return sorted(shape for shape in shapes if is_square(shape[shape.index("[") + 1 : -1]))


if __name__ == "__main__":
    commands.run(main)
