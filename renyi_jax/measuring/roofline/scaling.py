"""Weak scaling on paper: more chips, each with as many images as before."""

import dataclasses
from collections.abc import Sequence

from renyi_jax.measuring.roofline.bound import Bound
from renyi_jax.measuring.roofline.collectives import Collective


def weak_scaling(
    bound: Bound, collectives: Sequence[Collective], num_chips: int, sizes: Sequence[int]
) -> dict[int, tuple[Bound, float]]:
    """What becomes of a program that was compiled for `num_chips`, on slices of other sizes.

    Collectives over all chips then go over more of them; those within smaller groups, the
    arithmetic and the memory of a chip stay as they are. That is so where the axis `data` of the
    mesh takes the further chips.

    Args:
        bound: of the compiled program.
        collectives: of the compiled program.
        num_chips: that it was compiled for.
        sizes: numbers of chips.

    Returns:
        For each size the bound there, and the share of the time that is not spent on the network if
        nothing hides it: the efficiency against chips that had no others to wait for.
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
