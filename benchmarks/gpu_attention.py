"""Times the implementations of attention beside each other on the GPU that JAX finds.

    python benchmarks/gpu_attention.py [--tokens=197,577,1025,4097] [--out=attention.json]

One table for each number of tokens and dtype: milliseconds of a call, forward and with the
gradient, with no entropy and with one of order 2, of as many images as `--budget` tokens are.
`plain` holds the logits, `chunked` is XLA, `pallas` the Triton kernel with the side of its tiles
and its warps, `cudnn` the library's fused attention. `attention/backend.py` chooses by these
tables.
"""

import concurrent.futures
import functools
import itertools
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from renyi_jax.attention import chunked, library, pallas_gpu, plain, streaming
from renyi_jax.attention.evidence import RowEntropy
from renyi_jax.cli import commands

_TOKENS = flags.DEFINE_list("tokens", ["197", "577", "1025", "4097"], "Tokens of an image.")
_DTYPES = flags.DEFINE_list("dtypes", ["bfloat16", "float32"], "Of the operands.")
_DIRECTIONS = flags.DEFINE_list("directions", ["forward", "gradient"], "What is timed.")
_BUDGET = flags.DEFINE_integer("budget", 50_000, "Tokens of a batch.")
_HEADS = flags.DEFINE_integer("heads", 6, "Heads, each 64 wide.")
_REPEATS = flags.DEFINE_integer("repeats", 10, "Turns of each; a time is their median.")
_OUT = flags.DEFINE_string("out", None, "A file for the same in JSON.")

CALLS = 20


def _plain(query, key, value, entropy_of):
    if entropy_of is None:
        return plain.attention(query, key, value)[0], None
    return plain.attention_and_entropy(query, key, value, 1, entropy_of)


def _streaming(kernels, query, key, value, entropy_of):
    streaming.forward, streaming.backward = kernels
    return streaming.attention(query, key, value, 1, entropy_of)


def _cudnn(query, key, value, entropy_of):
    if entropy_of is not None or not library.takes(query):
        raise NotImplementedError
    return library.attention(query, key, value), None


def _pallas(tile, warps, query, key, value, entropy_of):
    pallas_gpu.TILE, pallas_gpu.WARPS = tile, warps
    kernels = tuple(map(streaming.with_scalars, (pallas_gpu.forward, pallas_gpu.backward)))
    return _streaming(kernels, query, key, value, entropy_of)


IMPLEMENTATIONS: dict[str, Any] = {
    "plain": _plain,
    "chunked": functools.partial(_streaming, (chunked.forward, chunked.backward)),
}
if jax.default_backend() == "gpu":
    IMPLEMENTATIONS["cudnn"] = _cudnn
    for tile, warps in ((64, 4), (64, 8), (32, 4), (128, 8)):
        IMPLEMENTATIONS[f"pallas {tile} {warps}"] = functools.partial(_pallas, tile, warps)


def main() -> None:
    device = jax.devices()[0]
    print(f"{device.device_kind}, JAX {jax.__version__}")
    rows = []
    for tokens, dtype in itertools.product(map(int, _TOKENS.value), _DTYPES.value):
        batch = max(1, _BUDGET.value // tokens)
        rng = np.random.default_rng(0)
        shape = (3, batch, tokens, _HEADS.value, 64)
        operands = [jnp.asarray(each, dtype) for each in rng.normal(size=shape)]
        calls = _compiled(operands)
        times = _times(calls, operands)
        print(f"\n{tokens} tokens, batch {batch}, {dtype}: ms a call")
        names = sorted({name for name, *_ in calls})
        print(" " * 22 + "".join(f"{name:>14}" for name in names))
        for direction, entropy in itertools.product(_DIRECTIONS.value, (False, True)):
            ms = {name: times.get((name, direction, entropy)) for name in names}
            words = f"{direction}, {'entropy' if entropy else 'nothing'}"
            print(f"{words:22}" + "".join(f"{_cell(ms[name]):>14}" for name in names), flush=True)
            rows += [
                {"tokens": tokens, "batch": batch, "dtype": dtype, "direction": direction,
                 "entropy": entropy, "implementation": name, "ms": value}
                for name, value in ms.items() if value is not None
            ]  # fmt: skip
    if _OUT.value is not None:
        results = {"device": device.device_kind, "jax": jax.__version__, "rows": rows}
        Path(_OUT.value).write_text(json.dumps(results, indent=1))


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _compiled(operands: list[jax.Array]) -> dict[Any, Any]:
    """Every program that there is, compiled side by side."""
    lowered = {}
    for name, direction, entropy in itertools.product(
        IMPLEMENTATIONS, _DIRECTIONS.value, (False, True)
    ):
        try:
            lowered[name, direction, entropy] = _lowered(name, direction, entropy, operands)
        except NotImplementedError:
            continue
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = {key: pool.submit(each.compile) for key, each in lowered.items()}
    programs = {}
    for key, future in futures.items():
        try:
            programs[key] = future.result()
        except Exception as error:  # a program that the device refuses is a result too
            print(f"{key}: {str(error).splitlines()[0][:200]}", flush=True)
    return programs


def _lowered(name, direction, entropy, operands):
    def run(query, key, value, alpha):
        asked = RowEntropy(alpha) if entropy else None
        return IMPLEMENTATIONS[name](query, key, value, asked)

    def total(*arguments):
        attended, entropies = run(*arguments)
        sums = jnp.sum(attended.astype(jnp.float32) ** 2)
        return sums if entropies is None else sums + jnp.sum(entropies)

    function = run if direction == "forward" else jax.grad(total, argnums=(0, 1, 2))
    return jax.jit(function).lower(*operands, jnp.float32(2.0))


def _times(calls: dict[Any, Any], operands: list[jax.Array]) -> dict[Any, float]:
    """The median of the turns of each, in milliseconds, the cost of a dispatch left out."""
    alpha = jnp.float32(2.0)
    turns: dict[Any, list[float]] = {key: [] for key in calls}
    for turn in range(_REPEATS.value + 1):
        for key, call in calls.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                results = call(*operands, alpha)
            jax.block_until_ready(results)
            if turn:
                turns[key].append((time.perf_counter() - start) / CALLS)
    return {key: 1e3 * float(np.median(seconds)) for key, seconds in turns.items()}


if __name__ == "__main__":
    commands.run(main)
