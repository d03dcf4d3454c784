"""The study of fine-tuning: its cells are named by the training, and suffice for the rows."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = (
    "--config=studies/configs/nano.py",
    "--config.data.builder_config=embedded",
    "--config.data.train_split=train[:64]",
    "--config.data.test_split=test[:64]",
    "--config.data.batch_size=32",
    "--method=renyi 2",
    "--keep_rates=0.5",
    "--seeds=0",
    "--entropy_weights=0,0.05",
    "--baseline=renyi 2",
)


@pytest.mark.slow
def test_rows_need_only_the_finished_cells(tmp_path):
    def rows(*flags):
        command = [sys.executable, "-m", "studies.trained", *ARGUMENTS, *flags]
        out = tmp_path / "out"
        subprocess.run(
            [*command, f"--out={out}", f"--config.data.data_dir={tmp_path / 'data'}"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=True,
        )
        return json.loads((out / "trained_nll_against_renyi_2.json").read_text())["rows"]

    trained = rows()
    assert [row["method"] for row in trained] == ["renyi 2", "renyi 2, entropy 0.05"]
    assert trained[0]["score"] != trained[1]["score"]
    shutil.rmtree(tmp_path / "out" / "runs")
    assert rows("--finished") == trained
    assert not (tmp_path / "out" / "runs").exists()
