"""Flags with values that they do not take."""

import pytest

from bad_input.conftest import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_flag_is_refused_by_every_command(refuses, command):
    refuses(command, "--confg=x", words="confg")
