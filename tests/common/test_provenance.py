"""What a results.json says of its making, and that it is JSON."""

import datetime
import json
import math
import shlex
import shutil
import subprocess
import sys

import jax
from etils import epath

import renyi_jax
from renyi_jax.common import provenance
from renyi_jax.common.provenance import made_by, write_results


def test_results_say_by_what_when_and_how_they_were_made(tmp_path):
    path = epath.Path(tmp_path) / "results.json"
    write_results(path, {"rows": [1]})
    written = json.loads(path.read_text())
    assert written["rows"] == [1]
    made = written["made_by"]
    assert made["version"] == renyi_jax.__version__ and made["jax"] == jax.__version__
    assert made["device"] == jax.devices()[0].device_kind
    assert made["command"] == shlex.join(sys.orig_argv) and made["seconds"] > 0
    date = datetime.datetime.fromisoformat(made["date"])
    assert date.utcoffset() == datetime.timedelta(0)
    assert abs((datetime.datetime.now(datetime.UTC) - date).total_seconds()) < 60


def test_the_commit_is_told_of_a_checkout_and_not_of_a_copy_in_another(tmp_path, monkeypatch):
    def git(*arguments):
        subprocess.run(["git", "-C", tmp_path, *arguments], check=True, capture_output=True)

    module = tmp_path / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(module))
    shutil.copy(made_by.__code__.co_filename, module)
    assert made_by()["commit"] is None
    git("init")
    assert made_by()["commit"] is None
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "One")
    commit = made_by()["commit"]
    assert len(commit) == 40 and set(commit) <= set("0123456789abcdef")
    module.write_text("changed")
    assert made_by()["commit"] == f"{commit}-dirty"


def test_numbers_that_json_lacks_are_null_and_inf(tmp_path):
    path = epath.Path(tmp_path) / "results.json"
    write_results(path, {"rows": [{"nll": math.nan, "ends": (math.inf, 1.0)}]})

    def refuse(name):
        raise AssertionError(name)

    written = json.loads(path.read_text(), parse_constant=refuse)
    assert written["rows"] == [{"nll": None, "ends": ["inf", 1.0]}]
