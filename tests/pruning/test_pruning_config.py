"""What a `PruningConfig` takes, and how it refuses the rest."""

import math

import pytest

from renyi_jax.errors import UserError
from renyi_jax.pruning import PruningConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"criterion": "reny"}, "unknown criterion 'reny'.*Did you mean 'renyi'"),
        ({"criterion": ("renyi", "shanon", "random")}, "Did you mean 'shannon'"),
        ({"criterion": ("renyi", "shannon")}, "criterion has 2 values for 3 pruned blocks"),
        ({"alpha": 0}, "alpha must be a number in"),
        ({"alpha": math.nan}, "alpha must be a number in"),
        ({"alpha": "2"}, "alpha must be a number in"),
        ({"alpha": (1.0, 2.0)}, "alpha has 2 values for 3"),
        ({"keep_rate": 0.0}, "keep_rate must lie in"),
        ({"keep_rate": 70}, "keep_rate must lie in"),
        ({"keep_rate": (0.7, 0.7, 1.5)}, "keep_rate must lie in.*1.5"),
        ({"blocks": ()}, "blocks must be ascending"),
        ({"blocks": (0, 3, 6)}, "counted from 1"),
        ({"blocks": (7, 4, 10)}, "blocks must be ascending"),
        ({"blocks": (4, 4, 10)}, "blocks must be ascending"),
        ({"blocks": (4.0, 7.0, 10.0)}, "tuple of integers"),
        ({"reducer": "droop"}, "Did you mean 'drop'"),
        ({"heads": "means"}, "Did you mean 'mean'"),
        ({"normalize": "yes"}, "normalize must be True or False"),
        ({"reverse": 1}, "reverse must be True or False"),
        ({"reducer": "merge", "reverse": True}, "ranks no patches"),
        ({"keep_mass": 0.9, "reverse": True}, "needs reverse=False"),
        ({"keep_mass": 0.9, "prefix_keys": True}, "needs prefix_keys=False"),
        ({"keep_mass": 0.0}, "keep_mass must lie in"),
        ({"keep_mass": (0.9, 0.9)}, "keep_mass has 2 values for 3"),
        ({"reducer": "merge", "r": -1}, "r must be an integer"),
        ({"reducer": "merge", "r": 1.5}, "r must be an integer"),
        ({"reducer": "merge", "criterion": "renyi"}, "by the similarity of their keys"),
        ({"reducer": "merge", "keep_rate": 0.4}, "at least 0.5, got 0.4"),
        ({"reducer": "merge", "keep_mass": 0.9}, "makes one token of several"),
        ({"criterion": "key_similarity"}, "needs reducer 'merge'"),
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
    stages = PruningConfig(keep_rate=(0.9, 0.7, 0.5)).stages()
    assert list(stages) == [4, 7, 10]
    assert [stage.keep_rate for stage in stages.values()] == [0.9, 0.7, 0.5]
    assert {stage.criterion for stage in stages.values()} == {"renyi"}


def test_the_criterion_is_entropy_unless_patches_are_merged():
    assert PruningConfig().criterion == "renyi"
    assert PruningConfig(reducer="merge").criterion == "key_similarity"


def test_merging_takes_away_at_most_half_of_the_patches():
    stages = PruningConfig(reducer="merge", r=(13, 0, 99)).stages().values()
    assert [stage.count(50) for stage in stages] == [37, 50, 25]
