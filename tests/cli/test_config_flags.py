import math
import sys
from pathlib import Path

import pytest
from absl import flags

from renyi_jax.cli.config import define_config, parse_flags, read_config
from renyi_jax.errors import UserError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(path for path in CONFIGS.glob("*.py") if path.stem != "deit")
QUICKSTART = str(CONFIGS / "quickstart.py")


@pytest.fixture
def read(monkeypatch):
    """The config that a command line gives."""

    def reading(*arguments):
        argv = ["command", *arguments]
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.delitem(sys.modules, "config_file", raising=False)
        values = flags.FlagValues()
        holder = define_config(values)
        parse_flags(argv, values)
        return read_config(holder)

    return reading


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_config_of_the_project_is_valid_and_opens_with_its_command(read, path):
    read(f"--config={path}")
    first, empty, *_ = path.read_text().splitlines()
    assert first.startswith('"""') and not empty
    assert f"python -m renyi_jax.main --config=configs/{path.name}" in path.read_text()


def test_a_config_of_the_project_has_a_name(read):
    assert read("--config=deit_s_aircraft") == read(f"--config={CONFIGS}/deit_s_aircraft.py")
    assert read("--config=pretrain_cluttered:every").data.name == "cluttered_fashion_mnist"


def test_the_configs_of_the_reference_exist():
    names = {f"deit_{size}_{data}" for size in "sb" for data in ("aircraft", "flowers102")}
    assert names | {"deit_s_imagenet100", "deit_b_imagenet100"} <= {path.stem for path in FILES}


@pytest.mark.parametrize(
    "argument, place, value",
    [
        ("--config.pruning.keep_rate=0.5", "pruning.keep_rate", 0.5),
        ("--config.pruning.keep_rate=(0.7, 0.6, 0.5)", "pruning.keep_rate", (0.7, 0.6, 0.5)),
        ("--config.pruning.keep_rate=0.7,0.6,0.5", "pruning.keep_rate", (0.7, 0.6, 0.5)),
        ("--config.pruning.alpha=inf", "pruning.alpha", math.inf),
        ("--config.pruning.alpha=1,2,inf", "pruning.alpha", (1, 2, math.inf)),
        ("--config.pruning.criterion=shannon", "pruning.criterion", "shannon"),
        ("--config.evaluate.criteria=renyi,random", "evaluate.criteria", ("renyi", "random")),
        ("--config.evaluate.keep_rates=1", "evaluate.keep_rates", (1.0,)),
        ("--config.data.flip=false", "data.flip", False),
        ("--config.data.data_dir=2024", "data.data_dir", "2024"),
        ("--config.train.learning_rate=1e-4", "train.learning_rate", 1e-4),
        ("--config.seed=7", "seed", 7),
    ],
)
def test_a_flag_overrides_a_field(read, argument, place, value):
    config = read(f"--config={QUICKSTART}", argument)
    for name in place.split("."):
        config = config[name]
    assert config == value


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "Give --config=FILE"),
        (["--config=configs/quickstrat.py"], r"no config file configs/quickstrat\.py"),
        (["--config=quickstrat"], r"no config file quickstrat\. Did you mean 'quickstart'\?"),
        (
            [f"--config={CONFIGS}/quickstrat.py"],
            r"no config file .*quickstrat\.py\. Did you mean 'quickstart\.py'\?",
        ),
        (
            [f"--config={QUICKSTART}", "--config.prunning.keep_rate=0.5"],
            r"config has no field 'prunning'\. Did you mean 'pruning'\?",
        ),
    ],
)
def test_a_wrong_command_line_is_a_user_error(read, arguments, message):
    with pytest.raises((UserError, flags.Error), match=message):
        read(*arguments)


def test_a_misspelled_field_in_a_config_file_is_told_with_the_nearest(read, tmp_path):
    (tmp_path / "config.py").write_text(
        "from renyi_jax.config import default_config\n"
        "def get_config():\n"
        "    config = default_config()\n"
        "    config.train.epoch = 3\n"
        "    return config\n"
    )
    with pytest.raises(UserError, match=r"no field 'epoch'\. Did you mean 'epochs'"):
        read(f"--config={tmp_path}/config.py")


@pytest.mark.parametrize(
    "program, words",
    [
        ("raise ValueError('no')", "config.py, line 1: ValueError: no"),
        ("import sys\nsys.exit()", "config.py, line 2: SystemExit"),
        ("import sys\nsys.exit('done')", "config.py, line 2: SystemExit: done"),
        ("raise GeneratorExit", "config.py, line 1: GeneratorExit"),
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("def get_config():\n  return confg", "config.py, line 2: NameError"),
        ("open('absent')", "config.py, line 1: FileNotFoundError"),
        ("def get_config(:", "config.py, line 1: "),
        ("x = '\0'", "config.py"),
        ("x = 1", "has no get_config()"),
        ("get_config = 1", "has no get_config()"),
        ("def get_config():\n  pass", "returned None; expected a config"),
        ("def get_config():\n  return 'x' * 9999", "returned 'xxx"),
        ("def get_config():\n  return get_config()", "config.py, line 2: RecursionError"),
        ("def get_config(size):\n  pass", "takes an argument, as in --config=config.py:ARGUMENT"),
        ("def get_config():\n  return {'seed': {'a': 1}}", "config.seed="),
        ("def get_config():\n  return {'sead': 1}", "Did you mean 'seed'?"),
        ("def get_config():\n  return {'train': [1]}", "config.train=[1]: expected a group"),
        ("def get_config():\n  return {1: 2}", "config"),
    ],
)
def test_a_config_file_may_do_anything_and_is_told_in_one_sentence(
    read, tmp_path, monkeypatch, program, words
):
    (tmp_path / "config.py").write_text(program)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as error:
        read("--config=config.py")
    assert words in str(error.value) and len(str(error.value)) < 1000
