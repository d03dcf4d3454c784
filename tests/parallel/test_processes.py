"""The flags and variables that tell a process of its run: what they may be."""

import pytest

from renyi_jax.errors import UserError
from renyi_jax.parallel import join_processes


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        ":1234",
        "localhost:",
        "localhost:port",
        "localhost:0",
        "localhost:-1",
        "localhost:65536",
        "localhost:12345678",
        "localhost:\N{SUPERSCRIPT TWO}",
        "http://localhost:1234",
        "two hosts:1234",
        "::1:1234:",
        "a.host.that.is.invalid:1234",
        f"{'x' * 70}:1234",
        "..:1234",
    ],
)
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(UserError, match="--coordinator_address=") as error:
        join_processes(False, address, 2, 1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("count, number", [(0, 0), (-1, 0), (10**12, 0), (2, 2), (2, -1)])
def test_numbers_of_processes_are_in_range(count, number):
    with pytest.raises(UserError, match=r"--(num_processes|process_id)=.*expected"):
        join_processes(False, "localhost:1234", count, number)


@pytest.mark.parametrize(
    "given", [("localhost:1234", None, None), (None, 1, 0), (None, None, 0), (None, -5, -9)]
)
def test_what_belongs_together_is_given_together(given):
    with pytest.raises(UserError, match="belong together; missing: --"):
        join_processes(False, *given)


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "abc"},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": ""},
        {"SLURM_PROCID": "0", "SLURM_NTASKS": "9" * 5000},
        {"OMPI_COMM_WORLD_SIZE": "-2"},
        {"OMPI_COMM_WORLD_SIZE": "2.5"},
    ],
)
def test_a_launcher_that_tells_no_number_is_refused(monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"The environment has \w+=.* expected a number"):
        join_processes()


def test_alone_there_is_nothing_to_join(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    join_processes()
