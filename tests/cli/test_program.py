"""The program `renyi-jax`, in this process."""

import sys

import pytest

from renyi_jax import __main__ as program
from renyi_jax import __version__


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["predct"], 2, "There is no command 'predct'. Did you mean 'predict'? Known: benchmark, "),
        (["--version"], None, f"renyi_jax {__version__}"),
        ([], None, "  predict    Names what is in images"),
        (["-h"], None, "  plan       Finds the pruning"),
    ],
)
def test_it_tells_a_wrong_command_its_version_and_the_commands(
    monkeypatch, capsys, arguments, status, message
):
    monkeypatch.setattr(sys, "argv", ["renyi-jax", *arguments])
    if status is None:
        program.main()
    else:
        with pytest.raises(SystemExit) as ended:
            program.main()
        assert ended.value.code == status
    out, err = capsys.readouterr()
    assert message in (out if status is None else err)
