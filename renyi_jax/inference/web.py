"""A model as a folder of static files: a page that runs it in the browser, by ONNX Runtime Web."""

import base64
import hashlib
import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from renyi_jax.common.files import json_text, local_path, write_bytes, write_json, write_text
from renyi_jax.common.progress import progress
from renyi_jax.errors import UserError
from renyi_jax.inference.onnx_file import export_onnx
from renyi_jax.models import VisionTransformer

_PAGE = Path(__file__).parents[1] / "assets" / "page"

RUNTIME = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/"
RUNTIME_FILES = {
    "module": (
        "ort.wasm.bundle.min.mjs",
        "sha384-PLWz+nHEVHpjwBsO0YVdvQj6n5814Iv8E3b8FG0Rp/uIAtjFMCKOpP66iPzedrIG",
    ),
    "wasm": (
        "ort-wasm-simd-threaded.wasm",
        "sha384-vjBJ1z7qrhkTyYsNqKeF6c7N+nOJSU94czEo+tvZcu8G75JparGq9kB+kTnEUNVM",
    ),
}
"""The files of ONNX Runtime Web that the page loads, and the hashes that the browser checks."""

_WEIGHTS = "weights.bin"
_SHARED_BYTES = 1024  # arrays of at least so many bytes are stored once, for all programs


def runtime_files(folder: str | None) -> dict[str, Path]:
    """Returns the files of ONNX Runtime Web in a folder: npm's onnxruntime-web, or its dist/.

    There are none where none is named.

    Raises UserError: a file is missing.
    """
    if folder is None:
        return {}
    root = local_path("--runtime", folder)
    root = root / "dist" if (root / "dist").is_dir() else root
    for name, _ in RUNTIME_FILES.values():
        if not (root / name).is_file():
            raise UserError(
                f"--runtime={folder}: there is no {name}; expected the package onnxruntime-web of"
                " npm."
            )
    return {key: root / name for key, (name, _) in RUNTIME_FILES.items()}


def export_web(
    model: VisionTransformer,
    folder: Path,
    *,
    keep_rates: Sequence[float] = (0.7, 0.5),
    class_names: Sequence[str] | None = None,
    samples: Sequence[Image.Image] = (),
    runtime: Mapping[str, Path] | None = None,
) -> list[dict[str, Any]]:
    """Writes the page, the model without pruning, and the model at every keep rate.

    The folder is a static Space of the Hugging Face hub as it is: its README.md is the card.
    Returns the descriptions of `export_onnx`, of the plain model first.

    Args:
        keep_rates: of the pruned blocks, each below 1.
        runtime: of `runtime_files`; by default the page loads ONNX Runtime Web from a CDN.

    Raises UserError: the model is not pruned, or as `export_onnx`.
    """
    pruning = model.pruning
    if pruning is None:
        raise UserError("A page shows a pruned model: give a keep rate below 1.")
    has_order = pruning.matters("alpha")
    settings = [None, *(pruning.changed(keep_rate=rate) for rate in keep_rates)]
    files, descriptions = [], []
    for setting in progress(settings, "Converting to ONNX", unit="program"):
        file, description = export_onnx(
            model.with_pruning(setting),
            alpha_input=setting is not None and has_order,
            input_dtype="uint8",
            trace=True,
            class_names=class_names,
        )
        files.append(file)
        descriptions.append(description)
    names = ["model.onnx", *(f"model_{rate:g}.onnx" for rate in keep_rates)]
    write_bytes(folder / _WEIGHTS, _share_weights(files))
    for name, file in zip(names, files):
        write_bytes(folder / name, file.SerializeToString())
    pictures = []
    for number, sample in enumerate(samples, start=1):
        encoded = io.BytesIO()
        sample.convert("RGB").save(encoded, "PNG")
        pictures.append(f"sample_{number}.png")
        write_bytes(folder / pictures[-1], encoded.getvalue())
    about = {
        "programs": [
            {"file": name, "keep_rate": rate, "gmacs": each["gmacs"]}
            for name, rate, each in zip(names, (1.0, *keep_rates), descriptions)
        ],
        "weights": _WEIGHTS,
        "blocks": list(pruning.blocks),
        "alpha": pruning.per_block("alpha")[0] if has_order else None,
        "is_entropy": all(
            stage.criterion_row is not None and stage.criterion_row.is_entropy
            for stage in pruning.stages
        ),
        "grid_size": list(model.spec.grid_size),
        "samples": pictures,
        "runtime": _runtime(folder, runtime or {}),
    }
    fields = ("model", "image_size", "crop_pct", "interpolation", "class_names", "num_classes")
    about |= {field: descriptions[0][field] for field in fields}
    write_json(folder / "model.json", about)
    _write_page(folder, about, [*names, *pictures])
    return descriptions


def _share_weights(files: Sequence[Any]) -> bytes:
    """Moves the large arrays of all files into one, each once, and returns what is in it."""
    from onnx.external_data_helper import set_external_data

    data, places = bytearray(), {}
    for file in files:
        for tensor in file.graph.initializer:
            if len(tensor.raw_data) < _SHARED_BYTES:
                continue
            offset = places.setdefault(tensor.raw_data, len(data))
            if offset == len(data):
                data += tensor.raw_data + bytes(-len(tensor.raw_data) % 64)
            set_external_data(tensor, _WEIGHTS, offset=offset, length=len(tensor.raw_data))
            tensor.ClearField("raw_data")
    return bytes(data)


def _runtime(folder: Path, vendored: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    """Where the page finds ONNX Runtime Web, and the hashes of its files."""
    found = {}
    for key, (name, integrity) in RUNTIME_FILES.items():
        if key in vendored:
            shutil.copyfile(vendored[key], folder / name)
            digest = hashlib.sha384(vendored[key].read_bytes()).digest()
            integrity = f"sha384-{base64.b64encode(digest).decode()}"
        url = f"./{name}" if key in vendored else RUNTIME + name
        found[key] = {"url": url, "integrity": integrity}
    return found


def _write_page(folder: Path, about: dict[str, Any], others: Sequence[str]) -> None:
    runtime = about["runtime"]
    integrity = {"integrity": {runtime["module"]["url"]: runtime["module"]["integrity"]}}
    static = [path.name for path in sorted(_PAGE.iterdir()) if path.name != "worker.js"]
    for name in static:
        text = (_PAGE / name).read_text(encoding="utf-8")
        write_text(folder / name, text.replace("IMPORT_MAP", json_text(integrity)))
    cached = ["./", *static, "model.json", _WEIGHTS, *others]
    cached += [runtime[key]["url"] for key in runtime]
    digest = hashlib.sha256()
    for name in (*static, "model.json", _WEIGHTS, *others):
        digest.update((folder / name).read_bytes())
    worker = (_PAGE / "worker.js").read_text(encoding="utf-8")
    worker = worker.replace("VERSION", json_text(digest.hexdigest()[:16]))
    write_text(folder / "worker.js", worker.replace("FILES", json_text(cached)))
