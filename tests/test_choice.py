"""From scores to a penalty, checked against the rules in plain Python."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxridge
from jaxridge import Choice, Scores, choose

LAMS = np.array([0.1, 1.0, 10.0, 100.0, 1000.0])


def scores_of(per_fold, lams=LAMS, greater_is_better=False, dtype=np.float64):
    """Return Scores of the losses (k, L[, t]) of every fold."""
    per_fold = np.asarray(per_fold, dtype)
    k = len(per_fold)
    spread = per_fold.std(axis=0, ddof=1) if k > 1 else np.zeros(per_fold.shape[1:])
    return Scores(
        lams=np.asarray(lams, dtype),
        per_fold=per_fold,
        mean=per_fold.mean(axis=0),
        standard_error=(spread / np.sqrt(k)).astype(dtype),
        greater_is_better=np.array(greater_is_better),
    )


def chosen_by_hand(per_fold, lams, rule):
    """Return the penalty that `rule` chooses for the losses (k, L) of one target."""
    mean = per_fold.mean(axis=0)
    bound, places = mean.min(), range(len(lams))
    best = max((i for i in places if mean[i] <= bound), key=lambda i: lams[i])
    if rule == "1se":
        bound += per_fold[:, best].std(ddof=1) / np.sqrt(len(per_fold))
    return max(lams[i] for i in places if mean[i] <= bound)


def edges_of(lams):
    """Return the penalties beyond which there are others."""
    return {min(lams), max(lams)} - {0}


def dyadic(shape, largest):
    """Return a strategy for arrays of eighths, whose means of 4 are exact."""
    size = int(np.prod(shape))
    numbers = st.lists(st.integers(0, largest * 8), min_size=size, max_size=size)
    return numbers.map(lambda flat: np.reshape(flat, shape) / 8)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_means_that_differ_by_rounding_are_equal(dtype):
    shares = np.array([[7 / 11, 8 / 11, 9 / 11], [8 / 11] * 3], dtype).T
    scores = scores_of(shares[:, :, None], [0.01, 1.0], True, dtype)
    scores = scores._replace(mean=scores.mean[:, 0], standard_error=np.zeros(2, dtype))
    assert scores.mean[0] > scores.mean[1] or dtype == "float32"
    assert choose(scores).lam == 1


def test_a_grid_of_one_penalty_over_and_over_has_no_edge():
    scores = scores_of(np.ones((3, 3, 1)), [2.0, 2.0, 2.0])
    scores = scores._replace(mean=np.ones(3), standard_error=np.zeros(3))
    assert not choose(scores).at_edge


GRIDS = st.permutations([0.0, 0.5, 3.0, 8.0, 100.0])
REPEATING = st.lists(st.sampled_from([0.0, 0.5, 3.0]), min_size=5, max_size=5)


@given(dyadic((4, 5), 3), GRIDS | REPEATING)
def test_both_rules_are_those_in_words(per_fold, lams):
    scores = scores_of(per_fold, lams)
    best, simple = choose(scores), choose(scores, "1se")
    assert best.lam == chosen_by_hand(per_fold, lams, "min")
    assert simple.lam == chosen_by_hand(per_fold, lams, "1se")
    assert simple.lam >= best.lam
    for choice in (best, simple):
        assert lams[choice.index] == choice.lam
        assert choice.at_edge == (choice.lam in edges_of(lams))


@given(dyadic((4, 5, 2), 3), GRIDS, st.sampled_from(["min", "1se"]))
def test_each_target_chooses_as_if_it_were_alone(per_fold, lams, rule):
    choice = choose(scores_of(per_fold, lams), rule, per_target=True)
    expected = [chosen_by_hand(per_fold[..., j], lams, rule) for j in range(2)]
    np.testing.assert_array_equal(choice.lam, expected)
    np.testing.assert_array_equal(np.array(lams)[choice.index], expected)
    edges = [lam in edges_of(lams) for lam in expected]
    np.testing.assert_array_equal(choice.at_edge, edges)


@given(dyadic((4, 5, 2), 3), GRIDS, st.sampled_from(["min", "1se"]))
def test_targets_share_the_choice_for_their_mean_score(per_fold, lams, rule):
    choice = choose(scores_of(per_fold, lams), rule)
    assert choice.lam == chosen_by_hand(per_fold.mean(axis=2), lams, rule)
    assert np.shape(choice.lam) == np.shape(choice.index) == ()


@given(dyadic((4, 5), 3), GRIDS, st.sampled_from(["min", "1se"]))
def test_a_score_that_should_be_large_is_a_loss_upside_down(per_fold, lams, rule):
    loss = choose(scores_of(per_fold, lams), rule)
    score = choose(scores_of(1 - per_fold, lams, greater_is_better=True), rule)
    assert (loss.lam, loss.index) == (score.lam, score.index)


SPREAD = np.array([[0.0], [2.0]])  # its standard error is 1


@pytest.mark.parametrize(
    ("losses", "lams", "rule", "lam", "at_edge"),
    [
        ([5, 3, 3.5, 4, 9], LAMS, "min", 1, False),
        ([5, 3, 3.5, 4, 9], LAMS, "1se", 100, False),
        ([5, 3, 3.5, 4.01, 9], LAMS, "1se", 10, False),
        ([5, 3, 3, 3, 9], LAMS, "min", 100, False),
        ([1, 2, 3, 4, 5], LAMS, "min", 0.1, True),
        ([5, 4, 3, 2, 1], LAMS, "min", 1000, True),
        ([1, 9, 9, 9, 2], LAMS, "1se", 1000, True),
        ([3, 5, 4, 9, 3.5], [1, 0.1, 100, 1000, 10], "1se", 100, False),
        ([3, 3, 9], [1, 1, 0.5], "min", 1, True),
        ([3], [7], "min", 7, False),
        ([3], [7], "1se", 7, False),
        ([5, 5, 5], [0, 2, 1], "min", 2, True),
        ([4, 9, 9], [0, 2, 1], "min", 0, False),
    ],
)
def test_choices_worked_by_hand(losses, lams, rule, lam, at_edge):
    choice = choose(scores_of(np.array(losses) + SPREAD, lams), rule)
    assert (choice.lam, choice.at_edge) == (lam, at_edge)


def test_shared_choice_uses_the_error_of_the_mean_over_targets():
    opposite = np.stack([SPREAD, 2 - SPREAD], axis=2).repeat(2, axis=0)
    per_fold = np.array([3.0, 3.5, 9, 9, 9])[:, None] + opposite
    scores = scores_of(per_fold)
    assert np.all(scores.standard_error > 0.5)
    assert choose(scores, "1se").lam == 0.1
    assert list(choose(scores, "1se", per_target=True).lam) == [1, 1]


def test_one_target_alone_has_one_choice():
    scores = scores_of(np.array([5, 3, 3.5, 4, 9]) + SPREAD)
    assert np.shape(choose(scores, per_target=True).lam) == ()
    matrix = scores_of(scores.per_fold[..., None])
    assert np.shape(choose(matrix, per_target=True).lam) == (1,)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_numpy_scores_make_a_numpy_choice(dtype):
    choice = choose(scores_of(np.ones((2, 5)), dtype=dtype), "1se")
    assert isinstance(choice, Choice)
    assert isinstance(choice.lam, np.generic)
    assert choice.lam.dtype == dtype
    assert (choice.index.dtype.kind, choice.at_edge.dtype) == ("i", bool)


@pytest.mark.parametrize(("rule", "per_target"), [("min", True), ("1se", False)])
def test_choosing_works_under_jit(rule, per_target):
    per_fold = np.random.default_rng(0).uniform(1, 2, (4, 5, 2))
    scores = jax.tree.map(jnp.asarray, scores_of(per_fold, dtype=np.float32))
    jitted = jax.jit(choose, static_argnums=(1, 2))(scores, rule, per_target)
    eager = choose(scores, rule, per_target)
    for traced, plain in zip(*map(jax.tree.leaves, (jitted, eager)), strict=True):
        assert isinstance(traced, jax.Array)
        assert isinstance(plain, jax.Array)
        np.testing.assert_array_equal(traced, plain)


def test_one_standard_error_needs_a_standard_error():
    one = scores_of(np.ones((1, 5)))
    scores = one._replace(per_fold=one.per_fold[:0])
    assert choose(scores).lam == 1000
    with pytest.raises(ValueError, match='"1se" needs .* have none'):
        choose(scores, "1se")


def test_one_standard_error_of_rows_left_out_is_that_of_their_mean():
    mean = np.array([[2.0, 1.0, 1.5, 3.0, 9.0]])
    scores = scores_of(mean)._replace(standard_error=np.full(5, 0.6))
    assert choose(scores).lam == LAMS[1]
    assert choose(scores, "1se").lam == LAMS[2]
    both = jax.tree.map(lambda a: np.stack([a, a], -1) if a.ndim else a, scores)
    both = both._replace(lams=scores.lams)
    assert choose(both, "1se").lam == LAMS[2]


@pytest.mark.parametrize("rule", ["max", "", None])
def test_unknown_rules_are_refused(rule):
    with pytest.raises(ValueError, match="`rule` must be one of min, 1se, got"):
        choose(scores_of(np.ones((2, 5))), rule)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("per_target", [False, True])
def test_scores_that_are_not_finite_are_refused(bad, per_target):
    per_fold = np.ones((2, 5, 2))
    per_fold[0, 3, 1] = bad
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(ValueError, match="`scores` must be finite"),
    ):
        choose(scores_of(per_fold), per_target=per_target)


@pytest.mark.parametrize(
    ("lams", "best", "per_target", "words"),
    [
        (LAMS, [1, 1], False, "lam 1"),
        (LAMS, [0, 0], False, "lam 0.1 (1 at the edge of the grid: widen it)"),
        (LAMS, [1, 3], True, "lam from 1 to 100 for 2 targets"),
        (
            LAMS,
            [1, 4],
            True,
            "lam from 1 to 1000 for 2 targets (1 at the edge of the grid: widen it)",
        ),
        ([2.5], [0, 0], False, "lam 2.5"),
    ],
)
def test_a_choice_says_itself_in_words(lams, best, per_target, words):
    per_fold = np.ones((2, len(lams), 2))
    for target, place in enumerate(best):
        per_fold[:, place, target] = 0
    assert str(choose(scores_of(per_fold, lams), per_target=per_target)) == words


@pytest.mark.parametrize(
    ("n_lams", "targets", "header", "lines"),
    [(5, (), "standard error", 5), (40, (2,), "score, mean of targets", 12)],
)
def test_scores_print_a_table_of_at_most_twelve(n_lams, targets, header, lines):
    lams = np.geomspace(1, 1e3, n_lams)
    text = str(scores_of(np.ones((2, n_lams, *targets)), lams))
    assert header in text
    assert len(text.splitlines()) == lines + 2
    assert "1000" in text.splitlines()[-1]


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_a_choice_for_each_target_picks_the_fit_of_each(kind):
    rng = np.random.default_rng(0)
    lams = np.array([0.1, 1.0, 10.0])
    X, Y = kind(rng.normal(size=(30, 4))), kind(rng.normal(size=(30, 3)))
    fits = jaxridge.path(X, Y, lams).params
    scores = jaxridge.cross_validate(X, Y, lams, 3)._replace(
        mean=kind([[1.0, 2, 2], [0, 1, 3], [2, 0, 1]])
    )
    choice = choose(scores, per_target=True)
    assert choice.index.tolist() == [1, 2, 2]
    found = fits.at(choice.index)
    assert isinstance(found.coef, type(X))
    for j, i in enumerate([1, 2, 2]):
        np.testing.assert_array_equal(found.coef[:, j], fits.coef[i, :, j])
        assert found.intercept[j] == fits.intercept[i, j]
    for wrong in (choice.index[:2], [0, 1]):
        with pytest.raises(ValueError, match="`index` must be one place, or one for"):
            fits.at(wrong)
    with pytest.raises(ValueError, match="`index` must be one place"):
        jaxridge.path(X, Y[:, 0], lams).params.at([0])


def test_scores_of_all_rows_show_no_error():
    X = np.random.default_rng(0).normal(size=(30, 3))
    for score in (jaxridge.gcv, jaxridge.evidence):
        assert "error" not in str(score(X, X[:, 0] + X[:, 1] ** 2, [0.1, 1.0]))
    assert "error" in str(jaxridge.leave_one_out(X, X[:, 0] + X[:, 1] ** 2, [0.1, 1.0]))
