"""Plans: what they choose and say; and that every route gives the same scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import compilations, problem
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    KFold,
    PredefinedSplit,
    RepeatedKFold,
    ShuffleSplit,
)

from jaxridge import Plan, Route, cross_validate, holdout, plan
from jaxridge.columns import standardized
from jaxridge.fold_scores import held_out_predictions
from jaxridge.routes import (
    ANCHORS,
    BLOCKS,
    CHOLESKY,
    DUAL,
    NEARBY,
    ONE_A_FOLD,
    ONE_FOR_ALL,
    PRIMAL,
    TRIDIAGONAL,
    UNAIDED,
)

LAMS = np.array([0.5, 30.0, 3.0])
FOLDS = KFold(3, shuffle=True, random_state=0)
TALL, WIDE = problem(40, 4, 5, weighted=True), problem(11, 30, 5, weighted=True)
ROUTES = [
    (PRIMAL, ONE_A_FOLD),
    (PRIMAL, TRIDIAGONAL),
    (PRIMAL, ONE_FOR_ALL),
    (PRIMAL, ANCHORS),
    (PRIMAL, UNAIDED),
    (PRIMAL, CHOLESKY),
    (DUAL, ONE_A_FOLD),
    (DUAL, TRIDIAGONAL),
    (DUAL, BLOCKS),
]


def refitted(data, fit_intercept, scores_of, folds=FOLDS, lams=LAMS):
    """Return the score of each fold, penalty and target, by scikit-learn."""
    X, Y, weight = data.X, data.y, data.weight
    found = []
    for train, held in folds.split(X):
        for lam in lams:
            model = Ridge(lam, fit_intercept=fit_intercept, solver="svd")
            model.fit(X[train], Y[train], weight[train])
            found.append(scores_of(Y[held], model.predict(X[held]), weight[held]))
    return np.reshape(found, (folds.get_n_splits(), len(lams), -1))


def seeing(sharing):
    """Return the way that also predicts rows of weight 0."""
    return ONE_A_FOLD if sharing == BLOCKS else sharing


def squares(y, prediction, weight):
    return np.average((y - prediction) ** 2, axis=0, weights=weight)


def absolutes(y, prediction, weight):
    return np.average(np.abs(y - prediction), axis=0, weights=weight)


@pytest.mark.parametrize(
    ("scoring", "fit_intercept", "tile"),
    [("mse", True, 5), ("mse", False, 2), ("mae", True, 2)],
)
@pytest.mark.parametrize(("system", "sharing"), ROUTES)
def test_every_route_scores_as_refits_do(
    planned, system, sharing, tile, fit_intercept, scoring
):
    planned(system, sharing, tile)
    data = TALL if system == PRIMAL else WIDE
    options = {"weight": data.weight, "fit_intercept": fit_intercept}
    found = cross_validate(data.X, data.y, LAMS, FOLDS, scoring=scoring, **options)
    metric = squares if scoring == "mse" else absolutes
    expected = refitted(data, fit_intercept, metric)
    np.testing.assert_allclose(found.per_fold, expected, rtol=1e-9)
    if sharing not in NEARBY:  # which may find that folds are too unlike
        assert found.route == Route(system, sharing, "float64")


@pytest.mark.parametrize(("system", "sharing"), ROUTES)
def test_every_route_in_single_precision(planned, system, sharing):
    planned(system, sharing, 5)
    data = TALL if system == PRIMAL else WIDE
    X, Y, weight = data.astype(np.float32)
    found = cross_validate(X, Y, LAMS, FOLDS, weight=weight)
    assert found.per_fold.dtype == np.float32
    np.testing.assert_allclose(found.per_fold, refitted(data, True, squares), rtol=1e-4)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_anchors_stand_for_many_penalties_in_any_order(planned, dtype, rtol):
    data = problem(300, 20, 2, weighted=True)
    X, Y, weight = data.astype(dtype)
    lams = np.random.default_rng(0).permutation(np.geomspace(1e-2, 1e4, 30))
    lams = np.concatenate([lams, lams[:3], [0.0]])
    found = []
    for sharing in (ANCHORS, ONE_A_FOLD):
        planned(PRIMAL, sharing, 2)
        found.append(cross_validate(X, Y, lams, FOLDS, weight=weight))
        assert found[-1].route == Route(PRIMAL, sharing, np.dtype(dtype).name)
    np.testing.assert_allclose(found[0].per_fold, found[1].per_fold, rtol=rtol)


def test_anchors_give_way_where_a_fold_is_unlike_the_others(planned):
    planned(PRIMAL, ANCHORS, 5)
    ids = np.where(np.arange(40) % 3 == 0, 0, 1 + np.arange(40) % 2)
    data, lams = TALL._replace(X=TALL.X.copy()), [1e-8, 1.0]
    data.X[:, 1] = ids == 0  # 0 in all other folds
    found = cross_validate(data.X, data.y, lams, ids, weight=data.weight)
    assert found.route.sharing != ANCHORS
    expected = refitted(data, True, squares, PredefinedSplit(ids), lams)
    np.testing.assert_allclose(found.per_fold, expected, rtol=1e-9)


@pytest.mark.parametrize(("system", "data"), [(PRIMAL, TALL), (DUAL, WIDE)])
def test_a_route_that_nobody_wrote_is_not_another_one(planned, system, data):
    planned(system, "by hand", 5)
    with pytest.raises(ValueError, match="folds is called 'by hand'"):
        cross_validate(data.X, data.y, LAMS, FOLDS)


@pytest.mark.parametrize(("system", "sharing"), ROUTES)
def test_every_route_compiles_once(planned, system, sharing):
    planned(system, sharing, 2)
    data = TALL if system == PRIMAL else WIDE

    def score(scale):
        cross_validate(scale * data.X, data.y, scale * LAMS, FOLDS)

    score(1.0)
    with compilations() as count:
        score(1.5)
    assert count() == 0


@pytest.mark.parametrize("columns", ["duplicate", "constant"])
@pytest.mark.parametrize(("system", "sharing"), ROUTES)
def test_systems_that_are_singular_are_solved_by_a_surer_route(
    planned, system, sharing, columns
):
    planned(system, sharing, 5)
    data = TALL if system == PRIMAL else WIDE
    X = data.X.copy()
    X[:, 1] = X[:, 0] if columns == "duplicate" else 3.0
    if system == DUAL:
        X = np.repeat(X[:6], 2, axis=0)[: len(X)]  # rows that depend on each other
    found = cross_validate(X, data.y, [0.0], FOLDS)
    assert np.isfinite(found.per_fold).all()
    assert found.route.system == "svd" and found.route.raised


@pytest.mark.parametrize("sharing", [BLOCKS, ONE_A_FOLD, TRIDIAGONAL])
def test_rows_of_no_weight_are_predicted_from_the_others(planned, sharing):
    planned(DUAL, sharing, 5)
    X, Y, weight = WIDE.X, WIDE.y, WIDE.weight.copy()
    weight[[0, 5, 6]] = 0
    ids = np.arange(len(X)) % 3
    found, route = held_out_predictions(X, Y, LAMS, ids, weight=weight)
    assert route == Route(DUAL, seeing(sharing), "float64")
    for fold, (rows, predicted) in enumerate(found):
        np.testing.assert_array_equal(rows, np.flatnonzero(ids == fold))
        train = ids != fold
        for lam, one in zip(LAMS, predicted, strict=True):
            fit = Ridge(lam, solver="svd").fit(X[train], Y[train], weight[train])
            np.testing.assert_allclose(one, fit.predict(X[rows]), rtol=1e-9)


@pytest.mark.parametrize(("system", "sharing"), ROUTES)
def test_a_function_does_not_see_rows_of_no_weight(planned, system, sharing):
    planned(system, sharing, 5)
    X, Y, weight = (TALL if system == PRIMAL else WIDE)[:3]
    counts, ids = np.arange(len(X)) % 4 > 0, np.arange(len(X)) % 3

    def judged(y, p):
        return -np.median((y - p) ** 2)

    lams = LAMS / 4  # less than all that is left of a kernel: blocks of it are left out
    given = {"weight": weight * counts, "scoring": judged}
    found = cross_validate(X, Y, lams, ids, **given)
    given["weight"] = weight[counts]
    without = cross_validate(X[counts], Y[counts], lams, ids[counts], **given)
    np.testing.assert_allclose(found.per_fold, without.per_fold, rtol=1e-9)
    if sharing not in NEARBY:  # which may find that folds are too unlike
        assert found.route == Route(system, seeing(sharing), "float64")
        assert without.route == Route(system, sharing, "float64")


OF_KERNEL = [sharing for system, sharing in ROUTES if system == DUAL]
DUAL_SCORES = [("mse", squares), ("mae", absolutes)]


# Targets about a mean far from 0 leave float32 too few digits of residuals.
@pytest.mark.parametrize(
    ("dtype", "rtol", "fit_intercept"),
    [(np.float64, 1e-9, True), (np.float64, 1e-9, False), (np.float32, 1e-4, True)],
)
@pytest.mark.parametrize("sharing", OF_KERNEL)
def test_a_kernel_takes_weights_of_0(planned, sharing, dtype, rtol, fit_intercept):
    planned(DUAL, sharing, 5)
    X, Y, weight = WIDE.astype(dtype)
    weight[[0, 3, 4]] = 0  # fold 0 of KFold(3) trains on all but one of its others
    for scoring, metric in DUAL_SCORES:
        how = {"weight": weight, "fit_intercept": fit_intercept}
        found = cross_validate(X, Y, LAMS, 3, scoring=scoring, **how)
        data = WIDE._replace(X=X.astype(float), y=Y, weight=weight.astype(float))
        expected = refitted(data, fit_intercept, metric, KFold(3))
        np.testing.assert_allclose(found.per_fold, expected, rtol=rtol)
        assert found.route == Route(DUAL, sharing, np.dtype(dtype).name)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("sharing", OF_KERNEL)
def test_folds_of_a_kernel_may_train_on_one_row(planned, sharing, fit_intercept):
    """Of which the mean is all there is with an intercept: K = 0."""
    planned(DUAL, sharing, 5)
    X, Y = WIDE.X[:2], WIDE.y[:2]
    found = cross_validate(X, Y, LAMS, 2, fit_intercept=fit_intercept)
    fitted = Y[::-1, None, :]
    if not fit_intercept:
        shares = X[0] @ X[1] / (np.sum(X[::-1] ** 2, axis=1)[:, None] + LAMS)
        fitted = shares[..., None] * fitted
    errors = (Y[:, None, :] - fitted) ** 2 * np.ones((1, 3, 1))
    np.testing.assert_allclose(found.per_fold, errors, rtol=1e-11)
    assert found.route == Route(DUAL, sharing, "float64")


@pytest.mark.parametrize("lams", [LAMS, [1e-12, 1e30]])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("sharing", OF_KERNEL)
def test_rows_that_are_all_one_are_predicted_by_the_mean(planned, sharing, dtype, lams):
    planned(DUAL, sharing, 5)
    _, Y, weight = WIDE.astype(dtype)
    X = np.tile(WIDE.X[:1], (len(Y), 1)).astype(dtype)
    found = cross_validate(X, Y, lams, 3, weight=weight)
    assert found.route == Route(DUAL, sharing, np.dtype(dtype).name)
    for fold, (train, held) in enumerate(KFold(3).split(X)):
        mean = np.average(Y[train].astype(float), axis=0, weights=weight[train])
        expected = np.average((Y[held] - mean) ** 2, axis=0, weights=weight[held])
        for one in found.per_fold[fold]:
            rtol = 1e-11 if dtype == np.float64 else 1e-5
            np.testing.assert_allclose(one, expected, rtol=rtol)


def test_the_route_passes_through_transformations():
    with jax.enable_x64(True):
        X, y = jnp.asarray(TALL.X), jnp.asarray(TALL.y)
        found = jax.jit(lambda lams: cross_validate(X, y, lams, 3))(jnp.asarray(LAMS))
    assert found.route == Route("svd", ONE_A_FOLD, "float64")
    assert str(found.route) == "svd, one factorisation a fold, float64"
    raised = found.route.as_raised()
    assert str(raised).endswith("float64 (raised to keep the digits)")


def test_a_plan_tells_what_it_chose_and_what_else_there_was():
    made = plan(20_000, 500, budget=1e9)
    text = made.explain()
    assert str(made) == text
    assert "20000 rows, 500 columns, 1 target, 100 penalties, 5 folds" in text
    assert "taken" in text and "slower" in text and "a budget of 1 GB" in text
    assert 0 < made.bytes <= made.budget == 10**9
    assert made.seconds == min(made.seconds, *(s for _, s, _ in made.others))


def test_plans_of_other_questions():
    loo = plan(1000, 50, asked="leave-one-out", budget=1e9)
    assert str(loo.route) == "primal, one factorisation, float64"
    wide = plan(50, 1000, dtype="float32", asked="path", budget=1e9)
    assert str(wide.route) == "dual, one factorisation, float32"
    assert "folds" not in wide.explain()


@pytest.mark.parametrize("device", [None, "cpu", "gpu", jax.devices()[0]])
def test_a_plan_for_a_device_has_a_budget(device):
    made = plan(1000, 50, device=device)
    assert made.budget >= 2**26 and made.budget & (made.budget - 1) == 0


def test_few_penalties_are_solved_by_cholesky_and_a_gpu_avoids_eigenvectors():
    assert plan(20_000, 500, L=1, budget=1e9).route.sharing == CHOLESKY
    on_gpu = plan(100_000, 4096, device="gpu", budget=1e10)
    assert list(on_gpu.ways()) == [UNAIDED, ONE_FOR_ALL, ONE_A_FOLD]


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-9), (np.float32, 1e-4)])
def test_conjugate_gradients_alone_do_where_columns_are_not_alike(planned, dtype, rtol):
    made, rng = problem(600, 20, 2, weighted=True), np.random.default_rng(0)
    _, Y, weight = made.astype(dtype)
    X, lams = rng.normal(size=made.X.shape), np.geomspace(1e-2, 1e4, 30)
    mixed = X.copy()
    mixed[:, 1] = X[:, 0] + 1e-2 * X[:, 1]
    units = X * np.geomspace(0.2, 5, 20)  # of which float32 sums keep few digits
    for rows, alone in ((X, True), (units, dtype == np.float64), (mixed, False)):
        found = []
        for sharing in (UNAIDED, ONE_A_FOLD):
            planned(PRIMAL, sharing, 2)
            given = rows.astype(dtype), Y, lams, FOLDS
            found.append(cross_validate(*given, weight=weight))
        assert (found[0].route.sharing == UNAIDED) == alone
        np.testing.assert_allclose(found[0].per_fold, found[1].per_fold, rtol=rtol)


def test_targets_come_in_tiles_that_cover_them_and_fit_the_budget():
    for t in (1, 7, 5000, 50_000):
        made = plan(2000, 500, t, 20, 5, "float32", budget=2e8)
        tiles = list(made.target_tiles())
        assert {s.stop - s.start for s in tiles} == {made.target_tile}
        assert set().union(*(range(s.start, s.stop) for s in tiles)) == set(range(t))
        assert made.bytes <= made.budget


def test_more_targets_take_no_more_memory():
    few, many = (plan(2000, 500, t, 20, budget=2e8) for t in (5000, 50_000))
    assert many.bytes <= few.budget and many.target_tile <= 5000


def test_a_plan_that_cannot_fit_says_what_would():
    with pytest.raises(MemoryError, match="the least that would do is") as error:
        plan(20_000, 500, budget=1e6)
    assert "half of it in float32" in str(error.value)
    with pytest.raises(MemoryError, match="1 kB of .*`budget`.* too small for 40 rows"):
        cross_validate(TALL.X, TALL.y, LAMS, 5, budget=1000)


def test_scores_within_a_budget_are_those_without():
    few = cross_validate(TALL.X, TALL.y, LAMS, 5, budget=8000)
    all_ = cross_validate(TALL.X, TALL.y, LAMS, 5)
    np.testing.assert_allclose(few.per_fold, all_.per_fold, rtol=1e-12)


REFITS = {
    "columns prepared": {"folds": 5, "prepare": standardized},
    "rows held out twice": {"folds": RepeatedKFold(n_splits=4, random_state=0)},
    "rows held out never": {"folds": ShuffleSplit(3, test_size=5, random_state=0)},
}


@pytest.mark.parametrize("how", REFITS)
@pytest.mark.parametrize("data", [TALL, WIDE])
def test_refits_stay_within_a_budget_by_tiles_of_targets(monkeypatch, data, how):
    plans, one_by_one = [], holdout._one_by_one

    def noted(data, asked, *rest):
        plans.append(asked.plan)
        return one_by_one(data, asked, *rest)

    monkeypatch.setattr(holdout, "_one_by_one", noted)
    given = data.X, data.y, LAMS
    all_ = cross_validate(*given, **REFITS[how])
    least = next(b for b in range(1000, 10**6, 100) if in_tiles_of(plans[0], b))
    two = next(b for b in range(least, 10**6, 100) if in_tiles_of(plans[0], b) == 2)
    few = cross_validate(*given, **REFITS[how], budget=two)
    assert [made.target_tile for made in plans] == [5, 2]
    assert few.route == all_.route
    np.testing.assert_allclose(few.per_fold, all_.per_fold, rtol=1e-11)
    with pytest.raises(MemoryError, match="the least that would do is"):
        cross_validate(*given, **REFITS[how], budget=least - 100)


def in_tiles_of(made, budget):
    """Return how many targets a budget has room for at a time, 0 if for none."""
    m, n, t, L, k, _, held = made.sizes
    how = {"asked": made.asked, "held": held, "budget": budget}
    try:
        return plan(m, n, t, L, k, **how).target_tile
    except MemoryError:
        return 0


def test_a_large_fold_takes_more_memory():
    few, many = (plan(2000, 500, 10, held=held, budget=1e9) for held in (400, 1900))
    assert few.bytes == plan(2000, 500, 10, budget=1e9).bytes < many.bytes


def test_scores_that_float32_would_spoil_are_planned_in_float64(monkeypatch):
    """The budget holds there too, or it is said that it does not."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 40)).astype(np.float32)
    X[:, 1] = X[:, 0] + 1e-4 * X[:, 2]
    y, lams = X[:, 0] + rng.normal(size=300).astype(np.float32), [1e-4]
    plans, by_products = [], holdout._by_products

    def noted(data, asked):
        plans.append(asked.plan)
        return by_products(data, asked)

    monkeypatch.setattr(holdout, "_by_products", noted)
    route = cross_validate(X, y, lams, 3).route
    assert route.raised and [one.sizes.itemsize for one in plans] == [4, 8]
    assert plans[0].budget == plans[1].budget
    enough = plan(300, 40, 1, 1, 3, "float32", budget=1e9).bytes
    with pytest.raises(MemoryError, match="float32 loses digits here, and in float64"):
        cross_validate(X, y, lams, 3, budget=enough)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"m": 0}, ValueError, "`m` must be at least 1"),
        ({"t": 1.5}, TypeError, "`t` must be a whole number"),
        ({"k": 1}, ValueError, "`k` must be at least 2"),
        ({"k": 0, "asked": "refits"}, ValueError, "`k` must be at least 1"),
        ({"held": 11}, ValueError, "`held` must be at most 10"),
        ({"dtype": "int32"}, ValueError, "`dtype` must be one of float32, float64"),
        ({"dtype": "foo"}, ValueError, "`dtype` must be one of float32, float64"),
        ({"dtype": None}, ValueError, "`dtype` must be one of float32, float64"),
        ({"device": 3}, TypeError, "`device` must be a device or its name, got 3"),
        ({"device": "tpu"}, ValueError, "`device` must be one of cpu, gpu"),
        ({"asked": "all"}, ValueError, "`asked` must be one of folds"),
        ({"budget": 0}, ValueError, "`budget` must be a number of bytes above 0"),
        ({"budget": "1GB"}, TypeError, "`budget` must be a number of bytes"),
        ({"budget": np.nan}, ValueError, "`budget` must be a number of bytes"),
    ],
)
def test_plans_that_cannot_be_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        plan(**{"m": 10, "n": 2} | options)


def test_a_plan_is_known_by_its_type():
    assert isinstance(plan(10, 2), Plan)
