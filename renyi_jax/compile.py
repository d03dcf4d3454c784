"""Compiles training and evaluation for a slice of TPUs that need not be there.

Says what a step asks of each chip, in memory, arithmetic and traffic, and how many images a second
the peaks of the chips allow. Ends with status 1 where a step does not fit, and names the largest
batch that does. Needs no TPU, but its compiler: pip install "renyi_jax[tpu]".

  python -m renyi_jax.compile --config=configs/deit_s_aircraft.py --topology=v5e:4x4
"""

import dataclasses
import sys
from typing import Any

from absl import flags

from renyi_jax.cli import commands
from renyi_jax.cli.config import define_config, parse_flags, read_config
from renyi_jax.cli.values import define
from renyi_jax.common.fields import number, several
from renyi_jax.common.files import output_folder
from renyi_jax.common.progress import phase
from renyi_jax.common.provenance import write_results
from renyi_jax.config import pruning_config, to_json
from renyi_jax.data.datasets import count_classes
from renyi_jax.measuring.roofline import describe, parse_topology, topology_devices, verdict
from renyi_jax.parallel import make_mesh
from renyi_jax.training.lowering import abstract_model, measure, steps_of

_CONFIG = define_config()
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "Chip and shape of the slice, as in v5e:4x4 or v5p:4x4x4.", required=True
)
_KEEP_RATES = define(
    "keep_rates", several((1.0, 0.7, 0.5), number(1, "(0, 1]")), "Of the pruned blocks."
)
_OUT = flags.DEFINE_string("out", None, "Folder for results.json; made if there is none.")


def main() -> None:
    config: Any = read_config(_CONFIG)
    chip, num_chips = parse_topology(_TOPOLOGY.value)
    folder = output_folder("--out", _OUT.value) if _OUT.value is not None else None
    mesh = make_mesh(config.mesh, topology_devices(_TOPOLOGY.value))
    slice_name = f"{_TOPOLOGY.value} ({num_chips} chips), {config.model.name}"
    print(f"{slice_name}, mesh {dict(mesh.shape)}. All sizes are those of one chip.\n")
    model = abstract_model(config, config.model.num_classes or count_classes(config.data))
    steps = steps_of(config, mesh)
    rows = []
    for keep_rate in _KEEP_RATES.value:
        pruned = model.with_pruning(
            dataclasses.replace(pruning_config(config), keep_rate=keep_rate)
        )
        for step in steps:
            with phase(f"Compiling the {step.name} step at keep rate {keep_rate:g}"):
                row = {"keep_rate": keep_rate, **measure(step, pruned, mesh, chip)}
            print(describe(row), flush=True)
            rows.append(row)
    if folder is not None:
        results = {"topology": _TOPOLOGY.value, "config": to_json(config), "steps": rows}
        write_results(folder / "results.json", results)
    too_large = [verdict(row) for row in rows if not row["fits"]]
    if too_large:
        print("\n".join(too_large), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    commands.run(main, parse_flags)
