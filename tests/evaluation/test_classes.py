"""Folders whose classes are some of a model's."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_dataset

from renyi_jax.errors import UserError
from renyi_jax.evaluation.classes import in_classes_of
from renyi_jax.inference import read_class_names
from renyi_jax.models.classes import imagenet_classes
from renyi_jax.weights import Checkpoint

DATASET = tiny_dataset(23)


def checkpoint(num_classes, class_names=None):
    notes = {} if class_names is None else {"class_names": str(class_names).replace("'", '"')}
    return Checkpoint(Path("weights"), {"head.bias": np.zeros(num_classes, np.float32)}, notes)


def named(names):
    """The data set with other names for its ten classes."""
    return dataclasses.replace(DATASET, class_names=tuple(names))


def test_imagenets_classes_are_in_the_order_of_their_ids_and_have_a_name_each():
    synsets, names = zip(*imagenet_classes())
    assert len(synsets) == 1000 == len(set(names)) and list(synsets) == sorted(set(synsets))
    assert (synsets[0], names[0]) == ("n01440764", "tench")
    assert (synsets[999], names[999]) == ("n15075141", "toilet tissue")
    assert read_class_names("imagenet") == list(names)


@pytest.mark.parametrize("names", [None, read_class_names("imagenet")])
def test_a_folder_of_wordnet_ids_is_labelled_as_imagenet_is(names):
    numbers = [3, 999, 0, 134, 517, 42, 7, 8, 9, 10]
    imagenet = imagenet_classes()
    dataset = in_classes_of(
        checkpoint(1000), named(imagenet[number].synset for number in numbers), names
    )
    expected = [numbers[label] for label in DATASET.test.labels()]
    assert dataset.test.labels().tolist() == expected
    assert [dataset.test[index]["label"] for index in range(23)] == expected
    assert dataset.class_names == tuple(each.name for each in imagenet)


def test_a_folder_of_some_of_the_classes_that_the_weights_note_gets_their_labels():
    names = [f"class {number}" for number in range(12)]
    dataset = in_classes_of(checkpoint(12, names), named(reversed(names[2:])))
    assert dataset.test.labels().tolist() == [11 - label for label in DATASET.test.labels()]
    assert dataset.class_names == tuple(names)


def test_the_labels_of_a_data_set_with_as_many_classes_of_unknown_names_are_taken_as_they_are():
    assert in_classes_of(checkpoint(10), DATASET) is DATASET
    assert in_classes_of(checkpoint(12), DATASET, num_classes=12) is DATASET


@pytest.mark.parametrize(
    ("weights", "names", "message"),
    [
        (checkpoint(12), None, "12 classes, and noise has 10, of which .* not known by name"),
        (checkpoint(1000), None, "1000 classes"),
        (checkpoint(12, ["a"] * 12), None, "none of the model's"),
        (checkpoint(12), ["a"] * 11, "11 class names"),
        (Checkpoint(Path("weights"), {}, {}), None, "no classifier"),
    ],
)
def test_classes_that_the_weights_do_not_have_are_refused(weights, names, message):
    with pytest.raises(UserError, match=message):
        in_classes_of(weights, DATASET, names)
