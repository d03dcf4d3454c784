"""The peak of the machine, and the shares of it, from times that are made up."""

import jax.numpy as jnp
import pytest

from renyi_jax.measuring import side_by_side
from renyi_jax.measuring.side_by_side import Compiled, Group, Peers, busy_note, measure_group
from renyi_jax.measuring.throughput import Product, peak_rate, product_calls

GROUP = Group("vit_nano_patch4_56", (56, 56), "float32", 8)
SQUARE = Product(1000, 1000, 1000)


class Executable:
    def memory_analysis(self):
        return None


def measured(monkeypatch, program_seconds, *product_seconds, known_peak=0.0):
    """A row, where products take `product_seconds` when they are timed first, second ..."""
    turns = iter(product_seconds)

    def times(calls, budget):
        seconds = next(turns)
        return {
            name: [seconds, 3 * seconds] if isinstance(name, Product) else [program_seconds] * 2
            for name in calls
        }

    monkeypatch.setattr(side_by_side, "product_calls", lambda own, dtype: {SQUARE: lambda: 0})
    monkeypatch.setattr(side_by_side, "times_per_call", times)
    build = lambda group, setting: Compiled(Executable(), lambda: 0)  # noqa: E731
    (row,) = measure_group(GROUP, [None], build, Peers(), 0.0, known_peak)
    assert next(turns, None) is None, "the peak was not measured as often as expected"
    return row


def test_the_peak_is_the_best_turn_of_any_product():
    times = {Product(10, 20, 30): [3.0, 1.0, 2.0], Product(10, 20, 60): [4.0, 3.0]}
    assert peak_rate(times) == 2 * 10 * 20 * 30 / 1.0


def test_a_share_is_of_the_best_product_and_of_the_median_of_the_program(monkeypatch):
    row = measured(monkeypatch, 0.5, 0.01)
    assert row["matmul_gflops"] == pytest.approx(2e9 / 0.01 / 1e9)
    flops = 2e9 * row["gmacs"] * GROUP.batch_size
    assert row["share_of_matmul_peak"] == pytest.approx(flops / 0.5 / (2e9 / 0.01))
    assert busy_note([row]) is None


def test_a_program_that_beats_the_peak_has_it_measured_again(monkeypatch):
    row = measured(monkeypatch, 0.02, 2.0, 0.01)
    assert row["matmul_gflops"] == pytest.approx(200) and row["share_of_matmul_peak"] < 1
    assert busy_note([row]) is None


def test_a_share_that_stays_above_one_is_said_to_come_from_a_busy_machine(monkeypatch):
    row = measured(monkeypatch, 0.02, 2.0, 1.0)
    assert row["share_of_matmul_peak"] > 1
    note = busy_note([{**row, "peer": None}])
    assert note is not None and "busy machine" in note and "2 GFLOP/s" in note
    assert "PyTorch" not in note and "PyTorch" in str(busy_note([{**row, "peer": "timm"}]))


def test_a_peak_that_was_seen_earlier_in_the_run_counts(monkeypatch):
    row = measured(monkeypatch, 0.02, 2.0, known_peak=200e9)
    assert row["matmul_gflops"] == pytest.approx(200)


def test_squares_grow_until_one_takes_long_enough(monkeypatch):
    calls = product_calls(Product(64, 8, 32), jnp.float32)
    own, *squares = calls
    assert own == Product(64, 8, 32)
    assert [square.rows for square in squares] == [1024 * 2**n for n in range(len(squares))]
    assert calls[own]().shape == (64, 32)
