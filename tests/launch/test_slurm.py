"""launch/slurm.sbatch, with an srun that stands in for Slurm's."""

import re
import shutil

import pytest
from fake_programs import ROOT, printed_commands

SCRIPT = ROOT / "launch" / "slurm.sbatch"
RUN = ("--config=configs/deit_s_aircraft.py", "--workdir=/shared/a run", "--config.x=('a', \"b\")")


@pytest.fixture
def submit(fake_programs):
    """Runs a copy of the script, as Slurm does, in a checkout whose installation does nothing."""
    launch = fake_programs.folder / "launch"
    launch.mkdir()
    for name in ("environment.sh", "cluster.sh"):
        shutil.copy(ROOT / "launch" / name, launch)
    (launch / "install.sh").write_text("echo install >>installed\n")
    fake_programs.add("srun", 'exit "$STATUS"')
    fake_programs.add("scontrol")

    def run(status, **environment):
        environment = {"SLURM_JOB_ID": "7", "STATUS": str(status), **environment}
        folder = str(fake_programs.folder)
        result = fake_programs.run(SCRIPT, *RUN, SLURM_SUBMIT_DIR=folder, **environment)
        assert (fake_programs.folder / "installed").read_text() == "install\n"
        return result.returncode, [call for call in fake_programs.calls() if call[0] == "scontrol"]

    return run


def test_a_dry_run_prints_the_directives_and_the_commands_and_calls_none(fake_programs):
    fake_programs.add("srun")
    result = fake_programs.run(SCRIPT, "--dry_run", *RUN, SLURM_SUBMIT_DIR=str(ROOT))
    assert result.returncode == 0, result.stderr
    assert fake_programs.calls() == []
    directives = re.findall(r"^#SBATCH (.*)$", SCRIPT.read_text(), re.MULTILINE)
    assert directives == re.findall(r"^#SBATCH (.*)$", result.stdout, re.MULTILINE)
    install, work, requeue = printed_commands(result.stdout)
    assert install == ["bash", str(ROOT / "launch" / "install.sh")]
    assert work[0] == "srun"
    assert work[-len(RUN) - 1 :] == [str(ROOT / "launch" / "worker.sh"), *RUN]
    assert requeue == ["scontrol", "requeue", "JOB"]


def test_there_is_a_process_for_each_gpu_and_a_signal_before_the_end():
    directives = dict(re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", SCRIPT.read_text(), re.MULTILINE))
    assert directives["ntasks-per-node"] == directives["gpus-per-node"]
    assert directives["signal"].startswith("TERM@")
    assert "requeue" in directives
    assert directives["open-mode"] == "append"


def test_the_flags_of_the_run_arrive_as_they_were_given(fake_programs, submit):
    assert submit(0) == (0, [])
    ((_, _, *command),) = fake_programs.calls()
    assert command == ["bash", str(fake_programs.folder / "launch" / "worker.sh"), *RUN]


@pytest.mark.parametrize("status", [75, 1, 143])
def test_a_run_that_is_not_done_goes_back_into_the_queue(submit, status):
    assert submit(status)[1] == [["scontrol", "requeue", "7"]]


def test_wrong_flags_do_not_go_back_into_the_queue(submit):
    assert submit(2) == (2, [])


def test_a_run_that_fails_again_and_again_ends(submit):
    assert submit(1, SLURM_RESTART_COUNT="3", MAX_RESTARTS="3") == (1, [])


@pytest.mark.parametrize("flag", ["--config", "--workdir"])
def test_a_missing_flag_ends_with_status_2_and_its_name(fake_programs, flag):
    fake_programs.add("srun")
    flags = [word for word in RUN if not word.startswith(f"{flag}=")]
    result = fake_programs.run(SCRIPT, *flags, SLURM_SUBMIT_DIR=str(ROOT))
    assert result.returncode == 2
    assert f"{flag}=" in result.stderr
    assert fake_programs.calls() == []


def test_outside_a_checkout_it_says_where_to_call_it(fake_programs):
    result = fake_programs.run(SCRIPT, *RUN)
    assert result.returncode == 2
    assert "from the root of the checkout" in result.stderr
