"""Which fold each row of a file falls into, told piece by piece."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa

from jaxridge.encoding import Encoding, idle_weights
from jaxridge.request import Request
from jaxridge.tested import grouped, test_share


class Lots:
    """Which fold each row of a file falls into, asked from the first row to the last.

    Rows are drawn one by one, and groups by their names; in the order of time the folds
    are stretches of the file, and its last rows are tested on. The fold is -1 for rows
    to be tested on.
    """

    def __init__(self, request: Request, n_rows: int) -> None:
        self.folds = 1 if isinstance(request.cv, str) else int(request.cv)
        self.group, self._in_time = request.group, request.in_time
        share = test_share(request)
        self._share = 0.0 if share is None else share
        if share is not None and not 0 < share < 1:
            raise ValueError(
                f"--test {request.test} must be a file, or a fraction between 0 and 1"
            )
        self._trained = n_rows - round(self._share * n_rows)
        self._seed = request.seed
        self._draws = np.random.default_rng(request.seed)

    @property
    def leaves_out(self) -> bool:
        """Whether some rows are to be tested on."""
        return self._share > 0

    @property
    def sets(self) -> int:
        """How many sets of rows are added up."""
        return self.folds + self._in_time

    def drawn(self, start: int, table: pa.Table) -> np.ndarray:
        """Return the fold of each row of a table that starts there."""
        if self._in_time:
            rows = start + np.arange(table.num_rows)
            size = max(1, self._trained // self.sets)
            # As TimeSeriesSplit has it, the first stretch is the longest.
            fold = np.maximum(0, (rows - self._trained) // size + self.sets)
            return np.where(rows < self._trained, fold, -1)
        if self.group is None:
            return self._fold(self._draws.random((table.num_rows, 2)))
        groups, at = grouped(table, self.group)
        return self._fold(np.array([self._chances(one) for one in groups]))[at]

    def refuse_empty(
        self, rows: np.ndarray, weight: np.ndarray, encoding: Encoding
    ) -> None:
        """Refuse folds without rows, or without weight."""
        if not rows.all():
            what = f"group in column {self.group!r}" if self.group else "row"
            raise ValueError(
                f"--cv {self.folds}: no {what} fell into fold {np.argmin(rows) + 1}, "
                "as they are dealt out by chance: ask for fewer folds, or another "
                "--seed"
            )
        empty = np.flatnonzero(weight <= 0)
        if empty.size:
            # In the order of time the first rows are before all folds.
            fold = int(empty[0]) + 1 - self._in_time
            where = f" in fold {fold}" if fold else " before fold 1"
            raise ValueError(idle_weights(encoding, where if self.sets > 1 else ""))

    def _chances(self, group: Any) -> np.ndarray:
        """Return two numbers from 0 to 1 that are a group's, in whatever order."""
        text = f"{self._seed} {group}".encode()
        drawn = hashlib.blake2b(text, digest_size=8).digest()
        return np.frombuffer(drawn, "<u4") / 2.0**32

    def _fold(self, chances: np.ndarray) -> np.ndarray:
        fold = (chances[:, 0] * self.folds).astype(int)
        return np.where(chances[:, 1] < self._share, -1, fold)
