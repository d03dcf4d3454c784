"""Which prunings an evaluation runs, and what it calls them."""

import dataclasses
import json
import math

import ml_collections
import pytest

from renyi_jax.errors import UserError
from renyi_jax.pruning import PruningConfig
from renyi_jax.pruning.sweep import (
    SWEEP,
    UNPRUNED,
    describe,
    evaluation_settings,
    option_words,
    program_of,
    varying_options,
)

TRAINED = PruningConfig(criterion="renyi", alpha=2.0, keep_rate=0.7, blocks=(1, 2))


def settings(trained=TRAINED, **options):
    empty = dict.fromkeys(SWEEP, ())
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


def test_a_pruning_whose_blocks_differ_in_their_reducers_is_swept_as_it_is():
    mixed = dataclasses.replace(
        TRAINED, reducer=("merge", "fuse"), criterion=("key_similarity", "renyi")
    )
    assert settings(mixed) == [mixed]
    assert settings(mixed, keep_rates=(0.5,)) == [mixed, mixed.changed(keep_rate=0.5)]
    assert settings(mixed, reducers=("fuse",), criteria=("shannon",))[1].reducer == "fuse"


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
        "blocks": [1, 2],
        "normalize": True,
        "heads": "mean",
        "prefix_keys": False,
        "reverse": False,
    }
    assert set(row) == set(UNPRUNED)


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


def test_a_criterion_is_evaluated_once_for_all_options_that_it_does_not_take():
    rows = settings(
        criteria=("renyi", "received_attention", "cls_attention"),
        normalize=(True, False),
        heads=("mean", "average_first"),
        prefix_keys=(False, True),
    )
    names = [each.criterion for each in rows]
    # Over all keys, attention is normalised as it is.
    assert names.count("renyi") == 2 * 2 + 2
    assert names.count("received_attention") == 2 and names.count("cls_attention") == 1


def test_criteria_orders_and_keep_rates_may_change_from_block_to_block_of_any_blocks():
    rows = settings(
        criteria=("renyi", ("renyi", "cls_attention")),
        alphas=((0.25, 2.0),),
        keep_rates=((0.9, 0.5),),
        blocks=((1, 2), (2, 3)),
    )
    assert [(each.criterion, each.blocks) for each in rows[1:]] == [
        (criterion, blocks)
        for blocks in ((1, 2), (2, 3))
        for criterion in ("renyi", ("renyi", "cls_attention"))
    ]
    assert {(each.alpha, each.keep_rate) for each in rows[1:]} == {((0.25, 2.0), (0.9, 0.5))}


def test_beside_other_reducers_merging_is_left_out_where_it_cannot_keep_so_few():
    rows = names(reducers=("drop", "merge"), keep_rates=(0.5, 0.3))
    assert [row[3] for row in rows if row[1] == "merge"] == [0.5]
    with pytest.raises(UserError, match=r"at least 0\.5"):
        settings(reducers=("merge",), keep_rates=(0.5, 0.3))


def test_rankings_are_reversed_wherever_there_is_a_ranking():
    rows = settings(reducers=("drop", "merge"), reverse=(False, True), keep_masses=(0.9,))
    assert [(each.reducer, each.reverse, each.keep_mass) for each in rows[1:]] == [
        ("drop", False, 0.9),
        ("drop", True, 1.0),
        ("merge", False, 1.0),
    ]


def test_options_are_told_in_words_where_rows_differ_in_them():
    rows = [
        describe(each)
        for each in settings(None, criteria=("shannon", "random"), reverse=(False, True))
    ]
    varying = varying_options(rows)
    assert varying == ["reverse"]
    assert [option_words(row, varying) for row in rows] == ["", "", "reversed", "", "reversed"]
    other = {"blocks": [1, 2], "normalize": False, "heads": "average_first", "prefix_keys": True}
    assert option_words(other, list(other)) == (
        "blocks 1, 2, not normalised, heads averaged first, with prefix keys"
    )


def test_a_wrong_name_in_the_sweep_is_refused():
    with pytest.raises(UserError, match="Did you mean 'renyi'"):
        settings(criteria=("reny",))
