"""Chips, bounds, the search for a batch, and what XLA says of programs for the CPU."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from renyi_jax.errors import UserError
from renyi_jax.measuring.roofline import (
    CHIPS,
    Collective,
    bytes_per_device,
    bytes_refused,
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
    ("topology", "words"),
    [
        *((f"v5e:{shape}", "as in v5e:4x4") for shape in ("", "4", "0x4", "-2x2", "4x4:4", "²x2")),
        *((f"v5e:{shape}", "as in v5e:4x4") for shape in ("2x" + "9" * 5000, "100000x100000")),
        ("v5p:4x4", "3 sides"),
        ("v5E:4x4", "Did you mean 'v5e'"),
        ("h100:4x4", "v5e"),
    ],
)
def test_what_is_no_topology_is_refused_with_one_that_is(topology, words):
    with pytest.raises(UserError, match=words):
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


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=300), st.integers(0, 3000), st.integers(1, 16)
)
def test_the_search_finds_the_largest_multiple_that_fits(increments, limit, step):
    needs = np.cumsum([0, *increments])  # of so many times `step`; never falls
    too_large = step * (len(needs) - 1)
    asked = []

    def says(size):
        asked.append(size)
        needed = int(needs[size // step])
        return needed if needed <= limit or limit % 2 else math.inf

    fitting = [each * step for each in range(len(needs) - 1) if needs[each] <= limit]
    assert largest_fitting(says, limit, too_large, step, says(too_large)) == max(fitting)
    asked = asked[1:]
    assert all(0 < size < too_large and size % step == 0 for size in asked)
    assert len(asked) == len(set(asked)) <= 3 * np.log2(len(needs)) + 3


@given(st.floats(0, 1e9), st.floats(1e3, 1e7), st.integers(2, 10**5))
def test_where_memory_is_a_line_four_compilations_find_the_batch(start, slope, too_large):
    asked = []

    def needs(size):
        asked.append(size)
        return start + slope * size

    limit = (start + slope * too_large) * 0.7
    found = largest_fitting(needs, limit, too_large, 1, start + slope * too_large)
    assert (found == 0 or needs(found) <= limit) and needs(found + 1) > limit
    assert len(asked) - 2 <= 4


def test_what_a_compiler_says_of_a_program_too_large_is_read():
    said = (
        "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory"
        " required for HLO temporaries (24.25G) exceeds available HBM (15.75G). HLO module: jit_f."
    )
    assert bytes_refused(said) == 24.25 * 2**30
    assert bytes_refused(said.replace("24.25G", "900.5M")) == 900.5 * 2**20
    assert bytes_refused("RESOURCE_EXHAUSTED") == math.inf


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
