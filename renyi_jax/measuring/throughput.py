"""Timing of compiled programs against each other."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np

Name = TypeVar("Name")


def seconds_per_call(calls: Mapping[Name, Callable[[], Any]], **options: Any) -> dict[Name, float]:
    """The median of `times_per_call` of each call, in seconds."""
    times = times_per_call(calls, **options)
    return {name: float(np.median(seconds)) for name, seconds in times.items()}


def times_per_call(
    calls: Mapping[Name, Callable[[], Any]],
    *,
    budget: float = 1.0,
    min_rounds: int = 3,
    max_rounds: int = 30,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Times every turn of each call until its result is ready, in seconds.

    The calls, which have run before, take turns, so that a busy machine slows all alike. No round
    but the first `min_rounds` begins after `budget * len(calls)` seconds.
    """
    times: dict[Name, list[float]] = {name: [] for name in calls}
    begin = clock()
    for round_number in range(max_rounds):
        if round_number >= min_rounds and clock() - begin > budget * len(calls):
            break
        for name, call in calls.items():
            start = clock()
            jax.block_until_ready(call())
            times[name].append(clock() - start)
    return times
