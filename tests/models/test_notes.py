"""What a file of weights says of its model."""

import math

import pytest
from tiny import tiny_model, tiny_spec

from renyi_jax.errors import UserError
from renyi_jax.models import save_weights
from renyi_jax.models.notes import Notes, read_notes, write_notes
from renyi_jax.pruning import PruningConfig
from renyi_jax.weights import read_checkpoint, read_metadata

PRUNINGS = [
    PruningConfig(
        alpha=(math.inf, 0.5), blocks=(1, 2), keep_rate=(0.9, 0.5), heads="average_first"
    ),
    PruningConfig(reducer="merge", r=(3, 0), blocks=(1, 2)),
    PruningConfig(criterion=("shannon", "cls_attention"), blocks=(1, 3), reverse=True),
]


@pytest.mark.parametrize("pruning", PRUNINGS)
def test_what_is_noted_is_read_back(pruning, tmp_path):
    names = ("Küche", 'a "quoted" name')
    model = tiny_model(pruning, tiny_spec(num_classes=2))
    save_weights(model, tmp_path / "model.safetensors", class_names=names)
    metadata = read_metadata(tmp_path)
    assert metadata == read_checkpoint(tmp_path).metadata
    assert all(isinstance(value, str) for value in metadata.values())
    assert read_notes(metadata, "it") == Notes(None, pruning, names)


def test_the_files_of_others_note_nothing(tmp_path):
    assert read_notes({"format": "pt"}, "it") == Notes(None, None, None)
    (tmp_path / "model.pth").write_bytes(b"PK\x03\x04 and so on")
    assert read_metadata(tmp_path / "model.pth") == {}


def test_a_plain_model_notes_no_pruning():
    assert "pruning" not in write_notes(tiny_model())


@pytest.mark.parametrize(
    "metadata",
    [{"pruning": "{"}, {"pruning": '{"keep": 1}'}, {"pruning": "[1]"}, {"class_names": "1"}],
    ids=str,
)
def test_notes_that_cannot_be_understood_are_refused_with_the_file_s_name(metadata):
    with pytest.raises(UserError, match=r"model\.safetensors notes its pruning or its classes"):
        read_notes(metadata, "model.safetensors")
