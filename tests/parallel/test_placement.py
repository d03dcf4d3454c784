"""The mesh and its rules, by their arithmetic: many devices stand for themselves."""

import jax
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import AbstractMesh, PartitionSpec
from tiny import PARTS, tiny_model, tiny_spec

from renyi_jax.errors import UserError
from renyi_jax.parallel import BatchPlacement, join_processes, make_mesh, state_shardings
from renyi_jax.parallel.mesh import fitting, part_of

SIZES = {"data": 2, "fsdp": 4, "tensor": 2}


def test_one_device_makes_a_mesh_of_every_axis():
    mesh = make_mesh({"data": -1, "fsdp": 1, "tensor": 1})
    assert dict(mesh.shape) == {"data": 1, "fsdp": 1, "tensor": 1}


@pytest.mark.parametrize(
    "sizes",
    [
        {"data": 3, "fsdp": 1, "tensor": 1},
        {"data": -1, "fsdp": 2, "tensor": 1},
    ],
)
def test_a_mesh_of_other_devices_than_there_are_is_refused(sizes):
    with pytest.raises(UserError, match=r"config\.mesh .* does not fit 1 devices"):
        make_mesh(sizes)


def test_an_axis_that_does_not_divide_its_dimension_is_left_out():
    assert fitting(("fsdp", "tensor"), (8, 6), SIZES) == PartitionSpec("fsdp", "tensor")
    assert fitting(("fsdp", "tensor"), (6, 8), SIZES) == PartitionSpec(None, "tensor")
    assert fitting((("data", "fsdp"), None), (12, 5), SIZES) == PartitionSpec(None, None)


@pytest.mark.parametrize("part", [None, "attention pooling", "rotary, gated"])
def test_every_matrix_of_a_block_is_cut_by_both_axes_and_vectors_stay_whole(part):
    mesh = AbstractMesh((1, 2, 2), ("data", "fsdp", "tensor"))
    params = nnx.to_pure_dict(nnx.state(tiny_model(spec=tiny_spec(**PARTS.get(part, {})))))
    moments = {"mu": params, "count": np.zeros(())}
    specs = {
        jax.tree_util.keystr(path): (sharding.spec, value.ndim)
        for (path, value), sharding in zip(
            jax.tree_util.tree_leaves_with_path(moments),
            jax.tree.leaves(state_shardings(mesh, moments)),
        )
    }
    for name, (spec, ndim) in specs.items():
        axes = {axis for entry in spec for axis in np.atleast_1d(entry) if axis}
        if ("blocks" in name or "mlp" in name) and ndim == 2:
            assert axes == {"fsdp", "tensor"}, name
        elif ndim == 2:
            assert axes <= {"fsdp"}, name
        elif "fc1" not in name:
            assert not axes, name


@given(st.integers(1, 64), st.integers(1, 8), st.integers(0, 7))
def test_the_parts_of_all_processes_make_the_batch(rows, count, index):
    index %= count
    mine = np.arange(index * rows, (index + 1) * rows)
    assert part_of(mine, rows * count) == (index, count)


@pytest.mark.parametrize("rows", [[0, 2], [1, 2], [3, 4, 5]])
def test_a_process_with_scattered_images_prepares_the_whole_batch(rows):
    assert part_of(np.array(rows), 6 if len(rows) < 3 else 8) == (0, 1)


def test_a_batch_on_one_device_is_itself():
    place = BatchPlacement(make_mesh({"data": 1, "fsdp": 1, "tensor": 1}), 6)
    assert (place.index, place.count) == (0, 1)
    batch = {"image": np.arange(18.0).reshape(6, 3), "label": np.arange(6)}
    placed = place(batch)
    for name, array in batch.items():
        np.testing.assert_array_equal(placed[name], array)


def test_one_process_joins_nobody(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", None)
    join_processes()


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "2"},
        {"TPU_WORKER_HOSTNAMES": "a,b"},
        {"OMPI_COMM_WORLD_SIZE": "4"},
    ],
)
def test_a_launcher_of_several_processes_is_recognised(environment, monkeypatch):
    joined = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *arguments: joined.append(arguments))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    join_processes()
    assert joined == [(None, None, None)]
