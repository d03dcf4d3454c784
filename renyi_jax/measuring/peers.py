"""Other programs, to be timed beside ours: people's models in PyTorch, in a process of their own,
which may be another Python's; and ONNX files."""

import contextlib
import functools
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from renyi_jax.common.onnx_runtime import OnnxFile
from renyi_jax.common.progress import phase
from renyi_jax.errors import UserError, check_known
from renyi_jax.models.spec import ModelSpec
from renyi_jax.pruning import PruningConfig
from renyi_jax.pruning.criteria import CRITERIA, Criterion
from renyi_jax.pruning.reducers import REDUCERS, Reducer

Setting = PruningConfig | None

TOME_R = (8, 13, 16)  # the patches that ToMe merges in each block, in its own comparison of speeds


class PeerKind(NamedTuple):
    """Somebody's code."""

    has_path: bool  # whether it is in a folder that the user names, and not installed
    # what it runs, in terms of our own pruning, for a model and the keep rates
    settings: Callable[[ModelSpec, Sequence[float]], list[Setting]]


def _by(method: str, table: Mapping[str, Criterion | Reducer]) -> str:
    """The row that a published method is."""
    return next(name for name, row in table.items() if row.published == method)


def _evit(spec: ModelSpec, keep_rates: Sequence[float]) -> list[Setting]:
    criterion = _by("EViT", CRITERIA)
    return [PruningConfig(criterion=criterion, keep_rate=rate) for rate in keep_rates if rate < 1]


def _tome(spec: ModelSpec, keep_rates: Sequence[float]) -> list[Setting]:
    reducer, blocks = _by("ToMe", REDUCERS), tuple(range(1, spec.depth + 1))
    return [PruningConfig(reducer=reducer, blocks=blocks, r=r) for r in TOME_R]


PEERS: dict[str, PeerKind] = {
    "timm": PeerKind(False, lambda spec, keep_rates: [None]),
    "timm_compiled": PeerKind(False, lambda spec, keep_rates: [None]),
    "evit": PeerKind(True, _evit),
    "tome": PeerKind(True, _tome),
}
"""Each has a builder of the same name in `torch_peers`."""


class Peer(NamedTuple):
    """An entrant: its name, its setting, and what runs it on so many images, so many times."""

    name: str
    setting: Setting
    run: Callable[[int, int], None]


def check_peers(names: Sequence[str]) -> None:
    """Raises `UserError` for a peer that is not known, or lacks the folder of its code."""
    paths = {kind: "a folder of its code" for kind, row in PEERS.items() if row.has_path}
    paths["onnx"] = "a file of renyi_jax.export"
    known = (*PEERS, "onnx")
    for name in names:
        kind, _, path = name.partition(":")
        check_known("peer", kind, known)
        if (kind in paths) != bool(path):
            expected = f"{kind}:PATH, {paths[kind]}" if kind in paths else kind
            raise UserError(f"--peers={name}: expected {expected}.")
        if path and not (Path(path).is_file() if kind == "onnx" else Path(path).is_dir()):
            raise UserError(f"--peers={name}: there is no {paths[kind].split()[1]} {path}.")


@contextlib.contextmanager
def start_peers(
    names: Sequence[str],
    spec: ModelSpec,
    *,
    model: str,
    dtype: str,
    batch_size: int,
    keep_rates: Sequence[float],
    train: bool,
    python: str,
) -> Iterator[list[Peer]]:
    """Runs the peers, checked by `check_peers`, in a process that lives as long as the context.

    Args:
        batch_size: images at most in a call.
        train: time their train step in place of their forward pass.

    Raises UserError: the Python lacks torch or timm, a peer cannot build the model, or an ONNX file
    takes other images.
    """
    files = [_onnx_peer(name, spec, train) for name in names if name.startswith("onnx:")]
    names = [name for name in names if not name.startswith("onnx:")]
    if not names:
        yield files
        return
    entrants = [
        (kind, path, setting)
        for kind, _, path in (name.partition(":") for name in names)
        for setting in PEERS[kind].settings(spec, keep_rates)
    ]
    request = {
        "model": model,
        "image_size": spec.image_size,
        "patch_size": spec.patch_size,
        "embed_dim": spec.embed_dim,
        "depth": spec.depth,
        "num_heads": spec.num_heads,
        "dtype": dtype,
        "device": "cuda" if jax.default_backend() == "gpu" else "cpu",
        "batch_size": batch_size,
        "train": train,
        "peers": [
            {"peer": kind, "path": path} | _options(setting) for kind, path, setting in entrants
        ],
    }
    program = Path(__file__).with_name("torch_peers.py")
    try:
        process = subprocess.Popen(
            [python, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    except OSError as error:
        raise UserError(f"--peers_python={python} cannot be run: {error.strerror}.") from None
    with process:
        with phase("Building the peers"):
            told = _ask(process, json.dumps(request))
        answer = json.loads(told or '{"error": "it ended at once"}')
        if "error" in answer:
            reason = answer["error"].rstrip(".")
            raise UserError(
                f"--peers={','.join(names)} cannot run in {python}: {reason}. They need what"
                " requirements-parity.txt lists; --peers_python names a Python that has it."
            )
        yield files + [
            Peer(kind, setting, functools.partial(_run, process, number))
            for number, (kind, _, setting) in enumerate(entrants)
        ]


def _onnx_peer(name: str, spec: ModelSpec, train: bool) -> Peer:
    file = OnnxFile(name.partition(":")[2])
    about = file.description
    if train:
        raise UserError(f"--peers={name}: an ONNX file has no train step.")
    if about.get("image_size") != list(spec.image_size):
        raise UserError(
            f"--peers={name} takes images of {about.get('image_size')} pixels, and the model of"
            f" {list(spec.image_size)}."
        )
    images, *alphas = about["inputs"]
    setting = PruningConfig.from_json(about["pruning"]) if about["pruning"] else None
    alpha = [np.float32(setting.per_block("alpha")[0])] if setting and alphas else []

    def run(count: int, times: int) -> None:
        for _ in range(times):
            file(np.zeros((count, *spec.image_size, 3), images["dtype"]), *alpha)

    return Peer("ONNX Runtime", setting, run)


def _options(setting: Setting) -> dict[str, Any]:
    if setting is None:
        return {}
    return {"keep_rate": setting.keep_rate, "blocks": setting.blocks, "r": setting.r}


def _run(process: subprocess.Popen, number: int, images: int, calls: int) -> None:
    if not _ask(process, f"{number} {images} {calls}"):
        raise RuntimeError("The process of the peers has ended; what it said is above.")


def _ask(process: subprocess.Popen, line: str) -> str:
    assert process.stdin is not None and process.stdout is not None
    try:
        print(line, file=process.stdin, flush=True)
    except BrokenPipeError:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()  # which would be tried again when the process is left
        return ""
    return process.stdout.readline()
