"""The chips that a program may be compiled for, and what one of each can do."""

import dataclasses
import math
import re

from renyi_jax.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Chip:
    """The peaks of one chip, as its maker gives them.

    Attributes:
        flops: of bfloat16 products, per second.
        hbm_bytes: of memory.
        hbm_bandwidth: bytes per second between memory and chip.
        ici_bandwidth: bytes per second that the chip sends to its neighbours, over all links.
        ici_axes: of the torus of links; an axis has two links.
    """

    flops: float
    hbm_bytes: int
    hbm_bandwidth: float
    ici_bandwidth: float
    ici_axes: int


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
    """The chip and the number of chips of "v5e:4x4".

    Raises:
        UserError: for another chip or spelling.
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
