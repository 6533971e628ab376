"""What the page of a fit tells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxridge.encoding import Encoded, Encoding
from jaxridge.intervals import Kept
from jaxridge.request import Request
from jaxridge.study import Study
from jaxridge.trial import Trial
from jaxridge.unseen import Unseen

LISTED = 15  # coefficients in the table and the bars
DIGITS = 4  # significant ones of what is only drawn


@dataclass(frozen=True)
class Story:
    """What a page tells."""

    request: Request
    trial: Trial
    encoding: Encoding
    rows: Encoded
    found: Study
    said: Sequence[str]  # of the data
    unseen: Unseen
    kept: Kept

    @property
    def feature(self) -> np.ndarray | None:
        """The one column in rows that count, if there is one only."""
        one = self.rows.X.shape[1] == 1
        return self.rows.X[self.rows.counting, 0] if one else None


def short(values: ArrayLike) -> Any:
    """Return numbers for a picture, in few digits, so that the page stays small.

    So many as tell them apart, also far from 0.
    """
    values = np.asarray(values, float)
    apart = np.ptp(values) if values.size else 0.0
    size = np.where(values != 0, np.abs(values), 1)
    size = np.floor(np.log10(np.minimum(size, apart if apart > 0 else np.inf)))
    unit = 10.0 ** (DIGITS - size)
    return (np.round(values * unit) / unit).tolist()


def ends_of(feature: np.ndarray) -> np.ndarray:
    """Return where the values of a column begin and end."""
    return np.array([np.nanmin(feature), np.nanmax(feature)])
