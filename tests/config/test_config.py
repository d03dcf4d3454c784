import json
import math

import ml_collections
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renyi_jax.config import (
    FIELDS,
    check_config,
    deciding_differences,
    default_config,
    pruning_config,
    to_json,
)
from renyi_jax.errors import UserError
from renyi_jax.pruning import PruningConfig

NAMES = [
    (group, name) for group, fields in FIELDS.items() if isinstance(fields, dict) for name in fields
]


def changed(**fields):
    """The default config with `group__name=value`."""
    config = default_config()
    for place, value in fields.items():
        *groups, name = place.split("__")
        holder = config
        for group in groups:
            holder = holder[group]
        holder[name] = value
    return config


def test_the_default_config_passes_and_prunes_by_default():
    config = check_config(default_config())
    assert pruning_config(config) == PruningConfig()
    assert set(config) == set(FIELDS)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"trian": 1}, r"config has no field 'trian'\. Did you mean 'train'\?"),
        ({"train__epocs": 3}, r"config\.train has no field 'epocs'\. Did you mean 'epochs'\?"),
        ({"train__keep_rate": 0.5}, r"Did you mean 'config\.pruning\.keep_rate'\?"),
        ({"train__zzz": 1}, r"config\.train has no field 'zzz'\. Known: epochs, learning_rate"),
        ({"train": 3}, r"config\.train=3: expected a group of fields: epochs"),
        ({"seed": -1}, r"config\.seed=-1: expected an integer of at least 0"),
        ({"seed": 1.5}, r"config\.seed=1\.5: expected an integer"),
        ({"train__epochs": "many"}, r"config\.train\.epochs='many': expected an integer"),
        ({"train__epochs": True}, r"config\.train\.epochs=True: expected an integer"),
        ({"train__epochs": -1}, r"config\.train\.epochs=-1: expected an integer of at least 0"),
        ({"train__learning_rate": "fast"}, r"learning_rate='fast': expected a number in \(0, inf"),
        ({"train__learning_rate": math.nan}, r"learning_rate=nan: expected a number"),
        ({"train__learning_rate": math.inf}, r"learning_rate=inf: expected a number"),
        ({"train__b1": 1}, r"config\.train\.b1=1: expected a number in \[0, 1\)"),
        ({"train__warmup_epochs": 10}, r"warmup_epochs=10\.0: expected less than .*epochs=10"),
        ({"data__flip": 1}, r"config\.data\.flip=1: expected True or False"),
        ({"data__name": 3}, r"config\.data\.name=3: expected a string"),
        ({"model__name": "vit_nono_patch4_56"}, r"Did you mean 'vit_nano_patch4_56'\?"),
        ({"model__dtype": "float23"}, r"expected one of float32, bfloat16\. Did you mean 'float32"),
        ({"model__image_size": 57}, r"config\.model: image_size 57 x 57 is not tiled"),
        ({"model__image_size": (56, 56, 3)}, r"image_size=\(56, 56, 3\): expected a side or"),
        ({"evaluate__criteria": ("renyi", "randon")}, r"Did you mean 'random'\?"),
        ({"evaluate__keep_rates": (0.5, 0)}, r"each is a number in \(0, 1\]"),
        ({"evaluate__alphas": ("one",)}, r"alphas=\('one',\): expected a tuple"),
        (
            {"pruning__criterion": "reny"},
            r"criterion='reny': expected one of .* Did you mean 'renyi'",
        ),
        ({"pruning__alpha": 0}, r"alpha=0: expected a number in \(0, inf\], or one for each"),
        ({"pruning__keep_rate": (0.7, 0.5)}, r"keep_rate has 2 values for 3 pruned blocks"),
        ({"pruning__blocks": (7, 4)}, r"config\.pruning: blocks must be ascending"),
        ({"pruning__blocks": (4, 13)}, r"config\.pruning: block 13 is beyond the last"),
        ({"evaluate__blocks": ((4, 13),)}, r"config\.evaluate: block 13 is beyond the last"),
        ({"evaluate__criteria": (("renyi", "random"),)}, r"config\.evaluate: .* 2 values for 3"),
    ],
)
def test_a_mistake_is_told_with_its_place_and_what_was_expected(fields, message):
    with pytest.raises(UserError, match=message):
        check_config(changed(**fields))


def test_all_mistakes_are_told_at_once():
    with pytest.raises(UserError) as error:
        check_config(changed(trian=1, train__epochs=-1, data__flip="yes", pruning__keeprate=1))
    assert len(str(error.value).splitlines()) == 5


def test_mistakes_across_fields_are_told_at_once():
    with pytest.raises(UserError) as error:
        check_config(changed(model__image_size=57, pruning__alpha=(1, 2), train__warmup_epochs=99))
    assert len(str(error.value).splitlines()) == 4


@given(
    st.sampled_from(NAMES),
    st.none() | st.text() | st.floats() | st.integers() | st.lists(st.integers()) | st.booleans(),
)
def test_any_value_passes_or_is_a_user_error(place, value):
    group, name = place
    try:
        config = check_config(changed(**{f"{group}__{name}": value}))
    except UserError as error:
        assert f"config.{group}" in str(error)
    else:
        assert check_config(json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    "place, spellings",
    [
        ("pruning__alpha", [math.inf, "inf"]),
        ("pruning__alpha", [(1, 2, math.inf), [1.0, 2.0, "inf"], "1,2,inf", "(1, 2, inf)"]),
        ("pruning__keep_rate", [(0.7, 0.6, 0.5), [0.7, 0.6, 0.5], "0.7,0.6,0.5"]),
        ("pruning__criterion", [("renyi", "shannon", "random"), "renyi,shannon,random"]),
        ("evaluate__criteria", [("renyi", "random"), ["renyi", "random"], "renyi,random"]),
        ("evaluate__alphas", [(2,), 2, 2.0, [2]]),
        (
            "evaluate__criteria",
            [("random", ("renyi", "shannon", "random")), "random,renyi/shannon/random"],
        ),
        ("evaluate__blocks", [((4, 7, 10), (3,)), "4/7/10,3", ((4, 7, 10), 3)]),
        ("evaluate__reverse", [(False, True), "false,True"]),
        ("model__image_size", [(56, 112), [56, 112], "56,112"]),
        ("train__learning_rate", [1.0, 1]),
    ],
)
def test_a_value_has_several_spellings_and_one_meaning(place, spellings):
    configs = [check_config(changed(**{place: spelling})) for spelling in spellings]
    assert all(config == configs[0] for config in configs)
    assert all(deciding_differences(config, configs[0]) == [] for config in configs)


def test_a_tag_of_timm_may_follow_a_model_s_name():
    name = "vit_small_patch14_dinov2.lvd142m"
    assert check_config(changed(model__name=name)).model.name == name


def test_infinity_is_written_to_json_as_a_string():
    config = check_config(changed(pruning__alpha=math.inf, evaluate__alphas=(1, math.inf)))
    text = json.dumps(to_json(config), allow_nan=False)
    assert json.loads(text)["evaluate"]["alphas"] == [1.0, "inf"]


def test_only_fields_that_the_training_follows_from_differ():
    left = check_config(
        changed(train__epochs=3, evaluate__alphas=(1,), checkpoint__keep=5, data__manual_dir="x")
    )
    differences = deciding_differences(left, check_config(default_config()))
    assert differences == ["config.train.epochs=3, was 10"]


def test_fields_that_a_config_does_not_have_take_their_defaults():
    config = check_config(ml_collections.ConfigDict({"train": {"epochs": 3}}))
    assert config == check_config(changed(train__epochs=3))
