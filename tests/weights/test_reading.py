import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hostile import legacy_of_torch, pickled_tensor, safetensors_of, zip_of_torch
from hypothesis import given
from hypothesis import strategies as st

from renyi_jax.errors import UserError
from renyi_jax.weights import read_checkpoint, write_checkpoint

DATA = Path(__file__).parent / "data"
PLAIN = DATA / "plain.safetensors"


@pytest.fixture
def plain():
    return read_checkpoint(PLAIN).tensors


def _same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


@pytest.mark.parametrize("name", ["wrapped.pth", "wrapped.legacy.pth"])
def test_a_file_of_torch_holds_what_its_safetensors_hold(name, plain):
    _same(read_checkpoint(DATA / name).tensors, plain)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_becomes_float32_alike_from_both_formats(dtype, plain):
    tensors = read_checkpoint(DATA / f"plain.{dtype}.safetensors").tensors
    _same(tensors, read_checkpoint(DATA / f"plain.{dtype}.pth").tensors)
    for name, tensor in tensors.items():
        assert tensor.dtype == np.float32
        np.testing.assert_allclose(tensor, plain[name], atol=0.01, err_msg=name)


def test_what_is_in_a_file_counts_and_not_its_name(tmp_path, plain):
    (tmp_path / "weights.bin").write_bytes(PLAIN.read_bytes())
    _same(read_checkpoint(tmp_path / "weights.bin").tensors, plain)


@pytest.mark.parity
@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "model_state_dict"])
def test_views_parameters_and_every_wrapper_are_read(timm, tmp_path, wrapper, new_format):
    import torch

    numbers = torch.arange(24.0)
    state = {
        "transposed": numbers.reshape(4, 6).T,
        "part": numbers[5:11].reshape(2, 3),
        "parameter": torch.nn.Parameter(torch.ones(2, 2)),
        "scalar": torch.tensor(7),
        "double": torch.tensor([1.5], dtype=torch.float64),
        "none": torch.zeros(0, 3),
    }
    path = tmp_path / "state.pth"
    content = {wrapper: state, "epoch": 1} if wrapper else state
    torch.save(content, path, _use_new_zipfile_serialization=new_format)
    expected = {name: tensor.detach().float().numpy() for name, tensor in state.items()}
    _same(read_checkpoint(path).tensors, expected)


class Malicious:
    """Unpickled by an ordinary reader, it makes a directory."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def _write_zip(path, content):
    path.write_bytes(zip_of_torch(pickle.dumps(content, protocol=2)))


def _write_legacy(path, content):
    path.write_bytes(legacy_of_torch(pickle.dumps(content, protocol=2)))


def _write_bare(path, content):
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("write", [_write_zip, _write_legacy, _write_bare])
@pytest.mark.parametrize("place", [lambda evil: evil, lambda evil: {"model": {"a": evil}}])
def test_a_pickle_that_calls_a_program_is_refused_and_nothing_runs(tmp_path, write, place):
    content = place(Malicious(tmp_path / "ran"))
    write(tmp_path / "weights.pth", content)
    reason = "not one that torch" if write is _write_bare else r"It names (posix|nt)\.mkdir"
    with pytest.raises(UserError, match=reason):
        read_checkpoint(tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(content))
    assert (tmp_path / "ran").exists(), "the pickle would have run"


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval",
        "builtins getattr",
        "torch.nn.modules.linear Linear",
        "torch load",
        "numpy dtype",
        "argparse Namespace",
        "collections OrderedDict.update",
        "renyi_jax.weights.names timm_name",
    ],
)
def test_no_name_is_imported(tmp_path, name):
    module, attribute = name.split()
    path = tmp_path / "weights.pth"
    path.write_bytes(zip_of_torch(b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b"."))
    with pytest.raises(UserError, match="nothing but tensors") as raised:
        read_checkpoint(path)
    assert f"{module}.{attribute}" in str(raised.value)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((5,), (1,), 0),
        ((4,), (1,), 1),
        ((2,), (9,), 0),
        ((4,), (-1,), 3),
        ((4,), (1,), -2),
        ((2, 2), (1,), 0),
    ],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path, size, stride, offset):
    path = tmp_path / "weights.pth"
    path.write_bytes(zip_of_torch(pickled_tensor(size, stride, offset), **{"0": bytes(16)}))
    with pytest.raises(UserError, match="is damaged"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n  <html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"weights", "it starts with b'weights'"),
        (b"PK\x03\x04 and no more", "is damaged"),
        (b"\x80\x02 and no more", "is damaged"),
        (struct.pack("<Q", 10**6) + b'{"a"', "is damaged"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as raised:
        read_checkpoint(path)
    assert str(path) in str(raised.value)


def test_an_archive_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.zip", "w") as archive:
        archive.writestr("a.txt", "weights")
    with pytest.raises(UserError, match=r"has no data\.pkl"):
        read_checkpoint(tmp_path / "weights.zip")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_numpy_are_read_with_dots_in_their_names(tmp_path, save):
    arrays = {"a/b": np.arange(6.0).reshape(2, 3), "c": np.float32(2)}
    save(tmp_path / "weights.npz", **arrays)
    _same(read_checkpoint(tmp_path / "weights.npz").tensors, {"a.b": arrays["a/b"], "c": 2})


def test_arrays_of_objects_and_arrays_that_unpack_to_far_more_are_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", a=np.array([Malicious(tmp_path / "ran")], object))
    np.savez_compressed(tmp_path / "zeros.npz", a=np.zeros(1 << 27, np.int8))
    for name in ("objects.npz", "zeros.npz"):
        with pytest.raises(UserError, match="is damaged"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def _write_shards(folder, tensors, names=("model-00001-of-00002.safetensors", "two.safetensors")):
    halves = [dict(list(tensors.items())[start::2]) for start in (0, 1)]
    for name, half in zip(names, halves):
        write_checkpoint(folder / name, half, {})
    index = {"weight_map": {key: name for name, half in zip(names, halves) for key in half}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return halves


def test_weights_in_several_files_are_read_as_one(tmp_path, plain):
    _write_shards(tmp_path, plain)
    _same(read_checkpoint(tmp_path).tensors, plain)


@pytest.mark.parametrize("index", ["{}", '{"weight_map": {}}', '{"weight_map": {"a": "../b"}}'])
def test_an_index_without_its_files_is_refused(tmp_path, plain, index):
    _write_shards(tmp_path, plain)
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(UserError, match=r"no index of files beside it: it names two\.safe"):
        read_checkpoint(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match=r"no index of files beside it|is damaged"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("write", [_write_zip, _write_legacy])
@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 1, "model": 3}, "text"])
def test_a_file_without_tensors_is_refused(tmp_path, write, content):
    write(tmp_path / "weights.pth", content)
    with pytest.raises(UserError, match="no state dictionary: no tensors by name"):
        read_checkpoint(tmp_path / "weights.pth")


@pytest.mark.parametrize("name", ["plain.safetensors", "wrapped.pth", "wrapped.legacy.pth"])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_short_anywhere_is_refused(name, share, tmp_path_factory):
    whole = (DATA / name).read_bytes()
    path = tmp_path_factory.getbasetemp() / f"cut.{name}"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError):
        read_checkpoint(path)


FLOAT8 = {
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
}


@pytest.mark.parametrize("dtype", FLOAT8)
def test_float8_becomes_float32(dtype, tmp_path):
    numbers = np.array([[0.5, -2.0, 1.75], [0.0, 16.0, -0.25]], FLOAT8[dtype])
    header = {
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "b": {"dtype": dtype, "shape": [2, 3], "data_offsets": [4, 10]},
    }
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors_of(header, np.float32(3).tobytes() + numbers.tobytes()))
    expected = {"a": np.full(1, 3, np.float32), "b": numbers.astype(np.float32)}
    _same(read_checkpoint(path).tensors, expected)


@pytest.mark.parity
@pytest.mark.parametrize("new_format", [True, False])
def test_dtypes_of_torch_without_a_storage_of_their_own_are_read(timm, tmp_path, new_format):
    import torch

    dtypes = (torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16, torch.bool)
    state = {f"{dtype}".split(".")[1]: torch.ones(2, 3).to(dtype) for dtype in dtypes}
    torch.save(state, tmp_path / "a.pth", _use_new_zipfile_serialization=new_format)
    expected = {name: np.ones((2, 3), np.float32) for name in state}
    _same(read_checkpoint(tmp_path / "a.pth").tensors, expected)


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "a.safetensors"
    for value in (1.0, 2.0):
        tensor = np.full((3, 2), value, np.float32)
        write_checkpoint(path, {"a": tensor, "b": tensor.T}, {"model": "x"})
    checkpoint = read_checkpoint(path)
    np.testing.assert_array_equal(checkpoint.tensors["a"], tensor)
    np.testing.assert_array_equal(checkpoint.tensors["b"], tensor.T)
    assert checkpoint.metadata == {"model": "x"}
    assert os.listdir(path.parent) == ["a.safetensors"]


def test_an_array_is_written_as_it_reads_whatever_its_strides(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    views = {"transposed": array.T, "stepped": array[::2, ::3], "reversed": array[::-1]}
    write_checkpoint(tmp_path / "a.safetensors", views, {})
    _same(read_checkpoint(tmp_path / "a.safetensors").tensors, views)


def test_a_place_that_cannot_be_written_is_told_and_the_old_file_stays(tmp_path):
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(UserError, match="cannot be written"):
        write_checkpoint(tmp_path / "file" / "a.safetensors", {"a": np.zeros(1)}, {})
    assert (tmp_path / "file").read_text() == "no directory"
