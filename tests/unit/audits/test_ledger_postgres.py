"""The ledger on PostgreSQL: the contract of all stores, and what is particular to a server.

Run by `tests/postgres.sh pytest tests/unit/audits/test_ledger_postgres.py`.
"""

import importlib.util
import os
import threading
import uuid
from pathlib import Path

import pytest

from clearmark.audits import Ledger
from clearmark.audits.ledger import grant_database_roles, upgrade_database
from clearmark.core.errors import LedgerError, LedgerTampered, LedgerUnavailable, UsageError

SERVER = os.environ.get("CLEARMARK_TEST_POSTGRES", "")
if not SERVER:
    pytest.skip("CLEARMARK_TEST_POSTGRES is not set; see tests/postgres.sh", allow_module_level=True)
psycopg = pytest.importorskip("psycopg")

_spec = importlib.util.spec_from_file_location(
    "ledger_contract", Path(__file__).parents[2] / "contract" / "ledger_contract.py"
)
contract = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(contract)
SIGNER, VAULT_KEY, event = contract.SIGNER, contract.VAULT_KEY, contract.event


@pytest.fixture(name="database")
def fresh_schema():
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(SERVER, autocommit=True) as conn:
        conn.execute(f"CREATE SCHEMA {name}")
    yield f"{SERVER}&options=-csearch_path%3D{name}&application_name={name}"
    with psycopg.connect(SERVER, autocommit=True) as conn:
        conn.execute(f"DROP SCHEMA {name} CASCADE")


def opened(database, **options):
    return Ledger.open(database, **{"signer": SIGNER, "vault_key": VAULT_KEY, **options})


class TestPostgres(contract.LedgerContract):
    """The contract."""


def tampered(database, *statements):
    """Change rows as the owner of the database can: with the triggers off."""
    with psycopg.connect(database) as conn:
        conn.execute("SET session_replication_role = replica")
        for statement in statements:
            conn.execute(statement)


@pytest.mark.parametrize("table", ["event", "mark", "tile", "checkpoint", "meta", "personal", "subject_key"])
def test_rows_cannot_be_changed_by_mistake(database, table):
    with opened(database) as ledger:
        ledger.append([event(n, mark_ids=("aa",), personal={"p": b"x"}, subject="s") for n in range(300)])
    with psycopg.connect(database, autocommit=True) as conn:
        column = conn.execute(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_name = %s AND table_schema = current_schema() LIMIT 1",
            (table,),
        ).fetchone()[0]
        for statement in (f"UPDATE {table} SET {column} = {column}", f"TRUNCATE {table} CASCADE"):
            with pytest.raises(psycopg.errors.RaiseException):
                conn.execute(statement)
        if table != "subject_key":
            with pytest.raises(psycopg.errors.RaiseException):
                conn.execute(f"DELETE FROM {table}")


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE event SET envelope = set_byte(envelope, 30, get_byte(envelope, 30) # 1) WHERE seq = 70", 70),
        ("UPDATE event SET kind = 'output.Decided' WHERE seq = 299", 299),
        ("UPDATE event SET leaf_hash = set_byte(leaf_hash, 3, get_byte(leaf_hash, 3) # 64) WHERE seq = 0", 0),
        ("DELETE FROM event WHERE seq = 12", 12),
        # Commits are of 50 events: of 151 that are left, no checkpoint vouches for the last.
        ("DELETE FROM event WHERE seq > 150", 150),
        ("UPDATE tile SET hashes = set_byte(hashes, 33, get_byte(hashes, 33) # 1)", 1),
    ],
)
def test_changes_are_found(database, tmp_path, statement, first_bad):
    with opened(database, checkpoint_log=tmp_path / "log") as ledger:
        for start in range(0, 300, 50):
            ledger.append([event(n) for n in range(start, start + 50)])
        assert ledger.verify().ok
    tampered(database, statement)
    with opened(database, checkpoint_log=tmp_path / "log") as ledger:
        report = ledger.verify()
    assert not report.ok
    assert report.first_bad == first_bad


def test_missing_triggers_and_tables_are_seen(database):
    with opened(database) as ledger:
        ledger.append([event(1)])
        with psycopg.connect(database) as conn:
            conn.execute("ALTER TABLE event DISABLE TRIGGER event_no_update")
        assert "event_no_update" in ledger.verify().checks[0].detail
        with psycopg.connect(database) as conn:
            conn.execute("DROP TABLE tile")
        report = ledger.verify()
        assert not report.ok
        assert "tile" in report.checks[0].detail


def test_locked_by_another_process(database):
    with opened(database, busy_timeout_s=0.3) as ledger, psycopg.connect(database) as other:
        ledger.append([event(1)])
        other.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('clearmark ledger ' || current_schema(), 0))"
        )
        with pytest.raises(LedgerUnavailable, match="holds its lock"):
            ledger.append([event(2)])
        other.rollback()
        assert ledger.append([event(3)])[0].seq == 1


def test_connections_that_break_are_made_again(database):
    with opened(database) as ledger:
        ledger.append([event(1)])
        with psycopg.connect(database, autocommit=True) as conn:
            # Only this ledger's: other tests run beside this one.
            conn.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND application_name = current_setting('application_name')"
            )
        assert ledger.append([event(2)])[0].seq == 1
        assert ledger.verify().ok


def test_what_is_not_there(database):
    with pytest.raises(LedgerError, match="no ledger"):
        opened(database, create=False)
    with pytest.raises(LedgerUnavailable, match="does not exist"):
        opened(SERVER.replace("/postgres?", "/absent?"))
    with pytest.raises(LedgerUnavailable) as raised:
        opened("postgresql://user:secret-word@127.0.0.1:1/x", busy_timeout_s=2)
    assert "secret-word" not in str(raised.value)
    with psycopg.connect(database) as conn:
        conn.execute("CREATE TABLE event (a int)")
    with pytest.raises(LedgerError, match="another format"):
        opened(database)


def test_rolled_back_server(database, tmp_path):
    log = tmp_path / "log"
    with opened(database, checkpoint_log=log) as ledger:
        ledger.append([event(1)])
        ledger.append([event(2)])
    tampered(database, "DELETE FROM event WHERE seq = 1", "DELETE FROM checkpoint WHERE size = 2")
    with opened(database, checkpoint_log=log) as ledger:
        assert ledger.verify().first_bad == 1
        with pytest.raises(LedgerTampered, match="rolled back"):
            ledger.append([event(3)])


def test_an_older_format_is_upgraded(database):
    with opened(database) as ledger:
        receipt = ledger.receipt(ledger.append([event(n) for n in range(5)])[3].event_id)
    with psycopg.connect(database) as conn:
        conn.execute("DROP INDEX ix_event_pruned")
        conn.execute("CREATE INDEX ix_event_pruned ON event (pruned)")
        conn.execute("COMMENT ON TABLE meta IS 'clearmark ledger format 1'")
    with pytest.raises(LedgerError, match="format 1"):
        opened(database)
    assert upgrade_database(database)[0] == "1"
    with opened(database) as ledger:
        assert ledger.receipt(receipt.event_id) == receipt
        assert ledger.verify().ok


def test_roles_have_no_more_rights_than_they_need(database):
    with opened(database) as ledger:
        ledger.append([event(n, personal={"p": b"x"}, subject="ada") for n in range(3)])
        prefix = f"r{uuid.uuid4().hex[:8]}"
        reader, writer, keeper = grant_database_roles(database, prefix=prefix)
        assert grant_database_roles(database, prefix=prefix) == [reader, writer, keeper]

        acted = {
            role: database.replace("options=", f"options=-crole%3D{role}%20")
            for role in (reader, writer, keeper)
        }
        with opened(acted[writer]) as writing:
            writing.append([event(9, personal={"p": b"y"}, subject="ben")])
            with pytest.raises(LedgerUnavailable, match="no right"):
                writing.erase("ben")
        with opened(acted[reader]) as reading:
            assert reading.size == 4
            assert reading.verify().ok
            with pytest.raises(LedgerUnavailable, match="no right"):
                reading.append([event(10)])
        statements = (
            "UPDATE event SET kind = kind",
            "UPDATE event SET leaf_hash = leaf_hash",
            "DELETE FROM event",
            "DELETE FROM personal",
            "TRUNCATE tile",
            "UPDATE checkpoint SET note = note",
            "DELETE FROM checkpoint",
        )
        for role in (reader, writer, keeper):
            with psycopg.connect(acted[role], autocommit=True) as conn:
                for statement in statements:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        conn.execute(statement)
        with psycopg.connect(acted[keeper], autocommit=True) as conn:
            # What its rights allow it, the triggers still refuse unless it is pruning.
            with pytest.raises(psycopg.errors.RaiseException):
                conn.execute("UPDATE event SET envelope = 'x'")
        assert ledger.verify().ok
    with pytest.raises(UsageError):
        grant_database_roles(database, prefix="x; DROP")


def test_a_deposed_sequencer_is_refused(database):
    """Two sequencers on one server: the one that was fenced off writes nothing more."""
    with opened(database) as old, opened(database) as new:
        old.append([event(1)])
        new.append([event(2)])
        assert new.fence("the host does not answer", by="person-1") == 1
        for attempt in (lambda: old.append([event(3)]), lambda: old.erase("ada"), old.checkpoint):
            with pytest.raises(LedgerUnavailable, match="epoch 1 has begun"):
                attempt()
        new.append([event(4)])
        assert new.size == 4
        assert [stored.body.get("epoch") for stored in new.events(kind="ledger.fenced")] == [1]
        assert new.verify().ok
    with opened(database) as again:
        assert again.append([event(3)])[0].seq == 4


def test_a_sequencer_that_hangs_in_its_transaction_is_deposed_by_force(database):
    """It holds the lock and has written: the server ends it, and its late commit is an error."""
    reached, go_on = threading.Event(), threading.Event()
    with opened(database) as old, opened(database, busy_timeout_s=1) as new:
        old.append([event(1)])
        sign = old._writer._sign

        def hang(*arguments):
            head = sign(*arguments)
            reached.set()
            assert go_on.wait(60)
            return head

        old._writer._sign = hang
        outcome = []

        def write():
            try:
                outcome.append(old.append([event(2)]))
            except LedgerUnavailable as exc:
                outcome.append(exc)

        thread = threading.Thread(target=write)
        thread.start()
        assert reached.wait(60)
        with pytest.raises(LedgerUnavailable, match="holds its lock"):
            new.fence("it hangs", by="person-1")
        assert new.fence("it hangs", by="person-1", force=True) == 1
        new.append([event(3)])
        go_on.set()
        thread.join(60)
        assert isinstance(outcome[0], LedgerUnavailable)
        assert [stored.body.get("number") for stored in new.events(kind="output.decided")] == [
            event(1).body.get("number"),
            event(3).body.get("number"),
        ] or new.size == 3
        old._writer._sign = sign
        with pytest.raises(LedgerUnavailable, match="epoch 1 has begun"):
            old.append([event(2)])
        assert new.verify().ok


def test_an_epoch_that_was_taken_away_is_missed(database):
    with opened(database) as ledger:
        ledger.append([event(1)])
        ledger.fence("a drill", by="person-1")
    tampered(database, "DELETE FROM meta WHERE name LIKE 'epoch/%'")
    with opened(database) as ledger:
        assert ledger.verify().first_bad == 1
