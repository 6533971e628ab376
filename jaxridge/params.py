"""What ridge regression learns, at one penalty or at every one of a grid."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from jaxridge import checks


class Params(NamedTuple):
    """What ridge regression learns: θ = (coef, intercept).

    Attributes
    ----------
    coef : array of shape (n_features,) or (n_features, n_targets)
        In units of `y` per unit of `X`.
    intercept : array of shape () or (n_targets,)
        In units of `y`; 0 in a model without intercept.
    """

    coef: Float[Array | np.ndarray, "..."]
    intercept: Float[Array | np.ndarray, "..."]


class ParamsPath(NamedTuple):
    """Params at every penalty of a grid, along a leading axis.

    A type of its own, because with as many penalties as features the shapes alone would
    not tell a path of one target from one fit of several.

    Attributes
    ----------
    coef : array of shape (n_lams, n_features) or (n_lams, n_features, n_targets)
        In units of `y` per unit of `X`.
    intercept : array of shape (n_lams,) or (n_lams, n_targets)
        In units of `y`; 0 in a model without intercept.
    """

    coef: Float[Array | np.ndarray, "..."]
    intercept: Float[Array | np.ndarray, "..."]

    def at(self, index: Any) -> Params:
        """Return the params at one penalty, by its place in the grid.

        Of several targets also each at a penalty of its own: `index` of shape
        (n_targets,), as ``choose(scores, per_target=True).index`` is.

        Examples
        --------
        Two penalties, one column, two targets:

        >>> coef = np.array([[[1.0, 2.0]], [[0.5, 1.0]]])
        >>> fits = ParamsPath(coef, np.zeros((2, 2)))
        >>> fits.at(0).coef
        array([[1., 2.]])
        >>> fits.at(np.array([0, 1])).coef
        array([[1., 1.]])
        """
        index = _in_grid("index", index, len(self.coef))
        if not np.ndim(index):
            return Params(self.coef[index], self.intercept[index])
        if np.shape(index) != self.coef.shape[2:]:
            raise ValueError(
                f"`index` must be one place, or one for each target, got shape "
                f"{np.shape(index)} for coef of shape {self.coef.shape}: `among` takes "
                "some penalties"
            )
        each = np.arange(len(index))
        return Params(self.coef[index, :, each].T, self.intercept[index, each])

    def among(self, indices: Array | np.ndarray) -> "ParamsPath":
        """Return the params at some penalties, by their places in the grid.

        Examples
        --------
        >>> ParamsPath(np.array([[3.0], [2.0], [1.0]]), np.zeros(3)).among([0, 2]).coef
        array([[3.],
               [1.]])
        """
        indices = _in_grid("indices", indices, len(self.coef))
        return ParamsPath(self.coef[indices], self.intercept[indices])


def _in_grid(name: str, places: Any, count: int) -> Any:
    """Return places in a grid; JAX would move those beyond it to its end."""
    if checks.is_traced(places):
        return places
    places = np.asarray(places)
    if places.size and not -count <= places.min() <= places.max() < count:
        raise IndexError(
            f"`{name}` must be places in a grid of {count} penalties, got {places}"
        )
    return places
