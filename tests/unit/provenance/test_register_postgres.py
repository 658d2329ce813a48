"""The register on PostgreSQL.

Run by `tests/postgres.sh run pytest tests/unit/provenance/test_register_postgres.py`.
"""

from __future__ import annotations

import json
import os
import uuid

import numpy as np
import pytest
from PIL import Image

from clearmark.provenance.training_data import (
    Dataset,
    Register,
    Selection,
    audit,
    check_removal,
    import_source,
    open_source,
    remove_items,
    summarize,
)

SERVER = os.environ.get("CLEARMARK_TEST_POSTGRES", "")
if not SERVER:
    pytest.skip("CLEARMARK_TEST_POSTGRES is not set; see tests/postgres.sh", allow_module_level=True)
psycopg = pytest.importorskip("psycopg")


@pytest.fixture
def database():
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(SERVER, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    yield SERVER.replace("/postgres?", f"/{name}?")
    with psycopg.connect(SERVER, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
        said = {
            "creator": "Ann",
            "license": "CC0-1.0",
            "caption": "a\u0000b\ud800",
            "http_headers": {"X-Robots-Tag": "noai"},
        }
        (root / f"{number}.json").write_text(json.dumps(said))
    (root / "z.png").write_bytes(b"no picture")
    return root


def test_the_same_version_as_in_sqlite(database, folder, tmp_path):
    digests = []
    for where in (database, tmp_path / "register.db"):
        with Register(where) as register:
            register.put_dataset(Dataset(name="data"))
            source = open_source("folder", folder)
            source.batch = 2
            version = import_source(register, source, dataset="data")
            digests.append(version.digest)
            assert (version.held, version.quarantined) == (4, 1)
            assert summarize(register, version).creators == {"Ann": 4}
            assert [outcome.rule for outcome in audit(register, version)] == ["opt-out"] * 4 + ["quarantined"]
            assert register.signals(version, 1)[0].kind == "x-robots-tag"
    assert len(set(digests)) == 1


def test_removal_and_resume(database, folder):
    with Register(database) as register:
        register.put_dataset(Dataset(name="data"))
        cut = open_source("folder", folder)
        cut.batch = 1

        def stop(_):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            import_source(register, cut, dataset="data", progress=stop)
        version = import_source(register, open_source("folder", folder), dataset="data")
        assert version.read == 5
        proof = remove_items(
            register, Selection(keys=["1.png"]), reason="asked", signer=lambda data: "signed"
        )
        assert check_removal(register, proof, verify=lambda data, signature: signature == "signed").ok
        assert register.version("data").removed == 1
