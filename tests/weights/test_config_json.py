"""What a config.json says of the weights beside it."""

import json

import numpy as np
import pytest
from write_project_files import import_transformers

from renyi_jax.models.notes import read_notes
from renyi_jax.weights import read_metadata, write_checkpoint


@pytest.fixture
def notes_of(tmp_path):
    """The notes of weights beside which files of JSON lie."""

    def write(config, preprocessor=None):
        write_checkpoint(tmp_path / "model.safetensors", {"a": np.zeros(1)}, {})
        (tmp_path / "config.json").write_text(json.dumps(config))
        if preprocessor is not None:
            (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
        return read_notes(read_metadata(tmp_path), tmp_path)

    return write


TIMM = {
    "architecture": "vit_nano_patch4_56",
    "num_classes": 3,
    "label_names": ["a", "b", "c"],
    "model_args": {"img_size": 32},
    "pretrained_cfg": {
        "tag": "mae",
        "input_size": [3, 56, 56],
        "interpolation": "bilinear",
        "crop_pct": 0.8,
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "num_classes": 0,
    },
}


def test_timm_s_says_the_model_its_pixels_and_its_classes(notes_of):
    notes = notes_of(TIMM)
    assert notes.model == "vit_nano_patch4_56.mae" and notes.image_size == (32, 32)
    assert notes.num_classes == 3 and notes.class_names == ("a", "b", "c")
    assert (notes.mean, notes.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (notes.crop_pct, notes.interpolation) == (0.8, "bilinear")


def test_timm_s_older_one_has_all_in_one_and_labels_by_their_numbers(notes_of):
    pixels = {"input_size": [3, 24, 32], "mean": [0, 0, 0], "std": [1, 1, 1], "crop_pct": 1}
    notes = notes_of({"architecture": "x", "label_names": {"1": "b", "0": "a"}, **pixels})
    assert notes.model == "x" and notes.image_size == (24, 32)
    assert notes.class_names == ("a", "b") and notes.std == (1, 1, 1)


@pytest.mark.parametrize(
    ("preprocessor", "crop_pct", "interpolation"),
    [
        ({"size": 224, "resample": 2, "do_resize": True}, 1.0, "bilinear"),
        (
            {
                "size": {"shortest_edge": 256},
                "crop_size": {"height": 224, "width": 224},
                "do_center_crop": True,
                "resample": 3,
            },
            0.875,
            "bicubic",
        ),
        ({"size": 256, "crop_size": 224, "do_center_crop": True, "resample": 3}, 0.875, "bicubic"),
        ({"size": 256, "crop_size": 224, "do_center_crop": False}, 1.0, None),
    ],
)
def test_a_crop_of_transformers_is_a_share_of_the_resized_image(
    notes_of, preprocessor, crop_pct, interpolation
):
    notes = notes_of({"model_type": "vit"}, preprocessor)
    assert notes.crop_pct == crop_pct and notes.interpolation == interpolation


def test_pixels_that_transformers_does_not_normalize_have_mean_0_and_deviation_1(notes_of):
    preprocessor = {"do_normalize": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    notes = notes_of({"model_type": "siglip_vision_model"}, preprocessor)
    assert notes.mean == (0, 0, 0) and notes.std == (1, 1, 1) and notes.family == "siglip"


def test_classes_of_transformers_are_those_of_a_classifier(notes_of):
    labels = {"1": "dog", "0": "cat"}
    config = {"model_type": "vit", "architectures": ["ViTModel"], "id2label": labels}
    assert notes_of(config).num_classes is None
    notes = notes_of(config | {"architectures": ["ViTForImageClassification"]})
    assert notes.num_classes == 2 and notes.class_names == ("cat", "dog")
    unnamed = {"architectures": ["ViTForImageClassification"], "id2label": {"0": "LABEL_0"}}
    assert notes_of(config | unnamed).class_names is None


def test_the_vision_part_of_a_larger_config_of_transformers_counts(notes_of):
    notes = notes_of({"model_type": "clip", "vision_config": {"hidden_size": 8, "image_size": 32}})
    assert notes.embed_dim == 8 and notes.image_size == (32, 32) and notes.depth is None


@pytest.mark.parity
def test_what_timm_writes_is_what_its_model_has(timm, notes_of, tmp_path):
    from timm.models._hub import save_config_for_hf

    model = timm.create_model("vit_tiny_patch16_224.augreg_in21k", num_classes=2, img_size=64)
    save_config_for_hf(model, str(tmp_path / "timm.json"), {"label_names": ["a", "b"]})
    notes = notes_of(json.loads((tmp_path / "timm.json").read_text()))
    assert notes.model == "vit_tiny_patch16_224.augreg_in21k" and notes.image_size == (64, 64)
    assert notes.class_names == ("a", "b") and notes.mean == model.pretrained_cfg["mean"]


@pytest.mark.parity
def test_what_transformers_writes_is_what_its_processor_does(timm, notes_of, tmp_path):
    pytest.importorskip("transformers")
    transformers = import_transformers()
    transformers.BitImageProcessor(
        size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}, resample=3
    ).save_pretrained(tmp_path)
    processor = json.loads((tmp_path / "preprocessor_config.json").read_text())
    notes = notes_of(transformers.Dinov2Config().to_dict(), processor)
    assert notes.family == "dinov2" and notes.crop_pct == 0.8 and notes.interpolation == "bicubic"
    assert notes.mean == pytest.approx(tuple(processor["image_mean"]))
    assert notes.embed_dim == 768 and notes.depth == notes.num_heads == 12
