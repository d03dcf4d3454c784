"""The benchmark command, on a model that is small enough."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from renyi_jax.errors import UserError
from renyi_jax.measuring.peers import PEERS, TOME_R, start_peers
from renyi_jax.measuring.side_by_side import program_name
from renyi_jax.models.flops import count_flops
from renyi_jax.models.registry import model_spec
from renyi_jax.pruning import PruningConfig

needs_timm = pytest.mark.skipif(
    not (importlib.util.find_spec("torch") and importlib.util.find_spec("timm")),
    reason="needs torch and timm, which requirements-parity.txt names",
)


def test_every_setting_is_timed_beside_the_plain_model_and_written_down(run_child, tmp_path):
    PruningConfig(blocks=(2,), keep_rate=0.3).save(tmp_path / "plan.json")
    finished = run_child(
        "benchmark",
        "--model=vit_nano_patch4_56",
        "--keep_rates=0.5",
        "--criteria=renyi,random",
        "--batch_size=2,1",
        "--budget=0",
        f"--plan={tmp_path / 'plan.json'}",
        f"--out={tmp_path}",
    )
    assert finished.status == 0, finished.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    rows = results["rows"]
    names = ["unpruned", "renyi 2 at 0.5", "random at 0.5", "renyi 2 at 0.3"]
    assert [program_name(row) for row in rows] == 2 * names
    assert [row["batch_size"] for row in rows] == [2] * 4 + [1] * 4
    assert rows[0]["against_unpruned"] == rows[4]["against_unpruned"] == 1
    assert [row["latency_ms"] is None for row in rows] == [True] * 4 + [False] * 4
    for row in rows:
        assert f"{row['images_per_second']:.3g}" in finished.stdout
        assert row["share_of_matmul_peak"] > 0
        for field in ("images_per_second", "gmacs", "temporary_mib"):
            assert np.isfinite(row[field]) and row[field] > 0
    assert rows[1]["gmacs"] < rows[0]["gmacs"]
    assert (tmp_path / "speed.png").stat().st_size > 1000


def test_train_steps_are_timed_with_three_times_the_multiply_adds(run_child, tmp_path):
    flags = ["--model=vit_nano_patch4_56", "--keep_rates=1", "--batch_size=2", "--budget=0"]
    finished = run_child("benchmark", *flags, "--train", f"--out={tmp_path}")
    assert finished.status == 0, finished.stderr
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    spec = model_spec("vit_nano_patch4_56")
    assert row["train"] and row["gmacs"] == pytest.approx(3e-9 * count_flops(spec, None))
    assert row["images_per_second"] > 0


def entrants(python, model="deit_tiny_patch16_224"):
    return start_peers(
        ["timm"],
        model_spec(model),
        model=model,
        dtype="float32",
        batch_size=1,
        keep_rates=[],
        train=False,
        python=str(python),
    )


def test_a_python_without_the_peers_is_told_what_to_install(tmp_path):
    python = tmp_path / "python"
    # As Python answers where there is no torch.
    python.write_text("""#!/bin/sh\nread request; echo '{"error": "No module named torch."}'\n""")
    python.chmod(0o755)
    with (
        pytest.raises(UserError, match=r"No module named torch\. .*requirements-parity"),
        entrants(python),
    ):
        pass


def test_peers_prune_as_their_settings_say():
    spec = model_spec("deit_tiny_patch16_224")
    assert PEERS["timm"].settings(spec, [0.7]) == [None]
    (evit,) = PEERS["evit"].settings(spec, [1.0, 0.7])
    assert evit is not None and (evit.criterion, evit.keep_rate) == ("cls_attention", 0.7)
    for tome, r in zip(PEERS["tome"].settings(spec, [0.7]), TOME_R, strict=True):
        assert tome is not None
        patches = 196
        for stage in tome.stages:
            patches = stage.count(patches)
        assert patches == max(196 - 12 * r, patches)


@needs_timm
def test_timm_runs_in_its_own_process():
    with entrants(sys.executable) as (peer,):
        assert (peer.name, peer.setting) == ("timm", None)
        peer.run(1, 1)
        peer.run(1, 2)


@needs_timm
def test_a_model_that_timm_has_not_is_told():
    with (
        pytest.raises(UserError, match="timm has no model 'vit_nano_patch4_56'"),
        entrants(sys.executable, model="vit_nano_patch4_56"),
    ):
        pass
