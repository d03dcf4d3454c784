"""What the flags of a model say, and what the file of weights says in their place."""

import pytest

from renyi_jax.cli.model import _pruning
from renyi_jax.common.fields import literal
from renyi_jax.config import FIELDS
from renyi_jax.errors import UserError
from renyi_jax.pruning import PruningConfig

NOTED = PruningConfig(criterion="shannon", keep_rate=0.5, blocks=(2, 5), normalize=False)
MERGED = PruningConfig(reducer="merge", r=8)


def pruning(noted, **given):
    values = {name: FIELDS["pruning"][name].parse(literal(text)) for name, text in given.items()}
    return _pruning(noted, values, "it")


def test_without_flags_it_is_what_the_file_notes_or_the_default():
    assert pruning(NOTED) == NOTED and pruning(MERGED) == MERGED
    assert pruning(None) == PruningConfig()


def test_a_flag_changes_its_own_field_alone():
    assert pruning(NOTED, keep_rate="0.9,0.7") == PruningConfig(
        criterion="shannon", keep_rate=(0.9, 0.7), blocks=(2, 5), normalize=False
    )
    assert pruning(None, alpha="inf", blocks="3") == PruningConfig(alpha=float("inf"), blocks=(3,))
    assert pruning(NOTED, keep_rate="1,1") is None


def test_between_scoring_and_merging_what_belongs_to_one_of_them_is_left_behind():
    assert pruning(MERGED, reducer="fuse") == PruningConfig(reducer="fuse")
    assert pruning(NOTED, reducer="merge").criterion == "key_similarity"
    assert pruning(MERGED, keep_rate="0.6") == PruningConfig(reducer="merge", keep_rate=0.6)


def test_adaptive_keep_counts_and_numbers_of_merges_have_flags():
    assert pruning(None, keep_mass="0.9") == PruningConfig(keep_mass=0.9)
    assert pruning(None, keep_mass="0.9,1,1", keep_rate="1") == PruningConfig(
        keep_mass=(0.9, 1.0, 1.0), keep_rate=1.0
    )
    assert pruning(None, reducer="merge", r="13") == PruningConfig(reducer="merge", r=13)
    assert pruning(MERGED, r="4,4,2").r == (4, 4, 2)
    with pytest.raises(UserError, match="with reducer 'drop' give keep_rate"):
        pruning(None, r="13")


def test_a_flag_that_does_not_go_with_the_notes_is_refused():
    with pytest.raises(UserError, match="2 values for 1"):
        pruning(PruningConfig(alpha=(1.0, 2.0), blocks=(2, 5)), blocks="3")
