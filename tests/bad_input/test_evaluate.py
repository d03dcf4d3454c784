"""The evaluate command with arguments that it cannot take; all are told before any work."""

import pytest
from tiny import tiny_model

from renyi_jax.models import save_weights

SEEDS = ["--seeds", "an integer of at least 0 and at most 4,294,967,295"]
REFUSED = {
    "--seeds=": SEEDS,
    "--seeds=one": SEEDS,
    "--seeds=0,,1": SEEDS,
    "--seeds=" + "(" * 5000: SEEDS,
    "--seeds=0,1,0": ["--seeds", "0 is given twice"],
    "--alphas=": ["--alphas", "a number in (0, inf]"],
    "--alphas=0": ["--alphas=0", "a number in (0, inf]"],
    "--alphas=2,2.0": ["--alphas", "2.0 is given twice"],
    "--alphas=1/2": ["2", "block"],
    "--keep_rates=0": ["--keep_rates=0", "(0, 1]"],
    "--keep_rates=0.5,0.5": ["--keep_rates", "0.5 is given twice"],
    "--criteria=reny": ["--criteria=reny", "Did you mean 'renyi'?"],
    "--criteria=renyi,renyi": ["--criteria", "renyi is given twice"],
    "--reducers=dorp": ["--reducers=dorp", "Did you mean 'drop'?"],
    "--blocks=0": ["--blocks=0", "at least 1"],
    "--blocks=4/7/100": ["100"],
    "--normalize=maybe": ["--normalize=maybe", "True or False"],
    "--baseline=": ["--baseline", "renyi"],
    "--baseline=randon": ["randon", "renyi"],
    "--baseline=renyi:two": ["--baseline=renyi:two", "CRITERION:ALPHA"],
    "--baseline=renyi:3": ["not among what is evaluated"],
    "--weights=": ["--weights=PATH"],
    "--weights=nowhere.safetensors": ["No weights at 'nowhere.safetensors'"],
    "--weights=tiny.safetensors,tiny.safetensors": ["--weights", "is given twice"],
    "--weights=.": ["No weights in the directory"],
    "--class_names=nowhere.txt": ["nowhere.txt"],
    "--model=deit_smal_patch16_224": ["deit_small_patch16_224"],
    "--data=nowhere": ["nowhere"],
    "--data=": ["--data"],
    "--out=": ["--out"],
    "--out=tiny.safetensors": ["--out"],
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(tiny_model(), path)
    return path


@pytest.mark.parametrize("argument", REFUSED, ids=lambda argument: argument[:40])
def test_it_is_refused_before_any_work(refuses, weights, tmp_path, argument):
    (tmp_path / "tiny.safetensors").write_bytes(weights.read_bytes())
    (tmp_path / "images" / "val" / "cat").mkdir(parents=True)
    flags = {
        "--data": "images",
        "--weights": "tiny.safetensors",
        "--model": "vit_nano_patch4_56",
        "--out": "out",
    }
    flags |= dict([argument.split("=", 1)])
    refuses(
        "evaluate", *(f"{name}={value}" for name, value in flags.items()), words=REFUSED[argument]
    )
    assert not (tmp_path / "out").exists()


def test_without_config_and_data_both_are_named(refuses):
    refuses("evaluate", "--weights=x", "--out=out", words=["--config=FILE", "--data"])


def test_weights_that_do_not_say_their_model_need_its_name(refuses, weights):
    words = ["--model=NAME", "does not say which model it is of"]
    refuses("evaluate", "--data=.", f"--weights={weights}", "--out=out", words=words)


def test_what_one_of_the_prunings_cannot_take_is_told(refuses, weights):
    flags = ("--data=.", f"--weights={weights}", "--model=vit_nano_patch4_56", "--out=out")
    words = "keep_rate must be at least 0.5, got 0.3"
    refuses("evaluate", *flags, "--reducers=merge", "--keep_rates=0.3", words=words)
