"""The rows of results.json against a slow evaluation of the same images."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import tiny_dataset, tiny_model, tiny_spec

from renyi_jax import flops
from renyi_jax.config import default_config
from renyi_jax.errors import UserError
from renyi_jax.evaluation.judging import judge
from renyi_jax.evaluation.programs import Programs
from renyi_jax.evaluation.run import run_evaluations
from renyi_jax.models import normalize_images
from renyi_jax.models.flops import count_flops
from renyi_jax.pruning import MASKED, PruningConfig

TRAINED = PruningConfig(blocks=(1, 2))
SPEC = tiny_spec(depth=2)
DATASET = tiny_dataset(23)


def config_with(**evaluate):
    config = default_config()
    config.evaluate.batch_size = 8  # leaves one place of the third batch to fill up
    for name, value in evaluate.items():
        config.evaluate[name] = value
    return config


def evaluate(dataset=DATASET, trained=TRAINED, **fields):
    model = tiny_model(trained, SPEC)
    return run_evaluations(model, dataset, config_with(**fields))


@pytest.fixture(scope="module")
def rows():
    return evaluate(keep_rates=(1.0, 0.5), alphas=(2.0, 0.5), criteria=("renyi", "random"))


def slow_evaluation(pruning):
    """Image by image: top-1, top-5, and the share of the patches left that lie on the object."""
    model = tiny_model(pruning, SPEC)
    forward = jax.jit(lambda images: model(images, return_trace=True))
    top1, top5, left, on_object = 0, 0, 0, 0
    for index in range(len(DATASET.test)):
        example = DATASET.test[index]
        images = normalize_images(jnp.asarray(example["image"][None]), SPEC.mean, SPEC.std)
        logits, trace = forward(images)
        ranked = np.argsort(-np.asarray(logits[0])).tolist()
        top1 += ranked[0] == example["label"]
        top5 += example["label"] in ranked[:5]
        for position in trace[-1].kept[0].tolist() if trace else range(16):
            row, column = divmod(position, 4)
            patch = example["object_mask"][4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            left, on_object = left + 1, on_object + bool(patch.any())
    number = len(DATASET.test)
    return {"top1": top1 / number, "top5": top5 / number, "kept_on_object": on_object / left}


@pytest.mark.parametrize(
    "index, pruning",
    [(0, TRAINED), (1, None), (3, PruningConfig(alpha=0.5, keep_rate=0.5, blocks=(1, 2)))],
    ids=["as trained", "keep rate 1", "another keep rate and order"],
)
def test_a_row_counts_every_test_image_exactly_once(rows, index, pruning):
    row = rows[index]
    expected = slow_evaluation(pruning)
    assert row["num_examples"] == 23
    assert {name: row[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert row["gmacs"] == flops(tiny_model(pruning, SPEC)) / 1e9


def test_the_rows_are_json_in_the_order_of_the_sweep(rows):
    named = [(row["criterion"], row["alpha"], row["keep_rate"]) for row in rows]
    assert named == [
        ("renyi", 2.0, 0.7),
        ("none", None, 1.0),
        ("renyi", 2.0, 0.5),
        ("renyi", 0.5, 0.5),
        ("random", None, 0.5),
    ]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    fields = {
        *("criterion", "reducer", "alpha", "keep_rate", "keep_mass", "r", "blocks"),
        *("normalize", "heads", "prefix_keys", "reverse"),
        *("top1", "top5", "num_examples", "nll", "agreement", "mean_kept", "kept_on_object"),
        *("gmacs", "gmacs_padded", "images_per_second", "speedup", "peak_memory"),
        *("num_runs", "top1_interval", "top1_std", "trained"),
        *("difference", "difference_interval", "p_value", "p_corrected", "real"),
    }
    assert all(set(row) == fields for row in rows)


def test_throughput_is_measured_and_shared_by_rows_that_differ_in_alpha_alone(rows):
    assert all(row["images_per_second"] > 0 for row in rows)
    assert rows[2]["images_per_second"] == rows[3]["images_per_second"]
    assert len({row["images_per_second"] for row in rows}) == 4


def test_a_sweep_over_five_alphas_compiles_once(count_compilations):
    with count_compilations() as compiled:
        rows = evaluate(alphas=(0.5, 1.0, 2.0, 4.0, float("inf")))
    assert len(rows) == 5 + 1
    assert compiled.count("jit(evaluate)") == 1 + 1  # and the unpruned model


def test_a_program_runs_on_other_weights_without_being_compiled_again(count_compilations):
    programs = Programs(tiny_model(TRAINED, SPEC), {"data": 1, "fsdp": 1, "tensor": 1})
    with count_compilations() as compiled:
        predicted = [
            judge(
                tiny_model(None, SPEC, seed), DATASET, config_with(), [TRAINED], 0, None, programs
            )
            for seed in (0, 1)
        ]
    assert compiled.count("jit(evaluate)") == 1
    assert predicted[0][0].predicted.tolist() != predicted[1][0].predicted.tolist()


@pytest.mark.parametrize("reducer", ["drop", "fuse"])
def test_adaptive_counts_are_told_by_their_mean_and_by_each_images_own_multiply_adds(reducer):
    adaptive = PruningConfig(blocks=(1, 2), keep_mass=0.5, reducer=reducer)
    row, _ = evaluate(trained=adaptive)
    model = tiny_model(adaptive, SPEC)
    images = np.stack([DATASET.test[index]["image"] for index in range(len(DATASET.test))])
    images = normalize_images(jnp.asarray(images), SPEC.mean, SPEC.std)
    _, trace = jax.jit(lambda images: model(images, return_trace=True))(images)
    kept = np.stack([np.sum(np.asarray(stage.kept) >= 0, axis=1) for stage in trace], axis=1)
    assert len(np.unique(kept, axis=0)) > 1
    assert row["mean_kept"] == kept.mean(axis=0).tolist()
    tokens = np.stack([np.sum(np.asarray(stage.kept) != MASKED, axis=1) for stage in trace], axis=1)
    each = [count_flops(SPEC, adaptive, counts) for counts in tokens.tolist()]
    assert row["gmacs"] == pytest.approx(np.mean(each) / 1e9, rel=1e-12)
    assert row["gmacs"] < row["gmacs_padded"] == flops(model) / 1e9


def test_the_model_is_left_as_it_was():
    model = tiny_model(TRAINED, SPEC)
    before = jax.tree.map(np.asarray, nnx.split(model)[1])
    run_evaluations(model, DATASET, config_with())
    assert model.pruning == TRAINED
    jax.tree.map(np.testing.assert_array_equal, nnx.split(model)[1], before)


def test_without_object_masks_no_share_on_the_object_is_told():
    row, _ = evaluate(tiny_dataset(3, masks=False))
    assert row["num_examples"] == 3 and "kept_on_object" not in row


def test_an_empty_test_split_is_refused_in_words():
    with pytest.raises(UserError, match=r"test split of noise is empty"):
        evaluate(tiny_dataset(0))
