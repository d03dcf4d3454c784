"""Reading collectives from the text of optimised HLO."""

from pathlib import Path

import pytest

from renyi_jax.measuring.roofline import Collective, find_collectives

# A step of three layers of 2048 x 2048 weights on 512 rows, data 2 x fsdp 2, compiled for TPUs;
# only the calls and the collectives are left of the text.
V5E = (Path(__file__).parent / "data" / "v5e_2x2.hlo").read_text()
WEIGHTS = 2048 * 2048

PROGRAM = """HloModule jit_f, num_partitions=8

%add (x: f32[], y: f32[]) -> f32[] {{
  ROOT %sum = f32[] add(%x, %y)
}}

ENTRY %main (p: f32[8,16]) -> f32[8,16] {{
  {}
}}
"""


def the_one(line):
    (found,) = find_collectives(PROGRAM.format(line))
    return found


def test_a_program_for_tpus_gives_each_collective_once_though_fusions_repeat_it():
    found = find_collectives(V5E)
    kinds = {
        kind: [each for each in found if each.kind == kind] for kind in {c.kind for c in found}
    }
    weights = Collective("all-gather", 2 * WEIGHTS, group_size=2, count=1)  # in bfloat16
    assert found.count(weights) == 3
    assert kinds["reduce-scatter"] == 3 * [Collective("reduce-scatter", 4 * WEIGHTS, 2, 1)]
    loss, gradients = sorted(kinds["all-reduce"], key=lambda each: each.bytes)
    assert loss == Collective("all-reduce", 4, group_size=4, count=1)
    assert gradients == Collective("all-reduce", 3 * 4 * WEIGHTS // 2, group_size=2, count=1)


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        ("replica_groups={{0,1},{2,3},{4,5},{6,7}}", 2),
        ("replica_groups=[2,4]<=[8]", 4),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", 2),
        ("replica_groups=mesh['data'=2,'fsdp'=2,'tensor'=2] {'data','tensor'}", 4),
        ("replica_groups={}", 8),
    ],
)
def test_groups_are_understood_in_every_spelling(groups, size):
    line = f"%r = f32[8,16]{{1,0}} all-reduce(%p), channel_id=1, {groups}, to_apply=%add"
    assert the_one(line) == Collective("all-reduce", 4 * 8 * 16, size, 1)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%r = (f32[8]{0}, bf16[6]{0:T(8)(2,1)}) all-reduce(%a, %b)", ("all-reduce", 44)),
        ("%r = (f32[8]{0}, bf16[6]{0}) all-reduce-start(%a, %b)", ("all-reduce", 44)),
        ("%r = (f32[2]{0}, f32[16]{0}) all-gather-start(%a)", ("all-gather", 64)),
        (
            "%r = ((f32[2], s8[2]), (f32[16], s8[16])) all-gather-start(%a, %b)",
            ("all-gather", 80),
        ),
        ("%r = f32[2]{0} reduce-scatter(%a), to_apply=%add", ("reduce-scatter", 64)),
        ("ROOT %r = pred[24]{0} all-to-all(%a)", ("all-to-all", 24)),
        (
            "%r = (u8[3]{0}, u8[3]{0}, u32[], u32[]) collective-permute-start(%a),"
            " source_target_pairs={{0,1},{1,0}}",
            ("collective-permute", 3),
        ),
    ],
)
def test_bytes_are_those_of_the_whole_array_in_a_group(line, expected):
    found = the_one(line)
    assert (found.kind, found.bytes) == expected


def test_a_collective_in_a_loop_counts_as_often_as_the_loop_turns():
    hlo = """HloModule jit_f, num_partitions=4
%body (x: f32[4]) -> f32[4] {
  %c = f32[4]{0} fusion(%x), kind=kLoop, calls=%inner
  ROOT %r = f32[4]{0} all-reduce(%c), channel_id=1, replica_groups={{0,1,2,3}}, to_apply=%add
}
%inner (x: f32[4]) -> f32[4] {
  ROOT %g = f32[4]{0} all-gather(%x), channel_id=2, replica_groups=[1,4]<=[4], dimensions={0}
}
%cond (x: f32[4]) -> pred[] {
  ROOT %p = pred[] constant(true)
}
ENTRY %main (x: f32[4]) -> f32[4] {
  %w = f32[4]{0} while(%x), condition=%cond, body=%body, backend_config={TURNS}
  ROOT %v = f32[4]{0} while(%w), condition=%cond, body=%body
}
"""
    found = find_collectives(hlo.replace("TURNS", '"known_trip_count":{"n":"5"}'))
    assert {each.kind: each.count for each in found} == {"all-reduce": 6, "all-gather": 6}


def test_a_collective_of_one_device_is_none():
    line = "%r = f32[8]{0} all-reduce(%p), replica_groups={{0},{1},{2},{3},{4},{5},{6},{7}}"
    assert find_collectives(PROGRAM.format(line)) == []


@pytest.mark.parametrize("devices", [2, 3, 8])
def test_a_ring_sends_all_parts_but_one_and_an_all_reduce_goes_round_twice(devices):
    def sent(kind):
        return Collective(kind, 24 * devices, devices, count=2).sent_bytes

    parts_of_others = 24 * (devices - 1)
    assert sent("all-gather") == sent("reduce-scatter") == pytest.approx(2 * parts_of_others)
    assert sent("all-reduce") == pytest.approx(sent("all-gather") + sent("reduce-scatter"))
    assert sent("collective-permute") == 2 * 24 * devices
