"""Files made to take time, memory, or more than was given, and files damaged at random."""

import random
import resource
import struct
import time
import tracemalloc
from pathlib import Path

import hostile
import numpy as np
import pytest

from renyi_jax.errors import UserError
from renyi_jax.weights import read_checkpoint

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("kind", hostile.FILES)
def test_it_is_refused_in_little_time_and_memory(kind, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(hostile.FILES[kind])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(UserError) as raised:
        read_checkpoint(path)
    assert time.process_time() - started < 15
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes
    assert str(path) in str(raised.value) and len(str(raised.value)) < 1500


def test_the_files_of_these_tests_are_read_where_nothing_is_wrong_with_them(tmp_path):
    numbers = struct.pack("<4f", 0, 1, 2, 3)
    pickled = hostile.pickled_tensor((2, 2), (1, 2))
    files = (
        hostile.zip_of_torch(pickled, **{"0": numbers}),
        hostile.legacy_of_torch(pickled, hostile._KEYS, struct.pack("<q", 4) + numbers),
    )
    for data in files:
        (tmp_path / "weights").write_bytes(data)
        np.testing.assert_array_equal(
            read_checkpoint(tmp_path / "weights").tensors["tensor 0"], [[0, 2], [1, 3]]
        )


def test_one_number_may_stand_for_a_tensor(tmp_path):
    path = tmp_path / "weights"
    for size, stride in (((1, 197, 384), (0, 0, 0)), ((384, 1536), (0, 0)), ((3, 2), (0, 1))):
        data = hostile.pickled_tensor(size, stride)
        path.write_bytes(hostile.zip_of_torch(data, **{"0": struct.pack("<4f", 5, 5, 5, 5)}))
        np.testing.assert_array_equal(read_checkpoint(path).tensors["tensor 0"], np.full(size, 5.0))


@pytest.mark.parametrize("name", ["plain.safetensors", "wrapped.pth", "wrapped.legacy.pth"])
def test_of_hundreds_of_mutations_each_gives_tensors_or_a_message(name, tmp_path):
    whole = (DATA / name).read_bytes()
    start = {"plain.safetensors": 8, "wrapped.pth": 0, "wrapped.legacy.pth": 0}[name]
    stop = {"plain.safetensors": 8 + int.from_bytes(whole[:8], "little")}.get(name, len(whole))
    draw = random.Random(0)
    path = tmp_path / "mutated"
    refused = 0
    tracemalloc.start()
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 1, 2, 8))):
            place = draw.randrange(start, stop)
            match draw.randrange(4):
                case 0:
                    data[place] = draw.randrange(256)
                case 1:
                    data[place : place + 1] = bytes(draw.randrange(256) for _ in range(2))
                case 2:
                    del data[place : place + draw.choice((1, 4))]
                case 3:
                    data[place : place + 4] = data[start + place // 2 : start + place // 2 + 4]
        path.write_bytes(data)
        try:
            tensors = read_checkpoint(path).tensors
            assert all(tensor.dtype == np.float32 for tensor in tensors.values())
        except UserError:
            refused += 1
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert 50 < refused < 400
