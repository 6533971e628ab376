"""The border: which arrays are taken, in what form answers come, what is refused."""

from datetime import date, timedelta
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from helpers import (
    DTYPES,
    SHAPES,
    assert_close,
    compilations,
    random_params,
    scores_of_all_kinds,
)

from jaxridge import (
    Params,
    RidgeCV,
    border,
    check_gradient,
    cost,
    cross_validate,
    descend,
    gradient,
    gradient_by_hand,
    leave_one_out,
    moments_of,
    path,
    predict,
    solve,
    sweep,
)
from jaxridge.columns import standardized
from jaxridge.data import as_floats

# The quickest to compile and to converge.
STEPS = {"learning_rate": 0.01, "tol": 0.9, "max_steps": 100}
FUNCTIONS = {
    "cost": cost,
    "gradient": gradient,
    "gradient_by_hand": gradient_by_hand,
    "check_gradient": check_gradient,
    "predict": predict,
    "solve": solve,
    "descend": partial(descend, **STEPS),
    "sweep": partial(sweep, **STEPS),
    "cross_validate": partial(cross_validate, folds=2, method="descent", **STEPS),
}
AT_PARAMS = ("cost", "gradient", "gradient_by_hand", "check_gradient")
GRIDS = ("sweep", "cross_validate")
TAKES = (
    dict.fromkeys(FUNCTIONS, ("X", "y", "lam", "weight"))
    | dict.fromkeys(AT_PARAMS, ("params", "X", "y", "lam", "weight"))
    | dict.fromkeys(GRIDS, ("X", "y", "lams", "weight"))
    | {"predict": ("params", "X")}
)

X, y, weight = SHAPES["weights"].astype(np.float64)
m = len(X)
GOOD = {
    "params": random_params(X, y),
    "X": X,
    "y": y,
    "lam": 0.7,
    "lams": np.array([0.1, 1.0]),
    "weight": weight,
}


def call(name, **other):
    """Call a public function with good arguments, but for those named."""
    given = GOOD | other
    return FUNCTIONS[name](**{argument: given[argument] for argument in TAKES[name]})


def as_kind(kind, dtype):
    """Return the good arguments as arrays of one kind and dtype."""
    return jax.tree.map(lambda a: kind(a, dtype) if np.ndim(a) else a, GOOD) | {
        "params": Params(*(kind(part, dtype) for part in GOOD["params"]))
    }


def float_types(result):
    """Return the dtypes of the floating point arrays of a result."""
    dtypes = {np.dtype(leaf.dtype) for leaf in jax.tree.leaves(result)}
    return {dtype for dtype in dtypes if dtype.kind == "f"}


# The answer has the kind and the precision of the input.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_in_numpy_out_in_the_same_precision(name, dtype):
    assert not jax.config.jax_enable_x64
    result = call(name, **as_kind(np.asarray, dtype))
    assert not jax.config.jax_enable_x64
    leaves = jax.tree.leaves(result)
    assert all(isinstance(leaf, np.ndarray | np.generic) for leaf in leaves)
    assert all(leaf.flags.writeable for leaf in leaves if isinstance(leaf, np.ndarray))
    assert float_types(result) == {np.dtype(dtype)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_jax_in_jax_out(name):
    result = call(name, **as_kind(jnp.asarray, np.float32))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(result))
    assert float_types(result) == {np.dtype(np.float32)}


@pytest.mark.parametrize("argument", ["X", "y", "weight", "lam"])
def test_one_jax_array_makes_the_answer_jax(argument):
    given = as_kind(np.asarray, np.float32)
    given[argument] = jnp.asarray(given[argument], np.float32)
    assert isinstance(call("solve", **given).coef, jax.Array)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_numpy_float64_beside_jax_is_refused_while_x64_is_off(name):
    given = as_kind(jnp.asarray, np.float32) | {"X": X}
    with pytest.raises(ValueError, match="`X` is float64"):
        call(name, **given)


def test_numpy_float64_beside_jax_is_taken_while_x64_is_on():
    with jax.enable_x64(True):
        coef = solve(X, jnp.asarray(y), 0.7).coef
    assert isinstance(coef, jax.Array)
    assert_close(coef, solve(X, y, 0.7).coef)


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        (bool, np.float64),
        (np.int8, np.float64),
        (np.uint64, np.float64),
        (np.int64, np.float64),
        (np.float16, np.float32),
        (jnp.bfloat16, np.float32),
        (">f8", np.float64),
    ],
)
def test_other_dtypes_become_a_float_that_holds_them(given, computed):
    rows, targets = (np.abs(4 * a).astype(given) for a in (X, y))
    fit = solve(rows, targets, 0.7)
    assert fit.coef.dtype == fit.intercept.dtype == computed
    assert_close(fit.coef, solve(rows.astype(float), targets.astype(float), 0.7).coef)


@pytest.mark.parametrize(
    ("of_X", "of_y", "computed"),
    [
        (np.float32, np.float64, np.float64),
        (np.float16, np.float32, np.float32),
        (np.float32, np.int64, np.float64),
    ],
)
def test_mixed_dtypes_become_the_widest(of_X, of_y, computed):
    assert solve(X.astype(of_X), y.astype(of_y), 0.7).coef.dtype == computed


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_penalties_follow_the_precision_of_the_data(kind):
    given = as_kind(kind, np.float32) | {"lam": np.float64(0.7), "lams": GOOD["lams"]}
    for name in ("solve", "sweep"):
        assert float_types(call(name, **given)) == {np.dtype(np.float32)}


def test_lists_are_float64():
    fit = solve(X.tolist(), y.tolist(), 0.7, weight=[1] * m)
    assert fit.coef.dtype == np.float64
    assert_close(fit.coef, solve(X, y, 0.7).coef)


def test_anything_that_numpy_reads_as_an_array_is_taken():
    class Frame:
        def __array__(self, dtype=None, copy=None):
            return X

    assert np.array_equal(solve(Frame(), y, 0.7).coef, solve(X, y, 0.7).coef)


@pytest.mark.parametrize(
    "view", [np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], X[::-1].copy()[::-1]]
)
def test_memory_layout_does_not_matter(view):
    assert np.array_equal(solve(view, y, 0.7).coef, solve(X, y, 0.7).coef)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_inputs_are_only_read(name):
    given = jax.tree.map(np.array, GOOD) | {"lam": 0.7}
    for array in jax.tree.leaves(given):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    call(name, **given)
    before, after = (jax.tree.leaves(arrays) for arrays in (GOOD, given))
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("name", ["cost", "gradient", "predict", "solve", "sweep"])
def test_arrays_that_a_jitted_function_encloses_are_taken(name):
    given = as_kind(jnp.asarray, np.float32)
    jitted = jax.jit(lambda X: call(name, **given | {"X": X}))(given["X"])
    for a, b in zip(*map(jax.tree.leaves, (jitted, call(name, **given))), strict=True):
        assert_close(np.float32(a), b, scale=np.abs(b).max() + 0.1)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_second_call_compiles_nothing(name):
    call(name)
    with compilations() as count:
        call(name, X=X + 1, y=2 * y, lam=0.8, lams=np.array([0.2, 2.0]))
    assert count() == 0


# What is refused, in words that name the argument.


def one_bad(array, value):
    """Return a copy with `value` in the last place."""
    array = np.array(array, np.result_type(array, type(value)))
    array[(-1,) * array.ndim] = value
    return array


def forms(array):
    """Return what holds no plain real numbers, though it has the right shape."""
    return {
        "NaN": one_bad(array, np.nan),
        "infinity": one_bad(array, np.inf),
        "minus infinity": one_bad(array, -np.inf),
        "complex": array + 1j,
        "text": array.astype(str),
        "bytes": array.astype("S"),
        "objects": array.astype(object),
        "dates": array.astype("M8[s]"),
        "masked": np.ma.masked_greater(array, 1),
        "lists": [[1.0], [1.0, 2.0], *[[1.0]] * (m - 2)],
        "None in a list": [None, *array.tolist()[1:]],
        "one more dimension": array.reshape(*array.shape, 1, 1),
        "one row less": array[1:],
        "no rows": array[:0],
        "a number": 3.0,
        "a word": "X",
        "a dictionary": {"a": 1},
        "long double": array.astype(np.longdouble),
    }


BAD_ROWS = forms(X) | {
    "one dimension": X[:, 0],
    "no columns": X[:, :0],
    "nothing": None,
    "sparse matrix": scipy.sparse.csr_matrix(X),
    "sparse array": scipy.sparse.csr_array(X),
}
BAD_TARGETS = forms(y) | {
    "no targets": np.ones((m, 0)),
    "nothing": None,
    "sparse": scipy.sparse.csr_array(y[:, None]),
}
BAD_WEIGHTS = forms(weight) | {
    "negative": one_bad(y**2, -1.0),
    "zeros": np.zeros(m),
    "matrix": np.ones((m, 1)),
    "sparse": scipy.sparse.csr_array(y[:, None] ** 2),
}
BAD_NUMBERS = {
    "negative": -1.0,
    "minus one": -1,
    "NaN": np.nan,
    "infinity": np.inf,
    "complex": 1j,
    "text": "1",
    "nothing": None,
    "object": np.array(1.0, object),
    "set": {1.0},
    "huge whole number": 10**400,
}
BAD_PENALTIES = BAD_NUMBERS | {
    "list": [0.1, 1.0],
    "array of one": np.ones(1),
    "empty": [],
    "masked": np.ma.masked_array(1.0, True),
    "sparse": scipy.sparse.csr_array([[1.0]]),
}
BAD_GRIDS = {f"holds {what}": [0.1, bad] for what, bad in BAD_NUMBERS.items()} | {
    "number": 1.0,
    "empty": [],
    "matrix": np.ones((2, 2)),
    "nothing": None,
    "text": "grid",
    "masked": np.ma.masked_array([1.0, 2.0], [True, False]),
    "sparse": scipy.sparse.csr_array([[1.0]]),
}
BAD = {
    "X": BAD_ROWS,
    "y": BAD_TARGETS,
    "weight": BAD_WEIGHTS,
    "lam": BAD_PENALTIES,
    "lams": BAD_GRIDS,
}


def refuse(name, argument, **given):
    """Assert a ValueError or TypeError of our own that names the argument."""
    with pytest.raises((TypeError, ValueError)) as error:
        call(name, **given)
    assert error.type in (TypeError, ValueError)
    assert f"`{argument}`" in str(error.value)
    assert not jax.config.jax_enable_x64


MISTAKES = [
    (name, argument, what)
    for name in FUNCTIONS
    for argument in TAKES[name]
    for what in BAD.get(argument, ())
    if (name, what) != ("predict", "one row less")
]


@pytest.mark.parametrize(("name", "argument", "what"), MISTAKES)
def test_bad_argument_is_refused_by_name(name, argument, what):
    refuse(name, argument, **{argument: BAD[argument][what]})


@pytest.mark.parametrize("lam", [1e-60, 1e60])
@pytest.mark.parametrize("name", sorted(set(FUNCTIONS) - {"predict"}))
def test_penalty_that_float32_cannot_hold_is_refused(name, lam):
    argument = "lams" if name in GRIDS else "lam"
    given = as_kind(np.asarray, np.float32)
    refuse(name, argument, **given | {"lam": lam, "lams": [0.1, lam]})


@pytest.mark.parametrize("part", ["coef", "intercept"])
@pytest.mark.parametrize("name", [*AT_PARAMS, "predict"])
def test_params_that_are_not_finite_are_refused_by_name(name, part):
    bad = one_bad(getattr(GOOD["params"], part), np.nan)
    refuse(name, part, params=GOOD["params"]._replace(**{part: bad}))


def test_message_says_where_the_first_bad_value_is_and_how_many_there_are():
    bad = X.copy()
    bad[[3, 7], 1] = np.nan
    with pytest.raises(ValueError, match=r"got nan at index \(3, 1\) \(2 such"):
        solve(bad, y, 0.7)


def test_large_finite_values_are_not_taken_for_infinity():
    huge = np.array([1.7e308, 1.7e308])
    assert predict(Params(np.zeros(1), np.array(1.0)), huge[:, None]).tolist() == [1, 1]


@pytest.mark.parametrize("integers", [np.int64, np.uint64])
def test_whole_numbers_that_floats_would_round_are_refused(integers):
    with jax.enable_x64(True):
        ids = np.array([[2**60], [2**60 + 1]], integers)
        with pytest.raises(ValueError, match="`X` holds whole numbers beyond 90071992"):
            as_floats(X=ids)
        assert as_floats(X=np.array([[2**53]], integers))[0] == 2.0**53
    single = np.array([[2**24 + 1]]), jnp.zeros(1, jnp.float32)
    with pytest.raises(ValueError, match="`X` holds whole numbers beyond 16777216"):
        as_floats(X=single[0], y=single[1])


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table])
def test_data_frames_are_read_column_by_column(frame):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 2)), rng.normal(size=12)
    X[:, 1] = X[:, 1] > 0
    mixed = {"size": X[:, 0], "is new": X[:, 1] > 0}
    np.testing.assert_allclose(
        solve(frame(mixed), y, 1.0).coef, solve(X, y, 1.0).coef, rtol=1e-12
    )
    words = mixed | {"where": np.array(["here", "there"] * 6)}
    with pytest.raises(ValueError, match="column 'where' holds 'here', which is no"):
        solve(frame(words), y, 1.0)


def test_columns_of_frames_that_miss_values_are_told_so():
    X = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [True, False, True]})
    X["c"] = pd.array([1, None, 3], dtype="Int64")
    with pytest.raises(
        ValueError, match=r"`X` must be finite, got nan at index \(1, 2"
    ):
        solve(X, np.ones(3), 1.0)
    times = X.assign(c=pd.Series(pd.date_range("2020", periods=3)))
    with pytest.raises(ValueError, match="column 'c' holds times"):
        solve(times, np.ones(3), 1.0)


WHOLE = 2**60 + np.arange(12)
BAD_COLUMNS = {
    "dates": (pl.DataFrame({"a": [date(2020, 1, 1)] * 12, "b": [1.0] * 12}), "times"),
    "durations": (pl.DataFrame({"a": [timedelta(1)] * 12, "b": [1.0] * 12}), "times"),
    "Arrow's dates": (
        pa.table({"a": [date(2020, 1, 1)] * 12, "b": [1.0] * 12}),
        "times",
    ),
    "dates as objects": (
        pd.DataFrame({"a": [date(2020, 1, 1)] * 12, "b": 1.0}),
        "times",
    ),
    "ids": (pd.DataFrame({"a": WHOLE, "b": WHOLE > 0}), "whole numbers beyond"),
    "ids as objects": (
        pd.DataFrame({"a": list(map(int, WHOLE))}, dtype=object),
        "whole numbers beyond",
    ),
    "nullable ids": (
        pd.DataFrame({"a": pd.array(WHOLE, dtype="Int64"), "b": WHOLE > 0}),
        "whole numbers beyond",
    ),
    "complex": (pd.DataFrame({"a": [1j] * 12, "b": 1.0}, dtype=object), "holds 1j"),
}


@pytest.mark.parametrize("what", BAD_COLUMNS)
@pytest.mark.parametrize("name", ["X", "y"])
def test_columns_that_floats_would_change_are_refused_by_name(what, name):
    frame, message = BAD_COLUMNS[what]
    given = {"X": np.arange(24.0).reshape(12, 2), "y": np.arange(12.0), name: frame}
    with pytest.raises(ValueError, match=f"`{name}`.*column 'a'.*{message}"):
        solve(**given, lam=1.0)


def test_columns_of_one_name_are_taken_by_place():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 2)), rng.normal(size=12)
    frame = pd.DataFrame(X, columns=["a", "a"])
    assert_close(solve(frame, y, 1.0).coef, solve(X, y, 1.0).coef)


def test_arguments_that_are_not_there_are_told_those_that_are():
    X, y = np.ones((3, 1)), np.arange(3.0)
    with pytest.raises(
        TypeError, match="`solve` got an unexpected.*it takes X, y, lam"
    ):
        solve(X, y, 1.0, weights=y)
    with pytest.raises(TypeError, match="has no option 'cv': `folds` says which rows"):
        cross_validate(X, y, [1.0], cv=3)


def test_times_are_no_numbers():
    with pytest.raises(TypeError, match="`X` holds times"):
        as_floats(X=np.array([1, 2], "m8[D]"))


@pytest.mark.parametrize("name", ["cost", "solve", "descend", "cross_validate"])
def test_numpy_is_computed_now_inside_of_a_transformation(name):
    expected = jax.tree.leaves(call(name))[-1]
    found = jax.jit(lambda z: z * jax.tree.leaves(call(name))[-1])(1.0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_key_alone_may_be_traced():
    steps = {"learning_rate": 0.01, "batch_size": 2, "max_steps": 3}
    rows, keys = X.astype(np.float32), jax.random.split(jax.random.key(0), 2)

    def trained(key):
        return descend(rows, y.astype(np.float32), 1.0, key=key, **steps).params.coef

    found = jax.vmap(trained)(keys)
    for one, key in zip(found, keys, strict=True):
        assert_close(one, trained(key))


def test_lists_may_hold_what_is_traced():
    given = jnp.asarray(X, jnp.float32)
    whole = np.array([1.5, 3.0]), np.full(m, 1.5)
    expected = sweep(given, whole[1].astype(np.float32), whole[0], **STEPS).params.coef
    found = jax.jit(lambda a: sweep(given, [a] * m, [a, 2 * a], **STEPS).params.coef)
    assert_close(found(1.5), expected)


def test_an_answer_shares_no_memory_with_its_arguments():
    with jax.enable_x64(True):
        lams = np.geomspace(1.0, 1e4, 64)
        scores = leave_one_out(jnp.asarray(X), jnp.asarray(y), lams)
        before = lams.copy()
        lams[:] = -1
        np.testing.assert_array_equal(scores.lams, before)


def test_a_column_may_be_called_as_a_field_of_moments_is():
    frame = pd.DataFrame(X, columns=["xx", *map(str, range(1, X.shape[1]))])
    assert_close(solve(frame, y, 1.0).coef, solve(X, y, 1.0).coef)


@pytest.mark.parametrize("scale", [1e-310, 1e308])
@pytest.mark.parametrize("name", ["cost", "solve", "leave_one_out"])
def test_weights_without_a_sum_are_refused(name, scale):
    function = FUNCTIONS.get(name, leave_one_out)
    given = (GOOD["params"],) if name == "cost" else ()
    lam = [1.0] if name == "leave_one_out" else 1.0
    with pytest.raises(ValueError, match="`weight` reaches .* rescale it"):
        function(*given, X, y, lam, weight=np.full(m, scale))


@pytest.mark.filterwarnings("ignore:the best alpha")
@pytest.mark.parametrize("shape", [(12, 4), (5, 9)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_dtype_is_promoted_in_silence(shape, dtype, monkeypatch):
    strictly = partial(jax.numpy_dtype_promotion, "strict")
    monkeypatch.setattr(border, "promoting", strictly)
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=shape).astype(dtype), rng.normal(size=(shape[0], 2))
    lams, given = np.array([0.1, 10.0]), (X, Y.astype(dtype))
    found = scores_of_all_kinds(*given, lams)
    path(*given, lams)
    leave_one_out(*given, "auto", scoring="correlation")
    RidgeCV(lams, intervals=True).fit(*given)
    solve(*given, 1.0)
    assert {name: scores.dtype for name, scores in found.items()} == dict.fromkeys(
        found, dtype
    )


@pytest.mark.filterwarnings("ignore:the best alpha")
def test_what_is_asked_of_ones_own_promotions_is_not_asked_of_ours():
    lams, steps = [0.1, 10.0], {"max_steps": 3, "tol": 1e9}
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        cost(GOOD["params"], X, y, 1.0)
        sweep(X, y, lams, **steps)
        cross_validate(X, y, lams, method="descent", **steps)
        cross_validate(X, y, lams, prepare=standardized)
        RidgeCV(lams, standardize=True).fit(X, y)
        moments_of(X, y) + moments_of(X, y)
