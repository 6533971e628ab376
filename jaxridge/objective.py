"""The regularised cost J, written once, and its gradient twice.

    J(θ) = 1/(2m) Σᵢ wᵢ (xᵢ·coef + intercept − yᵢ)²  +  λ/(2m) ‖coef‖²        m = Σ wᵢ

The intercept is never penalised. `jax.grad` derives the gradient from the cost; the
same gradient is also written by hand. Minimising J is minimising Σ w e² + λ‖coef‖², so
λ is scikit-learn's ``alpha``. With several targets J is summed over them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.border import ArrayLike, in_kind_of_input
from jaxridge.data import as_floats, as_penalty
from jaxridge.divisors import or_one
from jaxridge.idle import blanked
from jaxridge.params import Params, ParamsPath
from jaxridge.products import matmul


@in_kind_of_input
def cost(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    lam: ArrayLike,
    weight: ArrayLike | None = None,
) -> Float[Array, ""]:
    """Regularised cost J of ridge regression at `params`.

    ``J = Σ w (X @ coef + intercept − y)² / (2m) + lam · ‖coef‖² / (2m)``, with m = Σ w
    (the number of rows without weights), summed over targets. Its minimiser is
    scikit-learn's at ``alpha = lam``; it is not lam/m or √lam as in other libraries.

    Parameters
    ----------
    params : Params
        coef (n_features,) with intercept () for one target, coef (n_features,
        n_targets) with intercept (n_targets,) for several.
    X : array of shape (n_samples, n_features)
        The rows, finite.
    y : array of shape (n_samples,) or (n_samples, n_targets)
        The targets, of the same rank as coef.
    lam : float
        Penalty in squared units of `X`, at least 0.
    weight : array of shape (n_samples,), optional
        How often each row counts, at least 0 and not all 0; 1 if not given. Integer
        weights equal repeated rows, and c times all weights is `lam` divided by c.

    Returns
    -------
    array of shape ()
        J, in squared units of `y`.

    Raises
    ------
    TypeError
        If an argument does not hold real numbers.
    ValueError
        If shapes do not fit (a (m,) target with (n, t) coefficients never broadcasts),
        or values are negative, NaN or infinite. Values are checked unless traced.

    Notes
    -----
    O(m n t) time and O(m t) memory. Pure: composes with `jax.jit`, `vmap` and `grad`.

    References
    ----------
    Hoerl and Kennard (1970), Ridge regression: biased estimation for nonorthogonal
    problems, equation 2.1 gives the minimiser.

    Examples
    --------
    >>> X, y = np.array([[1.0], [2.0]]), np.array([3.0, 5.0])
    >>> params = Params(coef=np.array([2.0]), intercept=np.array(0.0))
    >>> print(cost(params, X, y, lam=1.0))  # (1² + 1² + 1 · 2²) / (2 · 2)
    1.5
    """
    return cost_of_rows(*ready(params, X, y, lam, weight))


def cost_of_rows(
    params: Params,
    X: Float[Array, "m n"],
    y: Float[Array, "m *t"],
    weight: Float[Array, " m"],
    lam: Float[Array, ""],
    product: Callable[..., Array] = matmul,
) -> Float[Array, ""]:
    """Return J of checked arguments, X @ coef being formed by `product`."""
    squares = squared_residuals(params, X, y, weight, product)
    return (squares + lam * jnp.sum(params.coef**2)) / (2 * jnp.sum(weight))


def squared_residuals(
    params: Params,
    X: Float[Array, "m n"],
    y: Float[Array, "m *t"],
    weight: Float[Array, " m"],
    product: Callable[..., Array] = matmul,
) -> Float[Array, ""]:
    """Return Σ w (x·coef + intercept − y)², the part of J that rows add up to."""
    residual = product(X, params.coef) + params.intercept - y
    squares = jnp.tensordot(
        weight, residual**2, axes=1, precision=jax.lax.Precision.HIGHEST
    )
    return jnp.sum(squares)


@in_kind_of_input
def gradient(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    lam: ArrayLike,
    weight: ArrayLike | None = None,
) -> Params:
    """Gradient ∂J/∂θ, derived from `cost` by `jax.grad`.

    Parameters
    ----------
    params, X, y, lam, weight
        As for `cost`, whose J this differentiates: λ/(2m) ‖coef‖² is its penalty.

    Returns
    -------
    Params
        ∂J/∂coef and ∂J/∂intercept, in the shapes of `params`.

    Raises
    ------
    TypeError, ValueError
        As `cost` does.

    Notes
    -----
    O(m n t) time and O(m t) memory. A model without intercept leaves ∂J/∂intercept
    out of account: it need not be 0 at the answer.

    Examples
    --------
    >>> X, y = np.array([[1.0], [2.0]]), np.array([3.0, 5.0])
    >>> params = Params(coef=np.array([2.0]), intercept=np.array(0.0))
    >>> print(gradient(params, X, y, lam=1.0).coef)
    [-0.5]
    """
    derivative = jax.grad(cost)(_float_params(params), X, y, lam, weight)
    return Params(*derivative)


@in_kind_of_input
def gradient_by_hand(
    params: Params,
    X: ArrayLike,
    y: ArrayLike,
    lam: ArrayLike,
    weight: ArrayLike | None = None,
) -> Params:
    """Gradient ∂J/∂θ by the formula that differentiating J on paper gives.

    ``∂J/∂coef = Xᵀ(w ∘ e)/m + lam · coef/m`` and ``∂J/∂intercept = Σ w e / m``, with
    e = prediction − y and m = Σ w. The chain rule brings the 2 that the 1/(2m) of J
    was waiting for; the intercept is in no penalty, so λ is absent from its derivative.

    Parameters
    ----------
    params, X, y, lam, weight
        As for `cost`, whose J this differentiates.

    Returns
    -------
    Params
        ∂J/∂coef and ∂J/∂intercept, in the shapes of `params`.

    Raises
    ------
    TypeError, ValueError
        As `cost` does.

    Notes
    -----
    O(m n t) time and O(m t) memory.

    Examples
    --------
    >>> X, y = np.array([[1.0], [2.0]]), np.array([3.0, 5.0])
    >>> params = Params(coef=np.array([2.0]), intercept=np.array(0.0))
    >>> print(gradient_by_hand(params, X, y, lam=1.0).coef)
    [-0.5]
    """
    params, X, y, weight, lam = ready(params, X, y, lam, weight)
    m = jnp.sum(weight)
    residual = _fitted(params, X) - y
    weighted = residual * weight.reshape(-1, *[1] * (residual.ndim - 1))
    return Params(
        coef=(matmul(weighted.T, X).T + lam * params.coef) / m,
        intercept=jnp.sum(weighted, axis=0) / m,
    )


@in_kind_of_input
def predict(params: Params | ParamsPath, X: ArrayLike) -> Float[Array, "..."]:
    """Predictions ``X @ coef + intercept``.

    Parameters
    ----------
    params : Params or ParamsPath
        As returned by `solve` or `descend`, which minimise J of `cost`, or by `sweep`
        for every penalty of a grid.
    X : array of shape (n_samples, n_features)
        The rows, finite, with columns in the order of the fit: those of a data frame
        are matched by place, not by name.

    Returns
    -------
    array of shape ([n_lams,] n_samples[, n_targets])
        In units of the target; of a path, a leading axis of penalties.

    Raises
    ------
    TypeError, ValueError
        If `X` does not hold finite numbers or has not as many columns as coef has rows.

    Notes
    -----
    O(m n t) time, O(m t) memory, each times n_lams for a path.

    Examples
    --------
    >>> params = Params(coef=np.array([2.0]), intercept=np.array(1.0))
    >>> print(predict(params, np.array([[1.0], [2.0]])))
    [3. 5.]
    """
    _are_params(params, Params | ParamsPath)
    coef, intercept, X = as_floats(coef=params.coef, intercept=params.intercept, X=X)
    checks.design(X)
    if isinstance(params, ParamsPath):
        return jax.vmap(lambda c, b: _predicted(c, b, X))(coef, intercept)
    return _predicted(coef, intercept, X)


def gradient_norm(derivative: Params, fit_intercept: bool) -> Float[Array, ""]:
    """Return ‖∂J/∂θ‖, over coef alone in a model without intercept."""
    if not fit_intercept:
        none = jnp.zeros_like(derivative.intercept)
        derivative = derivative._replace(intercept=none)
    # In units of its largest component, so that no square leaves the dtype's range.
    size = largest(derivative)
    unit = or_one(size)
    squares = jax.tree.map(lambda g: jnp.sum((g / unit) ** 2), derivative)
    return unit * jnp.sqrt(squares.coef + squares.intercept)


def _predicted(coef: Array, intercept: Array, X: Array) -> Array:
    _params_fit(coef, intercept, X)
    return _fitted(Params(coef, intercept), X)


def largest(params: Params) -> Float[Array, ""]:
    """Return the largest component by magnitude."""
    return jnp.max(jnp.abs(ravel_pytree(params)[0]))


def _fitted(params: Params, X: Float[Array, "m n"]) -> Float[Array, "m *t"]:
    return matmul(X, params.coef) + params.intercept


def _are_params(params: Any, kinds: Any) -> None:
    if not isinstance(params, kinds):
        raise TypeError(f"`params` must be Params, got {type(params).__name__}")


def _float_params(params: Params) -> Params:
    if isinstance(params, ParamsPath):
        raise TypeError(
            "`params` hold every penalty of a sweep: pick one, such as params.at(0)"
        )
    _are_params(params, Params)
    return Params(*as_floats(coef=params.coef, intercept=params.intercept))


def ready(
    params: Params, X: Any, y: Any, lam: Any, weight: Any
) -> tuple[Params, Array, Array, Array, Array]:
    """Check and convert the arguments of the cost, to those of `cost_of_rows`."""
    params = _float_params(params)
    given = {"coef": params.coef, "intercept": params.intercept, "X": X, "y": y}
    if weight is not None:
        given["weight"] = weight
    coef, intercept, X, y, *weights = as_floats(**given)
    checks.design(X)
    checks.targets(y, X.shape[0])
    _params_fit(coef, intercept, X)
    if coef.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"`y` has shape {y.shape} and coef {coef.shape}: one target is y (m,) with "
            "coef (n,), several are y (m, t) with coef (n, t)"
        )
    weight = weights[0] if weights else jnp.ones(X.shape[:1], X.dtype)
    checks.weights(weight, X.shape[0])
    checks.single_penalty(lam, "map with `jax.vmap`")
    if weights:
        X, y = blanked(X, weight), blanked(y, weight)
    return Params(coef, intercept), X, y, weight, as_penalty("lam", lam, X.dtype)


def _params_fit(coef: Array, intercept: Array, X: Array) -> None:
    if coef.ndim not in (1, 2) or coef.shape[0] != X.shape[1]:
        raise ValueError(
            f"`X` has {X.shape[1]} column(s), so `coef` must have shape "
            f"({X.shape[1]},) or ({X.shape[1]}, n_targets), got {coef.shape}"
        )
    if intercept.shape != coef.shape[1:]:
        raise ValueError(
            f"`intercept` must have shape {coef.shape[1:]} beside coef {coef.shape}, "
            f"got {intercept.shape}"
        )
