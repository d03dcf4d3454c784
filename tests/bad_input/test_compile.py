"""The compile command with values that it cannot take."""

import pytest
from fake_programs import ROOT

CONFIG = f"--config={ROOT / 'configs/quickstart.py'}"
TOPOLOGY = "--topology=v5e:2x2"

REFUSED = {
    "--topology=": "expected a chip and a shape",
    "--topology=v5e": "as in v5e:4x4",
    "--topology=v5e:2x2x2": "2 sides",
    "--topology=v7:4x4": "v6e",
    "--keep_rates=": "keep_rates",
    "--keep_rates=0": "(0, 1]",
    "--out=": "--out",
    "--out=file": "file",
    "--config=no_such.py": "no_such.py",
    "--config.data.batch_size=1e9": "batch_size",
    "--config.model.name=deit_smal_patch16_224": "deit_small_patch16_224",
    "extra": "extra",
}


@pytest.mark.parametrize("flag", REFUSED, ids=lambda flag: flag[:32])
def test_a_value_that_cannot_be_is_refused_before_anything_is_compiled(refuses, tmp_path, flag):
    (tmp_path / "file").touch()
    done = refuses("compile", CONFIG, TOPOLOGY, flag, words=REFUSED[flag])
    assert done.peak_bytes < 2 << 30


def test_a_topology_is_needed(refuses):
    refuses("compile", CONFIG, words="topology")
