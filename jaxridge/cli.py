"""The command line: arguments in, files out.

Commands import what they need when they run, so that ``--help`` answers at once; in
no other file but ``options`` do imports stand inside functions.
"""

import io
import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from jaxridge.interrupts import interruptible
from jaxridge.options import Out, fit_options, into, share
from jaxridge.version import __version__

TUTORIAL_LAMS = (0.0, 1.0, 10.0, 100.0, 1000.0)


class Run(NamedTuple):
    """A run of the command line: what stops it if Ctrl-C was pressed, and its words."""

    stopped: Callable[[], None]
    command: str


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line; whatever goes wrong is one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        # A name that a console cannot show is no error.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    given = sys.argv[1:] if args is None else args
    try:
        with warnings.catch_warnings(), interruptible() as stopped:
            warnings.showwarning = _note
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


def _note(message: Any, *_: Any, **__: Any) -> None:
    click.echo(f"note: {message}", err=True)


def _fail(message: str, code: int = 2) -> None:
    click.echo("jaxridge: " + " ".join(message.split()), err=True)
    sys.exit(code)


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
@into("jaxridge-demo", "Folder for the pictures.")
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


@cli.command()
@click.argument("data", type=click.Path(path_type=Path), required=False)
@fit_options
@click.pass_obj
def fit(
    run: Run,
    /,
    data: Path | None,
    targets: tuple[str, ...],
    **options: Any,
) -> None:
    """Choose lambda for a table by held-out error, and fit it.

    DATA is a CSV or Parquet file with a header; without one, the diabetes data that
    scikit-learn ships are fitted. Writes model.safetensors and result.json (for
    predict), coefficients.csv, scores.csv and pictures.
    """
    if data is not None and not targets:
        raise click.UsageError("--target is needed: which column is to be predicted?")
    _use_compilation_cache()
    from jaxridge.fitting import fit_table
    from jaxridge.request import Request

    for line in fit_table(Request(data, targets, command=run.command, **options)):
        run.stopped()
        click.echo(line)


@cli.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=Out(path_type=Path, dir_okay=False),
    required=True,
    help="CSV file to write; - is standard output.",
)
@click.option(
    "--interval",
    callback=share,
    metavar="SHARE",
    help="Share of new rows that an interval is to hold; as in the fit if not given.",
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
