"""The test images under the labels of a model's classes, of which they may show some only."""

import dataclasses
from collections.abc import Sequence

from absl import logging

from renyi_jax.data import Dataset
from renyi_jax.errors import UserError
from renyi_jax.models.classes import check_class_names, imagenet_names, labels_of
from renyi_jax.models.compatibility import file_classes
from renyi_jax.models.notes import read_notes
from renyi_jax.weights import Checkpoint


def in_classes_of(
    checkpoint: Checkpoint,
    dataset: Dataset,
    names: Sequence[str] | None = None,
    num_classes: int = 0,
) -> Dataset:
    """Returns the data set relabelled by the classes of the weights, of which it may have only
    some.

    Args:
        names: of the weights' classes; those that they note by default.
        num_classes: of the config; with as many, the data set's labels need no names.

    Raises UserError: no classifier, an unknown class, or not as many names as classes.
    """
    count = num_classes_of(checkpoint)
    if names is not None:
        check_class_names(names, count)
    else:
        noted = read_notes(checkpoint.metadata, checkpoint.path).class_names
        names = noted if noted and len(noted) == count else None
    labels = labels_of(names, count)
    unknown = [name for name in dataset.class_names if name not in labels]
    if not unknown:
        test = dataset.test.relabelled([labels[name] for name in dataset.class_names])
        names = tuple(names or imagenet_names())
        return dataclasses.replace(dataset, class_names=names, test=test)
    if count not in (dataset.num_classes, num_classes):
        raise UserError(
            f"{checkpoint.path} has a classifier of {count} classes, and {dataset.name} has"
            f" {dataset.num_classes}, of which {unknown[0]!r} is"
            + (" none of the model's." if names else " not known by name: give --class_names.")
        )
    if names:
        logging.warning(
            "%s was trained on other classes (%s, ...) than those of %s (%s, ...).",
            *(checkpoint.path, names[0], dataset.name, dataset.class_names[0]),
        )
    return dataset


def check_head(checkpoint: Checkpoint, num_classes: int) -> None:
    """Raises `UserError` where the weights have no classifier of so many classes."""
    count = num_classes_of(checkpoint)
    if count != num_classes:
        raise UserError(
            f"{checkpoint.path} has a classifier of {count} classes; expected one of {num_classes}."
        )


def num_classes_of(checkpoint: Checkpoint) -> int:
    """Returns the number of classes of the weights' classifier; errors if there is none."""
    count = file_classes({name: tensor.shape for name, tensor in checkpoint.tensors.items()})
    if count is None:
        raise UserError(f"{checkpoint.path} has no classifier, so there is nothing to evaluate.")
    return count
