"""Steps on sparse rows end where NumPy's singular values do, at any penalty."""

import numpy as np
import pytest
from scipy import sparse

from jaxridge import Ridge, krylov

RNG = np.random.default_rng(0)


def exact(X, Y, lams, weight):
    """Return the least squares fit with penalty, of minimum norm at 0, and its error.

    Singular values err by eps times the largest: as much of the least one as it is
    smaller.
    """
    share = weight[:, None] / weight.sum()
    root, dense = np.sqrt(weight)[:, None], X.toarray()
    about = dense - dense[0]
    about -= (share * about).sum(axis=0)
    U, s, Vt = np.linalg.svd(root * about, full_matrices=False)
    there = s > 1e-12 * s[0]
    U, s, Vt = U[:, there], s[there, None], Vt[there]
    B = root * (Y - (share * Y).sum(axis=0))
    error = np.finfo(float).eps * s.max() / s.min()
    return Vt.T @ (s / (s**2 + lams) * (U.T @ B)), error


@pytest.mark.parametrize("rare", [1.0, 1e-6])
@pytest.mark.parametrize("shape", [(100, 300), (150, 160), (300, 60)])
def test_small_penalties_leave_no_part_of_what_the_rows_do_not_say(shape, rare):
    m, n = shape
    X = sparse.random(m, n, 0.02, random_state=1, format="csr")
    X = (X @ sparse.diags_array(np.where(np.arange(n) < n // 9, rare, 1.0))).tocsr()
    lams = np.array([0.0, 1e-14, 1e-10, 1e-6, 1e-3, 1.0])
    Y, weight = RNG.normal(size=(m, len(lams))), RNG.uniform(0.5, 2, m)
    coef, _ = krylov.solved(X, Y, weight, lams, True, 20_000)
    expected, error = exact(X, Y, lams, weight)
    apart = np.abs(coef - expected).max(axis=0) / np.abs(expected).max(axis=0)
    assert apart.max() < 1e-8 + 4 * error


@pytest.mark.parametrize("shape", [(100, 300), (300, 60)])
def test_a_full_column_far_from_0_costs_no_digits(shape):
    dense = sparse.random(*shape, 0.02, random_state=2).toarray()
    dense[:, 3] = 1e8 + RNG.normal(size=len(dense))
    dense[:, 4] = 1e9
    X, lams = sparse.csr_array(dense), np.array([0.1, 10.0])
    Y = RNG.normal(size=(len(dense), 2)) + dense[:, [3]] - 1e8
    weight = RNG.uniform(0.5, 2, len(dense))
    coef, intercept = krylov.solved(X, Y, weight, lams, True)
    expected, _ = exact(X, Y, lams, weight)
    np.testing.assert_allclose(coef, expected, atol=1e-11 * np.abs(expected).max())
    assert np.abs(np.average(X @ coef + intercept - Y, 0, weight)).max() < 1e-6


def test_steps_that_do_not_end_are_refused():
    X = sparse.csr_array(np.vander(np.linspace(1, 2, 30), 20))
    given = X, RNG.normal(size=(30, 1)), np.ones(30), np.array([1e-9])
    with pytest.raises(ArithmeticError, match="use a larger alpha, or scale the col"):
        krylov.solved(*given, True, 50)


def test_rows_of_zeros_have_the_mean_alone():
    model = Ridge().fit(sparse.csr_array((30, 300)), np.arange(30.0))
    assert not model.coef_.any() and model.intercept_ == 14.5
