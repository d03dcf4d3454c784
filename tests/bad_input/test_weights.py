"""Files of weights that commands cannot use, and outputs that `convert` cannot write."""

import json
import os
import struct

import numpy as np
import pytest
from children import ROOT
from hub import cache_of_hub
from PIL import Image

from renyi_jax.weights import read_checkpoint, write_checkpoint

EVALUATE = (f"--config={ROOT / 'configs/quickstart.py'}", "--out=o")
NANO = "embedded:vit_nano_patch4_56"


def _renamed(tensors, notes):
    return {f"ema.{name}": t for name, t in tensors.items()} | {
        f"x_ema.{name}": t for name, t in tensors.items()
    }, notes


def _with(**changes):
    """The weights with other tensors, by names with __ for the dot, and other notes."""

    def change(tensors, notes):
        for name, value in changes.items():
            place = name.replace("__", ".")
            if place in tensors or (value is not None and not isinstance(value, str)):
                tensors = {**tensors, place: value(tensors[place]) if callable(value) else value}
            else:
                notes = {**notes, name: value}
        kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        return kept, {name: text for name, text in notes.items() if text is not None}

    return change


def _without(*places):
    """The weights without the tensors of some modules."""

    def change(tensors, notes):
        starts = tuple(f"{place}." for place in places)
        return {name: t for name, t in tensors.items() if not name.startswith(starts)}, notes

    return change


def _of_bert(tensors, notes):
    zeros = np.zeros((8, 8), np.float32)
    names = ("attention.output.dense", "intermediate.dense", "output.dense", "attention.self.query")
    return {
        f"bert.encoder.layer.{block}.{name}.weight": zeros for block in range(12) for name in names
    }, notes


CHANGED = {
    "not a number": (
        _with(norm__bias=lambda old: old * np.nan),
        "not finite in float32, in norm.bi",
    ),
    "infinite": (_with(norm__bias=lambda old: old + np.inf), "not finite in float32"),
    "beyond float32": (_with(norm__bias=lambda old: old.astype(float) + 1e300), "not finite"),
    "a bias without shape": (_with(head__bias=np.float32(1)), "misshapen: head.bias"),
    "no bias": (_with(head__bias=None), "missing: head.bias"),
    "another width": (_with(norm__bias=np.zeros(3, np.float32)), "misshapen: norm.bias"),
    "a tensor too many": (
        _with(extra__bias=np.zeros(3, np.float32)),
        "not in the model: extra.bias",
    ),
    "no positions": (_with(pos_embed=None), "missing: pos_embed"),
    "another model's name": (_with(model="resnet50"), "Unknown model 'resnet50'"),
    "another model": (_with(model="deit_small_patch16_224"), "does not fit deit_small_patch16_224"),
    "no model's name": (
        _with(model=None, norm__bias=np.zeros(3, np.float32)),
        "--model=NAME",
    ),
    "superscripts": (_with(image_size="5²x56"), "notes its image_size"),
    "digits without end": (_with(image_size="9" * 5000 + "x56"), "notes its image_size"),
    "another image size": (_with(image_size="56x112"), "for images of 56 x 112 pixels"),
    "deep notes": (_with(pruning="[" * 10**5), "notes its pruning"),
    "notes that are null": (_with(pruning="null"), "notes its pruning"),
    "an unknown option": (_with(pruning='{"keep": 1}'), "notes its pruning"),
    "an option of another type": (_with(pruning='{"blocks": {"a": []}}'), "notes its pruning"),
    "names that are no list": (_with(class_names='"a"'), "notes its class_names"),
    "too few names": (_with(class_names='["a"]'), "1 names of classes are noted"),
    "half of the blocks": (
        _without(*(f"blocks.{block}" for block in range(6, 12))),
        "6 blocks, expected 12",
    ),
    "no head": (
        lambda tensors, notes: _without("head")(tensors, notes | {"num_classes": "10"}),
        "10 classes are noted, and it has no classifier",
    ),
    "the names of a language model": (_of_bert, "nearest to those of transformers' ViT"),
    "a rotary table": (
        _with(rope_embed__periods=np.ones(4, np.float32)),
        "not in the model: rope_embed.periods",
    ),
    "another depth": (_with(depth="6"), "depth 6 is noted, and its tensors have 12"),
    "a mean of words": (_with(mean='["a"]'), "notes its mean"),
    "another number of classes": (_with(num_classes="9"), "9 classes are noted"),
    "two sets of weights": (_renamed, "several sets of weights"),
}
"""What is done to weights that are right, and what is told of it."""


@pytest.fixture
def bad_file(tmp_path):
    def write(kind):
        checkpoint = read_checkpoint(NANO)
        change, words = CHANGED[kind]
        tensors, notes = change(checkpoint.tensors, checkpoint.metadata)
        write_checkpoint(tmp_path / "bad.safetensors", tensors, notes)
        return tmp_path / "bad.safetensors", words

    return write


@pytest.fixture
def image(tmp_path):
    Image.new("RGB", (60, 60)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def _arguments(command, image):
    return {"predict": (f"--image={image}",), "convert": ("--out=o.safetensors",)}.get(
        command, ("--out=o.jax",)
    )


@pytest.mark.parametrize("kind", CHANGED)
def test_predict_refuses_weights_that_it_cannot_use(refuses, bad_file, image, kind):
    path, words = bad_file(kind)
    refuses("predict", f"--weights={path}", f"--image={image}", words=(str(path), words))


@pytest.mark.parametrize(
    ("command", "kind"), [("convert", "not a number"), ("export", "no model's name")]
)
def test_convert_and_export_refuse_them_and_write_nothing(
    refuses, bad_file, tmp_path, command, kind
):
    path, words = bad_file(kind)
    refuses(command, f"--weights={path}", *_arguments(command, None), words=(str(path), words))
    assert os.listdir(tmp_path) == ["bad.safetensors"]


def test_evaluate_refuses_notes_that_it_cannot_read(refuses, bad_file):
    path, words = bad_file("deep notes")
    refuses("evaluate", f"--weights={path}", *EVALUATE, words=(str(path), words))


def _pipe(path):
    os.mkfifo(path)


PLACES = {
    "a pipe": (_pipe, "no regular file"),
    "a link to a pipe": (
        lambda path: (_pipe(f"{path}.p"), path.symlink_to(f"{path}.p")),
        "no regular",
    ),
    "a loop": (lambda path: path.symlink_to(path), "No weights at"),
    "an empty file": (lambda path: path.touch(), "it is empty"),
    "an empty folder": (lambda path: path.mkdir(), "No weights in the directory"),
    "a text": (lambda path: path.write_text("weights"), "no file of weights"),
    "half a header": (
        lambda path: path.write_bytes(struct.pack("<Q", 99) + b'{"a"'),
        "is damaged",
    ),
    "a header of a terabyte": (
        lambda path: path.write_bytes(struct.pack("<Q", 1 << 40) + b'{"a"' * 99),
        "is damaged",
    ),
    "a pickle of a terabyte": (
        lambda path: path.write_bytes(b"\x80\x02\x8e" + struct.pack("<Q", 1 << 40) + b"."),
        "is damaged",
    ),
    "a pickle that runs a program": (
        lambda path: path.write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00exit\x85R."),
        "not one that torch.save wrote",
    ),
    "nothing": (lambda path: None, "No weights at"),
}


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        *(("predict", kind) for kind in PLACES),
        ("convert", "a pipe"),
        ("export", "half a header"),
        ("evaluate", "a pipe"),
        ("evaluate", "half a header"),
    ],
)
def test_what_is_no_file_of_weights_is_refused_without_waiting(
    refuses, tmp_path, command, kind, image
):
    make, words = PLACES[kind]
    make(tmp_path / "w")
    needed = _arguments(command, image)
    if command == "evaluate":
        needed = EVALUATE
    refuses(command, "--weights=w", *needed, words=words, timeout=60)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("command", "source", "words"),
    [
        ("predict", "", "eights"),
        ("predict", "embedded:vit_mano", "are shipped"),
        ("convert", "hf_hub:timm/vit_nano", "cannot be reached"),
        ("predict", "hf_hub:a/b/c", "hub"),
        ("export", "https://huggingface.co/timm/x", "No weights at"),
        ("predict", "~/no/such", "No weights at"),
    ],
)
def test_a_source_that_is_none_is_refused_in_one_line(
    refuses, tmp_path, image, command, source, words
):
    done = refuses(
        command,
        f"--weights={source}",
        *_arguments(command, image),
        words=words,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_state_that_is_not_there_is_refused(refuses, tmp_path, image):
    checkpoint = read_checkpoint(NANO)
    ema = {f"model_ema.{name}": tensor for name, tensor in checkpoint.tensors.items()}
    write_checkpoint(tmp_path / "w", checkpoint.tensors | ema, checkpoint.metadata)
    refuses(
        "predict",
        "--weights=w",
        "--state=model_eme",
        f"--image={image}",
        words="Did you mean 'model_ema'?",
    )


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("o.pth", ".safetensors"),
        ("w.safetensors", "is the file of --weights"),
        ("link.safetensors", "is the file of --weights"),
        ("folder.safetensors", "a folder"),
        ("pipe.safetensors", "a named pipe"),
        ("w.safetensors/o.safetensors", "Not a directory"),
        ("", "expected a path"),
    ],
)
def test_convert_refuses_where_it_cannot_write_before_it_reads(refuses, tmp_path, out, words):
    write_checkpoint(tmp_path / "w.safetensors", {"a": np.zeros(1)}, {})  # which no model fits
    before = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "link.safetensors").symlink_to("w.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    _pipe(tmp_path / "pipe.safetensors")
    refuses("convert", "--weights=w.safetensors", f"--out={out}", words=words)
    assert (tmp_path / "w.safetensors").read_bytes() == before


def test_a_name_on_the_hub_that_lies_in_its_cache_needs_no_more_flags(run_command, tmp_path, image):
    tensors = read_checkpoint(NANO).tensors
    write_checkpoint(tmp_path / "model.safetensors", tensors, {})
    config = {
        "architecture": "vit_nano_patch4_56",
        "label_names": [f"name {number}" for number in range(10)],
        "pretrained_cfg": {"mean": [0.4, 0.4, 0.4], "interpolation": "bilinear"},
    }
    files = {
        "model.safetensors": (tmp_path / "model.safetensors").read_bytes(),
        "config.json": json.dumps(config).encode(),
    }
    cache_of_hub(tmp_path / "hub", "timm/vit_nano_patch4_56.a_tag", files)
    # PYTHON*: a process of its own, as the hub's library reads these when it is imported.
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONUTF8": "1"}
    source = "--weights=hf_hub:timm/vit_nano_patch4_56.a_tag"
    done = run_command("predict", source, f"--image={image}", "--out=o", env=offline)
    assert done.status == 0 and "name " in done.stdout
    model = json.loads((tmp_path / "o" / "results.json").read_text())["model"]
    assert model["mean"] == [0.4, 0.4, 0.4] and model["interpolation"] == "bilinear"
    done = run_command("convert", source, "--out=ours.safetensors", env=offline)
    assert done.status == 0
    assert read_checkpoint(tmp_path / "ours.safetensors").metadata["interpolation"] == "bilinear"


def test_what_is_beside_them_in_a_config_of_timm_cannot_hurt(run_command, tmp_path, image):
    (tmp_path / "model.safetensors").write_bytes(read_checkpoint(NANO).path.read_bytes())
    for text in ("", "[" * 10**5, json.dumps({"architecture": ["x"]})):
        (tmp_path / "config.json").write_text(text)
        assert run_command("predict", f"--weights={tmp_path}", f"--image={image}").status == 0
