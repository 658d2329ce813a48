"""An import that is killed by the kernel's hardest signal goes on, and ends as if nothing had happened."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from sqlalchemy import create_engine

from clearmark.core.errors import Unavailable, UsageError
from clearmark.provenance.training_data import Dataset, Register, import_source, open_source

ROWS = 12_000
PROGRAM = """
import sys, time
from clearmark.provenance.training_data import Register, import_source, open_source
with Register(sys.argv[1]) as register:
    import_source(register, open_source("parquet", sys.argv[2]), dataset="data",
                  progress=lambda n: (print(n, flush=True), time.sleep(0.05)))
"""


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path_factory.mktemp("table") / "rows.parquet"
    columns = {
        "url": [f"https://host{n % 97}.example/{n}.jpg" for n in range(ROWS)],
        "caption": [f"picture number {n}" for n in range(ROWS)],
        "license": [("CC0-1.0", "CC BY 4.0", "?")[n % 3] for n in range(ROWS)],
    }
    pq.write_table(pa.table(columns), path, row_group_size=5000)
    return path


def test_killed_and_resumed_nothing_is_lost_or_doubled(table, tmp_path):
    database = tmp_path / "register.db"
    with Register(database) as register:
        register.put_dataset(Dataset(name="data"))
        whole = import_source(register, open_source("parquet", table), dataset="data", label="whole")
        assert whole.held == ROWS

    seen = 0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(database), str(table)], stdout=subprocess.PIPE, text=True
        ) as process:
            for line in process.stdout:
                seen += 1
                if int(line) and seen % 4 == 3:
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL

    with Register(database) as register:
        cut = register.version("data@1")
        assert cut.state == "importing"
        assert 0 < cut.read < ROWS
        assert len(list(register.items(cut))) == cut.read
        done = import_source(register, open_source("parquet", table), dataset="data")
        assert (done.read, done.held, done.quarantined) == (ROWS, ROWS, 0)
        assert done.digest == whole.digest
        keys = [item.key for item in register.items(done)]
        assert len(set(keys)) == ROWS


def test_two_imports_of_one_version_do_not_mix(table, tmp_path):
    with Register(tmp_path / "register.db") as register, Register(tmp_path / "register.db") as other:
        register.put_dataset(Dataset(name="data"))
        once = False

        def meanwhile(_):
            nonlocal once
            if not once:
                once = True
                import_source(other, open_source("parquet", table), dataset="data")

        with pytest.raises(UsageError, match="another"):
            import_source(register, open_source("parquet", table), dataset="data", progress=meanwhile)
        done = register.version("data")
        assert (done.state, done.read) == ("complete", ROWS)


def test_a_register_is_for_its_owner_and_of_one_format(tmp_path):
    path = tmp_path / "register.db"
    Register(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE training_meta SET value = '99'")
    raw.close()
    with pytest.raises(UsageError, match="format 99"):
        Register(path)
    with pytest.raises(UsageError, match="no register"):
        Register(tmp_path / "absent.db", create=False)
    (tmp_path / "noise.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(Unavailable):
        Register(tmp_path / "noise.db")


def test_a_register_lives_in_any_engine():
    engine = create_engine("sqlite://")
    with Register(engine) as register:
        register.put_dataset(Dataset(name="data", description="one"))
        register.put_dataset(Dataset(name="data", homepage="https://a.example/"))
        (found,) = register.datasets()
    assert (found.description, found.homepage) == ("one", "https://a.example/")
    assert found.created_us <= time.time_ns() // 1000
    engine.dispose()
