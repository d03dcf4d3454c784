"""The cells of a study: what `renyi_jax.evaluation.judging` makes of the entries of a plan."""

from collections.abc import Sequence
from typing import Any

from renyi_jax.common.store import Store
from renyi_jax.data import Dataset
from renyi_jax.evaluation import judging
from renyi_jax.evaluation.programs import Programs
from renyi_jax.models import VisionTransformer
from studies.plans import Entry


def judge(
    model: VisionTransformer,
    dataset: Dataset,
    config: Any,
    entries: Sequence[Entry],
    store: Store,
    reading: judging.Reading = judging.OUTCOMES,
    compute: bool = True,
) -> dict[Entry, Any]:
    """What is read of every test image under every entry; missing cells are left out unless they
    are to be computed. Args and errors: as for `judging.judge`."""
    programs = Programs(model, config.mesh.to_dict(), reading.read)
    settings = [entry.pruning for entry in entries]
    cells = judging.judge(
        *(model, dataset, config, settings, config.seed, store, programs, reading),
        fuses=True,
        compute=compute,
    )
    return {entry: cell for entry, cell in zip(entries, cells) if cell is not None}
