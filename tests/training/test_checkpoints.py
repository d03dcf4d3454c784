"""Checkpoints whose files change on the disk, and disks that take no more."""

import contextlib
import itertools
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
    with Checkpoints(folder, config) as checkpoints:
        for step in steps:
            checkpoints.save(state_after(step), batches_after(step), step)


def restore(folder, config):
    """The step that was restored; its state and its place in the data are seen to belong to it."""
    batches = batches_after(0)
    with Checkpoints(folder, config) as checkpoints:
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
        Checkpoints(folder, config) as checkpoints,
    ):
        checkpoints.save(state_after(2), batches_after(2), 2)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]
    assert restore(folder, config) == 1


def test_on_a_full_disk_training_goes_on_if_asked_to(make_config, tmp_path, workdir, caplog):
    config = make_config(checkpoint__on_failure="continue")
    folder = workdir / "checkpoints"
    with Checkpoints(folder, config) as checkpoints:
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
