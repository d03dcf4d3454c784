"""Chips, bounds, the search for a batch, and what XLA says of programs for the CPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from renyi_jax.errors import UserError
from renyi_jax.roofline import (
    CHIPS,
    Collective,
    bytes_per_device,
    largest_fitting,
    parse_topology,
    read_program,
    roofline,
    weak_scaling,
)


def test_a_topology_names_a_chip_and_how_many():
    assert parse_topology("v5e:4x4") == (CHIPS["v5e"], 16)
    assert parse_topology("v5p:4x4x8") == (CHIPS["v5p"], 128)


@pytest.mark.parametrize(
    ("topology", "expected"),
    [
        ("v5e", "as in v5e:4x4"),
        ("v5e:0x4", "as in v5e:4x4"),
        ("v5litepod:4x4", "Known: v4, v5e, v5p, v6e"),
        ("v5E:4x4", "Did you mean 'v5e'"),
        ("v5p:4x4", "as in v5p:4x4x4"),
    ],
)
def test_another_topology_is_refused_with_what_was_expected(topology, expected):
    with pytest.raises(UserError, match=expected):
        parse_topology(topology)


@pytest.mark.parametrize(
    ("asked", "by"),
    [((9, 1, 1), "compute"), ((1, 9, 1), "memory"), ((1, 1, 9), "network")],
)
def test_the_bound_is_the_resource_that_is_busy_longest(asked, by):
    chip = CHIPS["v5e"]
    peaks = np.array([chip.flops, chip.hbm_bandwidth, chip.ici_bandwidth])
    bound = roofline(chip, *(peaks * asked))
    assert bound.by == by
    assert bound.seconds == pytest.approx(9)


@given(st.integers(0, 300), st.integers(1, 300), st.integers(1, 16))
def test_the_search_finds_the_largest_multiple_that_fits(limit, too_large, step):
    asked = []

    def fits(size):
        asked.append(size)
        return size <= limit

    expected = [size for size in range(0, too_large, step) if size <= limit]
    assert largest_fitting(fits, too_large, step) == max(expected)
    assert all(0 < size < too_large for size in asked)
    assert len(asked) <= np.ceil(np.log2(too_large / step + 1)) + 1


def test_a_product_asks_for_its_multiply_adds_and_its_arrays():
    left = jax.ShapeDtypeStruct((64, 256), jnp.float32)
    right = jax.ShapeDtypeStruct((256, 128), jnp.float32)
    program = read_program(jax.jit(jnp.dot).lower(left, right).compile())
    assert program.flops == pytest.approx(2 * 64 * 256 * 128, rel=0.01)
    assert program.argument_bytes == 4 * (64 * 256 + 256 * 128)
    assert program.temporary_bytes >= 4 * 64 * 128
    assert program.moved_bytes >= 4 * (64 * 256 + 256 * 128 + 64 * 128)
    assert program.collectives == ()
    assert program.sent_bytes == 0


def test_the_turns_of_the_main_loop_count():
    compiled = jax.jit(jnp.dot).lower(jnp.ones((8, 8)), jnp.ones((8, 8))).compile()
    once, thrice = read_program(compiled), read_program(compiled, turns=3)
    assert thrice.flops == 3 * once.flops
    assert thrice.moved_bytes == 3 * once.moved_bytes
    assert thrice.peak_bytes == once.peak_bytes


def test_a_donated_argument_is_counted_once():
    array = jnp.ones((64, 64))
    kept = read_program(jax.jit(jnp.sin).lower(array).compile())
    donated = read_program(jax.jit(jnp.sin, donate_argnums=0).lower(array).compile())
    assert kept.peak_bytes - donated.peak_bytes == array.nbytes


def test_a_device_holds_its_share_of_what_is_sharded():
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    tree = {
        "a": jax.ShapeDtypeStruct((6, 4), jnp.bfloat16, sharding=sharding),
        "b": jax.ShapeDtypeStruct((), jnp.int32, sharding=NamedSharding(mesh, PartitionSpec())),
    }
    assert bytes_per_device(tree) == 2 * 24 + 4


def test_more_chips_send_little_more_each_and_never_beyond_twice_the_gradients():
    gradients = Collective("all-reduce", 4 * 22_000_000, group_size=4, count=1)
    within = Collective("all-gather", 1_000_000, group_size=2, count=3)
    sent = gradients.sent_bytes + within.sent_bytes
    bound = roofline(CHIPS["v5e"], 1e12, 1e9, sent)
    scaled = weak_scaling(bound, [gradients, within], 4, (4, 16, 256))
    assert scaled[4][0].network == pytest.approx(bound.network)
    times = [scaled[size][0].network for size in (4, 16, 256)]
    efficiencies = [scaled[size][1] for size in (4, 16, 256)]
    assert times == sorted(times)
    assert efficiencies == sorted(efficiencies, reverse=True)
    most = (2 * gradients.bytes + within.sent_bytes) / CHIPS["v5e"].ici_bandwidth
    assert times[-1] < most < 1.01 * times[-1]
    assert scaled[256][0].compute == bound.compute


def test_without_collectives_nothing_is_lost():
    bound = roofline(CHIPS["v5e"], 1e12, 1e9, 0.0)
    assert weak_scaling(bound, [], 4, (256,)) == {256: (bound, 1.0)}
