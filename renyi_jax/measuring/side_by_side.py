"""How fast models are, side by side on one machine."""

import concurrent.futures
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from renyi_jax.common.progress import phase, progress
from renyi_jax.measuring.peers import Peer, start_peers
from renyi_jax.measuring.throughput import Product, peak_rate, product_calls, times_per_call
from renyi_jax.models import Forward, VisionTransformer, create_model, weights_of
from renyi_jax.models.flops import count_flops, require_forward
from renyi_jax.models.registry import DTYPES, model_spec
from renyi_jax.pruning import PruningConfig
from renyi_jax.pruning.sweep import describe

# One row of results.json.
Row = dict[str, Any]


class Group(NamedTuple):
    """What shares a model and images, and is timed by turns; `latency` also times one image."""

    model: str
    image_size: tuple[int, int]
    dtype: str
    batch_size: int
    train: bool = False
    latency: bool = True


class Peers(NamedTuple):
    """Who else runs: names as `peers.check_peers` lets pass, and the Python that runs them."""

    names: Sequence[str] = ()
    python: str = sys.executable


class Program(NamedTuple):
    """One entrant: what its row says besides times, `calls_in_a_row`, and a call for one image."""

    row: Row
    run: Callable[[], Any]
    run_one: Callable[[], Any] | None


class Compiled(NamedTuple):
    """A program of ours: XLA's, a call of it, and perhaps the same for one image."""

    executable: jax.stages.Compiled
    run: Callable[[], Any]
    run_one: Callable[[], Any] | None = None


Build = Callable[[Group, PruningConfig | None], Compiled]


def measure_group(
    group: Group,
    settings: Sequence[PruningConfig | None],
    build: Build,
    peers: Peers,
    budget: float,
    known_peak: float = 0.0,
    wrap: Callable[[str, Callable[[], Any]], None] = lambda name, call: None,
) -> list[Row]:
    """Returns one row for each setting and each peer.

    After a warm-up all programs and products of large matrices take turns until the budget is
    spent. A time is the median of a program's turns; the peak is the best turn of any product. If a
    program beats it, the machine was busy, and the products run again.

    Args:
        build: compiles what is timed: `forward_pass`, or a train step.
        budget: seconds for each program.
        known_peak: FLOP/s that a product has reached before in this dtype.
        wrap: called with the name and the call of every program, once, after the times are taken.
    """
    spec = model_spec(group.model, image_size=group.image_size)
    rates = dict.fromkeys(setting.keep_rate for setting in settings if setting)
    with start_peers(
        peers.names,
        spec,
        model=group.model,
        dtype=group.dtype,
        batch_size=group.batch_size,
        keep_rates=[rate for rate in rates if isinstance(rate, float)],
        train=group.train,
        python=peers.python,
    ) as entrants:
        with concurrent.futures.ThreadPoolExecutor() as pool:
            built = pool.map(lambda setting: _our_program(group, setting, build), settings)
            programs = list(progress(built, "Compiling", unit="program", total=len(settings)))
        programs += [_peer_program(group, peer) for peer in entrants]
        # The largest of the model is the first of an MLP, of the patches of the whole batch.
        largest = Product(group.batch_size * spec.num_patches, spec.embed_dim, spec.mlp_dim)
        products = product_calls(largest, DTYPES[group.dtype])
        calls: dict[Any, Callable[[], Any]] = dict(products)
        for number, program in enumerate(programs):
            calls[number] = program.run
            if program.run_one:
                calls[number, "one"] = program.run_one
        for call in progress(calls.values(), "Warming up", unit="program"):
            jax.block_until_ready(call())
        with phase("Timing", budget * len(calls)):
            times = times_per_call(calls, budget=budget)
    seconds = {name: float(np.median(turns)) for name, turns in times.items()}
    for number in range(len(programs)):
        seconds[number] /= calls_in_a_row()
    peak = max(known_peak, peak_rate({product: times[product] for product in products}))
    rates = [_flops(each.row) / seconds[number] for number, each in enumerate(programs)]
    if max(rates) > peak:
        with phase("Measuring the peak of the machine again", budget * len(products)):
            peak = max(peak, peak_rate(times_per_call(products, budget=budget)))
    for program in programs:
        wrap(program_name(program.row), program.run)
    return [
        program.row
        | _times(program.row, group.batch_size, seconds[number], seconds.get((number, "one")), peak)
        for number, program in enumerate(programs)
    ]


def calls_in_a_row() -> int:
    """Calls of a turn: an accelerator is busy with one while the next is sent to it."""
    return 1 if jax.default_backend() == "cpu" else 10


def check_memory(group: Group) -> None:
    """Raises `UserError` where the model and a batch are more than the device holds."""
    spec = model_spec(group.model, image_size=group.image_size)
    require_forward(spec, group.batch_size, f"{group.model}, --batch_size={group.batch_size}")


def busy_note(rows: Sequence[Row]) -> str | None:
    """What is to be said of shares of the peak that cannot be."""
    over = [row for row in rows if row["share_of_matmul_peak"] > 1]
    if not over:
        return None
    also = ", or PyTorch multiplies faster here than XLA" if any(r["peer"] for r in over) else ""
    return (
        f"A share of the peak above 1: the peak, {over[0]['matmul_gflops']:,.0f} GFLOP/s, was"
        f" measured twice on a busy machine{also}. Run again when nothing else runs."
    )


def _times(row: Row, batch_size: int, seconds: float, one: float | None, peak: float) -> Row:
    per_second = batch_size / seconds
    return {
        "images_per_second": per_second,
        "latency_ms": None if one is None else 1e3 * one,
        "share_of_matmul_peak": _flops(row) / seconds / peak,
        "matmul_gflops": peak / 1e9,
    }


def _flops(row: Row) -> float:
    """Of one call."""
    return 2e9 * row["gmacs"] * row["batch_size"]


def program_name(row: Row) -> str:
    """A row in a few words."""
    if row["criterion"] == "none":
        return row["peer"] or "unpruned"
    alpha = "" if row["alpha"] is None else f" {_short(row['alpha'])}"
    name = row["peer"] or f"{_short(row['criterion'])}{alpha}"
    if row["keep_rate"] is None:
        return f"{name}, r = {_short(row['r'])}"
    return f"{name} at {_short(row['keep_rate'])}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "/".join("-" if each is None else _short(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def forward_pass(group: Group, setting: PruningConfig | None) -> Compiled:
    """Classifies a batch, and one image."""
    model = random_model(group).with_pruning(setting)
    weights = weights_of(model)
    alpha = jnp.asarray(setting.per_block("alpha") if setting else (), jnp.float32)
    images = np.random.default_rng(0).normal(size=(group.batch_size, *group.image_size, 3))
    batch = jnp.asarray(images, jnp.float32)
    forward = jax.jit(Forward.of(model))
    compiled = forward.lower(weights, batch, alpha).compile()
    run = functools.partial(compiled, weights, batch, alpha)
    if not group.latency:
        return Compiled(compiled, run)
    if group.batch_size == 1:
        return Compiled(compiled, run, run)
    one = forward.lower(weights, batch[:1], alpha).compile()
    return Compiled(compiled, run, functools.partial(one, weights, batch[:1], alpha))


def _our_program(group: Group, setting: PruningConfig | None, build: Build) -> Program:
    compiled = build(group, setting)
    row = _row(group, setting, None)
    memory = compiled.executable.memory_analysis()
    if memory is not None:
        row["temporary_mib"] = memory.temp_size_in_bytes / 2**20

    def run() -> Any:
        return [compiled.run() for _ in range(calls_in_a_row())]

    return Program(row, run, compiled.run_one)


def _peer_program(group: Group, peer: Peer) -> Program:
    return Program(
        _row(group, peer.setting, peer.name),
        functools.partial(peer.run, group.batch_size, calls_in_a_row()),
        functools.partial(peer.run, 1, 1) if group.latency and not group.train else None,
    )


def random_model(group: Group, dtype: str | None = None) -> VisionTransformer:
    """Returns a model with weights drawn by numpy: to initialise it would take seconds to compile.

    Matrices have `dtype`, by default that of the computation, which saves the cast in every call.
    """
    spec = model_spec(group.model)
    build = functools.partial(
        create_model,
        group.model,
        num_classes=spec.num_classes or None,
        image_size=group.image_size,
        dtype=group.dtype,
    )
    model = nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0)))
    rng = np.random.default_rng(0)

    def draw(shape: jax.ShapeDtypeStruct) -> jax.Array:
        kind = DTYPES[dtype or group.dtype] if len(shape.shape) == 2 else shape.dtype
        return jnp.asarray(rng.normal(0, 0.02, shape.shape), kind)

    return Forward.of(model).model(jax.tree.map(draw, weights_of(model)))


def _row(group: Group, setting: PruningConfig | None, peer: str | None) -> Row:
    height, width = group.image_size
    spec = model_spec(group.model, image_size=group.image_size)
    passes = 3 if group.train else 1  # forward; backward, to the inputs and to the weights
    return {
        "train": group.train,
        "model": group.model,
        "image_size": height if height == width else [height, width],
        "dtype": group.dtype,
        "batch_size": group.batch_size,
        "peer": peer,
        "gmacs": passes * count_flops(spec, setting) / 1e9,
        **describe(setting),
    }
