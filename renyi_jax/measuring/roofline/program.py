"""What XLA says of a program that it compiled, and the largest batch that fits."""

import collections
import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import jax

from renyi_jax.measuring.roofline.collectives import Collective, find_collectives


@dataclasses.dataclass(frozen=True)
class Program:
    """What one run asks of one device."""

    flops: float  # of all arithmetic; a multiply-add is two
    moved_bytes: float  # read and written by all fusions: more than goes to HBM
    collectives: tuple[Collective, ...]
    argument_bytes: int
    temporary_bytes: int  # of what lives only while it runs, and of results in no argument's place
    code_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Of memory, at the same time."""
        return self.argument_bytes + self.temporary_bytes + self.code_bytes

    @property
    def sent_bytes(self) -> float:
        """From the device to others, where rings do the exchange."""
        return sum((each.sent_bytes for each in self.collectives), start=0.0)


def read_program(compiled: jax.stages.Compiled, turns: int = 1) -> Program:
    """Returns what a compiled program asks of each of its devices.

    `turns` are those of the loop that it spends its time in, which XLA's costs count once.
    """
    # Plain attributes of XLA's own objects, which JAX does not type.
    cost: Any = compiled.cost_analysis()
    memory: Any = compiled.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return Program(
        flops=turns * cost.get("flops", 0.0),
        moved_bytes=turns * cost.get("bytes accessed", 0.0),
        collectives=tuple(find_collectives(compiled.as_text() or "")),
        argument_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes + results,
        code_bytes=memory.generated_code_size_in_bytes,
    )


def bytes_refused(message: str) -> float:
    """The bytes that a compiler says a program needs which it refuses; inf where it does not say.

    As in "the total memory required for HLO temporaries (24.25G) exceeds available HBM (15.75G)".
    """
    said = re.search(r"required[^(]*\(([\d.]+)([KMGT]?)\)", message)
    if said is None:
        return math.inf
    return float(said[1]) * 1024 ** " KMGT".index(said[2] or " ")


def bytes_per_device(arrays) -> int:
    """What a pytree of arrays, or of shapes with shardings, takes on each device."""

    def size(leaf) -> int:
        shape = leaf.sharding.shard_shape(leaf.shape)
        return jax.ShapeDtypeStruct(shape, leaf.dtype).size * leaf.dtype.itemsize

    return sum(map(size, jax.tree.leaves(arrays)))


Point = tuple[int | float, int | float]


def largest_fitting(
    needs: Callable[[int], int | float],
    limit: int | float,
    too_large: int,
    step: int,
    needed: int | float = math.inf,
) -> int:
    """Returns the largest multiple of `step` below `too_large` that needs at most `limit`; 0 if
    none.

    Memory is nearly linear in the batch: it tries where the line through the last two measurements
    meets the limit, and halves the range where lines fail.

    Args:
        needs: bytes of a batch, which never fall as it grows; inf where unknown and too many. Each
            call compiles a program.
        needed: bytes of `too_large`, as far as they are known.
    """
    low, high = 0, -(-too_large // step)  # the largest that fits, and the smallest that does not
    points: list[Point] = [(0, 0), (too_large / step, needed)]
    slow = 0  # lines in a row that did not halve the range
    while high - low > 1:
        guess = _crossing(points[-2], points[-1], limit) if slow < 2 else None
        guess = (low + high) // 2 if guess is None else min(max(guess, low + 1), high - 1)
        width = high - low
        needed = needs(guess * step)
        points.append((guess, needed))
        if needed <= limit:
            low = guess
        else:
            high = guess
        slow = 0 if high - low <= (width + 1) / 2 else slow + 1
    return low * step


def _crossing(one: Point, other: Point, limit: int | float) -> int | None:
    """Where the line through two points reaches the limit; None where there is no such line."""
    (x0, y0), (x1, y1) = one, other
    if not (math.isfinite(y0) and math.isfinite(y1)) or y0 == y1:
        return None
    return math.floor(x0 + (limit - y0) * (x1 - x0) / (y1 - y0))


def describe(row: dict[str, Any]) -> str:
    """What `training.measure` found, on several lines."""
    lines = [f"{row['step']}, keep rate {row['keep_rate']:g}, batch {row['batch_size']}"]
    if "peak_bytes" in row:
        parts = ("weights", "optimizer", "batch", "activation", "program")
        memory = ", ".join(f"{part} {_size(row[f'{part}_bytes'])}" for part in parts)
        kinds: dict[str, list[float]] = collections.defaultdict(lambda: [0, 0])
        for each in row["collectives"]:
            kinds[each["kind"]][0] += each["count"]
            kinds[each["kind"]][1] += each["count"] * each["bytes"]
        exchanges = ", ".join(
            f"{count:.0f} {kind} of {_size(size)}" for kind, (count, size) in kinds.items()
        )
        seconds = ", ".join(f"{name} {1e3 * s:.2f} ms" for name, s in row["seconds"].items())
        lines += [
            f"  memory       {_size(row['peak_bytes'])} of {_size(row['hbm_bytes'])}: {memory}",
            f"  arithmetic   {row['flops'] / 1e12:.3f} TFLOP, {_size(row['moved_bytes'])} moved",
            f"  collectives  {_size(row['sent_bytes'])} sent: {exchanges or 'none'}",
            f"  at least     {seconds}: bound by {row['bound']},"
            f" at most {row['images_per_second']:,.0f} images/s on all chips",
        ]
    if not row["fits"]:
        lines.append(f"  {verdict(row)}")
    return "\n".join([*lines, f"  compiled in  {row['compile_seconds']:.0f} s\n"])


def verdict(row: dict[str, Any]) -> str:
    """Whether the step fits, and if it does not, which batch would."""
    step = f"The {row['step']} step at keep rate {row['keep_rate']:g}"
    field, largest = row["batch_size_field"], row.get("largest_batch_size")
    if row["fits"]:
        return f"{step} fits with {field}={row['batch_size']}."
    if not largest:
        return f"{step} does not fit with any {field}."
    return f"{step} does not fit with {field}={row['batch_size']}; the largest is {largest}."


def _size(number: int | float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.3g} {unit}"
        number /= 1024
    return f"{number:.4g} GiB"
