"""Times models, pruned and not, and other people's beside them, on the device that JAX finds.

All programs of one model, image size and dtype take turns, so that what slows the machine for a
while slows all of them alike, and every time is a median. Writes a table, results.json, and
speed.png.

  python -m renyi_jax.benchmark --model=deit_small_patch16_224 --keep_rates=1,0.7,0.5 \\
      --criteria=renyi,random --dtype=float32,bfloat16 --peers=timm --out=runs/speed
"""

import sys
from typing import Any

import jax
from absl import flags
from etils import epath

from renyi_jax.analysis.page import encode
from renyi_jax.cli import commands
from renyi_jax.cli.model import define_plan
from renyi_jax.cli.values import define
from renyi_jax.common.fields import MAX_BATCH, MAX_SIDE, integer, number, one_of, several, text
from renyi_jax.common.files import output_folder, write_bytes
from renyi_jax.common.progress import phase
from renyi_jax.common.provenance import write_results
from renyi_jax.config import FIELDS, default_config
from renyi_jax.errors import UserError
from renyi_jax.measuring.bars import throughput_bars
from renyi_jax.measuring.peers import check_peers
from renyi_jax.measuring.side_by_side import (
    Compiled,
    Group,
    Peers,
    busy_note,
    check_memory,
    forward_pass,
    measure_group,
    program_name,
    random_model,
)
from renyi_jax.measuring.throughput import seconds_to_first_result
from renyi_jax.models.registry import DTYPES, model_spec
from renyi_jax.pruning import DEFAULT_CRITERION, DRAWN, PruningConfig
from renyi_jax.pruning.sweep import evaluation_settings

_SWEEP: Any = FIELDS["evaluate"]

_MODEL = define("model", several((), text("")), "Names of models.")
_KEEP_RATES = define(
    "keep_rates", _SWEEP["keep_rates"], "Keep rates; 1 is no pruning.", (1.0, 0.7, 0.5)
)
_CRITERIA = define(
    "criteria", _SWEEP["criteria"], "What scores the patches.", (DEFAULT_CRITERION, *DRAWN)
)
_ALPHAS = define("alphas", _SWEEP["alphas"], "Orders of the entropy.", (2.0,))
_PLAN = define_plan()
_IMAGE_SIZE = define(
    "image_size",
    several((), integer(224, 1, MAX_SIDE)),
    "Sides in pixels; the model's own by default.",
)
_BATCH_SIZE = define(
    "batch_size",
    several((16,), integer(16, 1, MAX_BATCH)),
    "Images in a batch. With several numbers, latency is only told where 1 is one of them.",
)
_DTYPE = define("dtype", several(("float32",), one_of("float32", DTYPES)), "Of the computation.")
_TRAIN = flags.DEFINE_bool("train", False, "Time train steps with AdamW, not forward passes.")
_PEERS = flags.DEFINE_list(
    "peers",
    [],
    "Who else runs, in PyTorch on the same device: timm, timm_compiled (by torch.compile), and"
    " evit:PATH and tome:PATH, checkouts of their published code; and onnx:FILE, which export"
    " wrote, in ONNX Runtime on the CPU.",
)
_PEERS_PYTHON = flags.DEFINE_string(
    "peers_python", sys.executable, "The Python that runs the peers: it needs torch and timm."
)
_FIRST_RESULT = flags.DEFINE_bool(
    "first_result", False, "Also time renyi_jax.predict in a new process, twice."
)
_BUDGET = define("budget", number(10.0, "[0, 86400]"), "Seconds for each program.")
_PROFILE = flags.DEFINE_bool("profile", False, "Also trace one call of each into OUT/profile.")
_OUT = flags.DEFINE_string("out", None, "Folder for the results; made if there is none.")

_COLUMNS = {
    "images/s": "images_per_second",
    "against unpruned": "against_unpruned",
    "latency ms": "latency_ms",
    "GMACs": "gmacs",
    "of peak": "share_of_matmul_peak",
    "temporary MiB": "temporary_mib",
}


def main() -> None:
    check_peers(_PEERS.value)
    if not _MODEL.value:
        raise UserError("Give --model=NAME, or several names with commas.")
    if _TRAIN.value:
        from renyi_jax.training.xla_cpu import keep_memory  # brings the libraries of training

        keep_memory()
    groups, settings = list(_groups()), _settings()
    for group in groups:
        check_memory(group)
    out = output_folder("--out", _OUT.value) if _OUT.value is not None else None
    rows: list[dict[str, Any]] = []
    for group in groups:
        measured = measure_group(
            group,
            settings,
            _train_step if group.train else forward_pass,
            Peers(_PEERS.value, _PEERS_PYTHON.value),
            _BUDGET.value,
            _known_peak(rows, group),
            _profiler(out, group),
        )
        rows += _compared(measured)
        what = "train step, " if group.train else ""
        print(f"{group.model}, {what}{group.image_size}, {group.dtype}, batch {group.batch_size}:")
        print(_table(rows[-len(measured) :]), flush=True)
        if note := busy_note(measured):
            print(note, flush=True)
    first_results = _first_results() if _FIRST_RESULT.value else {}
    for model, seconds in first_results.items():
        words = "first result after {first:.1f} s, with the compilation cache after {cached:.1f} s"
        print(f"{model}: {words.format(**seconds)}")
    if out is None:
        return
    results = {"rows": rows, "first_result_seconds": first_results}
    write_bytes(out / "speed.png", encode(throughput_bars(rows), "png"))
    write_results(out / "results.json", results)
    print(f"Results: {out / 'results.json'}")


def _known_peak(rows: list[dict[str, Any]], group: Group) -> float:
    """The FLOP/s of the products timed with earlier groups."""
    known = [row["matmul_gflops"] for row in rows if row["dtype"] == group.dtype]
    return 1e9 * max(known, default=0.0)


def _groups():
    sizes = _IMAGE_SIZE.value or [None]
    for model in _MODEL.value:
        for size in sizes:
            image_size = model_spec(model, image_size=size).image_size
            for dtype in _DTYPE.value:
                for batch_size in _BATCH_SIZE.value:
                    latency = batch_size == 1 or len(_BATCH_SIZE.value) == 1
                    yield Group(model, image_size, dtype, batch_size, _TRAIN.value, latency)


def _train_step(group: Group, setting: PruningConfig | None) -> Compiled:
    from renyi_jax.training.lowering import timed_train_step  # likewise

    model = random_model(group, "float32").with_pruning(setting)
    return Compiled(*timed_train_step(model, group.batch_size))


def _first_results() -> dict[str, dict[str, float]]:
    results = {}
    for name in _MODEL.value:
        size = model_spec(name).image_size
        model = random_model(Group(name, size, "float32", 1))
        with phase(f"Timing the first result of {name}"):
            results[name] = seconds_to_first_result(model, name, size)
    return results


def _settings() -> list[PruningConfig | None]:
    """The plain model, then every combination of the flags, then the plan."""
    sweep = default_config().evaluate
    sweep.keep_rates = (1.0, *_KEEP_RATES.value)
    sweep.criteria = _CRITERIA.value
    sweep.alphas = _ALPHAS.value
    planned = [PruningConfig.load(_PLAN.value)] if _PLAN.value is not None else []
    return [*evaluation_settings(None, sweep), *planned]


def _profiler(out: epath.Path | None, group: Group):
    def trace(name: str, call) -> None:
        if not _PROFILE.value or out is None:
            return
        words = f"{group.model} {group.image_size[0]} {group.dtype} {name}".replace(" ", "_")
        with jax.profiler.trace(str(out / "profile" / words)):
            jax.block_until_ready(call())

    return trace


def _compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    plain = next(row for row in rows if row["criterion"] == "none" and not row["peer"])
    return [
        row | {"against_unpruned": row["images_per_second"] / plain["images_per_second"]}
        for row in rows
    ]


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [["", *_COLUMNS]]
    for row in rows:
        values = (row.get(field) for field in _COLUMNS.values())
        lines.append([program_name(row), *("-" if v is None else f"{v:.3g}" for v in values)])
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )


if __name__ == "__main__":
    commands.run(main)
