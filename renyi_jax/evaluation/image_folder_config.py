"""The config of an evaluation on a folder of images, where the user gives none."""

from renyi_jax.config import default_config


def get_config():
    config = default_config()
    config.data.name = "image_folder"
    return config
