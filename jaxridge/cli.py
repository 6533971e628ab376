"""The command line: arguments in, files out.

Commands import what they need when they run, so that ``--help`` answers at once; this
is the only file where imports stand inside functions.
"""

import csv
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from jaxridge.interrupts import interruptible
from jaxridge.version import __version__

if TYPE_CHECKING:
    import numpy as np

MOST_LAMS = 1_000_000
LARGEST_LAM = 1e150  # of which there is a square
CRITERIA = ("loo", "gcv", "evidence")
TUTORIAL_LAMS = (0.0, 1.0, 10.0, 100.0, 1000.0)


class Run(NamedTuple):
    """A run of the command line: what stops it if Ctrl-C was pressed, and its words."""

    stopped: Callable[[], None]
    command: str


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; whatever goes wrong is one line on standard error."""
    warnings.showwarning = lambda message, *_: click.echo(f"note: {message}", err=True)
    given = sys.argv[1:] if args is None else args
    try:
        with interruptible() as stopped:
            run = Run(stopped, shlex.join(["jaxridge", *given]))
            code = cli.main(
                args=given, prog_name="jaxridge", standalone_mode=False, obj=run
            )
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        hint = f" (see {where.command_path} --help)" if where else ""
        _fail(error.format_message() + hint)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; no file was left half-written", 130)
    except (ValueError, TypeError, OSError, ArithmeticError, LookupError) as error:
        _fail(str(error))
    except (MemoryError, RuntimeError) as error:
        _fail(f"{type(error).__name__}: {error}", 1)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int = 2) -> None:
    click.echo("jaxridge: " + " ".join(message.split()), err=True)
    sys.exit(code)


class _Out(click.Path):
    """A path to write to; an empty one, as of an unset variable, is none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        if value == "":
            self.fail("is empty: name where to write", param, ctx)
        return super().convert(value, param, ctx)


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ridge regression for people who must choose lambda.\n\n\b\n"
    "J = 1/(2m) sum(w * (X @ coef + intercept - y)^2)\n"
    "    + lambda/(2m) * sum(coef^2)\n\n"
    "lambda is scikit-learn's alpha; the intercept is not penalised.",
)
@click.version_option(__version__, prog_name="jaxridge")
@click.pass_context
def cli(context: click.Context) -> None:
    """Show the help where no command is named."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
def info() -> None:
    """Show versions, devices and precision."""
    from importlib.metadata import version
    from platform import platform, python_version

    import jax

    click.echo(f"jaxridge   {__version__}")
    click.echo(f"python     {python_version()} on {platform()}")
    for name in ("jax", "jaxlib", "optax", "numpy", "scikit-learn", "pyarrow"):
        click.echo(f"{name:<10} {version(name)}")
    for device in jax.devices():
        click.echo(f"device     {device} ({device.device_kind})")
    click.echo("precision  float64 from the command line; from Python, the input's own")
    click.echo("products   full precision of the operands (no TF32)")
    click.echo(f"cache      {_use_compilation_cache() or 'none (not writable)'}")


@cli.command()
@click.option(
    "--out",
    type=_Out(path_type=Path, file_okay=False),
    default=Path("jaxridge-demo"),
    show_default=True,
    help="Folder for the pictures.",
)
@click.pass_obj
def demo(run: Run, out: Path) -> None:
    """See what lambda does, on one generated feature.

    The gradient check, a descent at each of five penalties beside the closed form, and
    the pictures.
    """
    _use_compilation_cache()
    from jaxridge.demo import tutorial

    text = tutorial(TUTORIAL_LAMS, out)
    run.stopped()
    click.echo(text)


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


def _share(
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
    ctx: click.Context, parameter: click.Parameter, text: str
) -> tuple[str, ...]:
    """Read ``a,b,c``; a name with a comma stands in double quotes."""
    names = next(csv.reader([text], skipinitialspace=True), [])
    return tuple(name.strip() for name in names if name.strip())


def _fit_options(command: Callable[..., None]) -> Callable[..., None]:
    option = click.option
    for add in reversed(
        (
            option(
                "--target",
                "targets",
                metavar="COL",
                multiple=True,
                callback=_columns,
                help="What to predict; several times for several, each with a "
                "penalty of its own.",
            ),
            option(
                "--lambdas",
                "lams",
                default="auto",
                show_default=True,
                callback=_lams,
                metavar="LOW:HIGH:COUNT|a,b,c|auto",
                help="Penalties: log-spaced, listed, or 100 or more from the data.",
            ),
            option(
                "--cv",
                default="5",
                show_default=True,
                callback=_cv,
                metavar="K|loo|gcv|evidence",
                help="What judges a penalty: a number of shuffled folds, each row "
                "predicted from all others, generalised cross-validation, or the "
                "marginal likelihood.",
            ),
            option(
                "--group",
                metavar="COL",
                callback=_column,
                help="Rows of one group stay together, in one fold.",
            ),
            option(
                "--time-ordered",
                "in_time",
                is_flag=True,
                help="Rows stand in the order of time: folds are predicted from the "
                "rows before them.",
            ),
            option(
                "--method",
                type=click.Choice(["exact", "descent"]),
                default="exact",
                show_default=True,
                help="One factorisation for all penalties, or descend J.",
            ),
            option(
                "--rule",
                type=click.Choice(["min", "1se"]),
                default="min",
                show_default=True,
                help="Least held-out error, or the most shrinkage within one "
                "standard error of it.",
            ),
            option(
                "--standardize/--no-standardize",
                default=True,
                show_default=True,
                help="Scale columns to unit variance, learnt in each fold.",
            ),
            option(
                "--missing",
                type=click.Choice(["error", "drop", "mean"]),
                default="error",
                show_default=True,
                help="Missing values: refuse, drop rows, or fill with the mean.",
            ),
            option(
                "--categorical",
                type=click.Choice(["error", "drop", "onehot"]),
                default="error",
                show_default=True,
                help="Text columns: refuse, drop, or encode as 0/1 columns.",
            ),
            option(
                "--max-levels",
                type=click.IntRange(min=1),
                default=50,
                show_default=True,
                help="Levels of a text column kept apart; the rest is pooled.",
            ),
            option(
                "--weight",
                metavar="COL",
                callback=_column,
                help="How often each row counts.",
            ),
            option(
                "--drop",
                metavar="COLS",
                default="",
                callback=_names,
                help="Columns to leave out, separated by commas; a name that holds one "
                "stands in double quotes.",
            ),
            option(
                "--intercept/--no-intercept",
                "fit_intercept",
                default=True,
                show_default=True,
                help="Fit an unpenalised intercept.",
            ),
            option(
                "--test",
                callback=_column,
                metavar="FILE|FRACTION",
                help="Rows for an error that did not choose lambda: another file, or "
                "a random share of this one.",
            ),
            option(
                "--interval",
                callback=_share,
                metavar="SHARE",
                help="Keep what intervals need that hold this share of new rows, such "
                "as 0.9, for predict.",
            ),
            option(
                "--memory",
                default="1GB",
                show_default=True,
                callback=_bytes,
                metavar="SIZE",
                help="A Parquet file that would fill more is read in pieces, of which "
                "sums are kept.",
            ),
            option(
                "--report",
                is_flag=True,
                help="Write report.html too: one page that shows which lambda, why, "
                "and how sure that is.",
            ),
            option(
                "--seed",
                type=click.IntRange(min=0, max=2**32 - 1),
                default=0,
                show_default=True,
                help="Decides the folds and the test rows.",
            ),
            option(
                "--out",
                type=_Out(path_type=Path, file_okay=False),
                default=Path("jaxridge-fit"),
                show_default=True,
                help="Folder for results and pictures.",
            ),
        )
    ):
        command = add(command)
    return command


@cli.command()
@click.argument("data", type=click.Path(path_type=Path), required=False)
@_fit_options
@click.pass_obj
def fit(
    run: Run,
    /,
    data: Path | None,
    targets: tuple[str, ...],
    **options: Any,
) -> None:
    """Choose lambda for a table by cross-validation, and fit it.

    DATA is a CSV or Parquet file with a header; without one, the diabetes data that
    scikit-learn ships are fitted. Writes result.json (for predict), coefficients.csv,
    scores.csv and pictures.
    """
    if data is not None and not targets:
        raise click.UsageError("--target is needed: which column is to be predicted?")
    _use_compilation_cache()
    from jaxridge.account import Request
    from jaxridge.fitting import fit_table

    for line in fit_table(Request(data, targets, command=run.command, **options)):
        run.stopped()
        click.echo(line)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=_Out(path_type=Path, dir_okay=False),
    required=True,
    help="CSV file to write.",
)
@click.option(
    "--interval",
    callback=lambda *given: _share(*given),
    metavar="SHARE",
    help="Intervals that hold this share of new rows; that of the fit if not given.",
)
@click.pass_obj
def predict(
    run: Run,
    model: Path,
    data: Path,
    out: Path,
    interval: float | None,
) -> None:
    """Predict the rows of a table with a saved result.

    MODEL is a result.json, a model.safetensors, or the folder they are in. DATA is a
    CSV or Parquet file; columns are matched by name. With intervals, by jackknife+,
    their ends are written beside the prediction.
    """
    from jaxridge.predicting import predict_table

    for line in predict_table(model, data, out, interval):
        run.stopped()
        click.echo(line, err=True)


def _use_compilation_cache() -> str | None:
    """Let a second run of the same shape skip compiling; return the folder used."""
    import jax
    from platformdirs import user_cache_dir

    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or user_cache_dir("jaxridge")
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder
