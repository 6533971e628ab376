"""What is done where another device computes: a CPU can stand for it."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import problem, scores_of_all_kinds

import jaxridge
from jaxridge import (
    accelerator,
    checks,
    factors,
    fold_scores,
    holdout,
    plans,
    sent,
    sums,
    tiles,
)
from jaxridge.moments import Moments
from jaxridge.precision import LostDigits

LAMS = np.array([0.5, 30.0, 3.0])
TALL, WIDE = problem(60, 5, 3, weighted=True), problem(11, 30, 3, weighted=True)
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes."


@pytest.fixture(scope="module", autouse=True)
def on_a_gpu(expected):
    """Let the CPU pass for a GPU, of which plans know the prices, in all tests here.

    Programs are of the one or the other, so those made before are forgotten.
    """
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accelerator, "is_used", lambda: True)
        patch.setattr(plans, "place", lambda device: ("gpu", 2**33))
        yield
    jax.clear_caches()


@pytest.fixture
def little_room(monkeypatch):
    """Let rows be too large for the device, and be sent there a few at a time."""
    monkeypatch.setattr(accelerator, "free_bytes", lambda device: 1000)
    monkeypatch.setattr(sent, "TILE_BYTES", 500)


def answers(data):
    """Return what the functions say of rows that are scored, chosen by and fitted."""
    X, Y, weight = data[:3]
    given = {"weight": weight}
    shuffled = np.random.default_rng(0).permutation(len(X)) % 3
    return scores_of_all_kinds(X, Y, LAMS, **given) | {
        "shuffled": jaxridge.cross_validate(X, Y, LAMS, shuffled, **given).per_fold,
        "mae": jaxridge.cross_validate(X, Y, LAMS, 3, scoring="mae", **given).mean,
        "path": jaxridge.path(X, Y, LAMS, **given).params,
        "moments": jaxridge.moments_of(X, Y, 3, **given),
        "model": jaxridge.Ridge(3.0).fit(X, Y, weight).coef_,
    }


def assert_alike(found, expected, rtol):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    for one, other in pairs:
        size = np.abs(other).max()
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol * size)


DATA = {"tall": TALL, "wide": WIDE}


@pytest.fixture(scope="module")
def expected():
    return {name: answers(data) for name, data in DATA.items()}


@pytest.mark.parametrize(
    ("name", "dtype", "rtol"), [("tall", np.float64, 1e-11), ("wide", np.float32, 1e-4)]
)
def test_every_function_answers_as_on_a_cpu(expected, name, dtype, rtol):
    found = answers(DATA[name].astype(dtype))
    for what, value in expected[name].items():
        assert_alike(found[what], value, rtol)


def noticed(function, shapes):
    """Return a function that notes the shapes of what it is given."""

    def noticing(array, *rest, **options):
        shapes.append(np.shape(array))
        return function(array, *rest, **options)

    return noticing


def test_arrays_are_not_copied_back_to_be_checked(monkeypatch):
    with jax.enable_x64(True):
        X, y = jnp.asarray(TALL.X), jnp.asarray(TALL.y)
        assert accelerator.holds(X)
        copied = []
        monkeypatch.setattr(checks.np, "asarray", noticed(np.asarray, copied))
        jaxridge.cross_validate(X, y, LAMS, 3)
        assert X.shape not in copied
        with pytest.raises(ValueError, match=r"`X` must be finite, got nan at index"):
            jaxridge.cross_validate(X.at[3, 1].set(jnp.nan), y, LAMS, 3)
        with pytest.raises(
            ValueError, match=r"`y` must be finite, got inf at index \(7"
        ):
            jaxridge.cross_validate(X, y.at[7].set(jnp.inf), LAMS, 3)
        with pytest.raises(ValueError, match=r"`weight` must be finite, got nan at"):
            jaxridge.cross_validate(X, y, LAMS, 3, weight=y[:, 0] * jnp.nan)
        with pytest.raises(ValueError, match="leave the range of float64"):
            jaxridge.cross_validate(X * 1e200, y, LAMS, 3)


def test_rows_that_do_not_fit_are_sent_in_tiles(expected, little_room):
    X, Y, weight = TALL[:3]
    ids = np.arange(len(X)) % 3
    for folds in (3, ids):
        found = jaxridge.moments_of(X, Y, folds, weight=weight)
        scores = jaxridge.cross_validate(X, Y, LAMS, folds, weight=weight)
        by_sums = jaxridge.cross_validate(found, None, LAMS)
        np.testing.assert_allclose(scores.per_fold, by_sums.per_fold, rtol=1e-9)
    assert_alike(
        jaxridge.moments_of(X, Y, 3, weight=weight),
        expected["tall"]["moments"],
        rtol=1e-11,
    )


def test_scores_that_need_rows_there_say_that_they_do_not_fit(little_room):
    with pytest.raises(MemoryError, match="`X` does not fit on the device"):
        jaxridge.cross_validate(TALL.X, TALL.y, LAMS, 3, scoring="mae")


@pytest.mark.parametrize(
    ("value", "message"),
    [(np.nan, r"got nan at index \(31, 2\)"), (1e200, "leave the range of")],
)
def test_values_of_rows_that_stay_outside_are_seen_in_their_sums(
    little_room, value, message
):
    X = TALL.X.copy()
    X[31, 2] = value
    with pytest.raises(ValueError, match=message):
        jaxridge.cross_validate(X, TALL.y, LAMS, 3)


UNLIKE = np.random.default_rng(0).normal(size=(300, 3)) * [1, 1e4, 0.1]
NOISY = UNLIKE @ [1, 1e-4, 3] + np.random.default_rng(1).normal(size=300) / 500
FEW = np.arange(300) // 30 == 4
OUTSIDE = {
    "columns unlike in size": (UNLIKE, NOISY, 3),
    "more folds than rows a column": (UNLIKE, NOISY, 150),
    "a fit that is nearly perfect": (np.float32(UNLIKE), np.float32(NOISY), 3),
    "a tile of small targets": (UNLIKE, np.where(FEW, 1e-160, NOISY), 3),
}


@pytest.mark.parametrize("scoring", ["mse", "r2"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_sums_alone_score_what_does_not_fit(little_room, monkeypatch, scoring, name):
    X, y, folds = OUTSIDE[name]
    given = np.array([0.1, 10.0]), np.arange(300) // (300 // folds)
    found = jaxridge.cross_validate(X, y, *given, scoring=scoring)
    assert accelerator.is_used()
    monkeypatch.setattr(accelerator, "is_used", lambda: False)
    wide = np.float64(X), np.float64(y)
    expected = jaxridge.cross_validate(*wide, *given, scoring=scoring)
    rtol = 1e-9 if X.dtype == np.float64 else 1e-5
    np.testing.assert_allclose(found.mean, expected.mean, rtol=rtol)


def test_digits_that_sums_alone_lose_are_warned_of(little_room):
    X = UNLIKE / UNLIKE.std(axis=0) + 1e6
    y = X[:, 0] + np.random.default_rng(1).normal(size=300)
    with pytest.warns(LostDigits, match="sums of products are not precise enough"):
        jaxridge.cross_validate(X, y, LAMS, 3)


def test_targets_that_are_small_in_all_tiles_are_refused(little_room):
    X, y = np.float32(TALL.X), np.float32(TALL.y[:, 0] * 1e-22)
    with pytest.raises(ValueError, match="`y` reaches .*e-22, and squares of that"):
        jaxridge.moments_of(X, y, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("used", [False, True])
def test_targets_of_no_weight_are_finite_too(monkeypatch, used, bad):
    monkeypatch.setattr(accelerator, "is_used", lambda: used)
    y, weight = TALL.y.copy(), np.ones(len(TALL.X))
    y[3], weight[3] = bad, 0
    message = rf"`y` must be finite, got {bad} at index \(3"
    for function in (jaxridge.moments_of, jaxridge.gcv, jaxridge.solve):
        lams = () if function is jaxridge.moments_of else (1.0,)
        lams = ([1.0],) if function is jaxridge.gcv else lams
        with pytest.raises(ValueError, match=message):
            function(TALL.X, y, *lams, weight=weight)
    with pytest.raises(ValueError, match=message):
        jaxridge.moments_of_batches([(TALL.X, y, weight)], 2)


@pytest.mark.parametrize("used", [False, True])
def test_a_batch_of_no_weight_may_hold_anything(monkeypatch, used):
    monkeypatch.setattr(accelerator, "is_used", lambda: used)
    wild = TALL.X, np.full_like(TALL.y, 1e200), np.zeros(len(TALL.X))
    found = jaxridge.moments_of_batches([(TALL.X, TALL.y, None), wild], 2)
    expected = jaxridge.moments_of_batches([(TALL.X, TALL.y)], 2)
    assert_alike(found, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray], ids=["NumPy", "JAX"])
def test_batches_are_sent(kind):
    with jax.enable_x64(kind is not np.asarray):
        X, Y, weight = map(kind, TALL[:3])
        cuts = (slice(0, 7), slice(7, 7), slice(7, 40), slice(40, None))
        ids = np.arange(len(X)) % 3
        found = jaxridge.moments_of_batches(
            ((X[c], Y[c], weight[c], ids[c]) for c in cuts), 3
        )
        expected = jaxridge.moments_of(X, Y, ids, weight=weight)
    assert isinstance(found, Moments)
    assert isinstance(found.xx, np.ndarray if kind is np.asarray else jax.Array)
    assert_alike(found, expected, rtol=1e-11)


def test_batches_are_made_under_the_settings_of_whoever_makes_them():
    seen = []

    def batches():
        for _ in range(3):
            seen.append(jnp.asarray(np.ones(2)).dtype)
            yield TALL.X, TALL.y

    assert jaxridge.moments_of_batches(batches(), 3).xx.dtype == np.float64
    assert set(seen) == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], ValueError, "`batches` yielded no rows"),
        ([(TALL.X, TALL.y), (TALL.X[:, :2], TALL.y)], ValueError, "number 1 has"),
        (
            [(TALL.X, TALL.y), (np.float32(TALL.X), np.float32(TALL.y))],
            ValueError,
            "number 1 is summed in float32, those before it in float64",
        ),
        ([(TALL.X, TALL.y), (TALL.X * np.nan, TALL.y)], ValueError, "must be finite"),
        ([(TALL.X, TALL.y * np.inf)], ValueError, "`y` must be finite"),
    ],
)
def test_batches_that_cannot_be_are_refused(batches, error, message):
    with pytest.raises(error, match=message):
        jaxridge.moments_of_batches(batches, 3)


def test_a_batch_in_which_no_row_counts_adds_nothing():
    X, Y, _ = TALL[:3]
    none = [(X, Y, np.zeros(len(X))), (X, Y)]
    found = jaxridge.moments_of_batches(none, 3)
    # Rows are dealt out to folds in turn, those that do not count too.
    ids = (len(X) + np.arange(len(X))) % 3
    assert_alike(found, jaxridge.moments_of(X, Y, ids), rtol=1e-11)


def failing(above, tried):
    """Return `score_folds` of a device that has so many bytes, and count the tries."""
    real = fold_scores.score_folds

    def score_folds(*args, **given):
        tried.append(args[1].plan.bytes)
        if tried[-1] > above:
            said = OUT_OF_MEMORY.replace(" 9 ", f" {tried[-1]} ")
            raise jax.errors.JaxRuntimeError(said)
        return real(*args, **given)

    return score_folds


def test_out_of_memory_becomes_a_smaller_tile(monkeypatch):
    data = problem(400, 5, 3000)
    expected = jaxridge.cross_validate(data.X, data.y, LAMS, 3).mean
    tried = []
    monkeypatch.setattr(fold_scores, "score_folds", failing(600_000, tried))
    found = jaxridge.cross_validate(data.X, data.y, LAMS, 3).mean
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert len(tried) > 1 and (np.diff(np.log2(tried)) <= -1).all()


def test_out_of_memory_at_any_size_is_an_error_of_ours(monkeypatch):
    monkeypatch.setattr(fold_scores, "score_folds", failing(-1, []))
    with pytest.raises(MemoryError, match="ran out of memory, also with smaller tiles"):
        jaxridge.cross_validate(TALL.X, TALL.y, LAMS, 3)

    def other(*args, **given):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(fold_scores, "score_folds", other)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        jaxridge.cross_validate(TALL.X, TALL.y, LAMS, 3)


CALLS = {
    "path": lambda X, y: jaxridge.path(X, y, LAMS).params.coef,
    "leave_one_out": lambda X, y: jaxridge.leave_one_out(X, y, LAMS).mean,
    "gcv": lambda X, y: jaxridge.gcv(X, y, LAMS).mean,
    "cross_validate": lambda X, y: jaxridge.cross_validate(X, y, LAMS, 3).mean,
    "moments_of": lambda X, y: jaxridge.moments_of(X, y, 3).xy,
}


@pytest.mark.parametrize("name", CALLS)
def test_tiles_are_smaller_while_a_device_runs_out_of_memory(monkeypatch, name):
    expected = CALLS[name](TALL.X, TALL.y)
    seen, usual = [], tiles.tile()

    def counted(function):
        def first_checked(*args, **given):
            seen.append(tiles.tile())
            if seen[-1] > usual // 4:
                raise jax.errors.JaxRuntimeError(OUT_OF_MEMORY)
            return function(*args, **given)

        return first_checked

    # Whatever is done by products of the rows begins with one of these.
    monkeypatch.setattr(factors, "by_products", counted(factors.by_products))
    for room in (sums, holdout, factors):
        monkeypatch.setattr(room, "fold_moments", counted(sums.fold_moments))
    found = CALLS[name](TALL.X, TALL.y)
    assert seen[:3] == [usual, usual // 2, usual // 4]
    assert tiles.tile() == usual
    np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_programs_are_compiled_anew_for_smaller_tiles():
    of_tiles = jax.jit(lambda x: x + tiles.tile())
    tried = []

    def compute():
        tried.append(int(of_tiles(0)))
        if len(tried) < 3:
            raise jax.errors.JaxRuntimeError(OUT_OF_MEMORY)
        return tried[-1]

    usual = int(of_tiles(0))
    assert tiles.until_it_fits(compute) == usual // 4
    assert tried == [usual, usual // 2, usual // 4]


@pytest.mark.parametrize(
    "said",
    [
        OUT_OF_MEMORY,
        "INTERNAL: CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        "INTERNAL: cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_what_no_tile_makes_smaller_is_not_tried_for_long(said):
    tried = []

    def compute():
        tried.append(tiles.tile())
        raise jax.errors.JaxRuntimeError(said)

    with pytest.raises(MemoryError, match="also with smaller tiles"):
        tiles.until_it_fits(compute)
    assert len(tried) == tiles.ALIKE


def test_out_of_memory_beyond_the_tiles_is_an_error_of_ours(monkeypatch):
    def none_left(*args):
        raise jax.errors.JaxRuntimeError(OUT_OF_MEMORY)

    monkeypatch.setattr(jaxridge.paths, "answer", none_left)
    with pytest.raises(MemoryError, match="ran out of memory in `path`"):
        jaxridge.path(TALL.X, TALL.y, LAMS)


def test_fast_products_are_a_choice_that_the_route_tells():
    X, Y, weight = TALL.astype(np.float32)
    given = {"weight": weight, "precision": "fast"}
    lams = np.array([100.0, 1000.0])
    found = jaxridge.cross_validate(X, Y, lams, 3, **given)
    assert str(found.route).endswith("float32, fast products")
    rows = WIDE.astype(np.float32)[:2]
    wide = jaxridge.cross_validate(*rows, [1e3], 3, precision="fast")
    assert str(wide.route).endswith("float32, fast products")
    # Not where much might be lost, not of float64, and not unasked.
    uneven = X * np.float32([1, 1, 1, 1, 0.01])
    for one in (
        jaxridge.cross_validate(uneven, Y, [1e-3], 3, **given),
        jaxridge.cross_validate(*TALL[:2], lams, 3, precision="fast"),
        jaxridge.cross_validate(X, Y, lams, 3),
    ):
        assert "fast" not in str(one.route)
    with pytest.raises(ValueError, match="`precision` must be one of full, fast"):
        jaxridge.cross_validate(X, Y, lams, 3, precision="tf32")


@pytest.mark.parametrize("asked", ["fast", "full"])
def test_a_descent_multiplies_as_it_is_asked_to(asked):
    X, Y, _ = TALL.astype(np.float32)
    steps = {"learning_rate": 0.01, "max_steps": 20, "tol": 0.9, "precision": asked}
    program = jax.make_jaxpr(lambda X: jaxridge.sweep(X, Y, LAMS, **steps).params)(X)
    precision = "Precision.DEFAULT" if asked == "fast" else "Precision.HIGHEST"
    assert f"precision=({precision}, {precision})" in str(program).replace("\n", "")
    found = jaxridge.sweep(X, Y, LAMS, **steps).params.coef
    expected = jaxridge.sweep(X, Y, LAMS, **steps | {"precision": "full"}).params.coef
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    scores = jaxridge.cross_validate(X, Y, LAMS, 3, method="descent", **steps)
    assert ("fast" in str(scores.route)) == (asked == "fast")


def test_fast_descents_of_float64_are_full_ones():
    fast, full = (
        jaxridge.descend(*TALL[:2], 1.0, precision=precision).params.coef
        for precision in ("fast", "full")
    )
    np.testing.assert_array_equal(fast, full)
    with pytest.raises(ValueError, match="`precision` must be one of full, fast"):
        jaxridge.descend(*TALL[:2], 1.0, precision="half")


@pytest.mark.parametrize("outside", [False, True])
def test_targets_come_in_tiles_there_too(expected, monkeypatch, request, outside):
    if outside:
        request.getfixturevalue("little_room")
    in_twos = partial(replace, target_tile=2)
    monkeypatch.setattr(
        fold_scores, "plan", lambda *a, **k: in_twos(plans.plan(*a, **k))
    )
    X, Y, weight = TALL[:3]
    found = jaxridge.cross_validate(X, Y, LAMS, weight=weight)
    np.testing.assert_allclose(found.mean, expected["tall"]["cross_validate"], 1e-9)


def test_float32_rows_outside_that_sums_lose_are_added_up_in_float64(little_room):
    X, Y, _ = TALL[:3]
    Y = X @ np.ones((5, 1)) + 0.05 * Y[:, :1]
    X, Y = X.astype(np.float32), Y.astype(np.float32)
    found = jaxridge.cross_validate(X, Y, [1e-3], 3)
    assert found.route.raised and found.route.dtype == "float64"
    exact = jaxridge.cross_validate(np.float64(X), np.float64(Y), [1e-3], 3)
    np.testing.assert_allclose(found.mean, exact.mean, rtol=1e-3)
