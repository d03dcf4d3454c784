"""Opens the data set that a config names."""

from renyi_jax.data.dataset import DataConfig, Dataset
from renyi_jax.data.registry import dataset_entry


def load_dataset(data_config: DataConfig) -> Dataset:
    """Opens the data set that `config.data` describes, and prepares it first if it has to be.

    Args:
      data_config: `config.data`; its fields `name`, `builder_config`, `data_dir`, `manual_dir`,
        `train_split` and `test_split` (TFDS' split syntax, "train[:90%]" included), and
        `test_share` are read.

    Raises:
      UserError: for an unknown data set, builder config or split, and where data are missing.
    """
    return dataset_entry(data_config.name).load(data_config)


def count_classes(data_config: DataConfig) -> int:
    """The number of classes, for which the data need not be there if the name tells it.

    Args:
      data_config: as for `load_dataset`.

    Raises:
      UserError: for an unknown data set or builder config, or a folder of images that is not there.
    """
    return dataset_entry(data_config.name).count_classes(data_config)
