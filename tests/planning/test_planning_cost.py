"""What a pruning costs, and prunings that cost a given amount."""

import pytest

from renyi_jax.errors import UserError
from renyi_jax.models.flops import count_flops
from renyi_jax.models.registry import model_spec
from renyi_jax.planning import candidates
from renyi_jax.planning.cost import gmacs_budget, gmacs_of, share_budget, solve
from renyi_jax.pruning import PruningConfig
from renyi_jax.pruning.keep import keep_rate_of

DEIT = model_spec("deit_small_patch16_224")
HALF = share_budget(DEIT, 0.5)


@pytest.mark.parametrize("keep_rate", [0.7, 0.5, 0.3])
@pytest.mark.parametrize("criterion", ["renyi", "cls_attention"])
def test_equal_strengths_at_a_published_cost_are_the_published_counts(criterion, keep_rate):
    published = PruningConfig(criterion=criterion, keep_rate=keep_rate)
    budget = gmacs_budget(DEIT, gmacs_of(DEIT)(published.stages))
    solved = solve(published, (1.0, 1.0, 1.0), budget, DEIT)
    assert counts(solved) == counts(published)


def test_a_candidate_spends_its_budget_to_the_last_step():
    step = DEIT.num_patches // candidates.LAST_LEVELS
    drawer = candidates.Drawer(DEIT, candidates.Space(), HALF, seed=0)
    found = [each.pruning for each in (drawer.draw() for _ in range(30)) if each]
    assert len(found) > 12
    for pruning in found:
        assert count_flops(DEIT, pruning) <= 0.5 * count_flops(DEIT, None)
        *before, last = counts(pruning)
        assert last < step or last % step == 0
        if last + step < (before or [DEIT.num_patches])[-1]:
            more = count_flops(DEIT, with_last(pruning, last + step))
            assert more > 0.5 * count_flops(DEIT, None)
    assert {len(each.stages) for each in found} > {1, 2, 3}
    reducers = [{stage.reducer for stage in each.stages} for each in found]
    assert any(each >= {"merge", "drop"} for each in reducers)


def test_a_neighbour_differs_in_one_respect_and_spends_the_same_budget():
    drawer = candidates.Drawer(DEIT, candidates.Space(), HALF, seed=0)
    start = next(filter(None, iter(drawer.draw, 0)))
    found = [each for each in (drawer.neighbour(start) for _ in range(20)) if each]
    assert len({each.pruning for each in found} - {start.pruning}) > 5
    for each in found:
        assert 0.98 < gmacs_of(DEIT)(each.pruning.stages) / HALF.limit <= 1
        methods = [(stage.block, stage.criterion, stage.alpha) for stage in each.pruning.stages]
        before = [(stage.block, stage.criterion, stage.alpha) for stage in start.pruning.stages]
        assert len({stage[1:] for stage in set(methods) - set(before)}) <= 1


def test_the_same_seed_draws_the_same():
    drawers = [candidates.Drawer(DEIT, candidates.Space(), HALF, seed=3) for _ in range(2)]
    first, second = ([drawer.draw() for _ in range(5)] for drawer in drawers)
    assert first == second


def test_what_a_model_cannot_run_is_left_out_and_told_where_nothing_is_left():
    one_head = DEIT.__class__(**{**DEIT.__dict__, "num_heads": 1})
    space = candidates.Space(criteria=("renyi", "head_mad"), reducers=("drop",))
    assert len(candidates.methods(DEIT, space)) == 2
    assert [each["criterion"] for each in candidates.methods(one_head, space)] == ["renyi"]
    with pytest.raises(UserError, match="compares heads"):
        candidates.methods(one_head, space._replace(criteria=("head_mad",)))


def test_published_methods_cost_the_same_where_they_can():
    third = share_budget(DEIT, 0.33)
    assert set(candidates.baselines(DEIT, HALF)) == {"reference", "EViT", "ToMe"}
    for budget in (HALF, third):
        costs = [budget.cost(each.stages) for each in candidates.baselines(DEIT, budget).values()]
        assert all(0.98 * budget.limit < cost <= budget.limit for cost in costs)


@pytest.mark.parametrize("share", [0.0, 0.05, 1.01, -1.0, float("nan")])
def test_a_budget_that_no_pruning_meets_is_refused(share):
    with pytest.raises(UserError, match=r"budget=.* from 0.0\d+, .* to 1, the unpruned"):
        share_budget(DEIT, share)


def counts(pruning):
    left, patches = [], DEIT.num_patches
    for stage in pruning.stages:
        left.append(stage.count(patches))
        patches = stage.left(patches)
    return left


def with_last(pruning, count):
    patches = DEIT.num_patches
    for stage in pruning.stages[:-1]:
        patches = stage.left(patches)
    rates = [*(stage.keep_rate for stage in pruning.stages[:-1]), keep_rate_of(patches, count)]
    return PruningConfig(stages=pruning.stages, keep_rate=tuple(rates))
