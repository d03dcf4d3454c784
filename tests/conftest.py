"""Set-up of the suite: the CPU, fast compiling, shapes in signatures checked on every call."""

import collections
import contextlib
import logging
import os
from pathlib import Path

import environment  # noqa: F401 # first, before JAX is imported
import hypothesis
import jax
import pytest
from children import run_child, server  # noqa: F401
from jaxtyping import install_import_hook

install_import_hook("renyi_jax", "beartype.beartype")

hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, max_examples=30)
hypothesis.settings.register_profile("search", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items):
    """Puts the files that take long first, so that no process is left with one of them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture
def count_compilations(caplog):
    """A context manager that yields the list of what XLA compiled inside it, by name."""

    @contextlib.contextmanager
    def counting():
        caplog.clear()
        compiled = []
        with caplog.at_level(logging.WARNING, logger="jax"), jax.log_compiles():
            yield compiled
        for record in caplog.records:
            message = record.getMessage()
            if message.startswith("Finished XLA compilation of "):
                compiled.append(message.removeprefix("Finished XLA compilation of ").split()[0])

    return counting


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data sets and weights that are not part of the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("RENYI_JAX_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"needs the folder of shared data ({folder}; RENYI_JAX_SHARED names another)")
    return folder


def pytest_terminal_summary(terminalreporter):
    """Prints how many cases of bad input were tried on each command, by kind."""
    counts = collections.Counter(
        tuple(value.split(" "))
        for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
        for name, value in report.user_properties
        if name == "bad_input" and report.when == "call"
    )
    if not counts:
        return
    kinds = sorted({kind for _, kind in counts})
    terminalreporter.section("cases of bad input, by command and kind")
    rows = [("", *kinds, "all")]
    for command in sorted({command for command, _ in counts}):
        row = [counts[command, kind] for kind in kinds]
        rows.append((command, *(count or "" for count in row), sum(row)))
    totals = [sum(counts[key] for key in counts if key[1] == kind) for kind in kinds]
    rows.append(("all", *totals, counts.total()))
    for command, *cells in rows:
        terminalreporter.line(f"{command:10}" + "".join(f"{cell:>12}" for cell in cells))
