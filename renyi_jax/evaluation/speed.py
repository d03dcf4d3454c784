"""How fast models are, side by side on one machine."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from renyi_jax.evaluation.peers import PEERS
from renyi_jax.evaluation.settings import describe
from renyi_jax.evaluation.throughput import seconds_per_call
from renyi_jax.models import VisionTransformer, create_model, flops
from renyi_jax.models.registry import DTYPES, model_spec
from renyi_jax.pruning import PruningConfig

# One row of results.json.
Row = dict[str, Any]

MATMUL_SIDE = 2048
"""Side of the square matrices whose product is the machine's peak."""


class Group(NamedTuple):
    """What shares weights and images, and is timed by turns."""

    model: str
    image_size: tuple[int, int]
    dtype: str
    batch_size: int


class Program(NamedTuple):
    """One entrant: a call, the same for one image, and what its row says besides times."""

    row: Row
    run: Callable[[], Any]
    run_one: Callable[[], Any]


def measure_group(
    group: Group,
    settings: Sequence[PruningConfig | None],
    peers: Sequence[str],
    budget: float,
    wrap: Callable[[str, Callable[[], Any]], None] = lambda name, call: None,
) -> list[Row]:
    """One row for each setting and each peer.

    Every program runs once to warm up; then all of them, and a product of large matrices, take
    turns until the budget is spent. A time is the median of a program's turns.

    Args:
        group: what all of them share.
        settings: prunings; None is the plain model.
        peers: names in `PEERS`.
        budget: seconds for each program.
        wrap: called with the name and the call of every program, once, after the times are taken.
    """
    images = np.random.default_rng(0).normal(size=(group.batch_size, *group.image_size, 3))
    images = images.astype(np.float32)
    programs = [*_our_programs(group, settings, images), *_peer_programs(group, peers, images)]
    matmul = _matmul(DTYPES[group.dtype])
    calls: dict[Any, Callable[[], Any]] = {"matmul": matmul}
    for number, program in enumerate(programs):
        calls[number] = program.run
        calls[number, "one"] = program.run_one
    for call in calls.values():
        jax.block_until_ready(call())
    seconds = seconds_per_call(calls, budget=budget)
    peak = 2 * MATMUL_SIDE**3 / seconds["matmul"]
    for program in programs:
        wrap(program_name(program.row), program.run)
    return [
        {
            **program.row,
            "images_per_second": group.batch_size / seconds[number],
            "latency_ms": 1e3 * seconds[number, "one"],
            "share_of_matmul_peak": 2e9
            * program.row["gmacs"]
            * group.batch_size
            / seconds[number]
            / peak,
            "matmul_gflops": peak / 1e9,
        }
        for number, program in enumerate(programs)
    ]


def program_name(row: Row) -> str:
    """A row in a few words."""
    if row["peer"]:
        return row["peer"]
    if row["criterion"] == "none":
        return "unpruned"
    alpha = "" if row["alpha"] is None else f" {_short(row['alpha'])}"
    return f"{row['criterion']}{alpha} at {_short(row['keep_rate'])}"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _our_programs(
    group: Group, settings: Iterable[PruningConfig | None], images: np.ndarray
) -> Iterable[Program]:
    plain = random_model(group)
    for setting in settings:
        model = plain.with_pruning(setting)
        graphdef, params = nnx.split(model)
        alpha = jnp.asarray(setting.per_block("alpha") if setting else (), jnp.float32)
        forward = jax.jit(functools.partial(_forward, graphdef))
        batch, one = jnp.asarray(images), jnp.asarray(images[:1])
        compiled = forward.lower(params, batch, alpha).compile()
        memory = compiled.memory_analysis()
        row = _row(group, None, flops(model) / 1e9) | describe(setting)
        if memory is not None:
            row["temporary_mib"] = memory.temp_size_in_bytes / 2**20
        yield Program(
            row,
            functools.partial(compiled, params, batch, alpha),
            functools.partial(forward, params, one, alpha),
        )


def _peer_programs(group: Group, peers: Iterable[str], images: np.ndarray) -> Iterable[Program]:
    gmacs = flops(random_model(group)) / 1e9
    for peer in peers:
        forward = PEERS[peer](group.model, group.image_size, group.dtype)
        yield Program(
            _row(group, peer, gmacs) | describe(None),
            functools.partial(forward, images),
            functools.partial(forward, images[:1]),
        )


def random_model(group: Group) -> VisionTransformer:
    """A model whose weights are drawn by numpy: to initialise it would take seconds to compile.

    Matrices are of the dtype that is computed in, to which they would be cast in every call.
    """
    spec = model_spec(group.model)
    build = functools.partial(
        create_model,
        group.model,
        num_classes=spec.num_classes or None,
        image_size=group.image_size,
        dtype=group.dtype,
    )
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(0)

    def draw(shape: jax.ShapeDtypeStruct) -> jax.Array:
        dtype = DTYPES[group.dtype] if len(shape.shape) == 2 else shape.dtype
        return jnp.asarray(rng.normal(0, 0.02, shape.shape), dtype)

    return nnx.merge(graphdef, jax.tree.map(draw, shapes))


def _forward(graphdef, params, images, alpha):
    return nnx.merge(graphdef, params)(images, alpha if alpha.size else None)


def _row(group: Group, peer: str | None, gmacs: float) -> Row:
    height, width = group.image_size
    return {
        "model": group.model,
        "image_size": height if height == width else [height, width],
        "dtype": group.dtype,
        "batch_size": group.batch_size,
        "peer": peer,
        "gmacs": gmacs,
    }


def _matmul(dtype) -> Callable[[], jax.Array]:
    square = jnp.ones((MATMUL_SIDE, MATMUL_SIDE), dtype)
    return functools.partial(jax.jit(jnp.matmul), square, square)
