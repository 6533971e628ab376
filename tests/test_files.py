"""Result files: whole or not at all, and refused when they are not ours."""

import json
import stat

import pytest

from jaxridge.files import (
    NEEDED,
    load_result,
    refuse_unwritable,
    save_result,
    written_aside,
)

RESULT = {name: [] for name in NEEDED}


def test_result_comes_back(tmp_path):
    save_result(tmp_path / "new" / "result.json", RESULT)
    assert load_result(tmp_path / "new").items() >= RESULT.items()
    assert load_result(tmp_path / "new" / "result.json")["version"] == 1


def test_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), written_aside(path) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_the_permissions_of_new_files(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    with written_aside(tmp_path / "file") as aside:
        aside.write_text("x")
    with written_aside(tmp_path / "anew") as aside:
        aside.unlink()
        aside.touch(mode=0o600)
    names = ("plain", "file", "anew")
    assert len({stat.S_IMODE((tmp_path / n).stat().st_mode) for n in names}) == 1


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON|nan"):
        save_result(tmp_path / "result.json", RESULT | {"lam": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a result"),
        ("{", "is not a result"),
        ("[" * 100_000, "is not a result"),
        ("[1, 2]", "is not a result"),
        ('{"format": "other"}', "is not a result"),
        (json.dumps({"format": "jaxridge result", "version": 99}), "version 99"),
        (json.dumps({"format": "jaxridge result", "version": 1}), "lacks target"),
    ],
)
def test_foreign_newer_and_damaged_results_are_refused(tmp_path, text, message):
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_result(path)


def test_missing_and_unreadable_results_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no result.json"):
        load_result(tmp_path)
    (tmp_path / "result.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not a result"):
        load_result(tmp_path)


def test_a_folder_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    refuse_unwritable(tmp_path / "new" / "folder")
    with pytest.raises(ValueError, match="cannot be written"):
        refuse_unwritable(tmp_path / "file" / "folder")
