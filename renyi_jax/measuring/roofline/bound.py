"""The time that a program takes at least, and which resource of the chip says so."""

import dataclasses

from renyi_jax.measuring.roofline.chips import Chip


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

    Args:
        chip: that runs the program.
        flops: of one chip and run: a multiply-add is two.
        moved_bytes: between memory and one chip.
        sent_bytes: from one chip to its neighbours.
    """
    return Bound(
        compute=flops / chip.flops,
        memory=moved_bytes / chip.hbm_bandwidth,
        network=sent_bytes / chip.ici_bandwidth,
    )
