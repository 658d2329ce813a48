"""Databases that hold a ledger: finding one by path or URL, and what is done to one without its keys."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from clearmark.audits.ledger._checkpoint_log import CheckpointLog
from clearmark.audits.ledger._cosign import WitnessKey
from clearmark.audits.ledger._notes import NoteVerifier
from clearmark.audits.ledger._records import LedgerReport
from clearmark.audits.ledger._sqlite import SqliteStore
from clearmark.audits.ledger._store import Store
from clearmark.audits.ledger._timestamping import TimestampLog
from clearmark.audits.ledger._verify import verify_store
from clearmark.core.errors import LedgerTampered, LedgerUnavailable, UsageError

__all__ = ["grant_database_roles", "open_store", "upgrade_database", "verify_database"]


def verify_database(
    database: str | Path,
    *,
    verifier_key: str,
    checkpoint_log: str | Path | None = None,
    second_key: str | None = None,
) -> LedgerReport:
    """Verify a ledger with its public key alone, as an auditor does who was given a copy.

    Personal data stays sealed, so its commitments are not opened; all else is checked as by `Ledger.verify`.
    `checkpoint_log` is best one that the auditor kept; without one it is looked for beside a SQLite file.
    With `second_key` (its second public key, of ML-DSA-44) both signatures are demanded.

    Raises:
        LedgerError: when there is no such ledger, or it cannot be opened.
    """
    verifier = NoteVerifier.parse(verifier_key)
    store, beside = open_store(database, create=False, busy_timeout_s=10.0)
    log_path = Path(checkpoint_log) if checkpoint_log else beside
    try:
        _refuse_other_format(store)
        return verify_store(
            store,
            verifier=verifier,
            log=CheckpointLog(log_path) if log_path else None,
            second=WitnessKey.parse(second_key) if second_key else None,
            stamps=TimestampLog(log_path.with_suffix(".timestamps")) if log_path else None,
        )
    finally:
        store.close()


def upgrade_database(database: str | Path) -> tuple[str, str]:
    """Bring the tables of a ledger to the present format; return the formats before and after.

    What is on record stays as it is, byte for byte. No key is needed. Make a backup first.

    Raises:
        LedgerError: when there is no ledger, or one that a newer version made.
    """
    from clearmark.audits.ledger._migrate import upgrade_store

    store, _ = open_store(database, create=False, busy_timeout_s=60.0)
    try:
        return upgrade_store(store)
    finally:
        store.close()


def grant_database_roles(database: str, *, prefix: str = "clearmark") -> list[str]:
    """Make the roles `PREFIX_reader`, `PREFIX_writer` and `PREFIX_keeper` for a ledger in PostgreSQL.

    Raises:
        UsageError: when it is no PostgreSQL database.
        LedgerError: when there is no ledger, or the user has no right to do that.
    """
    from clearmark.audits.ledger._postgres import PostgresStore
    from clearmark.audits.ledger._roles import grant_roles

    store, _ = open_store(database, create=False, busy_timeout_s=60.0)
    try:
        if not isinstance(store, PostgresStore):
            raise UsageError("a SQLite file has no roles", hint="its rights are those of the file")
        return grant_roles(store, prefix)
    finally:
        store.close()


def _refuse_other_format(store: Store) -> None:
    """Say so when a ledger has another format; what is too damaged to have one is left to verification."""
    try:
        with store.reading() as conn:
            found = store.format(conn)
            if found:
                store.check_format(conn)
    except LedgerTampered:
        pass


def open_store(database: str | Path, *, create: bool, busy_timeout_s: float) -> tuple[Store, Path | None]:
    """Return the store of a path or URL, and where its checkpoint log stands by default."""
    path = Path(database)
    if isinstance(database, str) and "://" in database:
        try:
            url = make_url(database)
        except (ArgumentError, ValueError) as exc:
            raise UsageError("the URL of the ledger cannot be read") from exc
        if url.get_backend_name() in {"postgresql", "postgres"}:
            from clearmark.audits.ledger._postgres import PostgresStore

            return PostgresStore(url, create=create, busy_timeout_s=busy_timeout_s), None
        if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
            raise UsageError(
                "a ledger is kept in a SQLite file or in PostgreSQL",
                hint="give a path, or a URL like postgresql://user@host/database",
            )
        path = Path(url.database)
    try:
        store = SqliteStore(path, create=create, busy_timeout_s=busy_timeout_s)
    except OSError as exc:
        raise LedgerUnavailable(f"the ledger {path} cannot be opened: {exc.strerror}") from exc
    return store, path.with_name(f"{path.stem}.checkpoints.log")
