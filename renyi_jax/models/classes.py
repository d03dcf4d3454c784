"""What the classes of a model are called: ImageNet's names are shipped."""

import importlib.resources
from collections.abc import Sequence
from typing import NamedTuple

from renyi_jax.errors import UserError


class ImageNetClass(NamedTuple):
    """One of the 1,000 classes of ILSVRC 2012: its id in WordNet, and a name in English."""

    synset: str
    name: str


def imagenet_classes() -> list[ImageNetClass]:
    """Returns ImageNet's classes in the order of their labels, which is that of the ids."""
    file = importlib.resources.files("renyi_jax") / "data" / "labels" / "imagenet.txt"
    lines = file.read_text("utf-8").splitlines()
    return [ImageNetClass(*line.split(" ", 1)) for line in lines]


def imagenet_names() -> list[str]:
    """Returns the English names of ImageNet's classes, each of them once."""
    return [each.name for each in imagenet_classes()]


def labels_of(names: Sequence[str] | None, num_classes: int) -> dict[str, int]:
    """Returns the label of every name that a class of a model goes by.

    Args:
        num_classes: a model of 1,000 classes is taken for one of ImageNet's, unless its classes
            have other names: they then go by their ids, too.
    """
    labels = {name: label for label, name in enumerate(names or ())}
    if num_classes == 1000 and (names is None or list(names) == imagenet_names()):
        for label, each in enumerate(imagenet_classes()):
            labels |= {each.synset: label, each.name: label}
    return labels


def check_class_names(names: Sequence[str], num_classes: int) -> None:
    """Raises `UserError` where there is not one name for each class."""
    if len(names) != num_classes:
        raise UserError(
            f"There are {len(names)} class names, and the model has {num_classes} classes;"
            " expected one name for each."
        )
