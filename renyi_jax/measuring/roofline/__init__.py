"""What a compiled program asks of a chip: memory, arithmetic, traffic; and what the chip allows."""

from renyi_jax.measuring.roofline.bound import Bound, roofline, weak_scaling
from renyi_jax.measuring.roofline.chips import CHIPS, Chip, parse_topology, topology_devices
from renyi_jax.measuring.roofline.collectives import Collective, find_collectives
from renyi_jax.measuring.roofline.describe import describe, verdict
from renyi_jax.measuring.roofline.largest_batch import largest_fitting
from renyi_jax.measuring.roofline.program import (
    Program,
    bytes_per_device,
    bytes_refused,
    read_program,
)
