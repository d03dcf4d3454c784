"""The search for a plan."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from tiny import tiny_model, tiny_spec

import renyi_jax
from renyi_jax.common.store import Store
from renyi_jax.errors import UserError
from renyi_jax.models import normalize_images
from renyi_jax.planning import Space, find_plans
from renyi_jax.planning.candidates import Candidate, baselines
from renyi_jax.planning.cost import gmacs_of, share_budget
from renyi_jax.planning.judge import ANGLE, DIVERGENCE, LIKELIHOOD, Judge, Spent, objective_of
from renyi_jax.planning.report import write_page
from renyi_jax.planning.results import write_plans
from renyi_jax.planning.search import Forecast, Judged, choose, images_needed, passes, search
from renyi_jax.pruning import PruningConfig

SPACE = Space(criteria=("renyi",), reducers=("drop",), blocks=(1, 2), most_blocks=2)
BUDGET = share_budget(tiny_spec(), 0.7)
PUBLISHED = baselines(tiny_spec(), BUDGET)
BATCH = 2  # in all tests, so that they share what is compiled
PIXELS = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), np.uint8)


def find(budgets=(BUDGET,), **options):
    return find_plans(
        tiny_model(), PIXELS, budgets, candidates=16, space=SPACE, batch_size=BATCH, **options
    )


@pytest.fixture(scope="module")
def found():
    return find()


def test_a_plan_spends_its_budget_and_is_chosen_among_those_that_came_furthest(found):
    for plan, judged in found:
        share = plan.gmacs / gmacs_of(tiny_spec())(())
        assert share <= float(plan.budget.split()[0])
        furthest = [each for each in judged if len(each.losses) == len(judged[0].losses)]
        means = [each.losses.mean() for each in furthest]
        assert means[0] == min(means)
        candidates = [each.candidate for each in furthest]
        known = [each for each in candidates if each.pruning in PUBLISHED.values()]
        assert plan.pruning == choose(judged, known).candidate.pruning


def test_few_images_are_seen_by_many_candidates_and_many_by_few(found):
    sizes = [len(each.losses) for each in found[0].judged]
    assert sorted(set(sizes)) == [2, 4, 16]
    assert sizes.count(16) < sizes.count(16) + sizes.count(4) < len(sizes)


def test_what_is_published_sees_all_images_that_choose_where_it_may_be_chosen(found):
    seen = {each.candidate.pruning: len(each.losses) for each in found[0].judged}
    assert seen[PUBLISHED["reference"]] == 16
    assert all(each not in seen for name, each in PUBLISHED.items() if name != "reference")


@pytest.mark.parametrize(
    ("gains", "is_ahead"),
    [
        ([0.4, 0.6, 0.5, 0.3], True),
        ([2.0, -0.5, -0.5, -0.5], False),  # ahead on one image alone
        ([0.0, 0.0, 0.0, 0.0], False),
        ([np.inf, 0.4, 0.5, 0.3], False),
        ([np.inf, np.inf, np.inf, np.inf], True),
    ],
)
def test_a_plan_leaves_what_is_published_where_it_is_ahead_by_a_standard_error(gains, is_ahead):
    new = Candidate(PruningConfig(blocks=(2,), keep_rate=0.25), (1.0,))
    old = Candidate(PUBLISHED["reference"], (1.0,))
    losses = np.ones(4, np.float32)
    judged = [Judged(new, losses), Judged(old, losses + np.float32(gains))]
    assert choose(judged, [old]) is judged[not is_ahead]
    assert choose(judged) is judged[0]


def test_of_two_that_are_ahead_the_surer_one_is_the_plan():
    gains = {(1,): [0.0, 0.0, 0.0, 0.0], (2,): [9.0, -1.0, -1.0, -1.0], (1, 2): [1.0, 0.9, 1.1, 1]}
    losses = {
        blocks: Judged(
            Candidate(PruningConfig(blocks=blocks), (1.0,) * len(blocks)),
            np.full(4, 9, np.float32) - np.float32(gain),
        )
        for blocks, gain in gains.items()
    }
    judged = [losses[2,], losses[1, 2], losses[1,]]
    assert choose(judged, [losses[1,].candidate]) is losses[1, 2]


def test_the_losses_are_those_of_the_model_under_the_pruning(found):
    plan = found[0].plan
    judge = Judge(tiny_model(), PIXELS, None, BATCH)
    (losses,) = judge([plan.pruning], 0, 32)
    images = normalize_images(jnp.asarray(PIXELS), tiny_spec().mean, tiny_spec().std)
    plain, pruned = (
        np.asarray(jax.jit(tiny_model().with_pruning(each).__call__)(images), np.float64)
        for each in (None, plan.pruning)
    )
    log = [each - np.log(np.exp(each).sum(1, keepdims=True)) for each in (plain, pruned)]
    expected = (np.exp(log[0]) * (log[0] - log[1])).sum(1)
    np.testing.assert_allclose(losses, expected, rtol=1e-3, atol=1e-5)


def test_the_comparison_is_on_images_that_did_not_choose(found):
    plan = found[0].plan
    order = np.random.default_rng(0).permutation(32)
    judge = Judge(tiny_model(), PIXELS[order], None, BATCH)
    for row in plan.rows:
        pruning = row["pruning"] and PruningConfig.from_json(row["pruning"])
        (losses,) = judge([pruning], 16, 32)
        assert row["score"] == pytest.approx(losses.mean(), rel=1e-4, abs=1e-6)
        if row["name"] != "plan":
            low, high = row["difference_interval"]
            assert low <= row["difference"] <= high
    assert {row["name"] for row in plan.rows} >= {"plan", "reference", "EViT", "unpruned"}


def test_a_saved_plan_is_read_as_a_pruning(found, tmp_path):
    plan = found[0].plan
    plan.save(tmp_path / "plan.json")
    assert PruningConfig.load(tmp_path / "plan.json") == plan.pruning
    held = json.loads((tmp_path / "plan.json").read_text())
    assert held["made_from"]["judging"] == 16 and held["score"] == plan.score


def test_finished_work_is_not_run_again(found, tmp_path, monkeypatch):
    store = Store(epath.Path(tmp_path))
    (first,) = find(store=store)
    monkeypatch.setattr("renyi_jax.planning.walk.Walk.__call__", None)
    (again,) = find(store=store)
    assert again.plan == first.plan


def test_the_best_of_one_budget_is_tried_at_the_next(found, monkeypatch):
    tried = []

    def remember(*_, starts, **__):
        tried.append([each.pruning.blocks for each in starts])
        return found[0].judged

    monkeypatch.setattr("renyi_jax.planning.plan.search", remember)
    find([BUDGET, share_budget(tiny_spec(), 0.65)])
    assert found[0].plan.pruning.blocks in tried[1]


def test_what_starts_is_among_what_is_judged():
    start = Candidate(PruningConfig(blocks=(2,), keep_rate=0.25), (1.0,))
    judge = Judge(tiny_model(), PIXELS, None, BATCH)
    judged = search(
        judge, tiny_spec(), SPACE, BUDGET, images=16, candidates=4, starts=[start], seed=1
    )
    assert start.pruning in [each.candidate.pruning for each in judged]


def test_the_objective_is_what_can_be_judged():
    assert objective_of(10, True) is LIKELIHOOD
    assert objective_of(10, False) is DIVERGENCE
    assert objective_of(0, True) is objective_of(0, False) is ANGLE


def test_an_unpruned_model_has_no_divergence_and_no_angle():
    for classes in (0, 10):
        judge = Judge(tiny_model(spec=tiny_spec(num_classes=classes)), PIXELS, None, 8)
        losses = judge([None], 0, 12)
        np.testing.assert_allclose(losses, 0, atol=1e-5)
        assert losses.shape == (1, 12)


@pytest.mark.parametrize("candidates", [1, 12, 200])
def test_so_many_images_are_needed_that_one_sign_test_can_tell_the_best_apart(candidates):
    needed = images_needed(candidates)
    assert 2.0 ** (1 - needed) <= 0.05 / candidates < 2.0 ** (2 - needed)


def test_too_few_images_are_told_with_the_number_needed():
    with pytest.raises(UserError, match=r"^17 images cannot tell 12 candidates apart: .* 18"):
        renyi_jax.find_plan(tiny_model(), PIXELS[:17], candidates=12)


@pytest.mark.parametrize("images", [PIXELS[:, :8], PIXELS.astype(np.float32)])
def test_images_of_another_size_or_type_are_refused(images):
    with pytest.raises(UserError, match=r"expected uint8 pixels \[n, 16, 16, 3\]"):
        renyi_jax.find_plan(tiny_model(), images, candidates=12)


def test_a_space_that_cannot_spend_the_budget_is_refused():
    space = Space(reducers=("merge",), most_blocks=1)
    judge = Judge(tiny_model(), PIXELS, None, BATCH)
    with pytest.raises(UserError, match=r"nothing costs 0\.4 of the multiply-adds"):
        search(
            *(judge, tiny_spec(), space, share_budget(tiny_spec(), 0.4)),
            images=16,
            candidates=4,
        )


def test_the_page_and_the_results_hold_all_that_was_judged(found, tmp_path):
    folder = epath.Path(tmp_path)
    named = {"plan_a.json": found[0], "plan_b.json": found[0]}
    write_page(folder, named, tiny_model(), PIXELS, None, ["python", "-m", "renyi_jax.predict"])
    write_plans(folder, named, tiny_model())
    assert PruningConfig.load(tmp_path / "plan_b.json") == found[0].plan.pruning
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(results["judged"]) == 2 * len(found[0].judged)
    assert [plan["score"] for plan in results["plans"]] == [found[0].plan.score] * 2
    page = (tmp_path / "report" / "index.html").read_text()
    assert page.count('<article class="photo">') == 8
    assert page.count(f"--plan={folder / 'plan_a.json'}") == 1
    assert all(row["name"] in page for row in found[0].plan.rows)


def test_the_time_left_counts_programs_and_passes_that_were_not_found_in_the_store(monkeypatch):
    clock = iter([0.0, 100.0, 101.0, 200.0, 201.0])
    monkeypatch.setattr("renyi_jax.planning.search.time.monotonic", lambda: next(clock))
    forecast = Forecast(candidates=10, passes=1000)
    assert forecast() is None
    forecast.tell(Spent(passes=100, compiling=30.0, running=20.0), 5.0)
    assert forecast() == pytest.approx(5 * 6.0 + 900 * 0.2 - 1)
    forecast.tell(Spent(passes=400))
    assert forecast() == pytest.approx(5 * 6.0 + 500 * 0.2 - 1)


def test_the_passes_of_a_search_are_those_foreseen():
    ran = []
    judge = Judge(tiny_model(), PIXELS, None, BATCH)
    search(
        *(judge, tiny_spec(), SPACE, BUDGET),
        images=16,
        candidates=16,
        told=lambda spent, new: ran.append((spent.passes, new)),
    )
    done, new = map(sum, zip(*ran))
    assert done == passes(16, 16, 2) and new == pytest.approx(16)
