"""Measurements in words."""

import collections
from typing import Any


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
