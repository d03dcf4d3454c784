"""The pruned forward pass against the slow numpy version in tests/reference.py."""

import dataclasses
import math
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from flax import nnx
from tiny import PARTS, tiny_model, tiny_spec

from renyi_jax.entropy import attention_entropy
from renyi_jax.errors import UserError
from renyi_jax.pruning import CRITERIA, FUSED, REDUCERS, PruningConfig

IMAGES = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)


# Every criterion, one in each of three pruned blocks: to compile is what takes the time.
SCORED = [name for name, row in REDUCERS.items() if row.own_criterion is None]
THREES = [(*CRITERIA, *CRITERIA)[first : first + 3] for first in range(0, len(CRITERIA), 3)]


def pruned(**fields) -> PruningConfig:
    return PruningConfig(**{"blocks": (1, 2, 3), "keep_rate": 0.7, **fields})


def stages_of(pruning: PruningConfig, alphas: np.ndarray) -> list[reference.Stage]:
    stages = []
    for stage, alpha in zip(pruning.stages, alphas.tolist()):
        fields = {name: getattr(stage, name) for name in reference.Stage._fields}
        fields |= {"alpha": alpha, "keep_rate": str(stage.keep_rate)}
        stages.append(reference.Stage(**fields))
    return stages


def compiled(model):
    """`(images, alpha, key) -> logits, trace`."""

    def forward(images, alpha, key):
        rngs = None if key is None else nnx.Rngs(pruning=key)
        return model(images, alpha, return_trace=True, rngs=rngs)

    return jax.jit(forward)


def check(
    pruning: PruningConfig, spec=None, alphas=(2.0,), key=None, random_scores=None, images=IMAGES
):
    spec = spec or tiny_spec()
    images = images[:, : spec.image_size[0], : spec.image_size[1]]
    model = tiny_model(pruning, spec)
    forward = compiled(model)
    for alpha in alphas:
        alpha = np.broadcast_to(np.float32(alpha), 3)
        logits, trace = forward(images, alpha, key)
        expected = reference.forward(
            reference.weights_of(model),
            images,
            spec=spec,
            stages=stages_of(pruning, alpha),
            random_scores=random_scores,
        )
        assert len(trace) == len(pruning.blocks)
        for stage, scores, kept in zip(trace, expected.scores, expected.kept):
            np.testing.assert_allclose(stage.scores, scores, rtol=2e-4, atol=2e-5)
            np.testing.assert_array_equal(stage.kept, kept)
        np.testing.assert_allclose(logits, expected.logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("reducer", SCORED)
@pytest.mark.parametrize("criteria", THREES, ids="-".join)
def test_every_criterion_and_reducer_prunes_as_the_plain_version(criteria, reducer):
    key = jax.random.key(5)
    drawn_from = nnx.Rngs(pruning=key).pruning()  # no other criterion draws from the stream

    patches = tiny_spec().num_patches

    def random_scores(size):
        return jax.random.uniform(drawn_from, (len(IMAGES), patches))[:, :size]

    check(pruned(criterion=criteria, reducer=reducer), key=key, random_scores=random_scores)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("heads", ["mean", "average_first"])
def test_every_order_normalisation_and_averaging_prunes_as_the_plain_version(heads, normalize):
    check(
        pruned(criterion=("renyi", "column_norm", "renyi"), heads=heads, normalize=normalize),
        alphas=[0.3, 1.0, 4.0, math.inf, (0.5, 1.0, 8.0), (math.inf, 2.0, 0.1)],
    )


@pytest.mark.parametrize("heads", ["mean", "average_first"])
def test_entropies_with_prefix_keys_and_reversed_rankings_prune_as_the_plain_version(heads):
    criteria = ("renyi", "min_entropy", "cls_attention")
    fields = {"criterion": criteria, "heads": heads, "prefix_keys": True, "reverse": True}
    check(pruned(**fields), tiny_spec(distilled=True), alphas=[0.5, 1.0])


def test_a_criterion_and_a_keep_rate_for_each_block_prune_as_the_plain_version():
    criteria = ("shannon", "cls_attention", "renyi")
    check(pruned(criterion=criteria, keep_rate=(0.9, 0.55, 1.0), reducer="fuse"))


@pytest.mark.parametrize(
    "changes",
    [
        {"distilled": True},
        {"num_registers": 2, "layer_scale": 0.1, "prefix_embedded": False},
        {"image_size": (8, 16), "num_heads": 4},
    ],
    ids=["distilled", "registers", "non-square"],
)
def test_every_kind_of_model_is_pruned_as_the_plain_version(changes):
    check(pruned(criterion=("renyi", "received_attention", "cls_attention")), tiny_spec(**changes))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    "fields",
    [{"reducer": "fuse", "keep_mass": (1.0, 0.7, 0.7)}, {"reducer": ("merge", "fuse", "drop")}],
    ids=["adaptive", "merged"],
)
def test_models_of_every_part_are_pruned_as_the_plain_version(part, fields):
    spec = tiny_spec(**PARTS[part])
    images = np.random.default_rng(1).normal(size=(2, *spec.image_size, 3)).astype(np.float32)
    check(pruned(**fields), spec, images=images)


@pytest.mark.parametrize("criterion", ["cls_attention", "head_variance", "head_mad"])
def test_what_reads_the_class_token_is_refused_where_there_is_none(criterion):
    spec = tiny_spec(class_token=False, pool="mean")
    with pytest.raises(UserError, match=rf"{criterion}.*the model has none; choose renyi.* random"):
        tiny_model(pruned(criterion=("renyi", criterion, "renyi")), spec)


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ({"keep_rate": (0.8, 0.5, 0.7)}, {}),
        ({"r": 5}, {"distilled": True}),
        ({"r": (3, 0, 100)}, {"num_registers": 2}),
    ],
    ids=["keep rates", "one r", "an r for each block, of which one is beyond half"],
)
def test_merging_matches_and_averages_as_the_plain_version(fields, changes):
    check(pruned(reducer="merge", **fields), tiny_spec(**changes))


@pytest.mark.parametrize("reducer", SCORED)
@pytest.mark.parametrize("keep_mass", [0.5, (0.9, 0.6, 1.0)], ids=str)
def test_adaptive_keep_counts_mask_as_the_plain_version(keep_mass, reducer):
    criteria = ("renyi", "shannon", "cls_attention") if isinstance(keep_mass, tuple) else "renyi"
    fields = {"criterion": criteria, "keep_mass": keep_mass, "reducer": reducer}
    check(pruned(**fields, keep_rate=(0.8, 1.0, 0.8)), alphas=[1.0, 4.0])


def test_an_image_counts_for_itself_alone_under_adaptive_keep_counts():
    """The masked places are no part of it: fewer of them give the same logits."""
    tight, loose = (
        tiny_model(pruned(keep_mass=0.3, keep_rate=(rate, 1.0, 1.0))) for rate in (0.7, 1.0)
    )
    logits, trace = compiled(loose)(IMAGES, 2.0, None)
    needed = [(np.asarray(stage.kept) >= 0).sum(axis=1) for stage in trace]
    assert all((counts >= 1).all() for counts in needed) and (needed[0] < 12).all()
    np.testing.assert_allclose(compiled(tight)(IMAGES, 2.0, None)[0], logits, atol=1e-5)


def test_merging_nothing_is_bitwise_the_plain_model():
    plain = tiny_model()
    expected = jax.jit(lambda images: plain(images))(jnp.asarray(IMAGES))
    whole = plain.with_pruning(pruned(reducer="merge", r=0))
    np.testing.assert_array_equal(jax.jit(lambda images: whole(images))(IMAGES), expected)


def test_a_model_of_one_head_has_no_spread_over_heads():
    with pytest.raises(ValueError, match=r"head_mad.*compares heads"):
        tiny_model(pruned(criterion="head_mad"), tiny_spec(num_heads=1))


@pytest.mark.parametrize("reducer", SCORED)
def test_keep_rate_one_is_the_plain_model_to_rounding(reducer):
    plain = tiny_model()
    criteria = ("renyi", "column_norm", "cls_attention")
    whole = plain.with_pruning(pruned(criterion=criteria, reducer=reducer, keep_rate=1.0))
    actual, expected = (jax.jit(lambda x, m=model: m(x))(IMAGES) for model in (whole, plain))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=2e-6)


def test_the_trace_keeps_ascending_positions_of_the_original_grid_through_three_stages():
    spec = tiny_spec(image_size=(56, 56))
    images = np.random.default_rng(0).normal(size=(2, 56, 56, 3)).astype(np.float32)
    _, trace = compiled(tiny_model(pruned(), spec))(images, 2.0, None)
    assert [stage.scores.shape[1] for stage in trace] == [196, 138, 97]
    assert [stage.kept.shape[1] for stage in trace] == [138, 97, 68]
    entered = np.broadcast_to(np.arange(196), (2, 196))
    for stage in trace:
        kept = np.asarray(stage.kept)
        assert np.all(np.diff(kept, axis=1) > 0)
        for image in range(2):
            chosen = np.isin(entered[image], kept[image])
            assert chosen.sum() == kept.shape[1]
            scores = np.asarray(stage.scores[image])
            assert scores[chosen].min() >= scores[~chosen].max()
        entered = kept


def test_the_attention_that_is_read_of_a_pruned_block_is_the_one_that_scored_its_patches():
    model = tiny_model(pruned())
    images = jnp.asarray(IMAGES)

    def read(number, logits):
        return attention_entropy(logits, 2.0).mean(axis=1), jnp.int32(number)

    logits, trace = jax.jit(lambda x: model(x, 2.0, return_trace=True))(images)
    same_logits, readings = jax.jit(lambda x: model.read_attention(x, read, 2.0))(images)
    np.testing.assert_allclose(logits, same_logits, rtol=1e-5, atol=2e-6)
    assert [int(number) for _, number in readings] == [1, 2, 3]
    for stage, (entropies, _) in zip(trace, readings, strict=True):
        np.testing.assert_allclose(stage.scores, -entropies, rtol=1e-5, atol=1e-6)


def test_a_sweep_over_five_orders_compiles_once(count_compilations):
    forward = compiled(tiny_model(pruned()))
    with count_compilations() as names:
        traces = [
            forward(IMAGES, np.float32(alpha), None)[1] for alpha in (0.5, 1.0, 2.0, 4.0, np.inf)
        ]
        jax.block_until_ready(traces)
    assert len(names) == 1
    assert len({stage[0].scores.tobytes() for stage in jax.device_get(traces)}) == 5


def test_another_pruning_shares_the_weights():
    model = tiny_model()
    other = model.with_pruning(pruned())
    assert model.pruning is None and other.pruning == pruned()
    for mine, theirs in zip(*(jax.tree.leaves(nnx.split(each)[1]) for each in (model, other))):
        assert mine is theirs


def test_a_block_beyond_the_last_is_refused_by_name():
    with pytest.raises(ValueError, match=r"block 4 is beyond the last.*3 blocks"):
        tiny_model(dataclasses.replace(pruned(), blocks=(2, 4), alpha=2.0))


@pytest.mark.parametrize("criterion", [("renyi", "column_norm", "sharp_received"), "renyi"])
def test_an_order_that_is_none_is_refused_or_makes_nan_of_the_outputs_and_never_a_choice(criterion):
    model = tiny_model(pruned(criterion=criterion))
    for alpha in (0, -1, math.nan, (2.0, 2.0, 0.0)):
        with pytest.raises(UserError, match="alpha"):
            model(jnp.asarray(IMAGES), alpha)
    forward = compiled(model)
    for alpha in (0.0, -1.0, math.nan):
        logits, trace = forward(IMAGES, np.float32(alpha), None)
        assert np.isnan(logits).all()
        for stage in trace:
            kept = np.asarray(stage.kept)
            assert (np.diff(kept, axis=1) > 0).all() and (kept >= 0).all()


def test_reducers_may_change_from_block_to_block():
    """Merged tokens keep their sizes when others are dropped, and fused tokens join them."""
    model = tiny_model(pruned(reducer=("merge", "drop", "fuse")))
    logits, trace = compiled(model)(IMAGES, 2.0, None)
    assert [stage.kept.shape[1] for stage in trace] == [12, 9, 8]
    assert (np.asarray(trace[2].kept)[:, -1] == FUSED).all() and np.isfinite(logits).all()


@pytest.mark.parametrize("reducer", REDUCERS)
def test_no_images_give_no_outputs(reducer):
    model = tiny_model(pruned(reducer=reducer))
    assert model(jnp.zeros((0, 16, 16, 3))).shape == (0, 10)


SHAPES = """
import jax.numpy as jnp
from flax import nnx
from renyi_jax import create_model

model = nnx.eval_shape(lambda: create_model("vit_nano_patch4_56", rngs=nnx.Rngs(0)))
for shape in ((2, 3, 56, 56), (2, 56, 56, 1), (2, 56, 56, 4), (56, 56, 3), (2, 28, 56, 3)):
    try:
        model(jnp.zeros(shape))
    except ValueError as error:
        print(error)
"""


def test_arrays_that_are_no_batch_of_images_are_refused_with_what_to_do():
    """In a process of its own, where no shapes are checked before."""
    done = subprocess.run([sys.executable, "-c", SHAPES], capture_output=True, text=True)
    first, grey, alpha, single, small = done.stdout.splitlines()
    assert "channels last, jnp.moveaxis(images, 1, -1)" in first
    assert "three times" in grey
    assert "expected [batch, height, width, 3]" in alpha
    assert "no batch of images" in single
    assert "built for 56 x 56" in small
