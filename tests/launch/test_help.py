"""--help of the launch scripts."""

import pytest
from fake_programs import ROOT


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("tpu_pod.sh", ["--type=TYPE", "--dry_run"]),
        ("gke.sh", ["--topology=CHIP:SHAPE", "--dry_run"]),
        ("slurm.sbatch", ["--nodes=4", "--dry_run"]),
        ("local.sh", ["ACCELERATOR", "source .venv/bin/activate"]),
        ("install.sh", ["PYTHON=..."]),
        ("worker.sh", ["--workdir=DIR"]),
    ],
)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_says_what_the_script_takes_and_does_nothing(fake_programs, script, words, flag):
    for program in ("gcloud", "kubectl", "srun", "scontrol", "python3"):
        fake_programs.add(program)
    result = fake_programs.run(ROOT / "launch" / script, flag, SLURM_SUBMIT_DIR=str(ROOT))
    assert result.returncode == 0 and result.stderr == ""
    assert all(word in result.stdout for word in words)
    assert "#" not in result.stdout and "SBATCH" not in result.stdout
    assert fake_programs.calls() == []
