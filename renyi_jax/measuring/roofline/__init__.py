"""What a compiled program asks of a chip: memory, arithmetic, traffic; and what the chip allows."""

from renyi_jax.measuring.roofline.chips import (
    CHIPS,
    Bound,
    Chip,
    parse_topology,
    roofline,
    topology_devices,
    weak_scaling,
)
from renyi_jax.measuring.roofline.collectives import Collective, find_collectives
from renyi_jax.measuring.roofline.program import (
    Program,
    bytes_per_device,
    bytes_refused,
    describe,
    largest_fitting,
    read_program,
    verdict,
)
