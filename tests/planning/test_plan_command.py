"""`python -m renyi_jax.plan`, and its plans in other commands."""

import pytest

from renyi_jax.config import check_config, default_config, pruning_config
from renyi_jax.errors import UserError
from renyi_jax.pruning import PruningConfig

PLAN = PruningConfig(blocks=(1, 3), keep_rate=(0.8, 0.5), alpha=(0.5, float("inf")))
"""Of any search: `save` writes what the search does under "pruning"."""


def test_a_plan_takes_the_place_of_the_pruning_of_a_config(tmp_path):
    PLAN.save(tmp_path / "plan.json")
    config = default_config()
    config.pruning.plan = str(tmp_path / "plan.json")
    config.pruning.keep_rate = 0.9
    checked = check_config(config)
    assert pruning_config(checked) == PLAN
    # The config is whole without the file.
    (tmp_path / "plan.json").unlink()
    assert pruning_config(check_config(checked.to_dict())) == PLAN


@pytest.mark.parametrize("content", [None, "no JSON", "[]", '{"pruning": {"keep_rat": 1}}'])
def test_a_file_that_is_no_plan_is_refused(tmp_path, content):
    path = tmp_path / "plan.json"
    if content is not None:
        path.write_text(content)
    config = default_config()
    config.pruning.plan = str(path)
    with pytest.raises(UserError, match=r"config.pruning: .*plan.json (cannot be read|holds no)"):
        check_config(config)
