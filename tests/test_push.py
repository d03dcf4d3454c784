"""`python -m renyi_jax.convert --push` against a hub on this machine."""

import base64
import http.server
import json
import os
import subprocess
import sys
import threading

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import renyi_jax
from renyi_jax.errors import UserError
from renyi_jax.weights.push import hub_repository

NAME = "vit_nano_patch4_56"


class Hub(http.server.BaseHTTPRequestHandler):
    """Makes repositories and takes commits, as the hub's own client speaks to it."""

    def do_POST(self):
        hub = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Bearer hf_writer":
            return self.answer(403, {"error": "This token may not write."})
        lines = [json.loads(line) for line in body.splitlines()]
        if self.path == "/api/repos/create":
            hub.repository = f"{lines[0]['organization']}/{lines[0]['name']}"
            return self.answer(200, {"url": f"{hub.address}/{hub.repository}"})
        if self.path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        assert self.path.startswith(f"/api/models/{hub.repository}/"), self.path
        if "/preupload/" in self.path:
            kind = {"uploadMode": "regular", "shouldIgnore": False}
            return self.answer(200, {"files": [each | kind for each in lines[0]["files"]]})
        assert "/commit/main" in self.path
        files = [line["value"] for line in lines if line["key"] == "file"]
        hub.files |= {each["path"]: base64.b64decode(each["content"]) for each in files}
        commit = {"commitOid": "0" * 40, "commitUrl": f"{hub.address}/{hub.repository}/commit/0"}
        return self.answer(200, {"success": True, "hookOutput": "", **commit})

    def do_GET(self):
        self.answer(404, {"error": "There is no such repository."})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.address = f"http://127.0.0.1:{server.server_port}"
        server.files = {}
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def push(hub, home, weights, token):
    """Runs the command as a user who has given no other token."""
    flags = [f"--weights={weights}", "--push=hf_hub:somebody/pruned"]
    given = {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_TOKEN": token}
    return subprocess.run(
        [sys.executable, "-m", "renyi_jax.convert", *flags],
        env=os.environ | given | {"HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_weights_and_their_card_are_uploaded(hub, tmp_path):
    pruning = renyi_jax.PruningConfig(keep_rate=0.5, blocks=(3, 5))
    model = renyi_jax.create_model(NAME, num_classes=7, pruning=pruning, rngs=nnx.Rngs(0))
    run = tmp_path / "run"
    run.mkdir()
    renyi_jax.save_weights(model, run / "model.safetensors")
    (run / "README.md").write_text("---\nlibrary_name: renyi_jax\n---\n# A card\n")
    (run / "checkpoint").write_text("stays here")
    done = push(hub, tmp_path, run, "hf_writer")
    assert done.returncode == 0, done.stderr
    assert f"Uploaded to {hub.address}/somebody/pruned: {NAME}" in done.stdout
    assert hub.files.keys() == {"model.safetensors", "README.md"}
    assert hub.files["README.md"] == (run / "README.md").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(hub.files["model.safetensors"])
    loaded, _ = renyi_jax.load(tmp_path)
    assert loaded.pruning == pruning
    images = jnp.ones((1, 56, 56, 3))
    np.testing.assert_array_equal(loaded(images), model(images))


def test_a_hub_that_does_not_take_them_is_told_with_status_2(hub, tmp_path):
    done = push(hub, tmp_path, f"embedded:{NAME}", "hf_reader")
    assert done.returncode == 2
    assert "does not take 'somebody/pruned': " in done.stderr and "403" in done.stderr
    assert "There is no model card" in done.stderr and "Traceback" not in done.stderr
    assert not hub.files and not done.stdout


@pytest.mark.parametrize(
    "name",
    ["pruned", "somebody/pruned", "hf_hub:pruned", "hf_hub:a/b/c", "hf_hub:a/b c", "hf_hub:"],
)
def test_what_is_no_name_of_a_repository_is_refused(name):
    with pytest.raises(UserError, match=r"expected hf_hub:OWNER/NAME"):
        hub_repository("--push", name)


def test_without_a_token_it_is_said_how_to_get_one(monkeypatch):
    monkeypatch.setattr("renyi_jax.weights.push.get_token", lambda: None)
    with pytest.raises(UserError, match=r"needs a token that may write: `hf auth login`"):
        hub_repository("--push", "hf_hub:somebody/pruned")
