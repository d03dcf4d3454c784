"""Shows a pruned model at work in the browser: makes a page and serves it on this machine.

Slide alpha, choose the keep rate, and watch the entropy map, the patches kept and the prediction
change. The page is a folder of static files (see renyi_jax.export, --format=web); no picture leaves
the browser. Without --weights it shows the model that the package ships.

  python -m renyi_jax.demo --weights=runs/quickstart
"""

from absl import flags
from PIL import Image

from renyi_jax.cli import commands
from renyi_jax.cli.model import define_model
from renyi_jax.cli.values import define
from renyi_jax.cli.web import define_web, page_server
from renyi_jax.common.fields import integer
from renyi_jax.common.files import cache_folder
from renyi_jax.data.clutter import canvas_rng, compose
from renyi_jax.data.fashion_mnist import CLASS_NAMES, FILES, embedded_dir, read_split

_SHIPPED = "embedded:vit_nano_patch4_56"

_load_model = define_model(required=False, default=_SHIPPED)
_write_page = define_web()
_PORT = define("port", integer(8000, 0, 65535), "Of this machine; 0 takes a free one.")
_OUT = flags.DEFINE_string("out", None, "Folder of the page; one of the cache by default.")


def main() -> None:
    out = _OUT.value or cache_folder() / "demo"
    shipped = (_canvases(), CLASS_NAMES) if flags.FLAGS.weights == _SHIPPED else ()
    folder = _write_page(_load_model, out, *shipped)
    with page_server(folder, _PORT.value) as server:
        print(f"Open http://127.0.0.1:{server.server_port}/ ; Ctrl-C ends.", flush=True)
        server.serve_forever()


def _canvases() -> list[Image.Image]:
    """Three images such as the shipped model was trained on, of garments for testing."""
    garments, _ = read_split(*(embedded_dir() / name for name in FILES["test"]))
    numbers = (1, 3, 5)
    return [Image.fromarray(compose(canvas_rng(0, 0, i), garments, i)[0]) for i in numbers]


if __name__ == "__main__":
    commands.run(main)
