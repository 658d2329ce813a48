"""The ledger on SQLite: the contract of all stores, and what is particular to files."""

import importlib.util
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from clearmark.audits import Ledger, NoteSigner
from clearmark.core import Event
from clearmark.core.errors import LedgerError, LedgerTampered, LedgerUnavailable

_spec = importlib.util.spec_from_file_location(
    "ledger_contract", Path(__file__).parents[2] / "contract" / "ledger_contract.py"
)
contract = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(contract)
SIGNER, VAULT_KEY, event = contract.SIGNER, contract.VAULT_KEY, contract.event


class TestSqlite(contract.LedgerContract):
    @pytest.fixture
    def database(self, tmp_path):
        return tmp_path / "ledger.db"


def opened(path, **options):
    return Ledger.open(path, **{"signer": SIGNER, "vault_key": VAULT_KEY, **options})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


def test_settings_and_rights(path):
    with opened(path) as ledger:
        ledger.append([event(1)])
        with ledger._store.reading() as conn:
            values = {
                name: conn.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "secure_delete", "trusted_schema")
            }
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert values == {"journal_mode": "wal", "synchronous": 3, "secure_delete": 1, "trusted_schema": 0}
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "ledger.checkpoints.log",
        "ledger.db",
        "ledger.db-next",
        "ledger.db-turn",
    ]


def test_absent_and_not_to_be_made(path):
    with pytest.raises(LedgerError, match="no ledger"):
        opened(path, create=False)
    assert not path.exists()


@pytest.mark.parametrize("table", ["event", "mark", "tile", "checkpoint", "meta", "personal", "subject_key"])
def test_rows_cannot_be_changed_by_mistake(path, table):
    with opened(path) as ledger:
        ledger.append([event(n, mark_ids=("aa",), personal={"p": b"x"}, subject="s") for n in range(300)])
    with sqlite3.connect(path) as conn:
        column = conn.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchone()[0]
        with pytest.raises(sqlite3.IntegrityError):
            conn.execute(f"UPDATE {table} SET {column} = {column}")
        if table != "subject_key":
            with pytest.raises(sqlite3.IntegrityError):
                conn.execute(f"DELETE FROM {table}")
    conn.close()


def test_erased_values_are_in_no_file(path):
    prompt = b"a very particular prompt about Ada"
    with opened(path) as ledger:
        ledger.append([event(1, personal={"prompt": prompt}, subject="ada-lovelace")])
        with sqlite3.connect(path) as conn:
            wrapped = conn.execute("SELECT wrapped FROM subject_key").fetchone()[0]
            sealed = conn.execute("SELECT sealed FROM personal").fetchone()[0]
        conn.close()
        before = b"".join(file.read_bytes() for file in path.parent.iterdir())
        assert wrapped in before
        assert sealed in before
        ledger.erase("ada-lovelace")
        after = b"".join(file.read_bytes() for file in path.parent.iterdir())
    for needle in (prompt, b"ada-lovelace", wrapped, sealed):
        assert needle not in after
    assert prompt not in before
    assert b"ada-lovelace" not in before


def test_full_disk_then_space_again(path):
    with opened(path) as ledger:
        ledger.append([event(1)])
        with ledger._store.reading() as conn:
            pages = conn.exec_driver_sql("PRAGMA page_count").scalar()
        big = [event(n, body={"text": "x" * 2000}) for n in range(200)]
        limit_all(ledger, pages + 4)
        with pytest.raises(LedgerUnavailable, match="disk is full"):
            ledger.append(big)
        assert ledger.size == 1
        assert ledger.verify().ok
        limit_all(ledger, 2**30)
        assert ledger.append(big)[-1].seq == 200
        assert ledger.verify().ok


def limit_all(ledger, pages):
    """Let no connection of the ledger grow the database beyond `pages`: SQLite's own way to a full disk."""
    ledger._store.engine.dispose()
    from sqlalchemy import event as hooks

    if not hasattr(ledger, "limit"):
        ledger.limit = [pages]
        hooks.listen(
            ledger._store.engine,
            "begin",
            lambda conn: conn.exec_driver_sql(f"PRAGMA max_page_count = {ledger.limit[0]}"),
        )
    ledger.limit[0] = pages


SMALL_DISK = """
import os, resource, signal, sys
from pathlib import Path
from clearmark.audits import Ledger, NoteSigner
from clearmark.core import Event
from clearmark.core.errors import LedgerUnavailable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
signer = NoteSigner.from_pem(Path(sys.argv[2]).read_bytes(), "example.com/pictures")
ledger = Ledger.open(sys.argv[1], signer=signer, vault_key=bytes(32))
ledger.append([Event(kind="a", request_id="r")])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
good = 1
try:
    for n in range(500):
        ledger.append([Event(kind="a", request_id="r", body={"text": "x" * 2000})])
        good += 1
except LedgerUnavailable as exc:
    print(good, exc.message)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert ledger.size == good, (ledger.size, good)
assert ledger.verify().ok, ledger.verify().to_dict()
ledger.append([Event(kind="a", request_id="r")])
report = ledger.verify()
assert report.ok and report.events == good + 1, report.to_dict()
"""


def test_writes_that_the_system_refuses(path, tmp_path):
    key = tmp_path / "key.pem"
    key.write_bytes(NoteSigner.generate("example.com/pictures").to_pem())
    done = subprocess.run(
        [sys.executable, "-c", SMALL_DISK, str(path), str(key)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "not available" in done.stdout


def test_checkpoint_log_that_cannot_be_written(path, tmp_path):
    log = tmp_path / "elsewhere" / "log"
    with pytest.raises(LedgerUnavailable, match="checkpoint log"):
        opened(path, checkpoint_log=log)
    log.parent.mkdir()
    with opened(path, checkpoint_log=log) as ledger:
        first = event(1)
        log.rename(log.with_name("aside"))
        log.mkdir()
        with pytest.raises(LedgerUnavailable, match="checkpoint log"):
            ledger.append([first])
        log.rmdir()
        log.with_name("aside").rename(log)
        assert ledger.append([first])[0].seq == 0
        assert "\\n1\\n" in log.read_text().splitlines()[-1]
        assert ledger.append([event(2)])[0].seq == 1
        assert ledger.verify().ok


def test_checkpoint_log_is_there_from_the_start(path):
    with opened(path) as ledger:
        assert ledger.verify().ok
        log = path.with_name("ledger.checkpoints.log")
        assert "example.com/pictures" in log.read_text()
    log.unlink()
    with opened(path) as ledger:
        ledger.append([event(1)])
        assert ledger.verify().ok
    log.unlink()
    with opened(path, checkpoint_every_s=3600) as ledger:
        assert not ledger.verify().ok


def test_locked_by_another_process(path):
    with opened(path, busy_timeout_s=0.1) as ledger:
        ledger.append([event(1)])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerUnavailable, match="holds its lock"):
            ledger.append([event(2)])
        assert ledger.get(next(ledger.events()).event_id).seq == 0
        other.execute("ROLLBACK")
        other.close()
        assert ledger.append([event(2)])[0].seq == 1


def test_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnavailable):
        opened(tmp_path / "file" / "ledger.db")
    with pytest.raises(LedgerError):
        opened(tmp_path)


def test_use_after_fork_is_refused(path):
    with opened(path) as ledger:
        ledger.append([event(1)])
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                ledger.append([event(2)])
            except LedgerUnavailable as exc:
                os.write(write, exc.message.encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert b"forked" in os.read(read, 1000)
        os.close(read)
        os.close(write)
        assert ledger.append([event(3)])[0].seq == 1


MANY = """
import sys
from pathlib import Path
from clearmark.audits import Ledger, NoteSigner
from clearmark.core import Event
signer = NoteSigner.from_pem(Path(sys.argv[2]).read_bytes(), "example.com/pictures")
with Ledger.open(sys.argv[1], signer=signer, vault_key=bytes(32), busy_timeout_s=60) as ledger:
    for n in range(25):
        ledger.append([Event(kind="a", request_id=sys.argv[3], body={"n": n})])
"""


def test_processes_share_one_file(path, tmp_path):
    signer = NoteSigner.generate("example.com/pictures")
    key = tmp_path / "key.pem"
    key.write_bytes(signer.to_pem())
    # All start on an absent file, so that they also race for making it.
    children = [
        subprocess.Popen([sys.executable, "-c", MANY, str(path), str(key), f"p{n}"], stderr=subprocess.PIPE)
        for n in range(3)
    ]
    for child in children:
        _, errors = child.communicate(timeout=100)
        assert child.returncode == 0, errors.decode()
    with Ledger.open(path, signer=signer, vault_key=bytes(32)) as ledger:
        report = ledger.verify()
        assert report.ok, report.to_dict()
        assert report.events == 75
        for n in range(3):
            assert [stored.body["n"] for stored in ledger.find_request(f"p{n}")] == list(range(25))


def test_rolled_back_database_takes_no_more_events(path):
    with opened(path) as ledger:
        ledger.append([event(1)])
    old = path.read_bytes()
    with opened(path) as ledger:
        ledger.append([event(2)])
    path.write_bytes(old)
    with opened(path) as ledger:
        report = ledger.verify()
        assert not report.ok
        assert report.first_bad == 1
        assert "rolled back" in report.checks[0].detail
        with pytest.raises(LedgerTampered, match="rolled back"):
            ledger.append([event(3)])


def test_foreign_and_newer_databases(path):
    path.write_bytes(b"this is no database at all, but long enough to be looked at" * 100)
    with opened(path) as ledger:
        assert not ledger.verify().ok
        with pytest.raises(LedgerTampered):
            ledger.append([event(1)])
    path.unlink()
    with sqlite3.connect(path) as conn:
        conn.execute("PRAGMA user_version = 99")
    conn.close()
    with pytest.raises(LedgerError, match="format 99"):
        opened(path)


def test_no_secret_in_messages_and_values():
    shown = repr(event(1, personal={"prompt": b"private words"}, subject="ada"))
    assert "private" not in shown
    assert "ada" not in shown
    assert "Event" in str(Event)


def test_a_clock_that_jumps_back_changes_neither_order_nor_proofs(path, monkeypatch):
    now = [2_000_000_000_000_000_000]
    monkeypatch.setattr("time.time_ns", lambda: now[0])
    with opened(path) as ledger:
        records = []
        for jump in (0, -86_400 * 365, 3_600, -5, 86_400 * 3650):
            now[0] += jump * 1_000_000_000
            records += ledger.append([Event(kind="a", request_id=f"r-{len(records)}")])
        assert [record.seq for record in records] == list(range(5))
        assert len({record.event_id for record in records}) == 5
        assert ledger.verify().ok
        for record in records:
            assert ledger.receipt(record.event_id).verify(SIGNER.verifier_key)
