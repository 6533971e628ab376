"""How a study judges penalties: by folds of some kind, or by all rows at once."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, TimeSeriesSplit


class Trial(NamedTuple):
    """By what penalties are judged.

    `cv` is a number of folds or "loo", "gcv" or "evidence". Folds are of rows that are
    shuffled by `seed`, of whole groups where `groups` tell them, or in the order of
    time.
    """

    cv: int | str
    seed: int = 0
    groups: np.ndarray | None = None
    in_time: bool = False

    @property
    def folds(self) -> Any:
        """What splits the rows; None where every row is judged at once."""
        if isinstance(self.cv, str):
            return None
        if self.in_time:
            return TimeSeriesSplit(self.cv)
        if self.groups is not None:
            return GroupKFold(self.cv)
        return KFold(self.cv, shuffle=True, random_state=self.seed)

    @property
    def score(self) -> str:
        """What the scores are called."""
        names = {"gcv": "GCV", "evidence": "log evidence", "loo": "left-out MSE"}
        return names.get(str(self.cv), "held-out MSE")

    @property
    def words(self) -> str:
        """Where the scores come from."""
        if self.cv == "loo":
            return "each row predicted from all others"
        if isinstance(self.cv, str):
            return "all rows together"
        if self.in_time:
            return f"{self.cv} folds, each predicted from the rows before it"
        if self.groups is not None:
            return f"{self.cv} folds of whole groups"
        return f"{self.cv} shuffled folds"
