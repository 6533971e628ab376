"""What may be asked on the command line, and how it is read.

What cannot be meant is refused here, before anything is computed.
"""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np

MOST_LAMS = 1_000_000
LARGEST_LAM = 1e150  # of which there is a square
CRITERIA = ("loo", "gcv", "evidence")


class Out(click.Path):
    """A path to write to; an empty one, as of an unset variable, is none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Refuse an empty path, and read any other as click does."""
        if value == "":
            self.fail("is empty: name where to write", param, ctx)
        return super().convert(value, param, ctx)


def _lams(
    ctx: click.Context, parameter: click.Parameter, text: str
) -> "np.ndarray | None":
    """Read ``LOW:HIGH:COUNT``, ``a,b,c`` or ``auto``."""
    import numpy as np

    if text == "auto":
        return None
    try:
        if ":" in text:
            low, high, count = text.split(":")
            with np.errstate(all="ignore"):
                number = min(int(count), MOST_LAMS + 1)
                lams = np.geomspace(float(low), float(high), number)
        else:
            lams = np.array([float(part) for part in text.split(",")])
    except ValueError:
        lams = np.array([])
    if lams.size == 0 or not (lams <= LARGEST_LAM).all() or (lams < 0).any():
        raise click.BadParameter(
            f"{text!r} must be LOW:HIGH:COUNT (above 0, log-spaced), numbers of at "
            "least 0 separated by commas, or auto; at most 1e150"
        )
    if lams.size > MOST_LAMS:
        raise click.BadParameter(f"more than {MOST_LAMS} penalties")
    return lams


def _cv(ctx: click.Context, parameter: click.Parameter, text: str) -> int | str:
    """Read a number of folds, or the name of a criterion."""
    if text in CRITERIA:
        return text
    try:
        folds = int(text)
    except ValueError:
        folds = 0
    if folds < 2:
        raise click.BadParameter(
            f"{text!r} must be a number of folds from 2, or one of "
            f"{', '.join(CRITERIA)}"
        )
    return folds


def share(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> float | None:
    """Read a share between 0 and 1."""
    if text is None:
        return None
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise click.BadParameter(f"{text!r} must be between 0 and 1, such as 0.9")
    return share


def _bytes(ctx: click.Context, parameter: click.Parameter, text: str) -> int:
    """Read a size, such as 500MB or 2GB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([kMGT]?)B?", text, re.IGNORECASE)
    if found is None:
        raise click.BadParameter(f"{text!r} must be a size, such as 500MB or 2GB")
    if len(found[1]) > 15:
        raise click.BadParameter(f"{text[:20]}... is more than any memory")
    return int(float(found[1]) * 1000 ** " kmgt".index(found[2].lower() or " "))


def _column(
    ctx: click.Context, parameter: click.Parameter, text: str | None
) -> str | None:
    if text == "":
        raise click.BadParameter("is empty")
    return text


def _columns(
    ctx: click.Context, parameter: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(str(_column(ctx, parameter, name)) for name in names)


def _names(
    ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> tuple[str, ...]:
    """Read ``a,b,c``; a name with a comma, or of nothing, stands in double quotes."""
    try:
        listed = [
            name for one in csv.reader(texts, skipinitialspace=True) for name in one
        ]
    except csv.Error:
        raise click.BadParameter("no column has a name of several lines") from None
    return tuple(name for name in listed if name.strip() or '""' in texts)


def into(folder: str, what: str) -> Callable[..., Any]:
    """Give a command a folder to write to."""
    return click.option(
        "-o",
        "--out",
        type=Out(path_type=Path, file_okay=False),
        default=Path(folder),
        show_default=True,
        help=what,
    )


# All that may be asked of a fit, in the order of its help.
OF_FITS = (
    click.option(
        "--target",
        "targets",
        metavar="COL",
        multiple=True,
        callback=_columns,
        help="What to predict; several times for several, each with a "
        "penalty of its own.",
    ),
    click.option(
        "--lambdas",
        "lams",
        default="auto",
        show_default=True,
        callback=_lams,
        metavar="LOW:HIGH:COUNT|a,b,c|auto",
        help="Penalties: log-spaced, listed, or 100 or more from the data.",
    ),
    click.option(
        "--cv",
        default="5",
        show_default=True,
        callback=_cv,
        metavar="K|loo|gcv|evidence",
        help="What judges a penalty: a number of shuffled folds, each row "
        "predicted from all others, generalised cross-validation, or the "
        "marginal likelihood.",
    ),
    click.option(
        "--group",
        metavar="COL",
        callback=_column,
        help="Rows of one group stay together, in one fold.",
    ),
    click.option(
        "--time-ordered",
        "in_time",
        is_flag=True,
        help="Rows stand in the order of time: folds are predicted from the "
        "rows before them.",
    ),
    click.option(
        "--method",
        type=click.Choice(["exact", "descent"]),
        default="exact",
        show_default=True,
        help="One factorisation for all penalties, or descend J.",
    ),
    click.option(
        "--rule",
        type=click.Choice(["min", "1se"]),
        default="min",
        show_default=True,
        help="Least held-out error, or the most shrinkage within one "
        "standard error of it.",
    ),
    click.option(
        "--standardize/--no-standardize",
        default=True,
        show_default=True,
        help="Scale columns to variance 1 (mean square 1 with --no-intercept), "
        "learnt in each fold, or from all rows with loo, gcv and evidence.",
    ),
    click.option(
        "--missing",
        type=click.Choice(["error", "drop", "mean"]),
        default="error",
        show_default=True,
        help="Missing values: refuse, drop rows, or fill with the mean.",
    ),
    click.option(
        "--categorical",
        type=click.Choice(["error", "drop", "onehot"]),
        default="error",
        show_default=True,
        help="Text columns: refuse, drop, or encode as 0/1 columns.",
    ),
    click.option(
        "--text",
        metavar="COLS",
        multiple=True,
        callback=_names,
        help="Columns of text that looks like numbers, such as codes, "
        "separated by commas: 07102 is then not 7102, nor near 7103.",
    ),
    click.option(
        "--max-levels",
        type=click.IntRange(min=1),
        default=50,
        show_default=True,
        help="Levels of a text column kept apart; the rest is pooled.",
    ),
    click.option(
        "--weight",
        metavar="COL",
        callback=_column,
        help="How often each row counts.",
    ),
    click.option(
        "--drop",
        metavar="COLS",
        multiple=True,
        callback=_names,
        help="Columns to leave out, separated by commas; a name that holds one "
        "stands in double quotes.",
    ),
    click.option(
        "--intercept/--no-intercept",
        "fit_intercept",
        default=True,
        show_default=True,
        help="Fit an unpenalised intercept.",
    ),
    click.option(
        "--test",
        callback=_column,
        metavar="FILE|FRACTION",
        help="Rows for an error that did not choose lambda: another file, or "
        "a share of this one: at random, of whole groups, or the last in time.",
    ),
    click.option(
        "--interval",
        callback=share,
        metavar="SHARE",
        help="Let predict give intervals that hold this share of new rows, such "
        "as 0.9.",
    ),
    click.option(
        "--memory",
        default="1GB",
        show_default=True,
        callback=_bytes,
        metavar="SIZE",
        help="A Parquet file that would fill more is read in pieces, of which "
        "sums are kept.",
    ),
    click.option(
        "--report",
        is_flag=True,
        help="Write report.html too: one page that shows which lambda, why, "
        "and how sure that is.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0, max=2**32 - 1),
        default=0,
        show_default=True,
        help="Decides the folds and the test rows. With --group, folds depend "
        "on it only for a file that is read in pieces.",
    ),
    into("jaxridge-fit", "Folder for results and pictures."),
)


def fit_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all that may be asked of a fit."""
    for add in reversed(OF_FITS):
        command = add(command)
    return command
