"""The data sets that `config.data.name` may name.

To add one: write its TFDS builder (or take one of TFDS' own) and enter it in `DATASETS`.
"""

import dataclasses
from collections.abc import Callable

import tensorflow_datasets as tfds
from etils import epath

from renyi_jax.data.cluttered_fashion_mnist import ClutteredFashionMnist
from renyi_jax.data.fgvc_aircraft import FgvcAircraft
from renyi_jax.data.image_folder import ImageFolder, folder_config
from renyi_jax.data.imagenet100 import Imagenet100
from renyi_jax.data.oxford_flowers102 import OxfordFlowers102
from renyi_jax.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class DatasetEntry:
    """How a data set is built, and which of its features mean what.

    Attributes:
      builder: the TFDS builder.
      folder_config: gives the builder config from what lies in the user's `manual_dir`, for a data
        set that is what lies there.
      object_mask: the feature that is non-zero on the labelled object's pixels, if there is one.
      garment: the feature from which training may compose fresh canvases, if there is one.
    """

    builder: type[tfds.core.DatasetBuilder]
    folder_config: Callable[[epath.Path], tfds.core.BuilderConfig] | None = None
    object_mask: str | None = None
    garment: str | None = None


DATASETS: dict[str, DatasetEntry] = {
    "cluttered_fashion_mnist": DatasetEntry(
        builder=ClutteredFashionMnist, object_mask="object_mask", garment="garment"
    ),
    "fgvc_aircraft": DatasetEntry(builder=FgvcAircraft),
    "image_folder": DatasetEntry(builder=ImageFolder, folder_config=folder_config),
    "imagenet100": DatasetEntry(builder=Imagenet100),
    "oxford_flowers102": DatasetEntry(builder=OxfordFlowers102),
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
