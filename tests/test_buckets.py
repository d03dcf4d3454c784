"""A workdir in a bucket: fsspec's memory stands for Google's, with the paths of the one."""

import importlib
import json

import pytest
from etils import epath
from fsspec.implementations.memory import MemoryFileSystem
from safetensors.numpy import load
from tiny import tiny_model

from renyi_jax.common.files import write_text
from renyi_jax.models import save_weights, to_timm
from renyi_jax.training import run


class Bucket(MemoryFileSystem):
    """Keeps what it is told under "gs://", and refuses to let an object grow."""

    protocol = ("gcs", "gs")
    store: dict = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("gs:/"))

    def _open(self, path, mode="rb", **options):
        assert "a" not in mode
        return super()._open(path, mode=mode, **options)


@pytest.fixture
def bucket(monkeypatch):
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.setitem(registry._registry, "gcs", Bucket)
    workdir = epath.Path("gs://bucket/run")
    workdir.mkdir(parents=True, exist_ok=True)
    yield workdir
    workdir.rmtree()


class NoTensorBoard:
    def __init__(self, *_, **__):
        pass

    def add_scalar(self, *_):
        pass

    def close(self):
        pass


def test_what_a_run_writes_beside_its_checkpoints_can_lie_in_a_bucket(bucket, monkeypatch):
    monkeypatch.setattr(run.tensorboardX, "SummaryWriter", NoTensorBoard)
    for start in (0, 2):
        with run.MetricsLog(bucket, start) as log:
            for step in range(start + 1, start + 4):
                log.write(step, step / 10, loss=1.0 / step)
    lines = [json.loads(line) for line in (bucket / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]

    write_text(bucket / "results.json", "{}")
    write_text(bucket / "results.json", "[]")
    assert (bucket / "results.json").read_text() == "[]"

    model = tiny_model()
    save_weights(model, str(bucket / "model.safetensors"))
    tensors = load((bucket / "model.safetensors").read_bytes())
    assert tensors.keys() == to_timm(model).keys()
    assert sorted(path.name for path in bucket.iterdir()) == [
        "metrics.jsonl",
        "model.safetensors",
        "results.json",
    ]
