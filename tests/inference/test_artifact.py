"""The artifact that runs without this package."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny_model

from renyi_jax.errors import UserError
from renyi_jax.inference import describe_artifact, export_model
from renyi_jax.inference.artifact import deviation
from renyi_jax.models import normalize_images
from renyi_jax.pruning import PruningConfig

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)

# Knows nothing but the two files.
ELSEWHERE = """
import json, sys
import jax, jax.export, numpy as np
artifact, images, outputs = sys.argv[1:]
about = json.load(open(artifact + ".json"))
exported = jax.export.deserialize(bytearray(open(artifact, "rb").read()))
(_, *sides), = [each["shape"] for each in about["inputs"] if each["name"] == "images"]
pixels = np.load(images)
assert list(pixels.shape[1:]) == sides
images = ((pixels / 255 - about["mean"]) / about["std"]).astype(about["inputs"][0]["dtype"])
alphas = [np.float32(alpha) for alpha in (2.0, 0.5)]
found = [exported.call(images[:size], alpha) for size in (1, 3) for alpha in alphas]
np.savez(outputs, *found)
assert len(about["class_names"]) == found[0].shape[1]
assert not any(name.split(".")[0] in ("renyi_jax", "flax") for name in sys.modules)
"""


@pytest.fixture(scope="module")
def model():
    return tiny_model(PruningConfig(keep_rate=0.5, blocks=(1, 2), alpha=3.0))


@pytest.fixture(scope="module")
def forward(model):
    return jax.jit(lambda images, alpha: model(images, alpha))


def test_it_runs_where_this_package_is_not_at_any_batch_size_and_order(model, forward, tmp_path):
    exported = export_model(model, alpha_input=True)
    assert set(exported.platforms) == {"cpu", "cuda", "tpu"}
    file = tmp_path / "model.jax"
    file.write_bytes(exported.serialize())
    about = describe_artifact(model, exported, [str(number) for number in range(10)])
    (tmp_path / "model.jax.json").write_text(json.dumps(about))
    np.save(tmp_path / "pixels.npy", PIXELS)
    outputs = tmp_path / "outputs.npz"
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, file, tmp_path / "pixels.npy", outputs],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    images = normalize_images(jnp.asarray(PIXELS), model.spec.mean, model.spec.std)
    found = list(np.load(outputs).values())
    for number, (size, alpha) in enumerate((s, a) for s in (1, 3) for a in (2.0, 0.5)):
        expected = forward(images, jnp.float32(alpha))[:size]
        np.testing.assert_allclose(found[number], expected, rtol=1e-4, atol=1e-4)


def test_it_may_take_pixels_and_have_its_order_in_it(model, forward):
    exported = export_model(model, input_dtype="uint8", platforms=["cpu"])
    about = describe_artifact(model, exported)
    assert about["inputs"][0]["shape"] == ["batch", 16, 16, 3]
    assert about["inputs"][0]["dtype"] == "uint8"
    assert [each["shape"] for each in about["outputs"]] == [["batch", 10]]
    assert about["pruning"]["alpha"] == 3.0
    images = normalize_images(jnp.asarray(PIXELS), model.spec.mean, model.spec.std)
    expected = forward(images, jnp.float32(3.0))
    np.testing.assert_allclose(exported.call(PIXELS), expected, rtol=1e-4, atol=1e-4)
    assert deviation(model, exported.call, exported.in_avals) < 1e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"platforms": ["cuba"]}, "Did you mean 'cuda'"),
        ({"input_dtype": "int8"}, "Did you mean 'uint8'"),
    ],
)
def test_what_cannot_be_made_is_refused(model, options, message):
    with pytest.raises(UserError, match=message):
        export_model(model, **options)


def test_an_order_that_nothing_reads_is_no_input():
    prunings = ({"criterion": "cls_attention"}, {"reducer": "merge"})
    for pruning in (None, *(PruningConfig(blocks=(1,), **each) for each in prunings)):
        with pytest.raises(UserError, match="alpha cannot be an input"):
            export_model(tiny_model(pruning), alpha_input=True)
