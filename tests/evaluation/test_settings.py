"""Which prunings an evaluation runs, and what it calls them."""

import json
import math

import ml_collections
import pytest

from renyi_jax.errors import UserError
from renyi_jax.evaluation.settings import describe, evaluation_settings, program_of
from renyi_jax.pruning import PruningConfig

TRAINED = PruningConfig(criterion="renyi", alpha=2.0, keep_rate=0.7, blocks=(1, 2))


def settings(trained=TRAINED, **options):
    empty = dict.fromkeys(("keep_rates", "keep_masses", "alphas", "criteria", "reducers"), ())
    return evaluation_settings(trained, ml_collections.ConfigDict({**empty, **options}))


def names(*args, **options):
    rows = [describe(setting) for setting in settings(*args, **options)]
    return [(row["criterion"], row["reducer"], row["alpha"], row["keep_rate"]) for row in rows]


def test_the_trained_pruning_comes_first_and_no_setting_twice():
    rows = names(keep_rates=(0.7, 0.5), alphas=(1.0, 2.0), criteria=("renyi",))
    assert rows[0] == ("renyi", "drop", 2.0, 0.7)
    assert len(rows) == len(set(rows)) == 4


def test_keep_rate_1_is_the_plain_model_once_whatever_the_criterion():
    rows = names(keep_rates=(1.0, 0.5), alphas=(1.0, 2.0), criteria=("renyi", "cls_attention"))
    assert rows.count(("none", None, None, 1.0)) == 1
    assert [row for row in rows if row[3] == 1.0] == [("none", None, None, 1.0)]
    assert names(PruningConfig(keep_rate=1.0)) == [("none", None, None, 1.0)]


def test_a_criterion_without_an_order_is_evaluated_once_for_all_alphas():
    rows = names(keep_rates=(0.5,), alphas=(1.0, 2.0, 4.0), criteria=("random", "shannon"))
    assert rows[1:] == [("random", "drop", None, 0.5), ("shannon", "drop", None, 0.5)]


def test_an_empty_list_takes_the_value_that_was_trained():
    assert names() == [("renyi", "drop", 2.0, 0.7)]
    assert names(criteria=("random",))[1:] == [("random", "drop", None, 0.7)]
    assert names(reducers=("drop", "fuse"))[1:] == [("renyi", "fuse", 2.0, 0.7)]


def test_a_model_without_pruning_is_swept_all_the_same():
    assert names(None, keep_rates=(0.7,))[:1] == [("none", None, None, 1.0)]
    assert len(names(None, keep_rates=(0.7,))) == 2


def test_the_sweep_keeps_the_blocks_and_options_that_were_trained():
    trained = PruningConfig(blocks=(2, 5), normalize=False, heads="average_first")
    for setting in settings(trained, keep_rates=(0.5,), alphas=(4.0,)):
        assert (setting.blocks, setting.normalize, setting.heads) == (
            (2, 5),
            False,
            "average_first",
        )


def test_values_that_agree_in_every_block_are_one_value():
    trained = PruningConfig(alpha=(2.0, 2.0), keep_rate=(0.7, 0.7), blocks=(1, 2))
    assert names(trained, keep_rates=(0.7,)) == [("renyi", "drop", 2.0, 0.7)]


def test_a_row_is_json_even_of_infinite_orders_and_of_values_per_block():
    setting = PruningConfig(
        criterion=("renyi", "random"), alpha=(math.inf, 1.0), keep_rate=(0.9, 0.5), blocks=(1, 2)
    )
    row = json.loads(json.dumps(describe(setting), allow_nan=False))
    assert row == {
        "criterion": ["renyi", "random"],
        "reducer": "drop",
        "alpha": ["inf", 1.0],
        "keep_rate": [0.9, 0.5],
        "keep_mass": 1.0,
        "r": None,
    }


def test_settings_that_differ_in_alpha_alone_share_a_program():
    orders = settings(alphas=(0.5, 1.0, 2.0, 4.0, math.inf))
    assert len(orders) == 5
    assert len({program_of(setting) for setting in orders}) == 1


def test_merging_is_swept_once_whatever_the_criteria_and_orders():
    rows = names(reducers=("drop", "merge"), criteria=("renyi", "random"), alphas=(1.0, 2.0))
    assert [row for row in rows if row[1] == "merge"] == [("key_similarity", "merge", None, 0.7)]
    assert names(PruningConfig(reducer="merge", blocks=(1, 2)), reducers=("drop",))[1:] == [
        ("renyi", "drop", 2.0, 0.7)
    ]


def test_a_sweep_over_keep_rates_takes_the_place_of_fixed_numbers_of_merges():
    trained = PruningConfig(reducer="merge", r=3, blocks=(1, 2))
    assert [describe(setting)["r"] for setting in settings(trained)] == [3]
    swept = settings(trained, keep_rates=(0.5,))
    assert [(describe(each)["r"], describe(each)["keep_rate"]) for each in swept] == [
        (3, None),
        (None, 0.5),
    ]


def test_keep_counts_adapt_where_the_criterion_is_an_entropy():
    swept = settings(keep_masses=(1.0, 0.9), criteria=("shannon", "random"))
    assert [(each.criterion, each.keep_mass) for each in swept[1:]] == [
        ("shannon", 1.0),
        ("random", 1.0),
        ("shannon", 0.9),
    ]


def test_a_wrong_name_in_the_sweep_is_refused():
    with pytest.raises(UserError, match="Did you mean 'renyi'"):
        settings(criteria=("reny",))
