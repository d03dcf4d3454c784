"""What XLA says of a program that it compiled."""

import dataclasses
import math
import re
from typing import Any

import jax

from renyi_jax.measuring.roofline.collectives import Collective, find_collectives


@dataclasses.dataclass(frozen=True)
class Program:
    """What one run asks of one device.

    Attributes:
        flops: of all arithmetic; a multiply-add is two.
        moved_bytes: read and written by all fusions: more than goes to HBM.
        temporary_bytes: of what lives only while it runs, and of results in no argument's place.
    """

    flops: float
    moved_bytes: float
    collectives: tuple[Collective, ...]
    argument_bytes: int
    temporary_bytes: int
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
