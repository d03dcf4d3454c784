"""The timing of programs against each other, on a clock that the test winds."""

from machine import Machine

from renyi_jax.measuring.throughput import seconds_per_call


def test_the_calls_take_turns_and_the_median_of_each_is_told():
    machine = Machine()
    calls = {"plain": machine.call("plain", 9, 2, 3), "pruned": machine.call("pruned", 1, 8, 1)}
    seconds = seconds_per_call(calls, min_rounds=3, max_rounds=3, clock=machine.clock)
    assert seconds == {"plain": 3, "pruned": 1}
    assert machine.history == ["plain", "pruned"] * 3


def test_slow_calls_end_with_the_fewest_rounds_and_fast_ones_with_the_most():
    for wait, rounds in ((10.0, 3), (1e-3, 30)):
        machine = Machine()
        seconds_per_call({"one": machine.call("one", wait)}, clock=machine.clock)
        assert len(machine.history) == rounds
