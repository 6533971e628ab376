"""Model files: what is loaded is what was saved, or a clear error."""

import json
import re
import struct

import numpy as np
import pytest
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold

from jaxridge import Ridge, RidgeClassifier, RidgeClassifierCV, RidgeCV, load, save

pytestmark = pytest.mark.filterwarnings("ignore:the best alpha")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4))
Y = X @ RNG.normal(size=(4, 2)) + RNG.normal(size=(30, 2))
LABELS = np.array(["no", "maybe", "yes"])[np.arange(30) % 3]
ALPHAS = [0.1, 1.0, 10.0]
MUTATIONS = 10_000

MODELS = {
    "ridge": (Ridge(0.3), X, Y[:, 0]),
    "single precision": (Ridge(0.3), X.astype(np.float32), Y.astype(np.float32)),
    "one alpha a target": (Ridge([0.3, 3.0], fit_intercept=False), X, Y),
    "chosen": (RidgeCV(ALPHAS, store_cv_results=True), X, Y[:, 0]),
    "chosen for each target": (RidgeCV(ALPHAS, cv=3, alpha_per_target=True), X, Y),
    "scaled": (RidgeCV(standardize=True, intervals=True), X, Y),
    "classes": (RidgeClassifier(), X, LABELS),
    "classes, chosen": (RidgeClassifierCV(ALPHAS), X, np.arange(30) % 2),
}


def fitted(name):
    model, rows, y = MODELS[name]
    return model.fit(rows, y)


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_is_the_saved_one(name, tmp_path):
    model, rows = fitted(name), MODELS[name][1]
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert type(again) is type(model)
    assert str(again.certificate_) == str(model.certificate_)
    np.testing.assert_array_equal(again.predict(rows), model.predict(rows))
    if name == "scaled":
        for how in ({"interval": 0.8}, {"return_std": True}):
            for one, other in zip(
                again.predict(rows, **how), model.predict(rows, **how), strict=True
            ):
                np.testing.assert_array_equal(one, other)
        assert str(again.plan_) == str(model.plan_)
    for attribute, value in vars(model).items():
        loaded = getattr(again, attribute)
        if isinstance(value, np.ndarray | np.generic):
            assert loaded.dtype == value.dtype and type(loaded) is type(value)
            np.testing.assert_array_equal(loaded, value)
    assert again.get_params().keys() == model.get_params().keys()


def test_what_json_cannot_say_is_left_at_its_default(tmp_path):
    model = RidgeCV(ALPHAS, cv=KFold(3), scoring=lambda y, p: -abs(y - p).max())
    save(model.fit(X, Y[:, 0]), tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.cv is None and again.scoring is None and again.alphas == ALPHAS
    assert again.alpha_ == model.alpha_


def test_parameters_keep_what_they_mean(tmp_path):
    rare = RidgeClassifier(class_weight={0: 1.0, 1: 5.0}).fit(X, np.arange(30) % 2)
    save(rare, tmp_path / "model")
    assert load(tmp_path / "model").class_weight == {0: 1.0, 1: 5.0}
    save(RidgeCV((0.1, 1.0)).fit(X, Y[:, 0]), tmp_path / "model")
    assert load(tmp_path / "model").alphas == [0.1, 1.0]


def test_saving_again_replaces_the_file_whole(tmp_path):
    path = tmp_path / "model"
    for alpha in (1.0, 2.0):
        save(Ridge(alpha).fit(X, Y), path)
    assert load(path).alpha == 2.0
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def mutated(data, rng):
    """Return a file's bytes with something changed in them."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        kind, at = rng.integers(6), rng.integers(len(data))
        if kind == 0:
            data[at] ^= 1 << rng.integers(8)
        elif kind == 1:
            data[at] = rng.integers(256)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + rng.integers(1, 9)]
        elif kind == 4:
            data[at:at] = rng.bytes(rng.integers(1, 9))
        else:
            other = rng.integers(len(data))
            data[at : at + 8], data[other : other + 8] = (
                data[other : other + 8],
                data[at : at + 8],
            )
        if not data:
            break
    return bytes(data)


def test_mutated_files_are_refused_or_the_same(tmp_path):
    path, rng = tmp_path / "model", np.random.default_rng(1)
    model = fitted("scaled")
    save(model, path)
    whole, expected = path.read_bytes(), model.predict(X)
    refused = 0
    for _ in range(MUTATIONS):
        path.write_bytes(mutated(whole, rng))
        try:
            again = load(path)
        except ValueError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(again.predict(X), expected)
    assert refused > 0.9 * MUTATIONS


def with_document(path, change):
    """Change the JSON in a file, whatever its checksum says."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + size])
    document = json.loads(header["__metadata__"]["jaxridge"])
    change(document)
    header["__metadata__"]["jaxridge"] = json.dumps(document)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d.update(version=2),
            "has format version 2, and this jaxridge reads",
        ),
        (lambda d: d.update(format="other"), "is not a model file of jaxridge"),
        (lambda d: d.update({"class": "RidgeCV"}), "is damaged: what it holds"),
        (lambda d: d["said"].update(alpha=7.0), "is damaged: what it holds"),
        (lambda d: d.pop("checksum"), "is damaged: what it holds"),
    ],
)
def test_other_documents_are_refused(change, message, tmp_path):
    path = tmp_path / "model"
    save(fitted("ridge"), path)
    with_document(path, change)
    with pytest.raises(ValueError, match=re.escape(message)):
        load(path)


@pytest.mark.parametrize("data", [b"", b"a,b\n1,2\n", b"\x00" * 64, b"\xff" * 64])
def test_other_files_are_refused(data, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is not a model file of jaxridge"):
        load(path)


def test_no_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        load(tmp_path / "model")
    with pytest.raises(ValueError, match="is a folder: name a file in it"):
        load(tmp_path)
    with pytest.raises(ValueError, match="is a folder: name a file in it"):
        save(Ridge().fit(np.eye(3), np.arange(3.0)), tmp_path)


def test_only_fitted_estimators_are_saved(tmp_path):
    with pytest.raises(NotFittedError):
        save(Ridge(), tmp_path / "model")
    with pytest.raises(TypeError, match="`model` must be one of Ridge, RidgeCV"):
        save({"coef": 1}, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_what_a_fit_does_not_set_is_not_kept(tmp_path):
    model = Ridge().fit(np.eye(3), np.arange(3.0))
    model.note = "mine"
    with config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight=True)
    save(model, tmp_path / "model")
    found = load(tmp_path / "model")
    np.testing.assert_array_equal(found.coef_, model.coef_)
    assert not hasattr(found, "note")
