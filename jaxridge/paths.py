"""Coefficients at every penalty, from one factorisation."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.border import ArrayLike, in_kind_of_input
from jaxridge.certificate import Certificate, of_moments, of_rows, some_fits
from jaxridge.columns import (
    Learner,
    checked_learner,
    learnt,
    original_units,
    try_out,
    untouched,
)
from jaxridge.costs import flop_of_coef
from jaxridge.data import (
    Centre,
    Data,
    as_data_to_square,
    as_penalty,
    drop_target_axis,
    intercept_at,
)
from jaxridge.excerpt import excerpt, where_known
from jaxridge.factors import answer, known
from jaxridge.moments import Moments, as_one
from jaxridge.nodes import Nodes, nodes_for
from jaxridge.params import Params, ParamsPath
from jaxridge.passes import compiled_unless_many
from jaxridge.precision import warn_if_lost
from jaxridge.products import matmul
from jaxridge.programs import compiled
from jaxridge.risk import (
    degrees_of_freedom,
    residual,
    residual_of_sums,
    training_error,
)
from jaxridge.routes import ONE, PRIMAL, Route
from jaxridge.spectrum import Spectrum, axes_of_moments, coef_at, condition, n_columns
from jaxridge.tiles import tile

COLUMNS = 32  # targets, fewer of which make a product of matrices slow


class Path(NamedTuple):
    """Ridge fits along a grid of penalties.

    Attributes
    ----------
    lams : array of shape (n_lams,)
        The penalties, in the order given.
    params : ParamsPath
        coef (n_lams, n_features[, n_targets]) and intercept (n_lams[, n_targets]).
    df : array of shape (n_lams,)
        Effective degrees of freedom, Σ s²/(s² + lam) and 1 for the intercept.
    training_error : array of shape (n_lams[, n_targets])
        Mean squared error of the rows fitted, Σ w e² / Σ w.
    certificate : Certificate
        ∇J at the least, the middle and the largest penalty, the condition number, and
        the route taken.
    """

    lams: Float[Array, " L"]
    params: ParamsPath
    df: Float[Array, " L"]
    training_error: Float[Array, "L *t"]
    certificate: Certificate

    @property
    def route(self) -> Route:
        """How the coefficients were computed."""
        return self.certificate.route

    @where_known
    def __str__(self) -> str:
        """Return one line for each penalty, at most twelve spread over the grid."""
        coef = np.asarray(self.params.coef).reshape(len(self.lams), -1)
        columns = self.lams, self.df, np.linalg.norm(coef, axis=1)
        return excerpt(columns, ["lam", "degrees of freedom", "norm of coef"])


@in_kind_of_input
def path(
    X: ArrayLike | Moments,
    y: ArrayLike | None,
    lams: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    fit_intercept: bool = True,
    prepare: Learner | None = None,
) -> Path:
    """Ridge coefficients at every penalty of a grid, from one factorisation.

    Each minimises ``J = (Σ w (X @ coef + intercept − y)² + lam · ‖coef‖²) / (2m)``, so
    `lams` are scikit-learn's ``alpha``.

    Parameters
    ----------
    X : array of shape (n_samples, n_features), or Moments
        The rows, finite; or their moments, those of folds taken together. Then `y` and
        `weight` are None, and results have a targets' axis.
    y : array of shape (n_samples,) or (n_samples, n_targets), or None
        The targets.
    lams : array of shape (n_lams,)
        Penalties in squared units of `X`, each at least 0, in any order. At 0 the
        answer is the least-squares fit, of minimum norm where columns depend on each
        other.
    weight : array of shape (n_samples,), optional
        How often each row counts, at least 0 and not all 0.
    fit_intercept : bool
        Whether to fit an unpenalised intercept; it is 0 otherwise.
    prepare : function, optional
        Learns from all rows to prepare the columns, as in `cross_validate`. Penalties
        then refer to columns as prepared, and J and the certificate too; coefficients
        are in the columns' own units, and the intercept makes up for what `prepare`
        subtracts. It is done in the dtype of `X`: float32 columns far from 0 keep their
        digits with an intercept, and without one by ``scaled``.

    Returns
    -------
    Path
        lams, params, df, training_error and certificate.

    Raises
    ------
    TypeError
        If an argument does not hold real numbers.
    ValueError
        If shapes do not fit, for an empty grid, or for values that are negative, NaN or
        infinite (unless traced).

    Warns
    -----
    UserWarning
        If moments do not hold the digits that the answer asks for.

    Notes
    -----
    With k = min(m, n): O(m n k + k³) time once, O(n k t) for each penalty or, with many
    of both them and targets, each of the few that stand for all (see `nodes`); O(k n +
    L n t) memory beside the rows. Where products of the data would lose digits, float32
    is computed in float64 (unless penalties are traced), and float64 by singular
    values.

    References
    ----------
    Hoerl and Kennard (1970); Golub and Van Loan (2013), section 6.1.4.

    Examples
    --------
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])
    >>> print(path(X, y, lams=[0.0, 2.0]).params.coef)
    [[2.]
     [1.]]
    """
    checks.grid(lams)
    fit_intercept = checks.flag("fit_intercept", fit_intercept)
    if isinstance(X, Moments):
        if y is not None or weight is not None:
            raise ValueError("`y` and `weight` are in the Moments: leave them out")
        if prepare is not None:
            raise ValueError("`prepare` needs rows, and Moments are none: leave it out")
        sums = as_one(X)
        grid = as_penalty("lams", lams, sums.xx.dtype)
        found, worst, left = _path_of_moments(sums, grid, fit_intercept)
        warn_if_lost(worst, left, sums.xx.dtype)
        return found
    learner = checked_learner(prepare)
    data = as_data_to_square(X, y, weight, missing=learner is not untouched)
    grid = as_penalty("lams", lams, data.X.dtype)
    if learner is untouched:
        found = path_of(data, grid, fit_intercept)
    else:
        found = _path_of_prepared(data, grid, fit_intercept, learner)
    params, error = drop_target_axis((found.params, found.training_error), y)
    return found._replace(params=params, training_error=error)


@in_kind_of_input
def path_of_sums(sums: Moments, lams: Any, fit_intercept: bool) -> Path:
    """Return the path of one set of sums, for coefficients and not training errors.

    Those cancel where fits are good, and here nobody is warned of that.
    """
    grid = as_penalty("lams", lams, sums.xx.dtype)
    found, worst, _ = _path_of_moments(sums, grid, fit_intercept)
    warn_if_lost(worst, 1.0, sums.xx.dtype)
    return found


@partial(compiled, static_argnums=2)
def _path_of_moments(
    sums: Moments, lams: Float[Array, " L"], fit_intercept: bool
) -> tuple[Path, Array, Array]:
    """Return the path, the condition, and the part of the targets that is left."""
    centre, spectrum, worst = axes_of_moments(sums, jnp.min(lams), fit_intercept)
    rest, left = residual_of_sums(spectrum, sums, lams, fit_intercept)
    params, df = _fits(centre, spectrum, lams, fit_intercept)
    error = training_error(sums.weight, spectrum, rest, lams)
    fits, at = some_fits(params, lams)
    twice = of_moments(fits, sums, at, fit_intercept)
    made = Certificate(at, *twice, worst, Route(PRIMAL, ONE, str(sums.xx.dtype)))
    return Path(lams, params, df, error, made), worst, left


def path_of(
    data: Data,
    lams: Float[Array, " L"],
    fit_intercept: bool,
) -> Path:
    """Return the path of checked data."""

    def question(*given: Any) -> tuple[Path, Any]:
        return _path(*given, _nodes(*given[2:]), fit_intercept), 1.0

    found, route = answer(question, known(data, fit_intercept), lams)
    return found._replace(certificate=found.certificate._replace(route=route))


def _path_of_prepared(
    data: Data, lams: Float[Array, " L"], fit_intercept: bool, learner: Learner
) -> Path:
    """Return the path of columns as prepared, with coefficients of the raw ones."""
    try_out(learner, data)
    columns, rows = learnt(data, learner)
    found = path_of(rows, lams, fit_intercept)
    own_units = jax.vmap(partial(original_units, columns))
    return found._replace(params=ParamsPath(*own_units(Params(*found.params))))


@partial(compiled_unless_many, static_argnums=5)
def _path(
    data: Data,
    centre: Centre,
    spectrum: Spectrum,
    lams: Float[Array, " L"],
    nodes: Nodes | None,
    fit_intercept: bool,
) -> Path:
    params, df = _fits(centre, spectrum, lams, fit_intercept, nodes)
    rest = residual(data, centre, spectrum, lams)
    error = training_error(data.weight.sum(), spectrum, rest, lams)
    fits, at = some_fits(params, lams)
    twice = of_rows(data, fits, at, fit_intercept)
    worst = condition(spectrum, at[0], data.weight, fit_intercept)
    made = Certificate(at, *twice, worst, Route())
    return Path(lams, params, df, error, made)


def _nodes(spectrum: Spectrum, lams: Array) -> Nodes | None:
    """Return nodes for many targets."""
    (r, t), n = spectrum.along.shape, n_columns(spectrum.right)
    return nodes_for(spectrum.values, lams, flop_of_coef(n, r, t))


@partial(compiled, static_argnums=3)
def _fits(
    centre: Centre,
    spectrum: Spectrum,
    lams: Float[Array, " L"],
    fit_intercept: bool,
    nodes: Nodes | None = None,
) -> tuple[ParamsPath, Float[Array, " L"]]:
    at, shares = (lams, None) if nodes is None else nodes

    def one(lam: Array) -> tuple[Array, Array]:
        coef = coef_at(spectrum, lam)
        return coef, intercept_at(coef, centre)

    # Together, as XLA would transpose the coefficients at all penalties, in a copy. V
    # that no cache holds is read for as many penalties as make a product of matrices.
    (r, t), n = spectrum.along.shape, n_columns(spectrum.right)
    some = max(1, COLUMNS // t) if n * r > tile() else 1
    tiles = -(-len(at) // some)
    batch = -(-len(at) // tiles)
    # A batch of one would be slower than none.
    coef, intercept = jax.lax.map(one, at, batch_size=batch if batch > 1 else None)
    if shares is not None:
        # The intercept is ȳ less what is a combination too.
        coef, less = (
            matmul(shares, a.reshape(len(at), -1)).reshape(len(lams), *a.shape[1:])
            for a in (coef, centre.y - intercept)
        )
        intercept = centre.y - less
    params = ParamsPath(coef, intercept)
    return params, degrees_of_freedom(spectrum, lams, fit_intercept)
