"""The steps compiled and exported from shapes alone, for one device and for eight."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from flax import nnx
from tiny import tiny_model, tiny_spec

from renyi_jax.measuring.roofline import CHIPS, describe, verdict
from renyi_jax.models import flops
from renyi_jax.parallel import make_mesh
from renyi_jax.training.lowering import abstract_model, abstract_state, measure, steps_of

ROOT = Path(__file__).resolve().parents[2]

# Prints what eight devices are asked for in pure data parallelism and on a mesh of three axes, and
# what the exports for CUDA say of themselves.
EIGHT_DEVICES = """
import json, sys
import jax
sys.path.insert(0, "tests")
from tiny import tiny_model, tiny_spec
from renyi_jax.config import check_config, default_config
from renyi_jax.parallel import make_mesh, on_mesh
from renyi_jax.pruning import PruningConfig
from renyi_jax.measuring.roofline import CHIPS
from renyi_jax.training.lowering import measure, steps_of

model = tiny_model(PruningConfig(blocks=(1,), keep_rate=0.5), tiny_spec(depth=1))
answer = {}
for name, sizes in {"data": (8, 1, 1), "mixed": (2, 2, 2)}.items():
    config = default_config()
    config.data.batch_size = config.evaluate.batch_size = 16
    config.data.mixup = config.data.cutmix = 1.0
    config.mesh.data, config.mesh.fsdp, config.mesh.tensor = sizes
    config = check_config(config)
    mesh = make_mesh(config.mesh.to_dict())
    train, evaluate = steps_of(config, mesh)
    answer[name] = measure(train, model, mesh, CHIPS["v5e"])
    for step in (train, evaluate):
        call = step.call(model, step.batch_size)
        with on_mesh(mesh):
            exported = jax.export.export(call.function, platforms=["cuda"])(*call.arguments)
        answer[f"{name} {step.name}"] = [exported.platforms, exported.nr_devices]
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def eight_devices():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    process = subprocess.run(
        [sys.executable, "-c", EIGHT_DEVICES],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.fixture
def mesh():
    return make_mesh({"data": -1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])


def test_in_data_parallelism_the_gradients_are_all_that_is_exchanged(eight_devices):
    row = eight_devices["data"]  # images are mixed, scored and selected where they lie
    assert {each["kind"] for each in row["collectives"]} == {"all-reduce"}
    summed = sum(each["bytes"] for each in row["collectives"])
    assert row["weights_bytes"] <= summed <= row["weights_bytes"] + 64


def test_sharding_the_weights_makes_them_smaller_and_sends_them_around(eight_devices):
    whole, sharded = eight_devices["data"], eight_devices["mixed"]
    assert sharded["weights_bytes"] < whole["weights_bytes"] / 2
    assert sharded["optimizer_bytes"] < whole["optimizer_bytes"] / 2
    assert "all-gather" in {each["kind"] for each in sharded["collectives"]}


@pytest.mark.parametrize("mesh_name", ["data", "mixed"])
@pytest.mark.parametrize("step", ["train", "evaluate"])
def test_both_steps_are_exported_for_cuda(eight_devices, mesh_name, step):
    assert eight_devices[f"{mesh_name} {step}"] == [["cuda"], 8]


def test_a_measured_step_says_what_it_is_made_of(make_model, make_config, mesh):
    model = make_model()
    train, evaluate = steps_of(make_config(evaluate__batch_size=8), mesh)
    rows = [
        {"keep_rate": 0.7, **measure(step, model, mesh, CHIPS["v5e"])} for step in (train, evaluate)
    ]
    numbers = sum(value.size for value in jax.tree.leaves(nnx.state(model)))
    for row, moments in zip(rows, (2, 0)):
        assert row["weights_bytes"] == 4 * numbers
        assert row["optimizer_bytes"] == pytest.approx(moments * 4 * numbers, abs=64)
        parts = ("weights", "optimizer", "batch", "activation", "program")
        assert row["peak_bytes"] == sum(row[f"{part}_bytes"] for part in parts)
        assert row["fits"] and "fits with" in verdict(row)
        assert "at most" in describe(row)
    assert rows[1]["flops"] >= 2 * 8 * flops(model)
    assert rows[0]["flops"] > 2 * rows[1]["flops"]


def test_where_a_batch_does_not_fit_the_largest_that_does_is_named(make_model, make_config, mesh):
    model = make_model()
    (_, evaluate) = steps_of(make_config(evaluate__batch_size=8), mesh)
    four = measure(dataclasses.replace(evaluate, batch_size=4), model, mesh, CHIPS["v5e"])
    small = dataclasses.replace(CHIPS["v5e"], hbm_bytes=four["peak_bytes"])
    row = {"keep_rate": 0.7, **measure(evaluate, model, mesh, small)}
    assert not row["fits"]
    assert row["largest_batch_size"] == 4
    assert verdict(row) in describe(row)
    assert "config.evaluate.batch_size=8; the largest is 4" in verdict(row)


def test_accumulation_does_the_same_arithmetic_in_less_memory(make_config, mesh):
    model = tiny_model(spec=tiny_spec(depth=1))

    def train(accumulate_steps):
        config = make_config(data__batch_size=32, train__accumulate_steps=accumulate_steps)
        return measure(steps_of(config, mesh)[0], model, mesh, CHIPS["v5e"])

    whole, parts = train(1), train(4)
    assert parts["flops"] == pytest.approx(whole["flops"], rel=0.25)
    assert parts["activation_bytes"] < whole["activation_bytes"]


def test_the_state_has_the_shapes_that_training_starts_with(make_config, mesh):
    config = make_config(model__name="vit_nano_patch4_56", train__ema_decay=0.9)
    model = abstract_model(config, num_classes=10)
    state = abstract_state(model, config, mesh)
    assert jax.tree.structure(state.params) == jax.tree.structure(state.ema)
    assert state.params["head"]["kernel"].shape[1] == 10
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(state))
