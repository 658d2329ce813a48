"""The tables of a ledger, and the triggers that refuse to change what stands in them.

The triggers keep honest programs from mistakes. Against somebody who owns the database only the signed
checkpoints help, which is why they are also kept outside it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

__all__ = [
    "CHECKPOINT",
    "COSIGNATURE",
    "EVENT",
    "FORMAT",
    "MARK",
    "META",
    "METADATA",
    "PERSONAL",
    "SECOND_KEY",
    "SUBJECT_KEY",
    "TILE",
    "postgres_triggers",
    "sqlite_triggers",
]

FORMAT = "2"
"""The version of these tables, and the name of the revision in `migrations/` that leads to it."""

METADATA = MetaData()

_IS_PRUNED = text("pruned IS NOT NULL")
_BIG = BigInteger().with_variant(Integer, "sqlite")

META = Table(
    "meta",
    METADATA,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

SECOND_KEY = "second_key"
"""The row of `meta` with the public key of the second signature, once there is one."""

EVENT = Table(
    "event",
    METADATA,
    Column("seq", _BIG, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False, unique=True),
    Column("ts_us", BigInteger, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("pruned", Text),
    Index("event_request", "request_id"),
    Index("event_kind_time", "kind", "ts_us"),
    Index("ix_event_pruned", "pruned", sqlite_where=_IS_PRUNED, postgresql_where=_IS_PRUNED),
)
"""One row per event; `seq` is its index in the tree, from 0. `envelope` is what is hashed.

Pruning empties `envelope`, and `pruned` then holds the id of the event that says so.
"""

MARK = Table(
    "mark",
    METADATA,
    Column("mark_id", Text, primary_key=True),
    Column("seq", _BIG, ForeignKey("event.seq"), primary_key=True, autoincrement=False),
    Index("mark_seq", "seq"),
    sqlite_with_rowid=False,
)
"""From a mark in a picture to the events about it; the envelope holds the same ids."""

TILE = Table(
    "tile",
    METADATA,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", _BIG, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""Complete tiles of 256 hashes (C2SP tlog-tiles); what is right of them is made from the events."""

CHECKPOINT = Table(
    "checkpoint",
    METADATA,
    Column("size", _BIG, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
)

COSIGNATURE = Table(
    "cosignature",
    METADATA,
    Column("size", _BIG, primary_key=True, autoincrement=False),
    Column("line", Text, primary_key=True),
    Column("witness", Text, nullable=False, index=True),
    sqlite_with_rowid=False,
)
"""Signature lines of witnesses, by the size of the checkpoint that they are over."""

SUBJECT_KEY = Table(
    "subject_key",
    METADATA,
    Column("reference", LargeBinary, primary_key=True),
    Column("key_id", Text, nullable=False, unique=True),
    Column("wrapped", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""One wrapped data key per subject. Erasing a subject deletes the row."""

PERSONAL = Table(
    "personal",
    METADATA,
    Column("seq", _BIG, ForeignKey("event.seq"), primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("key_id", Text, index=True),
    Column("sealed", LargeBinary),
    Column("erasure", Text, index=True),
)
"""Sealed personal values. Erasing leaves a row without key and bytes, with the id of the erasure event."""

APPEND_ONLY = ("mark", "tile", "checkpoint", "cosignature", "meta")
"""The tables whose rows never change and never go."""

_APPEND = "the ledger is append-only"
_ERASE = "personal data can only be erased"
_KEY = "a data key can only be deleted"

# Changes that are refused: any but those by which pruning and erasing take bytes away.
_NOT_PRUNING = (
    "OLD.pruned IS NOT NULL OR NEW.pruned IS NULL OR length(NEW.envelope) <> 0 OR NEW.seq <> OLD.seq "
    "OR NEW.event_id <> OLD.event_id OR NEW.ts_us <> OLD.ts_us OR NEW.tenant <> OLD.tenant "
    "OR NEW.kind <> OLD.kind OR NEW.request_id <> OLD.request_id OR NEW.leaf_hash <> OLD.leaf_hash"
)
_NOT_ERASING = (
    "OLD.erasure IS NOT NULL OR NEW.sealed IS NOT NULL OR NEW.key_id IS NOT NULL OR NEW.erasure IS NULL "
    "OR NEW.seq <> OLD.seq OR NEW.name <> OLD.name"
)
_RULES = (
    *((table, action, "", _APPEND) for table in APPEND_ONLY for action in ("update", "delete")),
    ("event", "update", _NOT_PRUNING, _APPEND),
    ("event", "delete", "", _APPEND),
    ("personal", "update", _NOT_ERASING, _ERASE),
    ("personal", "delete", "", _ERASE),
    ("subject_key", "update", "", _KEY),
)
"""Table, action, condition, and what is said to whoever tries."""


def sqlite_triggers() -> list[str]:
    """Return the statements that make the triggers in SQLite."""
    return [
        f"CREATE TRIGGER {table}_no_{action} BEFORE {action} ON {table} "
        + (f"WHEN {condition} " if condition else "")
        + f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        for table, action, condition, message in _RULES
    ]


def postgres_triggers() -> list[str]:
    """Return the statements that make the triggers in PostgreSQL."""
    function = (
        "CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0]; END $$"
    )
    rows = [
        f"CREATE TRIGGER {table}_no_{action} BEFORE {action} ON {table} FOR EACH ROW "
        + (f"WHEN ({condition}) " if condition else "")
        + f"EXECUTE FUNCTION ledger_refuse('{message}')"
        for table, action, condition, message in _RULES
    ]
    tables = [
        f"CREATE TRIGGER {table.name}_no_truncate BEFORE TRUNCATE ON {table.name} "
        f"EXECUTE FUNCTION ledger_refuse('{_APPEND}')"
        for table in METADATA.sorted_tables
    ]
    return [function, *rows, *tables]
