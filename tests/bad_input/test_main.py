"""What the main job refuses in its first second: before data are downloaded, prepared or read."""

import json

import pytest

CONFIG = """
from renyi_jax.config import default_config


def get_config():
    config = default_config()
    config.data.manual_dir = "/nowhere/data"  # which is told only once data are asked for
    return config
"""


@pytest.fixture
def refuses_main(refuses, tmp_path):
    (tmp_path / "config.py").write_text(CONFIG)

    def refusing(*arguments, **options):
        return refuses("main", "--config=config.py", "--workdir=run", *arguments, **options)

    return refusing


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--stopped_status=256"], "stopped_status"),
        (["--process_id=0", "--num_processes=1"], "missing: --coordinator_address"),
        (["--process_id=-1", "--num_processes=2", "--coordinator_address=localhost:1"], "expected"),
        (["--process_id=1", "--num_processes=2", "--coordinator_address=nowhere"], "HOST:PORT"),
        (["--process_id=1", "--num_processes=2", "--coordinator_address=a.invalid:1"], "not known"),
        (["--process_id=x"], "process_id"),
        (["--distributed"], "Could not join"),
        (["--config.model.weights=nowhere.safetensors"], "No weights at 'nowhere.safetensors'"),
        (["--config.mesh.data=3"], "config.mesh"),
        (["--config.model.num_classes=1000000", "--config.checkpoint.keep=1000000"], "GB free"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_end_well_does_not_begin(refuses_main, tmp_path, arguments, words):
    refuses_main(*arguments, words=words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "environment",
    [{"SLURM_PROCID": "0", "SLURM_NTASKS": "abc"}, {"OMPI_COMM_WORLD_SIZE": "1e3"}],
    ids=lambda environment: " ".join(environment),
)
def test_a_launcher_that_tells_no_number_is_refused(refuses_main, environment):
    refuses_main(env=environment, words="expected a number of processes")


@pytest.mark.parametrize(
    "results",
    [
        "mine\n",
        "[]",
        '{"evaluations": []}',
        json.dumps(
            {"config": {}, "made_by": {"command": "python -m renyi_jax.evaluate --out=run"}}
        ),
    ],
)
def test_results_of_others_are_left_alone_even_by_force(refuses_main, tmp_path, results):
    (tmp_path / "run").mkdir()
    file = tmp_path / "run" / "results.json"
    file.write_text(results)
    refuses_main("--force", words=["is not what this command writes", "--workdir"])
    assert file.read_text() == results and [*file.parent.iterdir()] == [file]


def test_weights_that_do_not_fit_are_told_before_the_data_are_asked_for(refuses_main, tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"cls_token": np.zeros((1, 1, 7), np.float32)}, tmp_path / "other.safetensors")
    refuses_main("--config.model.weights=other.safetensors", words="does not fit")
