"""Progress, on a terminal and in a log."""

import io
import time

import pytest
from absl import logging

from renyi_jax.common import progress as module
from renyi_jax.common.progress import phase, progress, tell


class Screen(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def short_delay(monkeypatch):
    monkeypatch.setattr(module, "_DELAY", 0.02)


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "info", lambda line, *values: lines.append(line % values))
    return lines


def test_a_phase_writes_a_line_to_the_log_when_it_starts_and_when_it_ends(log):
    with phase("Compiling", seconds=75.0):
        time.sleep(0.1)
    assert log == ["Compiling ... 00:00 of about 01:15", "Compiling: done in 00:00"]


def test_a_phase_that_is_over_at_once_says_nothing(log, monkeypatch):
    monkeypatch.setattr(module, "_DELAY", 5)
    with phase("Compiling"):
        pass
    assert list(progress(range(3), "Evaluating")) == [0, 1, 2]
    assert log == []


def test_a_phase_that_fails_is_not_said_to_be_done(log):
    with pytest.raises(ValueError), phase("Compiling"):
        time.sleep(0.1)
        raise ValueError
    assert log == ["Compiling ... 00:00"]


def test_progress_yields_every_item_and_tells_how_many_are_done_and_the_time_left(log, monkeypatch):
    monkeypatch.setattr(module, "_LOG_SECONDS", 0.05)
    done = [time.sleep(0.05) or item for item in progress("abcdef", "100 % sure", unit="letter")]
    assert done == list("abcdef")
    assert "of 6, 00:00 elapsed, 00:00 left" in "".join(log)
    assert log[-1] == "100 % sure: 6 of 6, 00:00 elapsed, 00:00 left"


def test_phases_inside_of_others_are_lines_of_the_log_too(log):
    with phase("Reporting"):
        for _ in progress("ab", "Drawing"):
            with phase("Writing"):
                time.sleep(0.1)
    assert log.count("Writing: done in 00:00") == 2 and log[-1] == "Reporting: done in 00:00"
    assert all(line.split()[0].strip(":") in ("Reporting", "Drawing", "Writing") for line in log)


def test_items_without_a_length_are_counted(log):
    for _ in progress(iter("ab"), "Reading"):
        time.sleep(0.05)
    assert log[-1].startswith("Reading: 2 of ?")


def test_a_terminal_gets_one_line_that_moves_while_the_body_waits(log, monkeypatch):
    monkeypatch.setattr("sys.stderr", screen := Screen())
    monkeypatch.setattr(module, "_TERMINAL_SECONDS", 0.02)
    with phase("Compiling"):
        time.sleep(0.2)
    text = screen.getvalue()
    assert text.count("Compiling ... 00:00") > 2 and text.count("\n") == 1
    assert "Compiling: done in 00:00" in text and log == []


def test_a_phase_inside_of_another_leaves_the_line_of_the_outer_one(monkeypatch):
    monkeypatch.setattr("sys.stderr", screen := Screen())
    with phase("Reporting"), phase("Drawing"):
        time.sleep(0.1)
    text = screen.getvalue()
    assert "Drawing ... 00:00" in text
    assert text.endswith("\rReporting: done in 00:00\n") and "Drawing: done" not in text


def test_a_line_of_the_log_does_not_run_into_the_bar_of_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stderr", screen := Screen())
    handler = logging.get_absl_handler().python_handler
    stream = handler.stream
    with phase("Compiling"):
        time.sleep(0.1)
        handler.emit(logging.logging.makeLogRecord({"msg": "a warning", "levelno": 30}))
    (line,) = (line for line in screen.getvalue().splitlines() if "a warning" in line)
    assert line.rpartition("\r")[2].endswith("a warning") and "Compiling" not in line[-20:]
    assert handler.stream is stream


def test_results_are_told_on_stdout_while_a_bar_moves_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr", screen := Screen())
    monkeypatch.setattr(module, "_TERMINAL_SECONDS", 0.02)
    for item in progress("ab", "Classifying"):
        time.sleep(0.1)
        tell(f"{item}.png: cat")
    assert capsys.readouterr().out == "a.png: cat\nb.png: cat\n"
    assert "Classifying" in screen.getvalue() and "cat" not in screen.getvalue()
