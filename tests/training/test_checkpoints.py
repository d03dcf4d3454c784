"""Checkpoints whose files change on the disk, and disks that take no more."""

import contextlib
import dataclasses
import itertools
import re
import resource
import signal

import grain
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from renyi_jax.errors import UserError
from renyi_jax.training import TrainState
from renyi_jax.training.checkpoints import Checkpoints

IDENTITY = {"name": "noise", "class_names": ["a", "b"], "num_examples": 9, "content": "0"}


def state_after(step):
    params = {"kernel": jnp.full((64, 64), step, jnp.float32)}
    return TrainState(jnp.int32(step), params, {"mu": params}, None)


def batches_after(step):
    numbers = grain.MapDataset.range(1000)
    batches = iter(
        grain.experimental.ElasticIterator(numbers, 4, grain.sharding.ShardOptions(0, 1))
    )
    for _ in range(step):
        next(batches)
    return batches


def save(folder, config, steps, **accuracies):
    with Checkpoints(folder, config, IDENTITY) as checkpoints:
        for step in steps:
            checkpoints.save(state_after(step), batches_after(step), step)


def restore(folder, config):
    """The step that was restored; its state and its place in the data are seen to belong to it."""
    batches = batches_after(0)
    with Checkpoints(folder, config, IDENTITY) as checkpoints:
        state = checkpoints.restore(state_after(0), batches)
    step = int(state.step)
    jax.tree.map(np.testing.assert_array_equal, state, state_after(step))
    np.testing.assert_array_equal(next(batches), np.arange(4 * step, 4 * step + 4))
    return step


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("hurt", [flip_a_bit, truncate], ids=lambda function: function.__name__)
def test_whichever_file_is_hurt_no_wrong_state_is_ever_read(make_config, tmp_path, workdir, hurt):
    config = make_config(checkpoint__keep=9)
    folder = workdir / "checkpoints"
    save(folder, config, [1])
    save(folder, config, [2])
    assert len(files_of(tmp_path / "checkpoints" / "2")) > 5
    restored = []
    # Anew at each turn: a checkpoint that is written again may have more files, or fewer.
    for number in itertools.count():
        files = files_of(tmp_path / "checkpoints" / "2")
        if number >= len(files):
            break
        path = files[number]
        hurt(path)
        step = restore(folder, config)
        restored.append(step)
        if step == 1:
            assert [p.name for p in (tmp_path / "broken_checkpoints").iterdir()] == ["2.0"]
            save(folder, config, [2])
            (tmp_path / "broken_checkpoints" / "2.0").rename(tmp_path / f"seen_{number}")
        else:  # a file that nothing was read from
            assert path.name in ("_CHECKPOINT_METADATA", "commit_success.txt"), path
    assert 1 in restored


def test_with_every_checkpoint_damaged_a_run_starts_anew_and_says_so(
    make_config, tmp_path, workdir, caplog
):
    config = make_config()
    folder = workdir / "checkpoints"
    save(folder, config, [1, 2])
    for step in ("1", "2"):
        (tmp_path / "checkpoints" / step / "state" / "_METADATA").unlink()
    assert restore(folder, config) == 0
    assert "step 2 is damaged" in caplog.text and "step 1 is damaged" in caplog.text
    assert "_METADATA is missing" in caplog.text


@contextlib.contextmanager
def full_disk():
    """No file can grow beyond a few bytes: the system refuses the write, as on a full disk."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


def test_on_a_full_disk_training_stops_and_names_the_checkpoint_that_is_whole(
    make_config, tmp_path, workdir
):
    config = make_config()
    folder = workdir / "checkpoints"
    save(folder, config, [1])
    with (
        pytest.raises(
            UserError, match=r"step 2 could not be written(.|\n)*latest that could: \S*/1"
        ),
        full_disk(),
        Checkpoints(folder, config, IDENTITY) as checkpoints,
    ):
        checkpoints.save(state_after(2), batches_after(2), 2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]
    assert restore(folder, config) == 1


def test_on_a_full_disk_training_goes_on_if_asked_to(make_config, tmp_path, workdir, caplog):
    config = make_config(checkpoint__on_failure="continue")
    folder = workdir / "checkpoints"
    with Checkpoints(folder, config, IDENTITY) as checkpoints:
        checkpoints.save(state_after(1), batches_after(1), 1)
        checkpoints.wait()
        with full_disk():
            checkpoints.save(state_after(2), batches_after(2), 2)
            checkpoints.wait()
        assert "step 2 could not be written" in caplog.text
        checkpoints.save(state_after(3), batches_after(3), 3)
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"1", "3"}
    assert restore(folder, config) == 3


@pytest.mark.parametrize(
    "change, told",
    [
        ({"name": "silence"}, "data set: silence, was noise"),
        ({"class_names": ["a", "b", "c"]}, "classes: 3, were 2; new: 'c'"),
        ({"class_names": ["a", "x"]}, "classes: 2, were 2; new: 'x'; gone: 'b'"),
        ({"class_names": ["b", "a"]}, "classes: 2, were 2; in another order"),
        ({"num_examples": 8, "content": "1"}, "training examples: 8, were 9"),
        ({"content": "1"}, "training examples: as many as before, and not the same"),
    ],
)
def test_other_training_data_are_told_and_go_on_by_force_alone(
    make_config, workdir, caplog, change, told
):
    folder = workdir / "checkpoints"
    save(folder, make_config(), [1])
    with Checkpoints(folder, make_config(), IDENTITY | change) as checkpoints:
        with pytest.raises(UserError, match=f"other training data:\n  {re.escape(told)}") as error:
            checkpoints.restore(state_after(0), batches_after(0))
        assert "--force" in str(error.value) and "--workdir" in str(error.value)
        state = checkpoints.restore(state_after(0), batches_after(0), force=True)
    assert int(state.step) == 1 and told in caplog.text


def test_a_state_of_other_shapes_is_refused_even_by_force(make_config, workdir):
    folder = workdir / "checkpoints"
    save(folder, make_config(), [1])
    state = state_after(0)
    for other in (
        dataclasses.replace(state, params={"kernel": jnp.zeros((64, 65))}),
        dataclasses.replace(state, ema=state.params),
        dataclasses.replace(state, params={"kernels": jnp.zeros((64, 64))}),
    ):
        with (
            Checkpoints(folder, make_config(), IDENTITY) as checkpoints,
            pytest.raises(UserError, match=r"1 does not fit this model(.|\n)*another --workdir"),
        ):
            checkpoints.restore(other, batches_after(0), force=True)


def test_a_checkpoint_of_a_version_with_other_fields_is_told_as_such(make_config, workdir):
    folder = workdir / "checkpoints"
    save(folder, make_config(), [1])
    path = folder / "1" / "config" / "metadata"
    path.write_text(path.read_text().replace('"seed"', '"seeed"'))
    (folder / "1" / "digests.json").unlink()
    with (
        Checkpoints(folder, make_config(), IDENTITY) as checkpoints,
        pytest.raises(UserError, match=r"another version(.|\n)*seeed(.|\n)*another --workdir"),
    ):
        checkpoints.restore(state_after(0), batches_after(0))
