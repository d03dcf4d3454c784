"""The flags of the commands that write a page, and the page."""

import functools
import http.server
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags
from PIL import Image

from renyi_jax.cli.images import define_images, find_images
from renyi_jax.cli.values import define
from renyi_jax.common.extras import needs
from renyi_jax.common.fields import number, several
from renyi_jax.common.files import output_folder
from renyi_jax.errors import UserError
from renyi_jax.images import read_picture
from renyi_jax.inference.onnx_file import PACKAGES
from renyi_jax.inference.web import export_web, runtime_files
from renyi_jax.models import Loaded

flags.disclaim_key_flags()  # the --help of the command that imports this file lists them


def define_web() -> Callable[..., Path]:
    """Defines --keep_rates, --runtime and --image, and returns what writes the page."""
    rates = define(
        "keep_rates",
        several((0.7, 0.5), number(0.7, "(0, 1)")),
        "A page: keep rates to choose from.",
    )
    runtime = flags.DEFINE_string(
        "runtime",
        None,
        "A page: folder of the package onnxruntime-web of npm, whose files are copied; by default"
        " the page loads them from a CDN.",
    )
    images = define_images()

    def write_page(
        load_model: Callable[[], Loaded],
        out: str | Path,
        samples: Sequence[Image.Image] = (),
        class_names: Sequence[str] | None = None,
    ) -> Path:
        needs("onnx", *PACKAGES)
        folder = Path(output_folder("--out", out))
        if (folder / "index.html").exists() and not (folder / "model.json").exists():
            raise UserError(f"--out={folder} is another page; expected a folder of its own.")
        files = runtime_files(runtime.value)
        if images.value:
            found, refused = find_images(images.value)
            if refused:
                raise refused[0]
            samples = [read_picture(file) for file in found]
        model, noted = load_model()
        descriptions = export_web(
            model,
            folder,
            keep_rates=rates.value,
            class_names=class_names or noted,
            samples=samples,
            runtime=files,
        )
        worst = max(each["deviation"] for each in descriptions)
        print(f"Wrote {folder / 'index.html'}; its programs differ by {worst:.1e} at most.")
        return folder

    return write_page


def page_server(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Returns what serves a folder on this machine alone; port 0 takes a free one.

    Raises UserError: the port is taken, or not allowed.
    """
    handler = functools.partial(_PageHandler, directory=str(folder))
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise UserError(f"--port={port} cannot be used: {error.strerror}.") from error


class _PageHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, quietly, with the types by which a browser knows programs."""

    def guess_type(self, path) -> str:
        types = {".mjs": "text/javascript", ".wasm": "application/wasm"}
        return types.get(Path(path).suffix) or super().guess_type(path)

    def log_message(self, *_) -> None:
        pass
