"""What a `PruningConfig` takes, and how it refuses the rest."""

import dataclasses
import json
import math

import numpy as np
import pytest

from renyi_jax.errors import UserError
from renyi_jax.pruning import PruningConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"criterion": "reny"}, "criterion='reny'.*Did you mean 'renyi'"),
        ({"criterion": ("renyi", "shanon", "random")}, "Did you mean 'shannon'"),
        ({"criterion": ("renyi", "shannon")}, "criterion has 2 values for 3 pruned blocks"),
        ({"alpha": 0}, "alpha=0: expected a number in"),
        ({"alpha": math.nan}, "alpha=nan: expected a number in"),
        ({"alpha": "2"}, "alpha='2': expected a number in"),
        ({"alpha": (1.0, 2.0)}, "alpha has 2 values for 3"),
        ({"keep_rate": 0.0}, "keep_rate=0.0: expected a number in"),
        ({"keep_rate": 70}, "keep_rate=70: expected a number in"),
        ({"keep_rate": (0.7, 0.7, 1.5)}, "keep_rate=.*1.5.*: expected a number in"),
        ({"blocks": ()}, "at least one"),
        ({"blocks": (0, 3, 6)}, "counted from 1"),
        ({"blocks": (7, 4, 10)}, "blocks must be ascending"),
        ({"blocks": (4, 4, 10)}, "blocks must be ascending"),
        ({"blocks": (4.0, 7.0, 10.0)}, "tuple of integers"),
        ({"reducer": "droop"}, "Did you mean 'drop'"),
        ({"heads": "means"}, "Did you mean 'mean'"),
        ({"normalize": "yes"}, "normalize='yes': expected True or False"),
        ({"reverse": 1}, "reverse=1: expected True or False"),
        ({"reducer": "merge", "reverse": True}, "ranks no patches"),
        ({"keep_mass": 0.9, "reverse": True}, "needs reverse=False"),
        ({"keep_mass": 0.9, "prefix_keys": True}, "needs prefix_keys=False"),
        ({"keep_mass": 0.0}, "keep_mass=0.0: expected a number in"),
        ({"keep_mass": (0.9, 0.9)}, "keep_mass has 2 values for 3"),
        ({"reducer": "merge", "r": -1}, "r=-1: expected an integer"),
        ({"reducer": "merge", "r": 1.5}, "r=1.5: expected an integer"),
        (
            {"reducer": "merge", "criterion": "renyi"},
            "goes by key_similarity and takes no criterion",
        ),
        ({"reducer": "merge", "keep_rate": 0.4}, "at least 0.5, got 0.4"),
        ({"reducer": "merge", "keep_mass": 0.9}, "makes one token of several"),
        ({"criterion": "key_similarity"}, "'key_similarity' does not go with reducer 'drop'"),
        ({"r": 8}, "with reducer 'drop' give keep_rate"),
        ({"keep_mass": 0.9, "normalize": False}, "needs normalize=True"),
        ({"keep_mass": 0.9, "criterion": "cls_attention"}, "'cls_attention' does not"),
        (
            {"keep_mass": (0.9, 1, 1), "criterion": ("renyi", "renyi", "column_norm")},
            "masked some of them away",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_value_that_cannot_be_run_is_refused_in_words(fields, message):
    with pytest.raises(UserError, match=message):
        PruningConfig(**fields)


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(UserError) as error:
        PruningConfig(criterion="reny", keep_rate=2.0, reducer="fusing")
    assert all(word in str(error.value) for word in ("criterion", "keep_rate", "reducer"))


def test_what_is_wrong_in_every_block_is_told_once():
    with pytest.raises(UserError) as error:
        PruningConfig(criterion="random", keep_mass=0.9)
    assert str(error.value).count("measures entropy") == 1


def test_lists_become_tuples_so_that_a_config_can_be_hashed():
    pruning = PruningConfig(alpha=[1.0, 2.0, 3.0], blocks=[4, 7, 10])
    assert hash(pruning) == hash(PruningConfig(alpha=(1.0, 2.0, 3.0)))


def test_one_value_stands_for_every_block():
    stages = PruningConfig(keep_rate=(0.9, 0.7, 0.5)).by_block
    assert list(stages) == [4, 7, 10]
    assert [stage.keep_rate for stage in stages.values()] == [0.9, 0.7, 0.5]
    assert {stage.criterion for stage in stages.values()} == {"renyi"}


def test_the_criterion_is_entropy_unless_patches_are_merged():
    assert PruningConfig().criterion == "renyi"
    assert PruningConfig(reducer="merge").criterion == "key_similarity"


def test_merging_takes_away_at_most_half_of_the_patches():
    stages = PruningConfig(reducer="merge", r=(13, 0, 99)).stages
    assert [stage.count(50) for stage in stages] == [37, 50, 25]


def test_an_unknown_option_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r"no option 'keep_rates'.*Did you mean 'keep_rate'"):
        PruningConfig(keep_rates=0.5)
    with pytest.raises(AttributeError, match="Did you mean 'alpha'"):
        PruningConfig().alphas  # noqa: B018


def test_options_read_back_as_they_were_written():
    pruning = PruningConfig(alpha=(1.0, 2.0, 3.0), keep_rate=0.5)
    assert (pruning.alpha, pruning.keep_rate, pruning.blocks) == ((1.0, 2.0, 3.0), 0.5, (4, 7, 10))
    changed = dataclasses.replace(pruning, keep_rate=(0.9, 0.7, 0.5), alpha=2.0)
    assert changed == PruningConfig(keep_rate=(0.9, 0.7, 0.5))


@pytest.mark.parametrize("rate", [np.float32(0.7), np.float64(0.7), np.float16(0.7)], ids=repr)
def test_a_number_of_numpy_is_the_decimal_that_it_is_printed_as(rate):
    assert PruningConfig(keep_rate=rate) == PruningConfig(keep_rate=0.7)


PRUNINGS = [
    PruningConfig(),
    PruningConfig(criterion=("renyi", "cls_attention"), alpha=(math.inf, 0.25), blocks=(2, 6)),
    PruningConfig(reducer=("merge", "drop", "fuse"), keep_rate=(0.5, 0.7, 1.0)),
    PruningConfig(reducer="merge", r=(13, 0, 99)),
]


@pytest.mark.parametrize("pruning", PRUNINGS, ids=repr)
def test_a_pruning_is_saved_and_loaded_as_it_was(pruning, tmp_path):
    pruning.save(tmp_path / "pruning.json")
    assert PruningConfig.load(tmp_path / "pruning.json") == pruning
    json.loads((tmp_path / "pruning.json").read_text(), parse_constant=pytest.fail)
    assert eval(repr(pruning), {"PruningConfig": PruningConfig, "inf": math.inf}) == pruning


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", "[" * 100_000, '{"pruning": 3}', '{"pruning": {"alphas": 1}}'),
        *('{"pruning": {"r": "x"}}', '{"pruning": {"blocks": null}}'),
        '{"pruning": {"keep_rate": NaN}}',
    ],
    ids=lambda text: text[:40],
)
def test_a_file_that_holds_no_pruning_is_refused_by_name(text, tmp_path):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(UserError, match=r"plan\.json"):
        PruningConfig.load(tmp_path / "plan.json")
    with pytest.raises(UserError, match=r"none\.json cannot be read"):
        PruningConfig.load(tmp_path / "none.json")
