"""Which weights of a training checkpoint are taken, and what else lies beside them."""

import argparse
import logging
import pathlib

import numpy as np
import pytest
from absl import logging as absl_logging
from hostile import safetensors_of

from renyi_jax.errors import UserError
from renyi_jax.weights import read_checkpoint, write_checkpoint
from renyi_jax.weights.states import Entry, choose_state

NAMES = ("cls_token", "pos_embed", "patch_embed.proj.weight", "norm.bias")
PATH = pathlib.Path("weights.pth")


def group(prefix="", names=NAMES, value=0.0):
    return {prefix + name: Entry((1,), lambda: np.full(1, value)) for name in names}


def chosen(groups, state=None):
    return choose_state(groups, state, PATH)


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("state_dict", "state_dict_ema"), "state_dict_ema"),
        (("model", "model_ema"), "model_ema"),
        (("", "ema"), "ema"),
        (("model", "EMA"), "EMA"),
        (("net", "ema_model.module"), "ema_model.module"),
        (("model", "state_dict"), "state_dict"),
        (("schema", "model"), "model"),
        (("", "model"), "model"),
        (("anything",), "anything"),
    ],
)
def test_the_moving_average_comes_first_and_then_the_plain_weights(names, taken):
    state = chosen({name: group() for name in names})
    assert state.name == taken
    assert set(state.others) == {name or "." for name in names} - {taken}


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "model.", "backbone.", "module._orig_mod.", "a.b.c.d."]
)
@pytest.mark.parametrize("label", ["", "state_dict"])
def test_prefixes_are_taken_off(label, prefix):
    assert set(chosen({label: group(prefix)}).entries) == set(NAMES)


def test_tensors_beside_a_prefix_are_left_out_but_for_a_classifier():
    beside = group("module.", ("head.weight", "head.bias", "loss.weight"))
    state = chosen({"": group("module.backbone.") | beside})
    assert set(state.entries) == {*NAMES, "head.weight", "head.bias"}


def test_two_prefixes_in_one_dictionary_are_two_sets_of_weights():
    both = {"": group("model.") | group("model_ema.module.")}
    assert chosen(both).name == "model_ema.module"
    assert set(chosen(both).entries) == set(chosen(both, "model").entries) == set(NAMES)


def test_dictionaries_that_hold_no_vit_are_no_choice():
    assert chosen({"loss": group(names=["center"]), "teacher": group()}).others == ()
    assert chosen({"ema": group(names=["decay"]), "model": group()}).name == "model"


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [(None, None), ("teacher", "teacher.backbone"), ("student.backbone", "student.backbone")],
)
def test_of_equals_none_is_taken_unless_one_is_named(wanted, taken):
    groups = {"teacher": group("backbone."), "student": group("backbone.")}
    if taken:
        assert chosen(groups, wanted).name == taken
        return
    with pytest.raises(UserError, match=r"several .* it has teacher\.backbone, student\.backbone"):
        chosen(groups)


def test_a_state_that_is_not_there_brings_the_nearest():
    with pytest.raises(UserError, match=r"no weights named 'techer'.*Did you mean 'teacher'\?"):
        chosen({"teacher": group("backbone."), "student": group()}, "techer")
    assert chosen({"": group(), "ema": group()}, ".").name == "."


def test_many_prefixes_take_no_more_time_than_as_many_names():
    names = [f"{number}.cls_token" for number in range(20_000)]
    with pytest.raises(UserError, match="several sets of weights"):
        chosen({"": group(names=names)})


def test_what_is_taken_and_what_is_not_is_told(tmp_path, caplog):
    tensors = {
        prefix + name: np.full(1, value, np.float32)
        for prefix, value in (("", 1), ("ema.", 2))
        for name in NAMES
    }
    write_checkpoint(tmp_path / "a.safetensors", tensors, {})
    with caplog.at_level(logging.WARNING, logger=absl_logging.get_absl_logger().name):
        absl_logging.get_absl_logger().addHandler(caplog.handler)
        taken = read_checkpoint(tmp_path / "a.safetensors").tensors
        absl_logging.get_absl_logger().removeHandler(caplog.handler)
    assert "several sets of weights: ema is taken, and not .; state=NAME" in caplog.text
    assert taken.keys() == set(NAMES) and taken["norm.bias"] == 2
    assert read_checkpoint(tmp_path / "a.safetensors", ".").tensors["norm.bias"] == 1


@pytest.mark.parity
@pytest.mark.parametrize("new_format", [True, False])
def test_training_checkpoints_of_timm_deit_and_evit_are_read(timm, tmp_path, new_format):
    import torch

    plain = {name: torch.zeros(2, 3) for name in NAMES}
    average = {name: torch.ones(1).expand(2, 3) for name in NAMES}
    parameters = [torch.nn.Parameter(torch.ones(2))]
    optimizer = torch.optim.AdamW(parameters)
    parameters[0].grad = torch.ones(2)
    optimizer.step()
    beside = {
        "epoch": 3,
        "arch": "deit_small_patch16_224",
        "args": argparse.Namespace(lr=np.float64(1e-3), output_dir=pathlib.Path("/x")),
        "metric": np.float32(80.5),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": {"base_lrs": [1e-3], "last": torch.tensor(3.0)},
        "scaler": {"scale": torch.tensor(65536.0)},
        "rng": np.random.default_rng(0).bit_generator.state,
        "device": torch.device("cpu"),
        "history": {1, 2},
    }
    files = {
        "timm": {
            "state_dict": {f"module.{n}": t for n, t in plain.items()},
            "state_dict_ema": average,
        },
        "deit": {"model": plain, "model_ema": average},
        "plain": {"model": plain},
    }
    for kind, weights in files.items():
        path = tmp_path / f"{kind}.pth"
        torch.save(weights | beside, path, _use_new_zipfile_serialization=new_format)
        taken = read_checkpoint(path).tensors
        assert taken.keys() == set(NAMES)
        np.testing.assert_array_equal(taken["norm.bias"], np.full((2, 3), kind != "plain"))


def test_names_that_would_garble_a_message_are_refused(tmp_path):
    for name in ("a\x1b[31mb", "a\nb", "a" * 400):
        header = {name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
        (tmp_path / "a.safetensors").write_bytes(safetensors_of(header, bytes(4)))
        with pytest.raises(UserError, match="is damaged: it has a tensor or a group named"):
            read_checkpoint(tmp_path / "a.safetensors")
