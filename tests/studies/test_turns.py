"""The study of throughput, on a clock that the test winds; run as a program, it is that study."""

import json
import os
import subprocess
import sys

import pytest
from children import PYTHONPATH, ROOT
from machine import Machine

pytestmark = pytest.mark.slow

SECONDS = {None: (9.0, 2.0, 3.0, 4.0), "random": (9.0, 1.0, 1.0, 2.0), "cls_attention": (0.5,)}
"""Of each call of each criterion; the first is the warm-up."""


def main() -> None:
    """Runs the study with a tiny model, and prints who had its turn when."""
    import functools

    from tiny import tiny_spec

    from renyi_jax.cli import commands
    from renyi_jax.models import MODELS
    from studies import throughput

    MODELS["tiny"] = tiny_spec()
    machine, forward_pass = Machine(), throughput.forward_pass

    def timed_pass(group, pruning):
        criterion = pruning and pruning.criterion
        compiled = forward_pass(group, pruning)
        wind = machine.call(criterion or "unpruned", *SECONDS[criterion])
        return compiled._replace(run=lambda: (wind(), compiled.run()))

    throughput.forward_pass = timed_pass
    throughput.times_per_call = functools.partial(throughput.times_per_call, clock=machine.clock)
    try:
        commands.run(throughput.main, throughput.parse_flags)  # which ends the program
    finally:
        print(json.dumps(machine.history))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Where the study wrote, and what it printed."""
    out = tmp_path_factory.mktemp("turns") / "out"
    arguments = (
        "--config=studies/configs/nano.py",
        "--config.model.name=tiny",
        "--config.pruning.blocks=(1, 2)",
        "--config.evaluate.batch_size=2",
        "--plans=baselines",
        "--keep_rates=0.5",
        "--method=cls_attention",
        "--baseline=random",
        "--budget=0",
        f"--out={out}",
    )
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
        check=True,
        stdout=subprocess.PIPE,
    )
    return out, json.loads(done.stdout.splitlines()[-1])


def test_all_take_turns_and_each_has_as_many(ran):
    _, history = ran
    assert history == ["unpruned", "cls_attention", "random"] * 4  # the first warms up


def test_a_row_has_the_mean_over_turns_of_the_images_per_second_over_those_unpruned(ran):
    out, _ = ran
    (file,) = out.iterdir()
    assert file.name == "baselines_throughput_against_random.json"
    plain, cls, random = json.loads(file.read_text())["rows"]
    assert [row["images"] for row in (plain, cls, random)] == [3, 3, 3]
    assert (plain["method"], plain["score"], plain["low"], plain["high"]) == ("unpruned", 1, 1, 1)
    assert (cls["method"], cls["score"]) == ("cls_attention", 6)  # 2, 3, 4 seconds over 0.5
    assert (random["method"], random["score"]) == ("random", pytest.approx(7 / 3, rel=1e-5))
    assert random["gmacs"] < plain["gmacs"]
    assert cls["gmacs"] == pytest.approx(random["gmacs"], rel=0.01)
    assert cls["difference"] == pytest.approx(6 - 7 / 3, rel=1e-5) and "difference" not in random


if __name__ == "__main__":
    main()
