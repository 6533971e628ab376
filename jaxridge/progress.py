"""A progress bar with the time left, for runs long enough to wait for."""

import sys
from typing import Never

from tqdm import tqdm


def bar(total: int, what: str, unit: str, *, wanted: bool) -> "tqdm[Never]":
    """Return a bar on standard error, silent when not wanted or not a terminal."""
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        unit_scale=unit == "B",
        disable=None if wanted and sys.stderr is not None else True,
        leave=False,
    )
