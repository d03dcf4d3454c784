"""ONNX files, run by ONNX Runtime."""

import dataclasses
import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import PARTS, tiny_model, tiny_spec

from renyi_jax.common.onnx_runtime import OnnxFile
from renyi_jax.errors import UserError
from renyi_jax.inference.onnx_file import PACKAGES, export_onnx
from renyi_jax.models import VisionTransformer
from renyi_jax.pruning import CRITERIA, PruningConfig

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, PACKAGES)), reason="needs jax2onnx and onnxruntime"
)
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 16, 16, 3)).astype(np.float32)
SPEC = tiny_spec(depth=2)
DRAWN = [name for name, row in CRITERIA.items() if "draws" in row.needs]
COMPUTED = tuple(name for name in CRITERIA if name not in DRAWN)

PRUNINGS = {
    "every criterion": {
        "criterion": COMPUTED,
        "blocks": tuple(range(1, len(COMPUTED) + 1)),
        "keep_rate": tuple((14.5 - each) / (16 - each) for each in range(len(COMPUTED))),
    },
    "other entropies": {"normalize": False, "heads": "average_first"},
    "fuse, adaptive": {"reducer": "fuse", "keep_mass": 0.8},
    "merge": {"reducer": "merge"},
}


def model_of(pruning: dict) -> VisionTransformer:
    config = PruningConfig(**{"blocks": (1, 2), "keep_rate": 0.6, **pruning})
    return tiny_model(config, dataclasses.replace(SPEC, depth=config.blocks[-1]))


@pytest.mark.parametrize("name", PRUNINGS)
def test_every_pruning_computes_the_same_in_onnx_runtime_at_any_batch_size(name):
    model = model_of(PRUNINGS[name])
    file, about = export_onnx(model, trace=True)
    assert about["deviation"] < 1e-4  # of the logits, of batches of 1 and 3
    expected = jax.jit(lambda images: model(images, return_trace=True))(IMAGES)
    found = OnnxFile(file.SerializeToString())(IMAGES)
    for one, other in zip(found, jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("part", ["attention pooling", "rotary, gated"])
def test_models_of_other_parts_compute_the_same(part):
    pruning = PruningConfig(blocks=(1, 2), keep_rate=0.6)
    model = tiny_model(pruning, tiny_spec(**{**PARTS[part], "depth": 2}))
    assert export_onnx(model)[1]["deviation"] < 1e-4


def test_alpha_and_pixels_may_be_inputs_and_the_file_says_what_it_takes():
    model = model_of({"alpha": 3.0})
    names = [f"garment {number}" for number in range(10)]
    file, about = export_onnx(
        model, alpha_input=True, input_dtype="uint8", trace=True, class_names=names
    )
    pixels = RNG.integers(0, 256, (2, 16, 16, 3), np.uint8)
    images = (pixels / 255 - model.spec.mean) / model.spec.std
    run = OnnxFile(file.SerializeToString())
    orders = [0.5, 1.0, 1.0001, 8.0]
    found = [run(pixels, np.float32(alpha)) for alpha in orders]
    for alpha, (logits, scores, *_) in zip(orders, found):
        expected, trace = model(jnp.asarray(images, jnp.float32), alpha, return_trace=True)
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(scores, trace[0].scores, rtol=1e-4, atol=1e-4)
    notes = {each.key: json.loads(each.value) for each in file.metadata_props}
    assert notes == json.loads(json.dumps(about))
    assert [each["name"] for each in notes["inputs"]] == ["images", "alpha"]
    assert notes["inputs"][0] | {"meaning": ""} == {
        "name": "images", "shape": ["batch", 16, 16, 3], "dtype": "uint8", "meaning": ""
    }  # fmt: skip
    outputs = ["logits", "scores_1", "kept_1", "scores_2", "kept_2"]
    assert [each["name"] for each in notes["outputs"]] == outputs
    assert [each.name for each in file.graph.output] == outputs
    assert notes["class_names"] == names and notes["pruning"]["alpha"] == 3.0


def test_a_file_that_is_none_is_refused(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_text("no model")
    with pytest.raises(UserError, match=r"model\.onnx cannot be run by ONNX Runtime"):
        OnnxFile(file)


@pytest.mark.parametrize("name", DRAWN)
def test_scores_that_are_drawn_are_refused(name):
    with pytest.raises(UserError, match=f"{name}.* no random numbers"):
        export_onnx(model_of({"criterion": name}))


def test_half_precision_is_refused():
    model = tiny_model(None, SPEC)
    model.dtype = "bfloat16"
    with pytest.raises(UserError, match="computes in float32"):
        export_onnx(model)
