"""The least time that a program takes, on its chips and on more of them, and what bounds it."""

import dataclasses
from collections.abc import Sequence

from renyi_jax.measuring.roofline.chips import Chip
from renyi_jax.measuring.roofline.collectives import Collective


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
