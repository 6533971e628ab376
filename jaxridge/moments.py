"""Sums over rows that can be merged: all that a fit needs of them, however many.

For a set of rows: its weight Σw, its means x̄ and ȳ, and its scatter about them,
Σ w (x − x̄)(x − x̄)ᵀ and so on. Two sets merge by adding scatters and what the distance δ
between their means contributes (Chan, Golub and LeVeque 1979):

    S = S₁ + S₂ + w₁w₂/(w₁ + w₂) δδᵀ.

Scatters about means of their own never lose digits to a mean that is large or drifts,
as sums about a fixed point do; what is lost is how the means themselves are rounded,
and `LostDigits` warns of scores that this spoils. Every term added is positive, so
merging is exact to rounding in any order; taking a set out again subtracts, and is as
exact as the set that remains is large.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxridge import checks
from jaxridge.border import in_kind_of_input
from jaxridge.data import Centre
from jaxridge.divisors import or_one
from jaxridge.placement import placed
from jaxridge.programs import compiled

# The part of everything that must remain for sums to be taken away.
REMAINS = 0.25


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Moments:
    """Weight, means and scatter of rows, one entry for each fold.

    A dataclass, because a tuple cannot mean addition by ``+``.

    Attributes
    ----------
    weight : array of shape (k,)
        Σw of each fold.
    x, y : arrays of shape (k, n_features) and (k, n_targets)
        Weighted means, 0 in a fold without weight.
    xx, xy, yy : arrays of shape (k, n, n), (k, n, t) and (k, t)
        Scatter about those means: Σ w dx dxᵀ, Σ w dx dyᵀ, Σ w dy².

    Examples
    --------
    Two folds of two rows each, and a row of each that came later:

    >>> from jaxridge import moments_of
    >>> first = moments_of([[1.0], [3.0], [2.0], [4.0]], [0.0, 1.0, 1.0, 2.0], folds=2)
    >>> both = first + moments_of([[5.0], [0.0]], [3.0, 0.0], folds=2)
    >>> print(both.weight, both.x[:, 0], both.xx[:, 0, 0])
    [3. 3.] [3. 2.] [8. 8.]
    """

    weight: Float[Array, " *k"]
    x: Float[Array, "*k n"]
    y: Float[Array, "*k t"]
    xx: Float[Array, "*k n n"]
    xy: Float[Array, "*k n t"]
    yy: Float[Array, "*k t"]

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of the rows of both, fold by fold."""
        if not isinstance(other, Moments):
            return NotImplemented
        _alike(self, other)
        return added(self, other)

    def __radd__(self, other: Any) -> "Moments":
        """Return the moments themselves beside 0, where `sum` begins."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __sub__(self, other: "Moments") -> "Moments":
        """Return the moments of the rows of this that are not in `other`."""
        if not isinstance(other, Moments):
            return NotImplemented
        _alike(self, other)
        rest = removed(self, other)
        if not checks.any_traced(rest) and (np.asarray(rest.weight) < 0).any():
            raise ValueError("`Moments` cannot lose more rows than they hold")
        return rest


@in_kind_of_input
@compiled
def added(one: Moments, other: Moments) -> Moments:
    """Return the moments of the rows of both, fold by fold."""
    return _moved(one, other, one.weight + other.weight, 1)


@in_kind_of_input
@compiled
def removed(one: Moments, other: Moments) -> Moments:
    """Return the moments of the rows of `one` that are not in `other`."""
    weight = one.weight - other.weight
    weight = jnp.where(_is_noise(weight, one.weight), 0, weight)
    rest = _moved(one, other, weight, -1)
    rest = jax.tree.map(lambda a: jnp.where(_like(weight != 0, a), a, 0), rest)
    # A column or target that is constant in what is left.
    x = _is_noise(*(jnp.diagonal(a.xx, 0, -2, -1) for a in (rest, one)))
    y = _is_noise(rest.yy, one.yy)
    return replace(
        rest,
        xx=jnp.where(x[..., :, None] | x[..., None, :], 0, rest.xx),
        xy=jnp.where(x[..., :, None] | y[..., None, :], 0, rest.xy),
        yy=jnp.where(y, 0, rest.yy),
    )


def _is_noise(rest: Array, of_all: Array) -> Array:
    """Whether what is left may be what rounding leaves where nothing is."""
    return jnp.abs(rest) <= 16 * jnp.finfo(rest.dtype).eps * of_all


def _alike(one: Moments, other: Moments) -> None:
    """Refuse moments of other folds, columns, targets or precision."""
    shapes = [[np.shape(a) for a in jax.tree.leaves(sums)] for sums in (one, other)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"`Moments` of {_sizes(one)} and {_sizes(other)} folds, columns and "
            "targets do not add up: make both of the same"
        )
    leaves = jax.tree.leaves((one, other))
    if any(isinstance(a, jax.Array) for a in leaves):
        for sums in (one, other):
            _keeps_its_digits(sums)
    if one.xx.dtype != other.xx.dtype:
        raise ValueError(
            f"`Moments` of {one.xx.dtype} and {other.xx.dtype} do not add up, as their "
            "digits differ: make both of rows of one dtype"
        )


def _sizes(sums: Moments) -> tuple[int, ...]:
    return (*np.shape(sums.weight), np.shape(sums.x)[-1], np.shape(sums.y)[-1])


def _keeps_its_digits(sums: Moments) -> None:
    """Refuse NumPy float64 where JAX would make it float32."""
    for name, values in vars(sums).items():
        if not isinstance(values, np.ndarray):
            continue
        if values.dtype != jax.dtypes.canonicalize_dtype(values.dtype):
            raise ValueError(
                f"`Moments.{name}` is {values.dtype} and would lose half its digits, "
                "because another argument is a JAX array and JAX's 64-bit mode is off: "
                "pass NumPy arrays only, or switch it on (`jax.enable_x64(True)`)"
            )


def _moved(one: Moments, other: Moments, weight: Array, sign: int) -> Moments:
    part = sign * other.weight / or_one(weight)
    dx, dy = other.x - one.x, other.y - one.y
    pulled = _like(one.weight * part, dx) * dx
    return Moments(
        weight,
        one.x + _like(part, dx) * dx,
        one.y + _like(part, dy) * dy,
        one.xx + sign * other.xx + pulled[..., :, None] * dx[..., None, :],
        one.xy + sign * other.xy + pulled[..., :, None] * dy[..., None, :],
        one.yy + sign * other.yy + _like(one.weight * part, dy) * dy**2,
    )


@compiled
def total(parts: Moments) -> Moments:
    """Return the moments of the rows of all folds, as one set without fold axis."""
    first, rest = (
        jax.tree.map(lambda a, s=s: a[s], parts) for s in (0, slice(1, None))
    )
    return jax.lax.scan(lambda sum_, one: (added(sum_, one), None), first, rest)[0]


@compiled
def complements(parts: Moments, whole: Moments) -> Moments:
    """Return, for each fold, the moments of the rows of all others, given their total.

    A fold is taken away from all of them where most of everything remains, and no digit
    is lost. Else the folds before it and those after it are added: a fold whose numbers
    are large then costs the others nothing.
    """
    rest = _moved(whole, parts, whole.weight - parts.weight, -1)

    def remains(of_rest: Array, of_all: Array) -> Array:
        return jnp.all(of_rest >= REMAINS * of_all)

    most = remains(rest.weight, whole.weight) & remains(rest.yy, whole.yy)
    most &= remains(*(jnp.diagonal(a.xx, 0, -2, -1) for a in (rest, whole)))
    return jax.lax.cond(most, lambda: rest, lambda: _added_up(parts))


def others_of_each(parts: Moments) -> tuple[Moments, Moments]:
    """Return what each fold trains on, all others, and what it holds out, itself."""
    return complements(parts, total(parts)), parts


def earlier_of_each(parts: Moments) -> tuple[Moments, Moments]:
    """Return the same in the order of time: all folds before each but the first."""
    training = _before(parts)
    trained, held = jax.tree.map(lambda a: a[1:], (training, parts))
    return trained, held


def _added_up(parts: Moments) -> Moments:
    """Return, for each fold, the moments of those before it and those after it."""

    def add(after: Moments, fold: tuple[Moments, Moments]) -> tuple[Moments, Moments]:
        before, one = fold
        return added(one, after), added(before, after)

    folds = _before(parts), parts
    return jax.lax.scan(add, _nothing(parts), folds, reverse=True)[1]


def _before(parts: Moments) -> Moments:
    """Return, for each fold, the moments of the rows of those before it."""
    return jax.lax.scan(lambda s, one: (added(s, one), s), _nothing(parts), parts)[1]


def _nothing(parts: Moments) -> Moments:
    """Return the moments of no rows, as one set."""
    return jax.tree.map(lambda a: jnp.zeros_like(a[0]), parts)


def usable(sums: Moments) -> Moments:
    """Return moments as JAX arrays; refuse NaN and sets of rows without weight."""
    sums = _shaped(sums)
    if not checks.any_traced(sums):
        for name, values in vars(sums).items():
            checks.finite(f"Moments.{name}", values)
        empty = np.flatnonzero(np.atleast_1d(np.asarray(sums.weight)) <= 0)
        if empty.size:
            raise ValueError(f"`X` as Moments has no rows in fold {empty[0]}")
        least = _least_scatter(sums)
        if not checks.is_traced(least) and float(least) < 0:
            raise ValueError("`X` as Moments has a negative scatter: are they a rest?")
    return sums


@compiled
def _least_scatter(sums: Moments) -> Array:
    squares = jnp.diagonal(sums.xx, 0, -2, -1), sums.yy
    return jnp.minimum(*map(jnp.min, squares))


def as_one(sums: Moments) -> Moments:
    """Return the moments of all folds taken together, checked."""
    sums = _shaped(sums)
    return usable(total(sums) if sums.weight.ndim else sums)


def _shaped(sums: Moments) -> Moments:
    """Return moments as JAX arrays, of their precision and of shapes that fit."""
    _keeps_its_digits(sums)
    sums = jax.tree.map(placed, sums)
    *k, n = sums.x.shape or (0,)
    t = (sums.y.shape or (0,))[-1]
    shapes = {"weight": k, "y": [*k, t], "xx": [*k, n, n], "xy": [*k, n, t]}
    for name, shape in (shapes | {"yy": [*k, t]}).items():
        if list(getattr(sums, name).shape) != shape:
            raise ValueError(
                f"`Moments.{name}` must have shape {tuple(shape)} beside x of shape "
                f"{sums.x.shape}, got {getattr(sums, name).shape}"
            )
    return sums


def about_centre(sums: Moments, fit_intercept: bool) -> tuple[Centre, Array, Array]:
    """Return the centre of one set of rows, and XᵀWX and XᵀWY about it."""
    if fit_intercept:
        return Centre(sums.x, sums.y), sums.xx, sums.xy
    # About 0: the scatter about the means, and that of the means.
    xx = sums.xx + sums.weight * jnp.outer(sums.x, sums.x)
    xy = sums.xy + sums.weight * jnp.outer(sums.x, sums.y)
    return Centre(jnp.zeros_like(sums.x), jnp.zeros_like(sums.y)), xx, xy


def _like(a: Array, other: Array) -> Array:
    """Return `a` with trailing axes to broadcast against `other`."""
    return a.reshape(a.shape + (1,) * (other.ndim - a.ndim))
