"""What the command line asks of a fit."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxridge.study import Task
from jaxridge.trial import Trial


@dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    data: Path | None  # None for the example data
    targets: tuple[str, ...]  # none for the example's
    lams: np.ndarray | None
    cv: int | str
    group: str | None
    in_time: bool
    method: str
    rule: str
    standardize: bool
    missing: str
    categorical: str
    text: tuple[str, ...]  # whatever it looks like
    max_levels: int
    weight: str | None
    drop: tuple[str, ...]
    fit_intercept: bool
    test: str | None
    interval: float | None
    seed: int
    memory: int  # bytes of a table that may be held
    report: bool
    out: Path
    command: str = ""  # as it was typed

    def task(self, trial: Trial) -> Task:
        """Return what a study is asked for."""
        return Task(
            self.lams,
            trial,
            self.rule,
            self.method,
            self.standardize,
            self.fit_intercept,
        )
