"""Pictures from results. Each draws on an `ax`, made if not given, and returns it.

Nothing is told by colour alone: curves of different λ also differ in lightness and in
line style, so a print in grey can be read.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path as FilePath
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from jaxridge import checks
from jaxridge.choice import Scores, choose, has_standard_errors
from jaxridge.excerpt import places
from jaxridge.params import ParamsPath
from jaxridge.paths import Path
from jaxridge.trajectory import Descent

NAME = 32  # characters of a name
STYLES = ("-", "--", "-.", ":")
NAMED_CURVES = 8
GREY_CURVES = 500  # of more coefficients so many, evenly by their size
WIDE_RANGE = 30  # beyond which scores are drawn on a logarithmic axis


def plot_fits(
    X: ArrayLike, y: ArrayLike, fits: Descent | Path, ax: Axes | None = None
) -> Axes:
    """Draw the points of one feature and the line that each penalty fits to them.

    Parameters
    ----------
    X : array of shape (n_samples, 1)
        The one feature.
    y : array of shape (n_samples,)
        The target.
    fits : Descent or Path
        Of a few penalties; J is that of `cost`.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If there is more than one feature or target, or `X` or `y` is not finite.

    Examples
    --------
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])
    >>> from jaxridge.descent import sweep
    >>> plot_fits(X, y, sweep(X, y, [0.0, 2.0])).get_ylabel()
    'target y'
    """
    X, y = np.asarray(X), np.asarray(y)
    if X.ndim != 2 or X.shape[1] != 1 or y.ndim != 1:
        raise ValueError(
            "`X` must have one column and `y` one target to draw lines over points, "
            f"got shapes {X.shape} and {y.shape}"
        )
    for name, values in (("X", X), ("y", y)):
        checks.numeric(name, values)
        checks.finite(name, values)
    lams = np.atleast_1d(fits.lams if isinstance(fits, Path) else fits.lam)
    coef = np.atleast_2d(fits.params.coef)
    if coef.shape != (len(lams), 1):
        raise ValueError(
            "`fits` must have one coefficient at each λ to be lines, got coef "
            f"{np.shape(fits.params.coef)}: fit one column and one target"
        )
    ax = _axes(ax)
    ax.scatter(X[:, 0], y, s=14, color="0.65", edgecolors="0.4", linewidths=0.5)
    ends = np.array([X.min(), X.max()])
    slopes, intercepts = coef[:, 0], np.atleast_1d(fits.params.intercept)
    for lam, slope, intercept, look in zip(
        lams, slopes, intercepts, _looks(len(slopes)), strict=True
    ):
        ax.plot(ends, intercept + slope * ends, label=f"λ = {lam:g}", **look)
    ax.set(xlabel="feature x", ylabel="target y", title="Fitted line at each λ")
    ax.legend(frameon=False)
    return ax


def plot_history(fits: Descent, ax: Axes | None = None) -> Axes:
    """Draw J step by step for several penalties, until all have nearly arrived.

    Parameters
    ----------
    fits : Descent
        One descent or a sweep of them; of a long sweep, eight penalties are drawn.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib axes

    Examples
    --------
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])
    >>> from jaxridge.descent import sweep
    >>> plot_history(sweep(X, y, [0.0, 2.0])).get_xlabel()
    'step'
    """
    ax = _axes(ax)
    lams, steps = np.atleast_1d(fits.lam), np.atleast_1d(fits.steps)
    history = np.atleast_2d(fits.history)
    shown = places(len(lams), NAMED_CURVES)
    curves = history[shown, : steps[shown].max() + 1]
    # Draw until every curve has made all but a thousandth of its way down.
    moving = curves - curves[:, -1:] > 1e-3 * (curves[:, :1] - curves[:, -1:])
    settled = int(np.flatnonzero(moving.any(axis=0)).max(initial=0)) + 2
    for i, curve, look in zip(shown, curves, _looks(len(shown)), strict=True):
        ax.plot(curve[: settled + 1], label=f"λ = {lams[i]:g}", **look)
    ax.set(
        xlabel="step",
        ylabel="cost J (squared units of y)",
        title="Cost along the descent",
    )
    ax.legend(frameon=False)
    return ax


def plot_coefficients(
    lams: ArrayLike,
    params: ParamsPath,
    ax: Axes | None = None,
    *,
    names: Sequence[str] | None = None,
    chosen: float | None = None,
) -> Axes:
    """Draw every coefficient against λ.

    Parameters
    ----------
    lams : array of shape (n_lams,)
        The penalties.
    params : ParamsPath
        Of one target, as `sweep` returns it.
    ax : matplotlib axes, optional
        Where to draw.
    names : sequence of str, optional
        Names of the features; the eight largest at the smallest λ are written out.
    chosen : float, optional
        A penalty to mark.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If coef is not (n_lams, n_features), `names` are too few or too many, or
        `chosen` is not among `lams`.

    Examples
    --------
    >>> params = ParamsPath(np.array([[2.0], [1.0]]), np.array([0.0, 0.0]))
    >>> plot_coefficients([0.1, 1.0], params).get_xscale()
    'log'
    """
    coef, lams = np.asarray(_coef_of(params)), np.asarray(lams)
    if coef.ndim != 2 or len(coef) != len(lams):
        raise ValueError(
            f"`params` must hold coef (n_lams, n_features) with n_lams {len(lams)}, "
            f"got {coef.shape}: choose a target first"
        )
    if names is not None and len(names) != coef.shape[1]:
        raise ValueError(f"`names` has {len(names)} names for {coef.shape[1]} features")
    if chosen is not None and not np.isin(chosen, lams):
        raise ValueError(f"`chosen` must be one of `lams`, got {chosen}")
    ax = _axes(ax)
    order = np.argsort(lams, kind="stable")
    at = _draw_log_axis(ax, lams)[order]
    largest = np.argsort(-np.abs(coef[order[0]]), kind="stable")
    named = largest[:NAMED_CURVES] if names is not None else largest[:0]
    labels = [] if names is None else names
    for j, look in zip(named, _looks(len(named)), strict=True):
        ax.plot(at, coef[order, j], label=plain(labels[j]), **look)
    others = largest[len(named) :]
    some = others[places(len(others), GREY_CURVES)] if len(others) else others
    look = {"color": "0.75", "linewidth": 0.8, "zorder": 1}
    greys = ax.plot(at, coef[np.ix_(order, some)], **look)
    if greys and named.size:
        drawn = f", {len(some)} drawn" if len(some) < len(others) else ""
        greys[0].set_label(f"{len(others)} other{'s' * (len(others) > 1)}{drawn}")
    ax.axhline(0, color="0.5", linewidth=0.6)
    if chosen is not None:
        _mark(ax, at[np.flatnonzero(lams[order] == chosen)[0]], "chosen λ", "-")
    ax.set(ylabel="coefficient", title="Coefficients against λ")
    if named.size or chosen is not None:
        ax.legend(
            frameon=False, fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5)
        )
    return ax


def plot_validation(scores: Scores, ax: Axes | None = None) -> Axes:
    """Draw the held-out score against λ with ±1 standard error and both choices.

    Parameters
    ----------
    scores : Scores
        Of one target, from `cross_validate`.
    ax : matplotlib axes, optional
        Where to draw.

    Returns
    -------
    matplotlib axes

    Raises
    ------
    ValueError
        If there are several targets.

    Examples
    --------
    >>> X, y = np.arange(6.0)[:, None], np.array([1.0, 0.0, 2.0, 4.0, 3.0, 5.0])
    >>> from jaxridge.validation import cross_validate
    >>> plot_validation(cross_validate(X, y, [0.1, 10.0], folds=3)).get_ylabel()
    'held-out score (lower is better)'
    """
    mean, error = np.asarray(scores.mean), np.asarray(scores.standard_error)
    if mean.ndim != 1:
        raise ValueError(
            f"`scores` must be of one target to be drawn, got {mean.shape[1]} targets"
        )
    ax = _axes(ax)
    lams = np.asarray(scores.lams)
    order = np.argsort(lams, kind="stable")
    at = _draw_log_axis(ax, lams)
    mean, error = mean[order], error[order]
    k, error_known = len(scores.per_fold), has_standard_errors(scores)
    if error_known:
        band: Any = {"color": "0.85", "label": "± 1 standard error"}
        ax.fill_between(at[order], mean - error, mean + error, **band)
    label = "mean over folds" if k > 1 else "mean over rows" if k else "score"
    ax.plot(at[order], mean, color="black", marker=".", label=label)
    best = int(choose(scores).index)
    simplest = int(choose(scores, "1se").index) if error_known else None
    _mark(ax, at[best], "best and 1-SE λ" if simplest == best else "best λ", "-")
    if simplest not in (None, best):
        _mark(ax, at[simplest], "1-SE λ", ":")
    better = "higher" if scores.greater_is_better else "lower"
    ax.set(ylabel=f"held-out score ({better} is better)", title="Validation curve")
    if mean.min() > 0 and mean.max() > WIDE_RANGE * mean.min():
        ax.set_yscale("log")
    ax.legend(framealpha=0.8, edgecolor="none")
    return ax


@contextmanager
def figure(path: FilePath) -> Iterator[Axes]:
    """Give axes that are saved to `path` as a PNG when the block ends."""
    with panels(path, 1) as axes:
        yield axes[0]


@contextmanager
def panels(path: FilePath, count: int) -> Iterator[Sequence[Axes]]:
    """Give axes, one below the other, that are saved to `path` when the block ends.

    The figure stands alone, without pyplot: no window, no state, no display needed.
    """
    picture = Figure(figsize=(7, 4.5 * count), layout="constrained")
    yield picture.subplots(count, squeeze=False)[:, 0].tolist()
    picture.savefig(path, dpi=150, format="png")


def _coef_of(params: ParamsPath) -> Any:
    if not hasattr(params, "coef"):
        raise TypeError(
            f"`params` must be a ParamsPath, got {type(params).__name__}: pass its "
            "`params`"
        )
    return params.coef


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots(figsize=(7, 4.5), layout="constrained")[1] if ax is None else ax


def _looks(count: int) -> list[dict[str, Any]]:
    """Return a dark-to-light colour and a line style for each curve."""
    colours: Colormap = plt.get_cmap("viridis")
    shades = np.linspace(0, 0.85, count) if count > 1 else np.zeros(1)
    return [
        {"color": colours(shade), "linestyle": style, "linewidth": 1.8}
        for shade, style in zip(shades, islice(cycle(STYLES), count), strict=False)
    ]


def _draw_log_axis(ax: Axes, lams: np.ndarray) -> np.ndarray:
    """Return where to draw each λ on a logarithmic axis, 0 beside the smallest."""
    ax.set_xscale("log")
    ax.set_xlabel("penalty λ")
    places = on_log_axis(lams)
    if (lams > 0).all():
        return places
    ax.annotate(
        "λ = 0",
        (places.min(), 0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        fontsize="small",
    )
    return places


def on_log_axis(lams: ArrayLike) -> np.ndarray:
    """Return where each λ stands on a logarithmic axis: 0 a decade left of all."""
    lams = np.asarray(lams)
    positive = lams[lams > 0]
    return np.where(lams > 0, lams, positive.min() / 10 if positive.size else 1.0)


def shortened(text: str, most: int = NAME) -> str:
    """Return text that is not longer, without its middle if need be."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}…{text[1 - half :]}"


def plain(text: str) -> str:
    """Return text that matplotlib shows as it is, dollars and first underscores too."""
    shown = text.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _mark(ax: Axes, at: float, label: str, style: str) -> None:
    ax.axvline(at, color="black", linestyle=style, linewidth=1, label=label)
