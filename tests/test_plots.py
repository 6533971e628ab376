"""Pictures: drawn on the axes given, with what they claim to show."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

import jaxridge
from jaxridge import plots

rng = np.random.default_rng(0)
X = rng.normal(size=(30, 3))
y = X @ np.array([1.0, -2.0, 0.5]) + rng.normal(size=30)
LAMS = np.array([10.0, 0.0, 1.0, 100.0])


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


@pytest.fixture(scope="module")
def fits():
    return jaxridge.sweep(X, y, LAMS)


@pytest.fixture(scope="module")
def scores():
    return jaxridge.cross_validate(X, y, LAMS, method="exact")


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_fits_draws_a_line_for_each_penalty(ax):
    x = X[:, :1]
    fits = jaxridge.sweep(x, y, [0.0, 5.0])
    assert plots.plot_fits(x, y, fits, ax) is ax
    assert labels(ax) == ["λ = 0", "λ = 5"]
    for line, lam in zip(ax.lines, (0.0, 5.0), strict=True):
        exact = jaxridge.predict(jaxridge.solve(x, y, lam), line.get_xdata()[:, None])
        np.testing.assert_allclose(line.get_ydata(), exact, rtol=1e-6)


def test_fits_may_be_those_of_a_path(ax):
    X, y = np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])
    jaxridge.plots.plot_fits(X, y, jaxridge.path(X, y, [0.0, 2.0]), ax)
    assert [line.get_label() for line in ax.lines] == ["λ = 0", "λ = 2"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [2, 4])


def test_fits_refuses_several_features(ax, fits):
    with pytest.raises(ValueError, match="`X` must have one column"):
        plots.plot_fits(X, y, fits, ax)


def test_fits_refuses_lines_that_are_none(ax, fits):
    x = X[:, :1]
    with pytest.raises(ValueError, match="`fits` must have one coefficient"):
        plots.plot_fits(x, y, fits, ax)
    line = jaxridge.descend(x, y, 1.0)
    with pytest.raises(ValueError, match="`y` must be finite"):
        plots.plot_fits(x, np.full(30, np.nan), line, ax)
    plots.plot_fits(x, y, line, ax)
    assert labels(ax) == ["λ = 1"]


def test_coefficients_refuses_marks_that_mark_nothing(ax, fits):
    with pytest.raises(ValueError, match="`chosen` must be one of `lams`, got 5"):
        plots.plot_coefficients(LAMS, fits.params, ax, chosen=5.0)
    with pytest.raises(ValueError, match="`names` has 1 names for 3 features"):
        plots.plot_coefficients(LAMS, fits.params, ax, names=["a"])


def test_history_starts_at_the_first_cost(ax, fits):
    assert plots.plot_history(fits, ax) is ax
    np.testing.assert_allclose([c.get_ydata()[0] for c in ax.lines], fits.history[:, 0])


def test_history_draws_one_descent_and_thins_a_long_sweep(ax):
    plots.plot_history(jaxridge.descend(X, y, 1.0), ax)
    assert labels(ax) == ["λ = 1"]
    ax.clear()
    plots.plot_history(jaxridge.sweep(X, y, np.geomspace(1, 9, 30)), ax)
    assert len(labels(ax)) == plots.NAMED_CURVES


def test_coefficients_are_drawn_in_the_order_of_the_penalties(ax, fits):
    plots.plot_coefficients(LAMS, fits.params, ax, names=["a", "b", "c"], chosen=10.0)
    assert labels(ax) == ["b", "a", "c", "chosen λ"]
    curve = ax.lines[0]
    assert (np.diff(curve.get_xdata()) > 0).all()
    order = np.argsort(LAMS)
    np.testing.assert_array_equal(curve.get_ydata(), fits.params.coef[order, 1])
    assert "λ = 0" in [text.get_text() for text in ax.texts]


def test_coefficients_of_several_targets_are_refused(ax):
    fits = jaxridge.sweep(X, np.column_stack([y, y]), LAMS)
    with pytest.raises(ValueError, match="choose a target first"):
        plots.plot_coefficients(LAMS, fits.params, ax)


def test_validation_marks_both_choices(ax, scores):
    assert plots.plot_validation(scores, ax) is ax
    assert {"best λ", "1-SE λ", "± 1 standard error"} <= set(labels(ax))
    best = ax.lines[1].get_xdata()[0]
    assert best == jaxridge.choose(scores).lam or jaxridge.choose(scores).lam == 0


def test_validation_of_several_targets_is_refused(ax):
    scores = jaxridge.cross_validate(X, np.column_stack([y, y]), LAMS, method="exact")
    with pytest.raises(ValueError, match="got 2 targets"):
        plots.plot_validation(scores, ax)


def test_axes_are_made_where_none_are_given(scores):
    ax = plots.plot_validation(scores)
    assert ax.get_title() == "Validation curve"
    plt.close(ax.figure)


def test_figure_is_saved_without_a_window(tmp_path, scores):
    with plots.figure(tmp_path / "picture.png") as ax:
        plots.plot_validation(scores, ax)
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert not plt.get_fignums()


def test_names_may_be_an_array_and_one_fold_has_no_band():
    X = np.random.default_rng(0).normal(size=(30, 3))
    y, lams = X[:, 0] + X[:, 1] ** 2, np.array([0.1, 1.0, 10.0])
    params = jaxridge.path(X, y, lams).params
    names = np.array(["one", "two", "three"], object)
    axes = plots.plot_coefficients(lams, params, names=names)
    assert {line.get_label() for line in axes.lines} >= set(names)
    once = [(np.arange(20), np.arange(20, 30))]
    axes = plots.plot_validation(jaxridge.cross_validate(X, y, lams, once))
    assert not axes.collections
    plt.close("all")


def test_of_very_many_coefficients_some_are_drawn(ax):
    coef = np.random.default_rng(0).normal(size=(4, 3000))
    params = jaxridge.ParamsPath(coef, np.zeros(4))
    names = [f"x{j}" for j in range(3000)]
    plots.plot_coefficients(LAMS, params, ax, names=names)
    assert "2992 others, 500 drawn" in labels(ax)
    assert len(ax.lines) < 520
