"""From what a user types to the file of weights."""

import fnmatch
import os
import socket
import types
from pathlib import Path

import pytest
from hub import cache_of_hub
from huggingface_hub import constants

from renyi_jax.errors import UserError
from renyi_jax.weights import locate as locating
from renyi_jax.weights import read_checkpoint, read_metadata

DATA = Path(__file__).parent / "data"
PLAIN = DATA / "plain.safetensors"


def test_a_directory_gives_the_file_of_weights_in_it(tmp_path):
    with pytest.raises(
        UserError, match=r"none of model\.safetensors, model\.safetensors\.index\.json"
    ):
        read_checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes((DATA / "wrapped.pth").read_bytes())
    assert read_checkpoint(tmp_path).path == tmp_path / "pytorch_model.bin"
    (tmp_path / "model.safetensors").write_bytes(PLAIN.read_bytes())
    assert read_checkpoint(str(tmp_path)).path == tmp_path / "model.safetensors"


def test_the_workdir_of_a_run_that_has_not_ended_is_told_as_one(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    for folder in (tmp_path, tmp_path / "checkpoints"):
        with pytest.raises(UserError, match=r"it has none of .*start renyi_jax.main again"):
            read_checkpoint(folder)


def test_a_misspelt_name_brings_the_nearest_file(tmp_path):
    (tmp_path / "deit_small.safetensors").touch()
    with pytest.raises(UserError, match=r"Did you mean 'deit_small\.safetensors'\?"):
        read_checkpoint(tmp_path / "diet_small.safetensors")
    with pytest.raises(UserError, match="Expected a file, a directory"):
        read_checkpoint(tmp_path / "no" / "such" / "folder")


def test_weights_that_are_not_shipped_are_named():
    with pytest.raises(UserError, match="No weights named 'vit_mano' are shipped"):
        read_checkpoint("embedded:vit_mano")


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.safetensors").write_bytes(PLAIN.read_bytes())
    assert read_checkpoint("~/a.safetensors").path == tmp_path / "a.safetensors"
    assert read_checkpoint(Path("~") / "a.safetensors").path == tmp_path / "a.safetensors"


@pytest.mark.parametrize("source", ["", " ", "a\0b", "x" * 5000, "https://huggingface.co/timm/x"])
def test_what_can_be_no_path_is_refused(source):
    with pytest.raises(UserError, match=r"No weights at|too long"):
        read_checkpoint(source)


def test_only_regular_files_are_opened_so_that_none_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        for name in ("pipe", "link", "socket"):
            with pytest.raises(UserError, match="is no regular file"):
                read_checkpoint(tmp_path / name)
    with pytest.raises(UserError, match="No weights at"):
        read_checkpoint(tmp_path / "loop")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "folder" / "model.safetensors")
    with pytest.raises(UserError, match="No weights in the directory"):
        read_checkpoint(tmp_path / "folder")


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "link.safetensors").symlink_to(PLAIN)
    assert read_checkpoint(tmp_path / "link.safetensors").tensors


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A stand-in for the hub: `files` maps what a repository has to its bytes."""
    hub = types.SimpleNamespace(files={}, asked=[], error=None)

    def download(repository, revision, allow_patterns):
        hub.asked.append((repository, revision))
        if hub.error:
            raise hub.error
        for name, data in hub.files.items():
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (tmp_path / name).write_bytes(data)
        return str(tmp_path)

    monkeypatch.setattr(locating, "snapshot_download", download)
    return hub


@pytest.fixture
def cached(monkeypatch, tmp_path):
    """Puts files into a cache of the hub's own layout, which cannot be reached."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    def put(repository, **files):
        return cache_of_hub(tmp_path, repository, files)

    return put


@pytest.mark.parametrize("prefix", ["hf_hub:", "hf-hub:", ""])
def test_a_name_on_the_hub_is_downloaded_and_timm_s_names_say_the_model(hub, prefix, tmp_path):
    hub.files["pytorch_model.bin"] = (DATA / "wrapped.pth").read_bytes()
    checkpoint = read_checkpoint(f"{prefix}timm/deit_small_patch16_224.fb_in1k@v1")
    assert checkpoint.path == tmp_path / "pytorch_model.bin"
    assert checkpoint.metadata == {"model": "deit_small_patch16_224.fb_in1k"}
    assert set(hub.asked) == {("timm/deit_small_patch16_224.fb_in1k", "v1")}


def test_of_several_formats_the_hub_is_asked_for_one(hub, tmp_path):
    hub.files |= dict.fromkeys(("model.safetensors", "pytorch_model.bin"), PLAIN.read_bytes())
    assert read_checkpoint("hf_hub:someone/model").path == tmp_path / "model.safetensors"
    assert not (tmp_path / "pytorch_model.bin").exists()


def test_a_hub_that_lacks_the_name_or_fails_is_told(hub):
    with pytest.raises(UserError, match="has none of"):
        read_checkpoint("hf_hub:someone/model")
    hub.error = OSError("404: no such repository\nand more")
    with pytest.raises(UserError, match=r"does not give 'someone/model': 404: no such repository$"):
        read_checkpoint("hf_hub:someone/model")


def test_without_a_network_what_is_in_the_cache_is_read(cached):
    with pytest.raises(UserError, match=r"not in the local cache, and .* cannot be reached"):
        read_checkpoint("hf_hub:timm/deit_small_patch16_224")
    folder = cached("timm/deit_small_patch16_224", **{"model.safetensors": PLAIN.read_bytes()})
    checkpoint = read_checkpoint("hf_hub:timm/deit_small_patch16_224")
    assert checkpoint.path == folder / "model.safetensors"
    assert checkpoint.metadata["model"] == "deit_small_patch16_224"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"architecture": 3}', "[" * 10**5, "1" * 5000])
def test_another_program_s_config_says_nothing(tmp_path, text):
    (tmp_path / "model.safetensors").write_bytes(PLAIN.read_bytes())
    (tmp_path / "config.json").write_text(text)
    assert "model" not in read_metadata(tmp_path)
