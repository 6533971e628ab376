"""How an answer was computed: a record that every exact result carries.

It is known before anything is computed or traced, so it is no array: transformations
pass it by, and two results of one compiled program have the same.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax

from jaxridge.products import FAST

PRIMAL, DUAL, SVD = "primal", "dual", "svd"
ONE = "one factorisation"
ONE_A_FOLD = "one factorisation a fold"
ONE_FOR_ALL = "one factorisation for all folds"
TRIDIAGONAL = "one tridiagonal form a fold"
ANCHORS = "Cholesky factors at a few penalties for all folds"
UNAIDED = "conjugate gradients alone"
CHOLESKY = "a Cholesky factor for each fold and penalty"
BLOCKS = "one factorisation, blocks left out"
DESCENT = "gradient descent"

# By conjugate gradients, from what is nearly the same for all folds; or from nothing.
NEARBY = ONE_FOR_ALL, ANCHORS, UNAIDED


def dtype_told(dtype: Any, fast: bool) -> str:
    """Return what a route says of the precision."""
    return f"{dtype}, {FAST} products" if fast else str(dtype)


def system_of(m: int, n: int) -> str:
    """Return the system by which all rows of so many columns are factorised.

    Where a fit may go through every row, that is XXᵀ: the axes of the rows are then
    known without a division by the singular values, of which some may be rounding.
    """
    return PRIMAL if n < m - 1 else DUAL


@jax.tree_util.register_static
@dataclass(frozen=True)
class Route:
    """How an answer was computed.

    Attributes
    ----------
    system : "primal", "dual" or "svd"
        What was factorised: XᵀX, XXᵀ, or X itself; "" where nothing was.
    sharing : str
        What one factorisation served.
    dtype : str
        The precision of the computation.
    raised : bool
        Whether that is more than the data's own, or `system` is "svd" because products
        of the data would have lost digits.
    """

    system: str = ""
    sharing: str = "not recorded"
    dtype: str = ""
    raised: bool = False

    def __str__(self) -> str:
        """Return the route in words."""
        words = ", ".join(w for w in (self.system, self.sharing, self.dtype) if w)
        return words + (" (raised to keep the digits)" if self.raised else "")

    def as_raised(self) -> "Route":
        """Return the same route, taken to keep digits that a cheaper one would lose."""
        return replace(self, raised=True)
