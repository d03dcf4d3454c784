"""The folder of a run is claimed by one run at a time, and has room for what it will hold."""

import shutil
import subprocess
import sys
from collections import namedtuple

import pytest

from renyi_jax.errors import UserError
from renyi_jax.training import claim
from renyi_jax.training.workdir import estimate_bytes

HOLD = """
import sys
from etils import epath
from renyi_jax.config import check_config, default_config
from renyi_jax.training import claim
claim(epath.Path(sys.argv[1]), check_config(default_config()))
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_run(workdir):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(workdir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "holds\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_until_the_first_is_dead(other_run, make_config, workdir):
    with pytest.raises(UserError, match=rf"another run is at work .*process {other_run.pid} of"):
        claim(workdir, make_config())
    other_run.kill()
    other_run.wait()
    claim(workdir, make_config())


def with_free_bytes(monkeypatch, free):
    usage = namedtuple("usage", "total used free")(0, 0, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_a_disk_without_room_for_the_checkpoints_is_refused(make_config, workdir, monkeypatch):
    config = make_config(checkpoint__keep=3, checkpoint__keep_best=0)
    weights, checkpoint = estimate_bytes(config)
    with_free_bytes(monkeypatch, weights + 4 * checkpoint)
    claim(workdir / "enough", config)
    with_free_bytes(monkeypatch, weights + 4 * checkpoint - 1)
    with pytest.raises(UserError, match=r"GB free; 4 checkpoints of .*config\.checkpoint\.keep"):
        claim(workdir / "new", config)
    assert not (workdir / "new").exists()


def test_what_an_earlier_start_wrote_counts_as_room(make_config, workdir, monkeypatch):
    config = make_config(train__epochs=0)
    with_free_bytes(monkeypatch, 0)
    with pytest.raises(UserError, match="0 checkpoints"):
        claim(workdir, config)
    (workdir / "model.safetensors").write_bytes(bytes(estimate_bytes(config)[0]))
    claim(workdir, config)
