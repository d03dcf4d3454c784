"""Weights under the names of other projects, which their own models wrote and ran."""

import importlib.util
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from parity import build
from write_project_files import FOLDER, IMAGES, SOURCES, write

import renyi_jax
from renyi_jax.errors import UserError
from renyi_jax.models import MODELS
from renyi_jax.models.compatibility import expected_shapes
from renyi_jax.weights import read_checkpoint, write_checkpoint
from renyi_jax.weights.projects import PROJECTS, nearest_project, recognize

OUTPUTS = np.load(FOLDER / "outputs.npz")


def weights_of(folder: Path) -> Path:
    """The file of weights that is in no place where a folder's is."""
    return next(iter(sorted(folder.glob("model.[np][pt][hz]"))), folder)


def assert_same_outputs(name: str, folder: Path, expected: np.ndarray) -> None:
    model = build(SOURCES[name].spec())
    renyi_jax.load_weights(model, weights_of(folder))
    images = jnp.asarray(IMAGES)
    outputs = model(images) if model.spec.num_classes else model.forward_features(images)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("name", SOURCES)
def test_files_of_other_projects_give_the_outputs_of_their_models(name):
    assert_same_outputs(name, FOLDER / name, OUTPUTS[name])


@pytest.mark.parity
@pytest.mark.parametrize("name", SOURCES)
def test_other_projects_as_they_are_installed_agree(timm, name, tmp_path):
    if importlib.util.find_spec("transformers") is None:
        pytest.skip("needs transformers, which requirements-parity.txt names")
    assert_same_outputs(name, tmp_path, write(name, tmp_path))


def test_every_project_has_files_of_its_own():
    recognized = {recognize(_names(FOLDER / name)).title for name in SOURCES}
    assert recognized == {project.title for project in PROJECTS} - {"timm"}


def _names(folder):
    """The names in a file, before they become timm's."""
    from renyi_jax.weights.files import _open

    path = weights_of(folder)
    path = path if path.is_file() else next(path.glob("model.safetensors*"))
    names = [name for group in _open(path).groups.values() for name in group]
    return {
        name.split(".", 1)[1] if name.startswith(("vit.", "deit.", "vision_model.")) else name
        for name in names
    }


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.title)
def test_a_table_has_a_row_for_every_tensor_of_some_model(project):
    models = [set(expected_shapes(spec)) for spec in MODELS.values()]
    present = {
        name.format(block)
        for names in project.names.values()
        for name in names
        for block in range(24)
    }
    known = set(project.sources(present))
    assert any(names - {n for n in names if n.startswith("head")} <= known for names in models)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("facebook_dinov3", r"misshapen: rope_embed\.periods \(7, expected 1\)"),
        ("facebook_dinov2", r"not in the model: rope_embed\.periods \(7\)"),
    ],
)
def test_rotary_tables_of_another_size_or_of_another_model_are_refused(name, told, tmp_path):
    tensors = read_checkpoint(weights_of(FOLDER / name)).tensors
    tensors |= {"rope_embed.periods": np.ones(7, np.float32)}
    write_checkpoint(tmp_path / "a.safetensors", tensors, {})
    with pytest.raises(UserError, match=told):
        renyi_jax.load_weights(build(SOURCES[name].spec()), tmp_path / "a.safetensors")


def test_biases_that_are_all_zero_are_none_as_in_timm(tmp_path):
    names = {f"layer.0.attention.{part}_proj.{end}" for part in "qv" for end in ("weight", "bias")}
    tensors = dict.fromkeys(names, np.zeros(8, np.float32))
    tensors["embeddings.patch_embeddings.weight"] = np.zeros((8, 3, 4, 4), np.float32)
    write_checkpoint(tmp_path / "a.safetensors", tensors, {})
    assert not any("bias" in name for name in read_checkpoint(tmp_path / "a.safetensors").tensors)
    tensors["layer.0.attention.v_proj.bias"] = np.ones(8, np.float32)
    write_checkpoint(tmp_path / "a.safetensors", tensors, {})
    assert "blocks.0.attn.q_bias" in read_checkpoint(tmp_path / "a.safetensors").tensors


def test_blocks_in_chunks_as_in_training_are_those_without(tmp_path):
    plain = read_checkpoint(weights_of(FOLDER / "facebook_dinov2")).tensors
    chunked = {
        name.replace("blocks.", f"blocks.{name.split('.')[1]}.") if "blocks." in name else name: t
        for name, t in plain.items()
    }
    write_checkpoint(tmp_path / "a.safetensors", chunked, {})
    taken = read_checkpoint(tmp_path / "a.safetensors").tensors
    assert taken.keys() == plain.keys()


def test_the_vision_part_of_a_larger_model_is_taken_alone(tmp_path):
    checkpoint = read_checkpoint(FOLDER / "vit")
    folder = tmp_path / "whole"
    shutil.copytree(FOLDER / "vit", folder)
    beside = {"decoder.layer.0.weight": np.zeros(3, np.float32)}
    tensors = {f"vision.{name}": t for name, t in checkpoint.tensors.items()} | beside
    write_checkpoint(folder / "model.safetensors", tensors, {})
    assert read_checkpoint(folder / "model.safetensors").tensors.keys() == checkpoint.tensors.keys()


def test_names_of_no_project_are_told_with_the_nearest():
    theirs = {
        f"encoder.layer.{block}.output.dense.{end}"
        for block in range(12)
        for end in ("weight", "bias")
    }
    others = {f"encoder.layer.{block}.attention.self.query.weight" for block in range(12)}
    assert recognize(theirs | others) is None
    told = nearest_project(theirs | others)
    assert told == "Its names are nearest to those of transformers' ViT: 24 of 36."
    assert nearest_project({"conv1.weight", "layer1.0.conv1.weight"}) == ""
