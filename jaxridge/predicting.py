"""A saved result applied to new rows: what ``jaxridge predict`` does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from jaxridge.account import rare_levels
from jaxridge.columns import Columns
from jaxridge.encoding import (
    Encoding,
    encode_features,
    missing_in,
    refuse_missing,
    unseen_levels,
)
from jaxridge.excerpt import counted
from jaxridge.files import (
    MODEL,
    load_result,
    refuse_overwriting,
    refuse_unwritable,
    write_csv,
)
from jaxridge.intervals import Kept, jackknife_plus
from jaxridge.levels import Column
from jaxridge.objective import predict
from jaxridge.params import Params
from jaxridge.store import read_table_model
from jaxridge.tables import read_table

NO_CSV = (".parquet", ".pq", ".gz", ".bz2", ".zip", ".xlsx", ".json", ".safetensors")


class Saved(NamedTuple):
    """A result that was read: how rows are encoded, and what is made of them."""

    encoding: Encoding
    fill: np.ndarray
    params: Params
    level: float | None
    promised: bool  # whether the fit was asked for intervals
    kept: Kept | None
    columns: Columns | None


def predict_table(
    model: Path, data: Path, out: Path, interval: float | None
) -> Iterator[str]:
    """Predict the rows of a table with a saved result, into a CSV file."""
    if out.suffix.lower() in NO_CSV:
        raise ValueError(f"--out {out}: predictions are written as CSV: name it .csv")
    if str(out) != "-" and (out.is_file() or not out.exists()):
        refuse_unwritable(out.resolve().parent)
    if model.is_dir() and (model / MODEL).exists():
        model = model / MODEL
    saved = _read(model, interval)
    encoding = saved.encoding
    written = [] if str(out) == "-" else [out]
    refuse_overwriting(written, {"DATA": data, "MODEL": model})
    table = read_table(data, text=encoding.text, progress=True)
    X = encode_features(table, encoding)
    holes = np.isnan(X)
    yield from _about(model, saved, table, holes)
    X = _filled(X, holes, saved)
    whole = ~np.isnan(X).any(axis=1)
    header = _header(encoding.targets, saved.level is not None)
    columns = np.full((len(header), len(X)), np.nan)
    if whole.any():
        columns[:, whole] = _predicted(saved, X[whole])
    if not whole.all():
        yield (
            f"no prediction for {counted(int((~whole).sum()), 'row')} with a missing "
            "value: the fit left such rows out"
        )
    lines = (
        [repr(value) if ok else "" for value in line]
        for line, ok in zip(columns.T.tolist(), whole, strict=True)
    )
    endless = int(np.isinf(columns).any(axis=0).sum())
    if endless:
        yield (
            f"no ends of intervals for {counted(endless, 'row')}: too few rows were "
            f"fitted for a share of {saved.level:g}"
        )
    write_csv(out, header, lines)
    listed = ", ".join(repr(name) for name in encoding.targets)
    made = counted(int(whole.sum()), "prediction")
    rows = "" if whole.all() else f"{counted(len(X), 'row')}, "
    yield f"wrote {rows}{made} of {listed} to {out}"


def _about(
    model: Path, saved: Saved, table: pa.Table, holes: np.ndarray
) -> Iterator[str]:
    """Say what the result does not keep, and which rows it knows less of."""
    if saved.level is None and saved.promised:
        yield f"{model} keeps no intervals: {MODEL} beside it does"
    for name, count in unseen_levels(table, saved.encoding).items():
        yield rare_levels(name, count)
    missing = missing_in(holes, saved.encoding)
    if missing and saved.encoding.missing == "mean":
        listed = ", ".join(f"{name!r} ({n})" for name, n in missing.items())
        yield f"filled missing values with means that the fit has learnt: {listed}"


def _header(targets: tuple[str, ...], with_ends: bool) -> list[str]:
    """Return column names: of one target short ones, of several with theirs."""
    ends = ("lower", "upper") if with_ends else ()
    if len(targets) == 1:
        return ["prediction", *ends]
    return [
        name for of in targets for name in (of, *(f"{of}_{which}" for which in ends))
    ]


def _read(model: Path, interval: float | None) -> Saved:
    """Return a saved result, checked, and what its model file keeps beside it."""
    if model.suffix == ".safetensors":
        result, kept, columns = read_table_model(model)
    else:
        result, kept, columns = load_result(model), None, None
    level = interval or (None if kept is None else result.get("interval"))
    if level is not None and kept is None:
        raise ValueError(
            f"{model} keeps nothing to make intervals of: fit with --interval, and "
            f"pass the folder or {MODEL}"
        )
    try:
        given = tuple(_column(**one) for one in result["columns"])
        targets = tuple(one["name"] for one in result["targets"])
        encoding = Encoding(targets, given, missing=result["missing"])
        fill = _numbers(result["fill"])
        coef = _numbers([one["coef"] for one in result["targets"]]).T
        intercept = _numbers([one["intercept"] for one in result["targets"]])
        params, n, t = Params(coef, intercept), len(encoding.features), len(targets)
        fits = coef.shape == (n, t) and fill.shape == (n,) and intercept.shape == (t,)
        fits = fits and len(set(targets)) == t > 0 and len(set(encoding.features)) == n
        fits = fits and all(isinstance(name, str) for name in targets)
        fits = fits and encoding.missing in ("error", "drop", "mean")
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(f"{model} is damaged: its columns cannot be read") from None
    if not fits:
        raise ValueError(f"{model} is damaged: columns and coefficients do not match")
    promised = result.get("interval") is not None
    return Saved(encoding, fill, params, level, promised, kept, columns)


def _column(name: str, levels: list[str] | None) -> Column:
    listed = [] if levels is None else levels
    if not isinstance(listed, list):
        raise TypeError("levels are a list")
    if not all(isinstance(word, str) for word in (name, *listed)):
        raise TypeError("names and levels are text")
    return Column(name, None if levels is None else tuple(levels))


def _numbers(listed: Any) -> np.ndarray:
    """Return a list, or lists, of finite numbers as an array."""
    found = np.array(listed)
    if found.dtype.kind not in "if" or not np.isfinite(found).all():
        raise ValueError("numbers are finite")
    return found.astype(float)


def _filled(X: np.ndarray, holes: np.ndarray, saved: Saved) -> np.ndarray:
    """Return the design matrix, with holes only where the fit left rows out."""
    if saved.encoding.missing == "error":
        refuse_missing(
            holes,
            saved.encoding,
            "the fit had none, and was not asked how to fill them: mend them, or fit "
            "with --missing mean",
        )
    return np.where(holes, saved.fill, X) if saved.encoding.missing == "mean" else X


def _predicted(saved: Saved, X: np.ndarray) -> np.ndarray:
    """Return predictions (t, q), or each with the ends of its intervals (3 t, q)."""
    prediction = np.asarray(predict(saved.params, X))
    if saved.level is None or saved.kept is None or saved.columns is None:
        return prediction.T
    ready = saved.columns.applied(X)
    ends = jackknife_plus(saved.kept, ready, prediction, saved.level)
    return np.stack([prediction, *ends], axis=-1).reshape(len(X), -1).T
