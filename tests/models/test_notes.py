"""What a file of weights says of its model."""

import json
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
    assert read_notes(metadata, "it") == Notes(
        image_size=(16, 16), class_names=names, pruning=pruning
    )


def test_the_files_of_others_note_nothing(tmp_path):
    assert read_notes({"format": "pt"}, "it") == Notes()
    (tmp_path / "model.pth").write_bytes(b"PK\x03\x04 and so on")
    assert read_metadata(tmp_path / "model.pth") == {}


def test_a_plain_model_notes_no_pruning():
    assert "pruning" not in write_notes(tiny_model())


NOT_UNDERSTOOD = [
    ("model", "a\nb"),
    ("model", "m" * 101),
    *(("image_size", text) for text in ("", "224", "²x²", "0x16", "-1x16", "1e3x16", "16x16x3")),
    ("image_size", "9" * 5000 + "x16"),
    *(("pruning", text) for text in ("", "{", "null", "1", "[1]", '{"keep": 1}', "[" * 10**5)),
    ("pruning", '{"a":' * 5000),
    ("pruning", '{"blocks": [' + "1," * 10**5 + "2]}"),
    ("pruning", f'{{"alpha": 1{"0" * 400}}}'),
    ("pruning", '{"blocks": [1000000000000000000]}'),
    *(
        ("pruning", json.dumps({field: value}))
        for field in ("alpha", "keep_rate", "blocks", "reducer", "normalize", "heads")
        for value in (None, {}, [{}], [[1]], "²", -1, [None], {"a": {"b": 1}}, math.nan)
    ),
    *(("pruning", json.dumps({"criterion": value})) for value in (1, [{}], [[1]], "²", ["renyi"])),
    *(("class_names", text) for text in ("1", "null", "{}", '"ab"', "[1, 2]", '["a", null]')),
    ("class_names", "[" * 10**5),
    ("class_names", '["\\ud800"]'),
]


@pytest.mark.parametrize(("field", "text"), NOT_UNDERSTOOD, ids=lambda text: text[:30])
def test_notes_that_cannot_be_understood_are_refused_with_the_file_s_name(field, text):
    with pytest.raises(UserError, match=rf"model\.safetensors notes its {field}") as raised:
        read_notes({field: text}, "model.safetensors")
    assert len(str(raised.value)) < 600 and "\n" not in str(raised.value)


def test_a_model_is_not_written_with_another_number_of_names_than_it_has_classes():
    with pytest.raises(UserError, match="There are 2 class names, and the model has 10 classes"):
        write_notes(tiny_model(), ["a", "b"])
