"""The metrics of a run on disk: `metrics.jsonl`, and TensorBoard's events."""

import json

import jax
import tensorboardX
from etils import epath

from renyi_jax.common.files import append_text, json_text, write_text


class MetricsLog:
    """Appends metrics to `workdir/metrics.jsonl` and to TensorBoard; a context manager.

    Lines beyond `step`, the steps done so far, are of an interrupted run, and removed. Only process
    0 writes.
    """

    def __init__(self, workdir: epath.Path, step: int):
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        self._path = workdir / "metrics.jsonl"
        _remove_beyond(self._path, step or -1)
        self._tensorboard = tensorboardX.SummaryWriter(
            str(workdir / "tensorboard"), purge_step=step + 1
        )

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writes:
            self._tensorboard.close()

    def write(self, step: int, epoch: float, **values: float) -> None:
        """Logs `values` as what holds after `step` steps."""
        if not self._writes:
            return
        append_text(self._path, json_text({"step": step, "epoch": epoch, **values}) + "\n")
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, step)


def _remove_beyond(path: epath.Path, step: int) -> None:
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if _is_within(line, step)]
    if len(kept) < len(lines):
        write_text(path, "".join(kept))


def _is_within(line: str, step: int) -> bool:
    """Whether a line is of one of the first `step` steps; one that a kill cut short is not."""
    try:
        return line.endswith("\n") and json.loads(line)["step"] <= step
    except json.JSONDecodeError:
        return False
