"""The entropies against scipy, mpmath and their own laws.

Each reference is written from the definition of the entropy, never from the formula under test.
"""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from renyi_jax.entropy import attention_entropy, renyi_entropy
from renyi_jax.errors import UserError

mpmath.mp.dps = 50

PATCHES = 6
ORDERS = (0.01, 0.3, 0.5, 0.9, 1 - 1e-4, 1 - 6e-8, 1, 1 + 1.2e-7, 1.001, 1.1, 2, 5, 100, np.inf)


def float32(low, high):
    return st.floats(np.float32(low), np.float32(high), width=32)


@st.composite
def attention_logits(draw, tokens=PATCHES):
    """Square logits, from almost flat to spread over +-1e4."""
    size = draw(st.sampled_from([1e-4, 1.0, 8.0, 100.0, 1e4]))
    logits = draw(arrays.arrays(np.float32, (tokens, tokens), elements=float32(-1, 1)))
    return (logits * np.float32(size)).astype(np.float32)


def from_exponent(exponent, sign):
    return float(np.float32(1 + sign * 10.0**exponent))


orders = st.one_of(
    st.builds(lambda e: float(np.float32(10.0**e)), st.floats(-2, 2)),
    st.builds(from_exponent, st.floats(-8, -1), st.sampled_from([-1, 1])),
    st.sampled_from([1.0, np.inf]),
)


def patch_entropy(logits, alpha, **options):
    """Every row as a patch: no prefix tokens."""
    return np.asarray(attention_entropy(jnp.asarray(logits), alpha, num_prefix=0, **options))


def mp_probs(logits):
    logits = [mpmath.mpf(float(s)) for s in logits if s > -np.inf]
    weights = [mpmath.exp(s - max(logits)) for s in logits]
    return [weight / mpmath.fsum(weights) for weight in weights]


def mp_entropy_of_probs(probs, alpha):
    if alpha == 1:
        return -mpmath.fsum(p * mpmath.log(p) for p in probs if p)
    if alpha == np.inf:
        return -mpmath.log(max(probs))
    alpha = mpmath.mpf(float(np.float32(alpha)))
    return mpmath.log(mpmath.fsum(p**alpha for p in probs)) / (1 - alpha)


def mp_entropy(logits, alpha):
    return mp_entropy_of_probs(mp_probs(logits), alpha)


def mp_derivative(function, at):
    step = mpmath.mpf(10) ** -15
    return float((function(at + step) - function(at - step)) / (2 * step))


def mp_gradient(logits, alpha):
    """dH / ds by differences in 50 digits."""

    def along(j):
        moved = [mpmath.mpf(float(s)) for s in logits]
        base = moved[j]

        def entropy(value):
            weights = [mpmath.exp(s if i != j else value) for i, s in enumerate(moved)]
            total = mpmath.fsum(weights)
            return mp_entropy_of_probs([weight / total for weight in weights], alpha)

        return mp_derivative(entropy, base)

    return [along(j) for j in range(len(logits))]


def some_logits(seed=0, shape=(PATCHES, PATCHES), scale=2.0):
    return np.random.default_rng(seed).normal(scale=scale, size=shape).astype(np.float32)


# The value


def test_order_one_is_the_shannon_entropy_of_scipy():
    logits = some_logits(shape=(3, 2, 20, 20))
    expected = scipy.stats.entropy(scipy.special.softmax(logits.astype(np.float64), -1), axis=-1)
    np.testing.assert_allclose(patch_entropy(logits, 1), expected, rtol=2e-6)


@given(attention_logits(), orders)
def test_every_order_agrees_with_the_definition_in_50_digits(logits, alpha):
    expected = [float(mp_entropy(row, alpha)) for row in logits]
    np.testing.assert_allclose(patch_entropy(logits, alpha), expected, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("alpha", ORDERS)
def test_every_order_is_right_on_the_196_patches_of_a_real_grid(alpha):
    logits = np.stack([some_logits(i, (196,), scale) for i, scale in enumerate((0.1, 1, 5, 30))])
    entropies = patch_entropy(np.tile(logits, (49, 1)), alpha)[:4]
    expected = [float(mp_entropy(row, alpha)) for row in logits]
    np.testing.assert_allclose(entropies, expected, rtol=2e-6)


@pytest.mark.parametrize("alpha", ORDERS)
@pytest.mark.parametrize("lead", [14, 17, 25, 60])
def test_a_peaked_row_keeps_its_digits_down_to_tiny_entropies(lead, alpha):
    logits = some_logits(scale=0.5)
    logits[:, 2] += lead
    expected = [float(mp_entropy(row, alpha)) for row in logits]
    np.testing.assert_allclose(patch_entropy(logits, alpha), expected, rtol=1e-5)


@pytest.mark.parametrize("exponent", range(-8, 0))
@pytest.mark.parametrize("sign", [-1, 1])
def test_no_digits_are_lost_beside_one(exponent, sign):
    alpha = 1 + sign * 10.0**exponent  # the reference takes the order before float32 rounds it
    logits = np.concatenate([some_logits(), 5 * some_logits(1)], axis=1)[:, :PATCHES]
    exact = mpmath.mpf(alpha)
    expected = []
    for row in logits:
        powers = mpmath.fsum(p**exact for p in mp_probs(row))
        expected.append(float(mpmath.log(powers) / (1 - exact)))
    np.testing.assert_allclose(patch_entropy(logits, alpha), expected, rtol=1e-5)


@pytest.mark.parametrize("alpha", ORDERS)
def test_equal_logits_have_the_entropy_log_n_of_every_order(alpha):
    for level in (0.0, 1e4, -1e4):
        entropies = patch_entropy(np.full((50, 50), level, np.float32), alpha)
        np.testing.assert_allclose(entropies, np.log(50), rtol=1e-6)


@pytest.mark.parametrize("alpha", ORDERS)
def test_tied_maxima_share_the_row(alpha):
    logits = np.full((PATCHES, PATCHES), -1e4, np.float32)
    logits[:, :3] = 1e4
    np.testing.assert_allclose(patch_entropy(logits, alpha), np.log(3), rtol=1e-6)


@given(attention_logits(), orders)
def test_the_entropy_lies_between_zero_and_log_n(logits, alpha):
    entropies = patch_entropy(logits, alpha)
    assert (entropies >= 0).all()
    assert (entropies <= np.log(PATCHES) * (1 + 1e-6)).all()


@given(attention_logits(), st.lists(orders, min_size=2, max_size=2).map(sorted))
def test_the_entropy_never_rises_with_the_order(logits, pair):
    low, high = pair
    assert (patch_entropy(logits, high) <= patch_entropy(logits, low) * (1 + 1e-5) + 1e-30).all()


@given(attention_logits(), orders, st.permutations(range(PATCHES)))
def test_reordered_patches_have_reordered_entropies(logits, alpha, order):
    reordered = patch_entropy(logits[order][:, order], alpha)
    np.testing.assert_allclose(reordered, patch_entropy(logits, alpha)[order], rtol=1e-6)


@given(attention_logits(), orders, st.integers(-1000, 1000))
def test_a_constant_added_to_a_row_changes_nothing(logits, alpha, shift):
    logits = np.round(logits * 8) / 8  # so that adding the constant rounds nothing
    np.testing.assert_array_equal(
        patch_entropy(logits + np.float32(shift), alpha), patch_entropy(logits, alpha)
    )


@pytest.mark.parametrize("direction", [0, np.inf])
def test_the_entropy_is_continuous_at_order_one(direction):
    beside = np.nextafter(np.float32(1), np.float32(direction))
    logits = some_logits(scale=5)
    np.testing.assert_allclose(patch_entropy(logits, beside), patch_entropy(logits, 1), rtol=1e-6)


def test_large_orders_tend_to_the_min_entropy():
    logits = some_logits()
    min_entropy = -np.log(scipy.special.softmax(logits.astype(np.float64), -1).max(-1))
    np.testing.assert_allclose(patch_entropy(logits, np.inf), min_entropy, rtol=1e-6)
    for alpha in (1e6, 1e10, 1e13, 1e30):
        np.testing.assert_allclose(patch_entropy(logits, alpha), min_entropy, rtol=2e-6)


def test_small_orders_tend_to_the_log_of_the_number_of_keys():
    np.testing.assert_allclose(patch_entropy(some_logits(), 1e-6), np.log(PATCHES), rtol=1e-5)


@pytest.mark.parametrize("alpha", [0.2, 0.7, 1.5, 2, 8])
def test_two_logsumexps_give_the_entropy(alpha):
    logits = some_logits()
    s = logits.astype(np.float64)
    alpha = float(np.float32(alpha))
    identity = scipy.special.logsumexp(alpha * s, axis=-1)
    identity -= alpha * scipy.special.logsumexp(s, axis=-1)
    np.testing.assert_allclose(patch_entropy(logits, alpha), identity / (1 - alpha), rtol=2e-6)


@pytest.mark.parametrize("alpha", ORDERS)
def test_probabilities_and_their_logits_have_the_same_entropy(alpha):
    logits = jnp.asarray(some_logits(shape=(2, 9, 9)))
    expected = attention_entropy(logits, alpha, num_prefix=0)
    probs = jax.nn.softmax(logits, axis=-1)
    np.testing.assert_allclose(renyi_entropy(probs, alpha), expected, rtol=2e-5)
    turned = jnp.moveaxis(probs, -1, 0)
    np.testing.assert_allclose(renyi_entropy(turned, alpha, axis=0), expected, rtol=2e-5)


@pytest.mark.parametrize("alpha", ORDERS)
def test_a_certain_outcome_has_no_entropy_and_zeros_count_for_nothing(alpha):
    assert renyi_entropy(jnp.asarray([0.0, 1.0, 0.0]), alpha) == 0
    sparse = renyi_entropy(jnp.asarray([0.5, 0.0, 0.3, 0.2]), alpha)
    dense = renyi_entropy(jnp.asarray([0.5, 0.3, 0.2]), alpha)
    np.testing.assert_allclose(sparse, dense, rtol=1e-6)


def test_bfloat16_logits_are_computed_in_float32():
    logits = jnp.asarray(some_logits(), jnp.bfloat16)
    entropies = attention_entropy(logits, 2.0)
    assert entropies.dtype == jnp.float32
    np.testing.assert_array_equal(entropies, attention_entropy(logits.astype(jnp.float32), 2.0))
    assert renyi_entropy(jnp.ones(4, jnp.bfloat16) / 4, 2.0).dtype == jnp.float32


# Prefix tokens and masks


@pytest.mark.parametrize("num_prefix", [1, 2, 5])
def test_prefix_tokens_neither_ask_nor_answer(num_prefix):
    logits = some_logits(shape=(2, 3, 9, 9))
    entropies = attention_entropy(jnp.asarray(logits), 2.0, num_prefix)
    patches = logits[..., num_prefix:, num_prefix:]
    np.testing.assert_array_equal(entropies, patch_entropy(patches, 2.0))


@pytest.mark.parametrize("alpha", [0.5, 1, 3, np.inf])
def test_without_normalisation_the_bare_attention_is_used(alpha):
    logits = some_logits(shape=(8, 8))
    p = scipy.special.softmax(logits.astype(np.float64), axis=-1)[2:, 2:]
    if alpha == 1:
        expected = -np.sum(p * np.log(p), axis=-1)
    elif alpha == np.inf:
        expected = -np.log(p.max(-1))
    else:
        expected = np.log(np.sum(p**alpha, axis=-1)) / (1 - alpha)
    entropies = attention_entropy(jnp.asarray(logits), alpha, num_prefix=2, normalize=False)
    np.testing.assert_allclose(entropies, expected, rtol=1e-5)


@pytest.mark.parametrize("alpha", ORDERS)
def test_a_masked_key_counts_for_nothing(alpha):
    logits = some_logits()
    kept = [0, 2, 3, 5]
    masked = np.full_like(logits, -np.inf)
    masked[:, kept] = logits[:, kept]
    expected = [float(mp_entropy(row, alpha)) for row in logits[:, kept]]
    np.testing.assert_allclose(patch_entropy(masked, alpha), expected, rtol=1e-5)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("alpha", ORDERS)
def test_a_fully_masked_row_has_zero_entropy_and_zero_gradients(alpha, normalize):
    logits = some_logits()
    logits[2, 1:] = -np.inf

    def entropy(logits, alpha):
        return attention_entropy(logits, alpha, normalize=normalize)[1]

    arguments = jnp.asarray(logits), jnp.float32(alpha)
    assert entropy(*arguments) == 0
    by_logits, by_alpha = jax.grad(entropy, argnums=(0, 1))(*arguments)
    np.testing.assert_array_equal(by_logits, 0)
    assert by_alpha == 0


# Gradients


@pytest.mark.parametrize("alpha", [a for a in ORDERS if a != np.inf])
def test_the_gradient_agrees_with_finite_differences(alpha):
    logits = some_logits()
    gradient = jax.grad(lambda s: attention_entropy(s, alpha, num_prefix=0).sum())(logits)
    expected = [mp_gradient(row, alpha) for row in logits]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=2e-6)


@given(attention_logits(), orders.filter(np.isfinite))
def test_the_gradient_is_the_closed_form(logits, alpha):
    gradient = jax.grad(lambda s: attention_entropy(s, alpha, num_prefix=0).sum())(logits)
    for row, slope in zip(logits, gradient):
        a = mp_probs(row)
        if alpha == 1:
            entropy = mp_entropy_of_probs(a, 1)
            expected = [-p * (mpmath.log(p) + entropy) for p in a]
        else:
            order = mpmath.mpf(alpha)
            powers = [p**order for p in a]
            w = [power / mpmath.fsum(powers) for power in powers]
            expected = [order / (1 - order) * (wj - aj) for wj, aj in zip(w, a)]
        np.testing.assert_allclose(slope, [float(e) for e in expected], rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("ties", [1, 2, 3])
def test_tied_maxima_share_the_gradient_of_the_min_entropy(ties):
    row = some_logits(shape=(PATCHES,))
    row[:ties] = 5
    gradient = jax.grad(lambda s: renyi_entropy(jax.nn.softmax(s), np.inf))(row)
    expected = scipy.special.softmax(row.astype(np.float64)) - (row == 5) / ties
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alpha", [a for a in ORDERS if a not in (1, np.inf)])
def test_the_gradient_in_the_order_agrees_with_finite_differences(alpha):
    logits = some_logits()

    def entropy(alpha):
        return attention_entropy(logits, alpha, num_prefix=0)

    order = np.float32(alpha)

    def exact(row):
        probs = mp_probs(row)
        return lambda a: mpmath.log(mpmath.fsum(p**a for p in probs)) / (1 - a)

    expected = [mp_derivative(exact(row), mpmath.mpf(float(order))) for row in logits]
    np.testing.assert_allclose(jax.jacrev(entropy)(order), expected, rtol=2e-5)


def test_the_gradient_in_the_order_is_minus_half_the_variance_at_one_and_zero_at_infinity():
    logits = some_logits()
    by_order = jax.jacfwd(lambda alpha: attention_entropy(logits, alpha, num_prefix=0))
    a = scipy.special.softmax(logits.astype(np.float64), axis=-1)
    mean = np.sum(a * np.log(a), axis=-1, keepdims=True)
    variance = np.sum(a * (np.log(a) - mean) ** 2, axis=-1)
    np.testing.assert_allclose(by_order(jnp.float32(1)), -variance / 2, rtol=1e-5)
    np.testing.assert_allclose(by_order(jnp.float32(np.inf)), 0, atol=1e-12)


@pytest.mark.parametrize("alpha", [2, 30, 1e6])
@pytest.mark.parametrize("drop", [0.01, 1])
def test_a_near_tie_of_4096_patches_costs_no_digits(drop, alpha):
    row = -np.linspace(drop / 2, drop, 4096, dtype=np.float32)
    row[0] = 0
    s = row.astype(np.float64)
    a, w = scipy.special.softmax(s), scipy.special.softmax(alpha * s)
    entropy = (scipy.special.logsumexp(alpha * s) - alpha * scipy.special.logsumexp(s)) / (
        1 - alpha
    )
    value, gradient = jax.value_and_grad(lambda s: renyi_entropy(jnp.exp(s), alpha))(row)
    np.testing.assert_allclose(value, entropy, rtol=2e-6)
    np.testing.assert_allclose(gradient, alpha / (1 - alpha) * (w - a), rtol=2e-5, atol=1e-6)


@given(
    attention_logits(),
    orders,
    arrays.arrays(bool, (PATCHES, PATCHES)),
    st.booleans(),
)
def test_every_gradient_is_finite_whatever_is_masked(logits, alpha, mask, normalize):
    logits = jnp.where(mask, -jnp.inf, logits)

    def total(logits, alpha):
        return attention_entropy(logits, alpha, normalize=normalize).sum()

    by_logits, by_alpha = jax.grad(total, argnums=(0, 1))(logits, jnp.float32(alpha))
    assert np.isfinite(by_logits).all()
    assert np.isfinite(by_alpha)
    np.testing.assert_array_equal(np.asarray(by_logits)[mask], 0)


@pytest.mark.parametrize("alpha", ORDERS)
def test_the_gradient_in_probabilities_is_finite_where_some_are_zero(alpha):
    gradient = jax.grad(renyi_entropy)(jnp.asarray([0.6, 0.0, 0.4]), alpha)
    assert np.isfinite(gradient).all()
    assert gradient[1] == 0


@pytest.mark.parametrize("alpha", [0.5, 1, 2])
def test_second_derivatives_agree_with_differences_of_the_first(alpha):
    row = some_logits(shape=(4,))

    def gradient(row):
        logits = jnp.broadcast_to(row, (4, 4))
        return jax.grad(lambda s: attention_entropy(s, alpha, num_prefix=0)[0])(logits)[0]

    steps = 1e-2 * jnp.eye(4)
    differences = [(gradient(row + step) - gradient(row - step)) / 2e-2 for step in steps]
    np.testing.assert_allclose(jax.jacfwd(gradient)(row), np.array(differences).T, atol=2e-4)


# Under JAX's transformations


def test_orders_and_logits_can_be_mapped_together():
    logits = jnp.asarray(some_logits(shape=(len(ORDERS), 7, 7)))
    alphas = jnp.asarray(ORDERS, jnp.float32)

    def gradient(logits, alpha):
        return jax.grad(lambda s: attention_entropy(s, alpha).sum())(logits)

    for function in (attention_entropy, gradient):
        mapped = jax.jit(jax.vmap(function))(logits, alphas)
        one_by_one = jnp.stack([function(s, a) for s, a in zip(logits, alphas)])
        np.testing.assert_allclose(mapped, one_by_one, rtol=1e-5, atol=1e-6)


def test_rematerialisation_changes_no_gradient():
    logits = jnp.asarray(some_logits())

    def total(s):
        return attention_entropy(s, 2.0).sum()

    np.testing.assert_allclose(
        jax.grad(jax.checkpoint(total))(logits), jax.grad(total)(logits), rtol=1e-6
    )


def test_five_orders_compile_once(count_compilations):
    logits = jnp.asarray(some_logits(shape=(11, 11)))
    probs = jax.nn.softmax(logits)
    with count_compilations() as compiled:
        for alpha in (0.5, 1, 2.0, np.float32(4), np.inf):
            attention_entropy(logits, alpha)
            renyi_entropy(probs, alpha)
    assert sorted(compiled) == ["jit(_entropy_of_attention)", "jit(_entropy_of_probs)"]


# Mistakes


@pytest.mark.parametrize("alpha", [0, -1.0, np.nan, -np.inf, jnp.float32(0)])
def test_an_order_outside_its_range_is_refused(alpha):
    for entropy in (attention_entropy, renyi_entropy):
        with pytest.raises(UserError, match=r"must lie in \(0, inf\], got"):
            entropy(jnp.ones((3, 3)), alpha)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_several_orders_at_once_are_refused(wrap):
    with pytest.raises(UserError, match=r"one number, got an array of shape \(2,\)"):
        wrap(attention_entropy)(jnp.ones((3, 3)), jnp.ones(2))


@pytest.mark.parametrize("alpha", [0.0, -1.0, np.nan])
def test_an_order_outside_its_range_that_comes_traced_gives_nan(alpha):
    assert np.isnan(jax.jit(attention_entropy)(jnp.ones((3, 3)), jnp.float32(alpha))).all()


@pytest.mark.parametrize("num_prefix", [-1, 3, 4])
def test_a_prefix_that_leaves_no_patch_is_refused(num_prefix):
    with pytest.raises(UserError, match="expected 0 to 2, got"):
        attention_entropy(jnp.ones((3, 3)), 2.0, num_prefix)


@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.5, 1.0, 2.0])
def test_subnormal_probabilities_count_as_what_they_are(alpha):
    probs = np.array([1e-40, 3e-42, 1.4e-45, 0.25, 0.75], np.float32)
    exact = probs.astype(np.float64) / probs.astype(np.float64).sum()
    expected = scipy.stats.entropy(exact) if alpha == 1 else np.log((exact**alpha).sum())
    expected = expected if alpha == 1 else expected / (1 - alpha)
    np.testing.assert_allclose(renyi_entropy(probs, alpha), expected, rtol=1e-5)


@pytest.mark.parametrize("alpha", ORDERS)
def test_what_is_no_distribution_has_no_plausible_entropy(alpha):
    rows = np.array([[0.5, 0.5, np.nan], [-0.1, 0.6, 0.5], [0, 0, 0], [np.inf, 0, 1]], np.float32)
    with np.errstate(invalid="ignore"):
        expected = scipy.stats.entropy(rows, axis=1)
    np.testing.assert_array_equal(renyi_entropy(rows, alpha), expected)
