"""A few penalties stand for all: as exact as a fit at each."""

import jax
import numpy as np
import pytest
from helpers import brute
from hypothesis import example, given
from hypothesis import strategies as st

import jaxridge
from jaxridge import (
    accelerator,
    blocks,
    holdout,
    kernels,
    left_out,
    nodes,
    paths,
    tiles,
)
from jaxridge.nodes import few_of, nodes_for, zolotarev
from jaxridge.routes import BLOCKS, DUAL, ONE_A_FOLD, PRIMAL

RNG = np.random.default_rng(0)
LAMS = np.geomspace(1e-1, 1e4, 48)
EVER = 1e99  # FLOP, for which nodes are always worth it
ALLOWED = {"float64": 1e-10, "float32": 1e-4}


def spectra(smallest, decades, count=40):
    return np.geomspace(smallest, smallest * 10.0**decades, count)


@given(
    smallest=st.floats(-8, 8),
    decades=st.floats(0, 9),
    least=st.floats(-8, 8),
    more=st.floats(0.1, 12),
    zero=st.booleans(),
    kind=st.sampled_from(["float32", "float64"]),
)
@example(smallest=8, decades=1, least=-8, more=0.1, zero=False, kind="float64")
@example(smallest=8, decades=0, least=-8, more=1e-7, zero=False, kind="float32")
@example(smallest=-8, decades=0, least=8, more=3, zero=False, kind="float64")
@example(smallest=-8, decades=9, least=-2, more=12, zero=True, kind="float64")
def test_every_gain_is_a_combination_of_those_at_nodes(
    smallest, decades, least, more, zero, kind
):
    values = spectra(10.0**smallest, decades).astype(kind)
    lams = np.geomspace(10.0**least, 10.0 ** (least + more), 1000).astype(kind)
    lams[0] *= not zero
    few = nodes_for(values, lams, EVER)
    assert few.lams.dtype == few.shares.dtype == kind
    assert few.shares.shape == (1000, len(few.lams))
    at_nodes = 1 / (np.float64(values)[:, None] + few.lams)
    expected = 1 / (np.float64(values)[:, None] + lams)
    apart = np.abs(at_nodes @ np.float64(few.shares).T / expected - 1)
    assert apart.max() < 40 * np.finfo(kind).eps
    # Nothing is lost to shares that are large and of both signs.
    size = at_nodes @ np.abs(np.float64(few.shares).T) / expected
    assert size.max() < 20


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_the_largest_error_is_that_of_the_theory_and_no_points_beat_it(count):
    a, b, c, d = 2.0, 50.0, 0.1, 300.0
    s, lam = np.geomspace(a, b, 4001), np.geomspace(c, d, 4001)

    def largest(at, poles):
        def size(z):
            return np.prod((z[:, None] - poles) / (z[:, None] + at), axis=1)

        return np.abs(size(s)).max() / np.abs(size(-lam)).min()

    at, poles = zolotarev(a, b, c, d, count)
    assert ((c <= at) & (at <= d)).all() and ((a <= poles) & (poles <= b)).all()
    best = largest(at, poles)
    ratio = (a + d) * (b + c) / ((a + c) * (b + d))
    assert best < 4 * np.exp(-count * np.pi**2 / np.log(16 * ratio))
    for _ in range(50):
        moved = (p * np.exp(0.05 * RNG.normal(size=count)) for p in (at, poles))
        assert largest(*moved) > best * (1 - 1e-6)


def test_directions_without_extent_have_no_part():
    values, along = np.array([0.0, 3.0, 5.0]), np.ones((3, 1))
    found = nodes_for(values, LAMS, EVER)
    assert len(found.lams) < 20
    few = few_of(values, along, found)
    assert (few.gains[0] == 0).all() and (few.gains[1:] > 0).all()
    assert nodes_for(np.zeros(3), LAMS, EVER) is None
    assert few_of(values, along, None) is None


@pytest.mark.parametrize(
    ("values", "lams", "flop"),
    [
        (np.array([1.0, 2.0]), LAMS[:8], EVER),  # no fewer than penalties
        (np.array([1.0, 2.0]), np.full(100, 3.0), EVER),
        (np.array([1.0, 2.0]), LAMS, 1.0),
    ],
    ids=["few penalties", "one penalty", "little work"],
)
def test_where_nodes_save_nothing_there_are_none(values, lams, flop):
    assert nodes_for(values, lams, flop) is None


@pytest.fixture(scope="module", params=["cpu"])
def device(request):
    """Have nodes used however little they save, a few targets at a time.

    What a GPU is given to do, a CPU can do.
    """
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nodes, "WORTH", 0)
        patch.setattr(nodes, "NARROW", 2)
        patch.setattr(accelerator, "is_used", lambda: request.param == "gpu")
        for kind in ("cpu", "gpu"):
            patch.setitem(tiles.TILE, kind, 500)
        yield
    jax.clear_caches()


@pytest.fixture
def used(device, monkeypatch):
    """Tell where nodes are used."""
    found = []

    def spy(*args):
        found.append(nodes_for(*args))
        return found[-1]

    for module in (blocks, holdout, kernels, left_out, paths):
        monkeypatch.setattr(module, "nodes_for", spy)
    return found


def rows(m, n, t, kind):
    X = RNG.normal(size=(m, n)) + 3
    Y = X @ RNG.normal(size=(n, t)) + RNG.normal(size=(m, t)) * np.arange(1, t + 1)
    return X.astype(kind), Y.astype(kind), RNG.integers(1, 4, m).astype(kind)


def refits(X, Y, weight, folds, judged, lams=LAMS, fit_intercept=True):
    """Return mean scores (L, t) by a refit for each fold and penalty."""
    found = []
    for k in np.unique(folds):
        train, held = folds != k, folds == k
        given = weight[train], fit_intercept
        fits = [brute(X[train], Y[train], lam, *given) for lam in lams]
        predicted = [np.float64(X[held]) @ f.coef + f.intercept for f in fits]
        found.append([judged(Y[held], p, weight[held]) for p in predicted])
    return np.mean(found, axis=0)


def squared(y, p, w):
    return np.average((y - p) ** 2, axis=0, weights=w)


def absolute(y, p, w):
    return np.average(np.abs(y - p), axis=0, weights=w)


def alike(found, expected, kind):
    assert found.dtype == kind
    np.testing.assert_allclose(found, expected, rtol=ALLOWED[kind])


@pytest.mark.parametrize(
    ("kind", "device"),
    [("float64", "cpu"), ("float32", "cpu"), ("float64", "gpu")],
    indirect=["device"],
    scope="module",  # as few programs are forgotten between as can be
)
@pytest.mark.parametrize(
    ("m", "n", "sharing", "scoring", "judged"),
    [
        (40, 9, ONE_A_FOLD, "mse", squared),  # from rows, as held-out ones are few
        (60, 5, ONE_A_FOLD, "mse", squared),  # from sums
        (60, 5, ONE_A_FOLD, "mae", absolute),
        (20, 30, ONE_A_FOLD, "mse", squared),  # from products of rows
        (20, 30, ONE_A_FOLD, "mae", absolute),
        (22, 30, BLOCKS, "mse", squared),  # some folds have a row less
        (22, 30, BLOCKS, "mae", absolute),
    ],
)
def test_scores_of_folds_are_those_of_refits(
    m, n, sharing, scoring, judged, kind, used, planned
):
    planned(PRIMAL if n < m else DUAL, sharing, 4)
    X, Y, weight = rows(m, n, 5, kind)
    folds = np.arange(m) % 5
    expected = refits(X, Y, weight, folds, judged)
    given = {"weight": weight, "scoring": scoring}
    found = jaxridge.cross_validate(X, Y, LAMS, folds, **given)
    assert used[-1] is not None and len(used[-1].lams) < len(LAMS)
    assert found.route.dtype == kind
    alike(found.mean, expected, kind)


def test_folds_with_directions_that_all_rows_lack_are_within_reach(used, planned):
    planned(DUAL, BLOCKS, 5)
    X, Y, weight = rows(24, 30, 5, "float64")
    X = X[:, :10] @ RNG.normal(size=(10, 30))  # of rank 10
    lams, folds = 100 * LAMS, np.arange(24) % 4
    found = jaxridge.cross_validate(X, Y, lams, folds, weight=weight)
    assert used[-1] is not None and len(used[-1].lams) < len(LAMS)
    expected = refits(X, Y, weight, folds, squared, lams)
    np.testing.assert_allclose(found.mean, expected, rtol=1e-9)


def test_directions_that_rows_lack_are_out_of_reach_of_least_squares(used, planned):
    planned(DUAL, BLOCKS, 5)
    X, Y, weight = rows(24, 30, 5, "float64")
    weight[7] = 0
    lams, folds = np.append(0.0, 100 * LAMS), np.arange(24) % 4
    found = jaxridge.cross_validate(X, Y, lams, folds, weight=weight)
    assert used[-1] is None
    expected = refits(X, Y, weight, folds, squared, lams)
    np.testing.assert_allclose(found.mean, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["float64", "float32"])
@pytest.mark.parametrize(("m", "n"), [(40, 9), (20, 30)])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_paths_are_those_of_refits(m, n, kind, fit_intercept, used):
    X, Y, weight = rows(m, n, 5, kind)
    given = {"weight": weight, "fit_intercept": fit_intercept}
    found = jaxridge.path(X, Y, LAMS, **given)
    assert used[-1] is not None and len(used[-1].lams) < len(LAMS)
    fits = [brute(X, Y, lam, weight, fit_intercept) for lam in LAMS]
    for name in ("coef", "intercept"):
        expected = np.stack([getattr(fit, name) for fit in fits])
        apart = getattr(found.params, name) - expected
        error, size = (np.abs(a).reshape(48, -1).max(axis=1) for a in (apart, expected))
        assert (error <= ALLOWED[kind] * size).all()


def explained(y, p, w):
    mean = np.average(y, axis=0, weights=w)
    return 1 - squared(y, p, w) / squared(y, mean, w)


def correlated(y, p, w):
    return [np.corrcoef(y[:, j], p[:, j])[0, 1] for j in range(y.shape[1])]


@pytest.mark.parametrize(("m", "n"), [(40, 9), (60, 5), (20, 30)])
@pytest.mark.parametrize(
    ("scoring", "judged"), [("r2", explained), ("correlation", correlated)]
)
def test_least_squares_and_no_intercept_are_no_exceptions(
    m, n, scoring, judged, used, planned
):
    planned(PRIMAL if n < m else DUAL, ONE_A_FOLD, 5)
    X, Y, _ = rows(m, n, 5, "float64")
    lams, folds = np.append(0.0, LAMS), np.arange(m) % 5
    given = {"fit_intercept": False, "scoring": scoring}
    found = jaxridge.cross_validate(X, Y, lams, folds, **given)
    assert used[-1] is not None and "raised" not in str(found.route)
    expected = refits(X, Y, np.ones(m), folds, judged, lams, False)
    np.testing.assert_allclose(found.mean, expected, rtol=1e-9)


def test_weights_count_where_rows_are_left_out(used):
    X, Y, weight = rows(30, 6, 5, "float64")
    weight[3] = 0
    found = jaxridge.leave_one_out(X, Y, LAMS, weight=weight)
    assert used[-1] is not None
    counted = np.flatnonzero(weight)
    errors = []
    for i in counted:
        others = np.where(np.arange(30) == i, 0, weight)
        fits = [brute(X, Y, lam, others) for lam in LAMS]
        errors.append([(Y[i] - X[i] @ f.coef - f.intercept) ** 2 for f in fits])
    expected = np.average(errors, axis=0, weights=weight[counted])
    np.testing.assert_allclose(found.mean, expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["float64", "float32"])
@pytest.mark.parametrize(("m", "n"), [(30, 6), (12, 20)])
def test_left_out_rows_are_those_of_refits(m, n, kind, used):
    X, Y, _ = rows(m, n, 5, kind)
    for scoring, judged in (("mse", squared), ("mae", absolute)):
        expected = refits(X, Y, np.ones(m), np.arange(m), judged)
        found = jaxridge.leave_one_out(X, Y, LAMS, scoring=scoring)
        assert used[-1] is not None and len(used[-1].lams) < len(LAMS)
        alike(found.mean, expected, kind)


def test_functions_see_predictions_of_every_penalty(used, planned):
    planned(DUAL, ONE_A_FOLD, 5)
    X, Y, _ = rows(20, 30, 5, "float64")
    folds = np.arange(20) % 4

    def score(y, prediction):
        return -np.median(np.abs(y - prediction))

    found = jaxridge.cross_validate(X, Y, LAMS, folds, scoring=score)
    assert used[-1] is not None

    def judged(y, p, _):
        return [score(y[:, j], p[:, j]) for j in range(y.shape[1])]

    expected = refits(X, Y, np.ones(20), folds, judged)
    np.testing.assert_allclose(found.mean, expected, rtol=1e-9)
