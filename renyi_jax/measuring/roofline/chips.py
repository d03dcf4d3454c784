"""The chips that a program may be compiled for, and the least time that it takes on them."""

import dataclasses
import math
import os
import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

from renyi_jax.common.extras import install
from renyi_jax.errors import UserError, nearest
from renyi_jax.measuring.roofline.collectives import Collective


@dataclasses.dataclass(frozen=True)
class Chip:
    """The peaks of one chip, as its maker gives them."""

    flops: float  # of bfloat16 products, per second
    hbm_bytes: int
    hbm_bandwidth: float  # bytes per second between memory and chip
    ici_bandwidth: float  # bytes per second that it sends to its neighbours, over all links
    ici_axes: int  # of the torus of links; an axis has two links


_GIB = 2**30

# docs.cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e}, "System architecture". What it calls the
# bidirectional bandwidth of a chip counts what it sends and what it receives; this is half of it.
CHIPS: dict[str, Chip] = {
    "v4": Chip(275e12, 32 * _GIB, 1228e9, 300e9, 3),
    "v5e": Chip(197e12, 16 * _GIB, 819e9, 200e9, 2),
    "v5p": Chip(459e12, 95 * _GIB, 2765e9, 600e9, 3),
    "v6e": Chip(918e12, 32 * _GIB, 1638e9, 400e9, 2),
}


def parse_topology(topology: str) -> tuple[Chip, int]:
    """Returns the chip and the number of chips of "v5e:4x4"; raises UserError for another
    spelling.
    """
    match = re.fullmatch(r"([^:]+):([1-9][0-9]{0,2}(?:x[1-9][0-9]{0,2}){1,2})", topology)
    if match is None:
        raise UserError(f"--topology={topology}: expected a chip and a shape, as in v5e:4x4.")
    name, shape = match.groups()
    if name not in CHIPS:
        raise UserError(
            f"--topology={topology}: unknown chip {name!r}.{nearest(name, CHIPS)}"
            f" Known: {', '.join(CHIPS)}."
        )
    sides = [int(side) for side in shape.split("x")]
    if len(sides) != CHIPS[name].ici_axes:
        example = "x".join("4" * CHIPS[name].ici_axes)
        raise UserError(
            f"--topology={topology}: a slice of {name} has {CHIPS[name].ici_axes} sides, as in"
            f" {name}:{example}."
        )
    return CHIPS[name], math.prod(sides)


_COMPILER_ALONE = {
    "TPU_SKIP_MDS_QUERY": "1",  # do not look for the machine's own TPUs
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "3",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # nothing of the hardware is taken
}


def topology_devices(topology: str) -> list[Any]:
    """Returns the devices of a slice, as v5e:4x4, which need not be there, for XLA to compile for.

    From now on this process runs arrays on the CPU, and caches no compilations, which would lack
    XLA's analyses.

    Raises UserError: there is no compiler for TPUs, or it does not take the topology.
    """
    os.environ |= _COMPILER_ALONE
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    # Of a chip with two cores, JAX sees one device.
    options = {"chip_config_name": "megacore"} if topology.startswith("v4:") else {}
    try:
        return topologies.get_topology_desc(topology, platform="tpu", **options).devices
    except Exception as error:  # whatever a plugin raises that is missing or differs
        raise UserError(
            f"--topology={topology}: the compiler does not take it ({str(error).splitlines()[0]})."
            f" It comes with: {install('tpu')}"
        ) from error


@dataclasses.dataclass(frozen=True)
class Bound:
    """Seconds that one run of a program keeps each resource busy at its peak."""

    compute: float
    memory: float
    network: float

    @property
    def seconds(self) -> float:
        """The least time of one run, if the three overlap wholly."""
        return max(self.compute, self.memory, self.network)

    @property
    def by(self) -> str:
        """The resource that is busy longest."""
        return max(dataclasses.asdict(self).items(), key=lambda item: item[1])[0]


def roofline(chip: Chip, flops: float, moved_bytes: float, sent_bytes: float) -> Bound:
    """The roofline (Williams et al. 2009, doi 10.1145/1498765.1498785), with a third side.

    All are of one chip and run; a multiply-add is two FLOP.
    """
    return Bound(
        compute=flops / chip.flops,
        memory=moved_bytes / chip.hbm_bandwidth,
        network=sent_bytes / chip.ici_bandwidth,
    )


def weak_scaling(
    bound: Bound, collectives: Sequence[Collective], num_chips: int, sizes: Sequence[int]
) -> dict[int, tuple[Bound, float]]:
    """Returns the bound of a program for `num_chips` on slices of other sizes, at as many images a
    chip.

    Collectives over all chips then go over more of them; smaller groups, arithmetic and memory
    stay, as where the axis `data` of the mesh takes the further chips.

    Returns:
        For each size the bound, and the share of time not spent on the network if nothing hides it.
    """
    here = sum(each.sent_bytes for each in collectives)

    def sent(size: int) -> float:
        return sum(
            dataclasses.replace(each, group_size=size).sent_bytes
            if each.group_size == num_chips
            else each.sent_bytes
            for each in collectives
        )

    def scaled(size: int) -> tuple[Bound, float]:
        network = bound.network * sent(size) / here if here else 0.0
        alone = max(bound.compute, bound.memory)
        return dataclasses.replace(bound, network=network), alone / (alone + network)

    return {size: scaled(size) for size in sizes}
