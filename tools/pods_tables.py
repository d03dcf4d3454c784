"""Prints the tables of docs/pods.md from results of renyi_jax.compile.

    python tools/pods_tables.py runs/pods/*/results.json

Weak scaling is printed for the smallest slice of each chip.
"""

import argparse
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from renyi_jax.measuring.roofline import Bound, Collective, parse_topology, weak_scaling

GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=pathlib.Path)
    parser.add_argument("--sizes", default="4,16,64,256", help="of the slices of weak scaling")
    arguments = parser.parse_args()
    results = [json.loads(path.read_text()) for path in arguments.results]
    results.sort(key=lambda result: (result["topology"][:3], _num_chips(result)))
    print("\n".join(_steps(results)), end="\n\n")
    sizes = [int(size) for size in arguments.sizes.split(",")]
    print("\n".join(_scaling(results, sizes)))


def _steps(results: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        "| slice | step | keep rate | images per chip | memory of a chip, GiB: weights + optimiser"
        " + activations, peak | TFLOP per chip | GB moved | MB sent | at least, ms: compute /"
        " memory / network | images/s |"
    )
    yield "|---" * 10 + "|"
    for result in results:
        for row in result["steps"]:
            images = row["batch_size"] // _num_chips(result)
            head = f"| {result['topology']} | {row['step']} | {row['keep_rate']:g} | {images} |"
            if "peak_bytes" not in row:
                yield f"{head} does not fit; {row['largest_batch_size']} images do | | | | | |"
                continue
            parts = (row[f"{part}_bytes"] / GIB for part in ("weights", "optimizer", "activation"))
            memory = " + ".join(f"{part:.2f}" for part in parts)
            times = " / ".join(_emphasised(row["seconds"], row["bound"]))
            yield (
                f"{head} {memory}, {row['peak_bytes'] / GIB:.2f} | {row['flops'] / 1e12:.2f}"
                f" | {row['moved_bytes'] / 1e9:.1f} | {row['sent_bytes'] / 1e6:.1f} | {times}"
                f" | {row['images_per_second']:,.0f} |"
            )


def _emphasised(seconds: dict[str, float], bound: str) -> Iterator[str]:
    for name, value in seconds.items():
        shown = f"{1e3 * value:.2f}"
        yield f"**{shown}**" if name == bound else shown


def _scaling(results: list[dict[str, Any]], sizes: list[int]) -> Iterator[str]:
    listed = " / ".join(map(str, sizes))
    yield (
        f"| compiled for | keep rate | network, ms, on {listed} chips | images/s, all overlapped"
        f" | efficiency on {sizes[-1]}, nothing overlapped | the same, of compute alone |"
    )
    yield "|---" * 6 + "|"
    seen = set()
    for result in results:
        chip = result["topology"].split(":")[0]
        for row in result["steps"]:
            if row["step"] != "train" or "seconds" not in row or (chip, row["keep_rate"]) in seen:
                continue
            seen.add((chip, row["keep_rate"]))
            num_chips, bound = _num_chips(result), Bound(**row["seconds"])
            collectives = [Collective(**each) for each in row["collectives"]]
            scaled = weak_scaling(bound, collectives, num_chips, sizes)
            bounds = {size: there for size, (there, _) in scaled.items()}
            network = " / ".join(f"{1e3 * there.network:.2f}" for there in bounds.values())
            images = " / ".join(
                f"{size * row['batch_size'] / num_chips / there.seconds:,.0f}"
                for size, there in bounds.items()
            )
            efficiency = scaled[sizes[-1]][1]
            of_compute = bound.compute / (bound.compute + bounds[sizes[-1]].network)
            yield (
                f"| {result['topology']} | {row['keep_rate']:g} | {network} | {images}"
                f" | {100 * efficiency:.1f} % | {100 * of_compute:.1f} % |"
            )


def _num_chips(result: dict[str, Any]) -> int:
    return parse_topology(result["topology"])[1]


if __name__ == "__main__":
    main()
