"""The data sets that `config.data.name` may name.

To add one: write its TFDS builder (or take one of TFDS' own) and enter it in `DATASETS`.
"""

import dataclasses
from collections.abc import Callable

import tensorflow_datasets as tfds

from renyi_jax.data.cluttered_fashion_mnist import ClutteredFashionMnist
from renyi_jax.data.fgvc_aircraft import FgvcAircraft
from renyi_jax.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class DatasetEntry:
    """How a data set is built, and which of its features mean what.

    Attributes:
      builder: takes `data_dir`, `config` (the builder config's name or None for the default) and
        `file_format`; gives the TFDS builder.
      object_mask: the feature that is non-zero on the labelled object's pixels, if there is one.
      garment: the feature from which training may compose fresh canvases, if there is one.
    """

    builder: Callable[..., tfds.core.DatasetBuilder]
    object_mask: str | None = None
    garment: str | None = None


DATASETS: dict[str, DatasetEntry] = {
    "cluttered_fashion_mnist": DatasetEntry(
        builder=ClutteredFashionMnist, object_mask="object_mask", garment="garment"
    ),
    "fgvc_aircraft": DatasetEntry(builder=FgvcAircraft),
}


def dataset_entry(name: str) -> DatasetEntry:
    """The entry of that name.

    Raises:
      UserError: if there is none.
    """
    if name not in DATASETS:
        raise UserError(
            f"Unknown data set {name!r} in config.data.name.{nearest(name, DATASETS)} "
            f"Known: {', '.join(sorted(DATASETS))}."
        )
    return DATASETS[name]
