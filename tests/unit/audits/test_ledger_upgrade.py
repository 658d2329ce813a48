"""An older format is refused with a clear error; `clearmark db upgrade` changes tables, nothing on record."""

import sqlite3

import pytest
from typer.testing import CliRunner

from clearmark.audits import Ledger, NoteSigner, verify_database
from clearmark.audits.ledger import grant_database_roles, upgrade_database
from clearmark.audits.ledger._schema import FORMAT
from clearmark.core import Event
from clearmark.core.errors import LedgerError, UsageError
from clearmark.sdk.cli._app import app

SIGNER = NoteSigner.generate("example.com/pictures")


def opened(path):
    return Ledger.open(path, signer=SIGNER, vault_key=bytes(32))


@pytest.fixture(name="old")
def ledger_of_format_1(tmp_path):
    """A ledger as the first version made its tables, and a receipt of then."""
    path = tmp_path / "ledger.db"
    with opened(path) as ledger:
        records = ledger.append([Event(kind="a", request_id="r", ts_us=n) for n in range(300)])
        ledger.prune(before=20)
        receipt = ledger.receipt(records[50].event_id)
    conn = sqlite3.connect(path)
    conn.execute("DROP INDEX ix_event_pruned")
    conn.execute("CREATE INDEX ix_event_pruned ON event (pruned)")
    conn.execute("PRAGMA user_version = 1")
    conn.commit()
    conn.close()
    return path, receipt


def test_an_older_ledger_is_refused_and_names_the_command(old):
    path, _ = old
    for use in (lambda: opened(path), lambda: verify_database(path, verifier_key=SIGNER.verifier_key)):
        with pytest.raises(LedgerError, match="format 1") as raised:
            use()
        assert "clearmark db upgrade" in raised.value.diagnostics()


def test_upgrading_changes_nothing_on_record(old):
    path, receipt = old
    assert upgrade_database(path) == ("1", FORMAT)
    assert upgrade_database(path) == (FORMAT, FORMAT)
    with opened(path) as ledger:
        assert ledger.receipt(receipt.event_id) == receipt
        report = ledger.verify()
        assert report.ok, report.to_dict()
        ledger.append([Event(kind="a", request_id="r")])
        assert ledger.verify().ok


def test_an_upgrade_that_fails_leaves_the_old_format(old):
    path, _ = old
    conn = sqlite3.connect(path)
    conn.execute("DROP INDEX ix_event_pruned")
    conn.commit()
    conn.close()
    with pytest.raises(LedgerError):
        upgrade_database(path)
    conn = sqlite3.connect(path)
    assert conn.execute("PRAGMA user_version").fetchone()[0] == 1
    conn.close()


def test_what_cannot_be_upgraded(tmp_path):
    with pytest.raises(LedgerError, match="no ledger"):
        upgrade_database(tmp_path / "absent.db")
    path = tmp_path / "newer.db"
    conn = sqlite3.connect(path)
    conn.execute("PRAGMA user_version = 99")
    conn.commit()
    conn.close()
    with pytest.raises(LedgerError, match="format 99"):
        upgrade_database(path)
    with pytest.raises(UsageError, match="no roles"):
        grant_database_roles(path)


def test_the_command(old, tmp_path):
    path, _ = old
    home = tmp_path / "home"
    home.mkdir()
    path.rename(home / "ledger.db")
    done = CliRunner().invoke(app, ["db", "upgrade", "--home", str(home), "--json"])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == f'{{"before": "1", "after": "{FORMAT}"}}'
    done = CliRunner().invoke(app, ["db", "upgrade", "--home", str(home)])
    assert "already" in done.stdout
    assert CliRunner().invoke(app, ["db", "upgrade", "--home", str(tmp_path)]).exit_code == 2
