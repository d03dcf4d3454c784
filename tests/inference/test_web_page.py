"""The page that runs a model in the browser: a browser loads it, and a script uses it."""

import http.server
import importlib.util
import json
import os
import queue
import shutil
import subprocess
import threading
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from tiny import tiny_model

from renyi_jax.cli.web import page_server
from renyi_jax.errors import UserError
from renyi_jax.inference import Classifier
from renyi_jax.inference.onnx_file import PACKAGES
from renyi_jax.inference.web import export_web, runtime_files
from renyi_jax.models import weights_of
from renyi_jax.pruning import PruningConfig
from tools.screenshot_report import BROWSERS, FLAGS

BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
ROOT = Path(__file__).resolve().parents[2]
RUNTIME = Path(os.environ.get("ONNXRUNTIME_WEB", ROOT / "node_modules/onnxruntime-web"))
NAMES = [f"garment {number}" for number in range(10)]
PRUNING = PruningConfig(keep_rate=0.6, blocks=(1, 2), alpha=2.0)
PIXELS = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, PACKAGES)), reason="needs jax2onnx and onnxruntime"
)
LISTEN = """<script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
console.error = (...words) => errors.push(words.join(" "));
</script>"""
USE = """
const $ = (selector) => document.querySelector(selector);
const found = {};
async function until(isSo) {
  for (let tries = 0; tries < 3000 && !isSo(); tries++) {
    await new Promise((go) => setTimeout(go, 20));
  }
}
const runs = () => Number(document.body.dataset.runs ?? 0);
const settled = () => runs() > 0 && $("#state").textContent === "Ready.";
const state = () => ({
  prediction: [...document.querySelectorAll("#prediction li")].map((item) =>
    [...item.children].map((each) => each.textContent)),
  maps: [...document.querySelectorAll("#maps canvas")].map((each) => each.toDataURL()),
  captions: [...document.querySelectorAll("#maps figcaption")].map((each) => each.textContent),
  alpha: $("#alpha_value").textContent,
});
async function use() {
  await until(settled);
  found.first = state();
  found.time = $("#time").textContent;
  let before = runs();
  $("#alpha").value = 0;
  $("#alpha").dispatchEvent(new Event("input"));
  await until(() => runs() > before && settled());
  found.shannon = state();
  before = runs();
  const rates = document.querySelectorAll("#rates input");
  rates[1].click();
  await until(() => runs() > before && settled() && $("#time").textContent !== found.time);
  found.fewer = state();
  await navigator.serviceWorker.ready;
  const [name] = await caches.keys();
  found.cached = (await (await caches.open(name)).keys()).map((each) => new URL(each.url).pathname);
  found.wide = document.documentElement.scrollWidth > innerWidth;
  const isNamed = (each) => each.ariaLabel || each.labels?.length || each.textContent
    || each.querySelector("img")?.alt;
  const parts = [...document.querySelectorAll("canvas, input, button")];
  found.unnamed = parts.filter((each) => !isNamed(each)).map((each) => each.outerHTML);
}
use().catch((error) => errors.push(String(error))).finally(() =>
  fetch("REPORT", { method: "POST", mode: "no-cors", body: JSON.stringify({ ...found, errors }) }));
"""


@pytest.fixture(scope="module")
def model():
    return tiny_model(PRUNING)


@pytest.fixture(scope="module")
def page(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    runtime = runtime_files(str(RUNTIME)) if RUNTIME.is_dir() else None
    sample = Image.fromarray(PIXELS)
    descriptions = export_web(
        model, folder, keep_rates=(0.6, 0.3), class_names=NAMES, samples=[sample], runtime=runtime
    )
    assert max(each["deviation"] for each in descriptions) < 1e-4
    return folder


@pytest.fixture(scope="module")
def found(page, tmp_path_factory):
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    if not RUNTIME.is_dir():
        pytest.skip("needs onnxruntime-web of npm; ONNXRUNTIME_WEB names its folder")
    with page_server(page, 0) as server, Reports(("127.0.0.1", 0), Report) as reports:
        for each in (server, reports):
            threading.Thread(target=each.serve_forever, daemon=True).start()
        use = USE.replace("REPORT", f"http://127.0.0.1:{reports.server_port}/")
        text = (page / "index.html").read_text().replace("<head>", "<head>" + LISTEN)
        (page / "used.html").write_text(text.replace("</body>", f"<script>{use}</script></body>"))
        browser = subprocess.Popen(
            [
                BROWSER,
                *FLAGS,
                f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
                "--window-size=500,900",
                f"http://127.0.0.1:{server.server_port}/used.html",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            return json.loads(reports.bodies.get(timeout=240))
        finally:
            browser.terminate()
            browser.wait()
            server.shutdown()
            reports.shutdown()


class Reports(http.server.ThreadingHTTPServer):
    """Takes what the script found."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.bodies: queue.Queue[bytes] = queue.Queue()


class Report(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.bodies.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def predicted(model, alpha):
    (answer,) = Classifier(model, NAMES)([PIXELS], alpha=alpha)
    return [[name, f"{100 * share:.1f} %"] for name, share in answer.top(5)]


def test_the_files_share_the_weights_and_the_worker_keeps_them_all(page, model):
    weights = sum(array.nbytes for array in jax.tree.leaves(weights_of(model)))
    assert weights / 2 < (page / "weights.bin").stat().st_size < 1.5 * weights
    about = json.loads((page / "model.json").read_text())
    assert [each["keep_rate"] for each in about["programs"]] == [1.0, 0.6, 0.3]
    worker = (page / "worker.js").read_text()
    kept = json.loads(worker.partition("const files = ")[2].partition(";")[0])
    local = {name for name in kept if not name.startswith("http")} - {"./"}
    assert {Path(name).name for name in local} == {
        each.name for each in page.iterdir() if each.name not in ("worker.js", "used.html")
    }


def test_a_folder_without_the_runtime_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no ort\.wasm\.bundle\.min\.mjs.*npm"):
        runtime_files(str(tmp_path))


def test_nothing_goes_wrong(found):
    assert found["errors"] == []


def test_the_page_predicts_what_python_predicts(found, model):
    assert found["first"]["prediction"] == predicted(model, 2.0)
    assert found["shannon"]["prediction"] == predicted(model, 1.0)
    fewer = model.with_pruning(PRUNING.changed(keep_rate=0.3))
    assert found["fewer"]["prediction"] == predicted(fewer, 1.0)


def test_the_slider_changes_the_maps_and_the_rate_the_patches_kept(found):
    assert (found["first"]["alpha"], found["shannon"]["alpha"]) == ("2", "1")
    assert found["first"]["maps"][0] != found["shannon"]["maps"][0]
    assert [each.partition(";")[0] for each in found["first"]["captions"]] == [
        "Block 1: 10 of 16 patches kept", "Block 2: 6 of 10 patches kept"
    ]  # fmt: skip
    assert [each.partition(";")[0] for each in found["fewer"]["captions"]] == [
        "Block 1: 5 of 16 patches kept", "Block 2: 2 of 5 patches kept"
    ]  # fmt: skip


def test_times_are_told_and_the_page_is_kept_for_later(found):
    assert "ms with pruning" in found["time"]
    assert {"/", "/page.js", "/weights.bin", "/model_0.6.onnx"} <= set(found["cached"])


def test_it_fits_a_phone_and_everything_has_a_name(found):
    assert not found["wide"] and found["unnamed"] == []
