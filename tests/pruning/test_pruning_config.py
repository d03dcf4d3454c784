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


def test_lists_become_tuples_so_that_a_config_can_be_hashed():
    pruning = PruningConfig(alpha=[1.0, 2.0, 3.0], blocks=[4, 7, 10])
    assert hash(pruning) == hash(PruningConfig(alpha=(1.0, 2.0, 3.0)))


def test_one_value_stands_for_every_block():
    stages = PruningConfig(keep_rate=(0.9, 0.7, 0.5)).stages()
    assert list(stages) == [4, 7, 10]
    assert [stage.keep_rate for stage in stages.values()] == [0.9, 0.7, 0.5]
    assert {stage.criterion for stage in stages.values()} == {"renyi"}
