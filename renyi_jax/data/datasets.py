"""The data sets that `config.data.name` may name, and what opens them.

To add one: write its TFDS builder (or take one of TFDS' own) and enter it in `DATASETS`.
"""

from renyi_jax.data.cluttered_fashion_mnist import ClutteredFashionMnist, read_garments
from renyi_jax.data.dataset import DataConfig, Dataset
from renyi_jax.data.fgvc_aircraft import FgvcAircraft, cut_banner
from renyi_jax.data.folder import ImageFolder
from renyi_jax.data.imagenet100 import Imagenet100
from renyi_jax.data.oxford_flowers102 import OxfordFlowers102
from renyi_jax.data.prepared import Prepared
from renyi_jax.errors import check_known

DatasetEntry = Prepared | ImageFolder

DATASETS: dict[str, DatasetEntry] = {
    "cluttered_fashion_mnist": Prepared(
        ClutteredFashionMnist, object_mask="object_mask", read_garments=read_garments
    ),
    "fgvc_aircraft": Prepared(FgvcAircraft, edit=cut_banner),
    "image_folder": ImageFolder(),
    "imagenet100": Prepared(Imagenet100),
    "oxford_flowers102": Prepared(OxfordFlowers102),
}


def load_dataset(data_config: DataConfig) -> Dataset:
    """Opens the data set of `config.data`, and prepares it first if needed; splits are TFDS'
    syntax.

    Raises UserError: an unknown data set, builder config or split, or missing data.
    """
    return _entry(data_config.name).load(data_config)


def count_classes(data_config: DataConfig) -> int:
    """Returns the number of classes; only an image folder has to be there for that."""
    return _entry(data_config.name).count_classes(data_config)


def _entry(name: str) -> DatasetEntry:
    check_known("data set of config.data.name", name, DATASETS)
    return DATASETS[name]
