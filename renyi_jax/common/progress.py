"""Progress of what takes more than a moment: a line that moves on a terminal, else log lines.

    with phase("Compiling the training step"):
        compiled = lowered.compile()
    for batch in progress(loader, "Evaluating", unit="batch"):
        judge(batch)

What ends within a second says nothing.
"""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from absl import logging
from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile

Item = TypeVar("Item")

_DELAY = 1.0
_TERMINAL_SECONDS, _LOG_SECONDS = 1.0, 60.0  # between two refreshes


@contextlib.contextmanager
def phase(name: str, seconds: float | None = None) -> Iterator[None]:
    """Shows how long the body, called `name`, has been running; of about `seconds`, if known."""
    total = "" if seconds is None else f" of about {tqdm.format_interval(seconds)}"
    with _shown(name, "{desc} ... {elapsed}" + total) as bar:
        yield
        bar.bar_format = "{desc}: done in {elapsed}"


def progress(
    items: Iterable[Item], name: str, *, unit: str = "item", total: int | None = None
) -> Iterator[Item]:
    """Yields `items`, and shows how many are done and how much time is left.

    An item is done when the next one is asked for; `total` is their number, if they have no length.
    """
    if total is None:
        total = getattr(items, "__len__", lambda: None)()
    with progress_bar(name, total, unit=unit) as bar:
        for item in items:
            yield item
            bar.update()


def tell(line: str) -> None:
    """Prints a line of results, above the bars of a terminal."""
    tqdm.write(line, file=sys.stdout)


@contextlib.contextmanager
def progress_bar(
    name: str, total: int | None, *, unit: str = "item", initial: int = 0, smoothing: float = 0.3
) -> Iterator[tqdm]:
    """Shows a bar, which the body moves by `update`.

    Args:
        smoothing: share that the latest item has in the rate; 0 takes the mean of all.
    """
    words = None if sys.stderr.isatty() else _WORDS
    with _shown(name, words, total=total, unit=unit, initial=initial, smoothing=smoothing) as bar:
        yield bar


@contextlib.contextmanager
def time_left(name: str, left: Callable[[], float | None]) -> Iterator[None]:
    """Shows how long the body, called `name`, has been running, and how long it will.

    Args:
        left: tells the seconds that are left; None where it does not know yet.
    """
    words = "{l_bar}{bar}| {elapsed}<{remaining}" if sys.stderr.isatty() else _TIMES

    def update(bar: tqdm) -> None:
        seconds = left()
        # The bar counts seconds, of which one is done in each; with none done nothing is known.
        bar.n = 0.0 if seconds is None else bar.format_dict["elapsed"]
        bar.total = bar.n + (seconds or 0.0)

    with _shown(name, words, update, smoothing=0.0):
        yield


_TIMES = "{desc}: {elapsed} elapsed, {remaining} left"
_WORDS = "{desc}: {n_fmt} of {total_fmt}, {elapsed} elapsed, {remaining} left"


@contextlib.contextmanager
def _shown(
    name: str,
    bar_format: str | None,
    update: Callable[[tqdm], None] = lambda bar: None,
    **options: Any,
) -> Iterator[tqdm]:
    """A bar that is kept up to date by a thread, whatever the body waits for; `update` is called
    before each refresh."""
    terminal = sys.stderr.isatty()
    bar = tqdm(
        desc=name,
        bar_format=bar_format,
        delay=_DELAY,
        leave=None if terminal else True,  # of nested lines only the outermost stays
        file=sys.stderr if terminal else _Log(),
        position=None if terminal else 0,  # a log has no line to go back to
        mininterval=0.1 if terminal else float("inf"),
        miniters=1,
        dynamic_ncols=terminal,
        **options,
    )
    ended = threading.Event()

    def refresh() -> None:
        if ended.wait(_DELAY):
            return
        bar.delay = 0  # from now on there is something to close
        while True:
            update(bar)
            bar.refresh()
            if ended.wait(_TERMINAL_SECONDS if terminal else _LOG_SECONDS):
                return

    thread = threading.Thread(target=refresh, daemon=True)
    thread.start()
    try:
        with _log_above() if terminal else contextlib.nullcontext():
            yield bar
    except BaseException:
        bar.leave = False
        raise
    finally:
        ended.set()
        thread.join()
        bar.close()


@contextlib.contextmanager
def _log_above() -> Iterator[None]:
    """Writes log lines above the bars of a terminal, not into them."""
    handler = logging.get_absl_handler().python_handler
    stream = handler.stream
    handler.setStream(DummyTqdmFile(sys.stderr))
    try:
        yield
    finally:
        handler.setStream(stream)


class _Log:
    """A file whose lines go to the log."""

    def write(self, text: str) -> None:
        if line := text.strip():
            logging.info("%s", line)

    def flush(self) -> None:
        """There is nothing to wait for."""
