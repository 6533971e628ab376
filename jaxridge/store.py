"""Model files: arrays as safetensors, everything else as JSON, nothing that executes.

A file holds what a fitted estimator knows, by the names of its attributes. A checksum
over all of it makes a damaged file an error rather than another model.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from sklearn.utils.validation import check_is_fitted

from jaxridge.certificate import Certificate
from jaxridge.choosing import Choosing
from jaxridge.classifiers import RidgeClassifier, RidgeClassifierCV
from jaxridge.columns import Columns
from jaxridge.estimators import Ridge, RidgeCV
from jaxridge.files import written_aside
from jaxridge.intervals import Kept
from jaxridge.regressor import Regressor
from jaxridge.routes import Route
from jaxridge.version import __version__

FORMAT, VERSION = "jaxridge model", 1
KEY = "jaxridge"  # of the metadata in the file
TABLE = "table"  # the class of what the command line fits
CLASSES = {
    one.__name__: one for one in (Ridge, RidgeCV, RidgeClassifier, RidgeClassifierCV)
}
# Attributes that are tuples of arrays.
PARTS = {"certificate_": Certificate, "_kept": Kept, "_columns": Columns}
# Attributes that fits set.
SHARED = {"coef_", "intercept_", "certificate_", "route_"}
SHARED |= {"n_features_in_", "feature_names_in_"}
GIVEN = {"solver_", "n_iter_"}
CHOSEN = {"alpha_", "at_edge_", "alphas_", "best_score_", "cv_results_", "df_"}
CHOSEN |= {"scores_route_", "_sizes"}
LABELS = {"classes_", "_multilabel"}
LIBRARIES = ("jax", "jaxlib", "numpy", "scikit-learn")
UNREADABLE = (
    SafetensorError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
)


class Contents(NamedTuple):
    """What a file holds: named arrays, and what JSON can say."""

    arrays: dict[str, np.ndarray]
    document: dict[str, Any]


def save(model: Any, path: str | Path) -> None:
    """Write a fitted estimator to a file.

    Parameters
    ----------
    model : Ridge, RidgeCV, RidgeClassifier or RidgeClassifierCV
        A fitted one.
    path : str or Path
        The file, by custom ``*.safetensors``. It is written aside and renamed, so that
        it is there whole or not at all.

    Raises
    ------
    TypeError
        For anything but those estimators.
    sklearn.exceptions.NotFittedError
        For one that is not fitted.

    Notes
    -----
    Parameters that JSON cannot say, such as a splitter or a scoring function, are kept
    as text only: the loaded model predicts the same, and has their defaults. Attributes
    that a fit does not set, and requests for metadata, are not kept.

    Examples
    --------
    >>> import tempfile
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Ridge(2.0).fit(X, y), f"{folder}/model.safetensors")
    ...     load(f"{folder}/model.safetensors").predict([[3.0]])
    array([6.])
    """
    name = type(model).__name__
    if CLASSES.get(name) is not type(model):
        raise TypeError(f"`model` must be one of {', '.join(CLASSES)}, got {name}")
    check_is_fitted(model)
    parameters = model.get_params(deep=False)
    arrays: dict[str, np.ndarray] = {}
    said: dict[str, Any] = {}
    told: dict[str, str] = {}
    known = {*parameters, *_fitted_attributes(type(model))}
    for attribute, value in vars(model).items():
        if attribute not in known:
            continue
        if attribute in parameters and not _can_be_said(value):
            told[attribute] = repr(value)
        else:
            _put(attribute, value, arrays, said)
    write(path, Contents(arrays, {"class": name, "said": said, "told": told}))


def load(path: str | Path) -> Any:
    """Read an estimator that `save` wrote.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    Ridge, RidgeCV, RidgeClassifier or RidgeClassifierCV
        Which predicts what the saved one did, to the last bit.

    Raises
    ------
    ValueError
        If there is no such file; if it is no model, damaged, or of a newer format.

    Examples
    --------
    >>> import tempfile
    >>> X, y = np.array([[-1.0], [1.0]]), np.array([1.0, 5.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(RidgeCV([2.0]).fit(X, y), f"{folder}/model.safetensors")
    ...     print(load(f"{folder}/model.safetensors").alpha_)
    2.0
    """
    arrays, document = read(path)
    try:
        model = CLASSES[document["class"]]()
        known = {*vars(model), *_fitted_attributes(type(model))}
        values = _taken(arrays, document["said"])
        if not values.keys() <= known:
            raise KeyError(f"unknown attributes {sorted(values.keys() - known)}")
        for name, value in values.items():
            setattr(model, name, value)
        check_is_fitted(model)
    except UNREADABLE:
        if "result" in document:
            raise ValueError(
                f"{path} is a model of the command line: jaxridge predict reads it"
            ) from None
        raise ValueError(f"{path} is damaged, or no model of an estimator") from None
    return model


def write_table_model(
    path: Path, result: dict[str, Any], kept: Kept | None, columns: Columns
) -> None:
    """Write the result of a table's fit, and what its intervals need."""
    arrays: dict[str, np.ndarray] = {}
    _put("_columns", columns, arrays, {})
    if kept is not None:
        _put("_kept", kept, arrays, {})
    write(path, Contents(arrays, {"class": TABLE, "result": result}))


def read_table_model(path: Path) -> tuple[dict[str, Any], Kept | None, Columns | None]:
    """Return what `write_table_model` wrote.

    Raises
    ------
    ValueError
        As `load` does, and for a model of another kind.
    """
    arrays, document = read(path)
    if document.get("class") != TABLE:
        raise ValueError(
            f"{path} is a model saved from Python: load it there (jaxridge.load)"
        )
    parts = _taken(arrays, {})
    return document["result"], parts.get("_kept"), parts.get("_columns")


def write(path: str | Path, contents: Contents) -> None:
    """Write arrays and a document to a file, with versions and a checksum."""
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    document = {
        "format": FORMAT,
        "version": VERSION,
        "libraries": {"jaxridge": __version__}
        | {name: version(name) for name in LIBRARIES},
        **contents.document,
    }
    arrays = {name: np.array(a, order="C") for name, a in contents.arrays.items()}
    document["checksum"] = _checksum(arrays, document)
    text = json.dumps(document, sort_keys=True, allow_nan=False)
    with written_aside(Path(path)) as aside:
        save_file(arrays, aside, metadata={KEY: text})


def read(path: str | Path) -> Contents:
    """Return the arrays and the document of a file, if they are what was written.

    Raises
    ------
    ValueError
        As `load` does.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder: name a file in it" if path.is_dir() else "no such file"
        raise ValueError(f"{path}: {what}")
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(KEY)
            if text is None:
                raise ValueError
            document = json.loads(text)
            if document["format"] != FORMAT:
                raise ValueError
    except UNREADABLE:
        raise ValueError(f"{path} is not a model file of jaxridge") from None
    if document.get("version") != VERSION:
        raise ValueError(
            f"{path} has format version {document.get('version')}, and this jaxridge "
            f"reads version {VERSION}: use the jaxridge that wrote it"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        if document.pop("checksum") != _checksum(arrays, document):
            raise ValueError
    except UNREADABLE:
        raise ValueError(
            f"{path} is damaged: what it holds is not what was written"
        ) from None
    return Contents(arrays, document)


def _checksum(arrays: dict[str, np.ndarray], document: dict[str, Any]) -> str:
    found = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(repr((name, str(array.dtype), array.shape)).encode())
        found.update(array.tobytes())
    return found.hexdigest()


def _fitted_attributes(of: type) -> set[str]:
    """Return the attributes that fits of a class set."""
    chosen = CHOSEN if issubclass(of, Choosing) else GIVEN
    kept = {"_kept", "_columns"} if issubclass(of, Regressor) else LABELS
    return SHARED | chosen | kept


def _can_be_said(value: Any) -> bool:
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biuf"
    plain = _plain(value)
    try:
        return bool(json.loads(json.dumps(plain, allow_nan=False)) == plain)
    except (TypeError, ValueError):
        return False


def _plain(value: Any) -> Any:
    """Return a value as JSON knows it: lists for tuples, pairs for keys not of text."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return {"pairs": [[key, of] for key, of in value.items()]}
    return value


def _put(
    name: str, value: Any, arrays: dict[str, np.ndarray], said: dict[str, Any]
) -> None:
    """Put a value among the arrays if it is one, or made of some, or the said."""
    if isinstance(value, Certificate | Kept | Columns):
        for field, part in value._asdict().items():
            _put(f"{name}.{field}", part, arrays, said)
    elif isinstance(value, Route):
        said[name] = vars(value)
    elif isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
        arrays[name] = np.asarray(value)
    elif isinstance(value, np.ndarray):
        said[name] = {"objects": value.dtype == object, "text": value.tolist()}
    else:
        said[name] = _plain(value)


def _taken(arrays: dict[str, np.ndarray], said: dict[str, Any]) -> dict[str, Any]:
    """Return the values that were put."""
    values: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, value in {**{n: a[()] for n, a in arrays.items()}, **said}.items():
        if isinstance(value, dict) and value.keys() == {"objects", "text"}:
            value = np.array(value["text"], object if value["objects"] else None)
        elif isinstance(value, dict) and value.keys() == {"pairs"}:
            value = dict(value["pairs"])
        of, _, field = name.partition(".")
        if field:
            parts.setdefault(of, {})[field] = (
                Route(**value) if field == "route" else value
            )
        else:
            values[name] = value
    return values | {name: PARTS[name](**fields) for name, fields in parts.items()}
