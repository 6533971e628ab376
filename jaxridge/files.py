"""Results as files: written aside and renamed, read back with suspicion."""

import csv
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORMAT = "jaxridge result"
VERSION = 1
MODEL = "model.safetensors"
NEEDED = ("targets", "columns", "missing", "fill")


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, renamed to it when the block succeeds.

    Whoever looks at `path` finds the old file or the whole new one, never a part. A
    link stays one, to a new file; a device or a pipe is written to as it is. What the
    system refuses is said of `path`.
    """
    try:
        with _aside(path) as aside:
            yield aside
    except OSError as error:
        raise OSError(f"{path}: {error.strerror or error}") from None


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{path.suffix}")
    aside.touch(exist_ok=False)
    mode = aside.stat().st_mode  # of any new file
    try:
        yield aside
        aside.chmod(mode)  # where it was made anew, as safetensors does
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def refuse_unwritable(folder: Path, names: Iterable[str] = ()) -> None:
    """Raise ValueError if a folder could not be made, or files written to it."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError:
        raise ValueError(
            f"--out {folder}: files cannot be written to {there}"
        ) from None
    for name in names:
        if (folder / name).is_dir():
            raise ValueError(f"--out {folder}: {name} is a folder there: move it")


def refuse_overwriting(written: Iterable[Path], read: dict[str, Any]) -> None:
    """Raise ValueError if a file to be written is one that is read."""
    targets = {path.resolve() for path in written}
    for what, path in read.items():
        if path is not None and Path(path).resolve() in targets:
            raise ValueError(
                f"{what} {path} would be overwritten by a result: name another --out"
            )


def save_result(path: Path, result: dict[str, Any]) -> None:
    """Write a result as JSON with its format and version."""
    document = {"format": FORMAT, "version": VERSION, **result}
    text = json.dumps(document, indent=1, allow_nan=False)
    with written_aside(path) as aside:
        aside.write_text(text + "\n", encoding="utf-8")


def load_result(path: Path) -> dict[str, Any]:
    """Read a result that `save_result` wrote, or the one in a folder.

    Raises
    ------
    ValueError
        If there is no such file, or it is not a result, or a newer one.
    """
    if path.is_dir():
        folder, path = path, path / "result.json"
        if not path.exists():
            raise ValueError(f"{folder} holds no result.json: is it a fit's --out?")
    if not path.exists():
        raise ValueError(f"{path}: no such file")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        raise ValueError(f"{path} is not a result of jaxridge fit") from None
    if not isinstance(result, dict) or result.get("format") != FORMAT:
        raise ValueError(f"{path} is not a result of jaxridge fit")
    if result.get("version") != VERSION:
        raise ValueError(
            f"{path} has format version {result.get('version')}, and this jaxridge "
            f"reads version {VERSION}: use the jaxridge that wrote it"
        )
    absent = [name for name in NEEDED if name not in result]
    if absent:
        raise ValueError(f"{path} is damaged: it lacks {', '.join(absent)}")
    return result


def write_csv(path: Path, header: Sequence[str], rows: Any) -> None:
    """Write a table; to standard output if the path is "-"."""
    if str(path) == "-":
        if sys.stdout is None:
            raise ValueError("--out -: standard output is closed")
        csv.writer(sys.stdout, lineterminator="\n").writerows([header, *rows])
        return
    with written_aside(path) as aside:
        with aside.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows(rows)
