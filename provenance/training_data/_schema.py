"""The tables of the register. Every name begins with `training_`, so that they may stand beside others.

What many items share (licences with their evidence) is stored once. An item is known by its version and its
number, which importing counts itself: two imports of one version cannot both write number 17.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

__all__ = [
    "DATASET",
    "FORMAT",
    "ITEM",
    "LICENCE",
    "META",
    "METADATA",
    "OPT_OUT",
    "QUARANTINE",
    "REMOVAL",
    "SIGNAL",
    "USE",
    "VERSION",
]

FORMAT = "1"
"""The version of these tables."""

METADATA = MetaData()

_BIG = BigInteger().with_variant(Integer, "sqlite")

META = Table(
    "training_meta",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

DATASET = Table(
    "training_dataset",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("description", Text, nullable=False),
    Column("homepage", Text, nullable=False),
    Column("publisher", Text, nullable=False),
    Column("created_us", BigInteger, nullable=False),
)

VERSION = Table(
    "training_version",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("dataset_id", ForeignKey("training_dataset.id"), nullable=False),
    Column("label", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("cursor", Text, nullable=False),
    Column("read", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
    Column("removed", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("finished_us", BigInteger),
    UniqueConstraint("dataset_id", "label"),
)
"""One import; its cursor moves in the same transaction as the items that it passed."""

LICENCE = Table(
    "training_licence",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False, unique=True),
    Column("spdx", Text, nullable=False),
    Column("evidence", Text, nullable=False),
)

ITEM = Table(
    "training_item",
    METADATA,
    Column("version_id", ForeignKey("training_version.id"), primary_key=True, autoincrement=False),
    Column("number", _BIG, primary_key=True, autoincrement=False),
    Column("key", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("creator", Text, nullable=False),
    Column("licence_id", ForeignKey("training_licence.id"), nullable=False),
    Column("caption", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("acquired", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("sha256", LargeBinary),
    Column("phash", BigInteger),
    Column("colours", LargeBinary),
    Column("media_type", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("consent", Text, nullable=False),
    Column("consent_ref", Text, nullable=False),
    Column("opt_out", Text, nullable=False),
    Column("measures", Text, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("removal_id", Text),
    Index("training_item_sha256", "sha256"),
    sqlite_with_rowid=False,
)
"""One row per item, quarantined and removed ones included: nothing that was read goes missing."""

_ITEM_KEY = ("training_item.version_id", "training_item.number")

QUARANTINE = Table(
    "training_quarantine",
    METADATA,
    Column("version_id", Integer, primary_key=True, autoincrement=False),
    Column("number", _BIG, primary_key=True, autoincrement=False),
    Column("code", Text, nullable=False),
    Column("detail", Text, nullable=False),
    ForeignKeyConstraint(("version_id", "number"), _ITEM_KEY),
)

SIGNAL = Table(
    "training_signal",
    METADATA,
    Column("version_id", Integer, primary_key=True, autoincrement=False),
    Column("number", _BIG, primary_key=True, autoincrement=False),
    Column("place_number", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("raw", Text, nullable=False),
    Column("reserved", Integer),
    Column("place", Text, nullable=False),
    Column("read_us", BigInteger, nullable=False),
    ForeignKeyConstraint(("version_id", "number"), _ITEM_KEY),
)

OPT_OUT = Table(
    "training_opt_out",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("registered_us", BigInteger, nullable=False),
    UniqueConstraint("kind", "value"),
)
"""Opt-outs that owners registered with us, and what was removed at their word."""

USE = Table(
    "training_use",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("version_id", ForeignKey("training_version.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("recorded_us", BigInteger, nullable=False),
    UniqueConstraint("version_id", "kind", "name", "digest"),
)

REMOVAL = Table(
    "training_removal",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("removed_us", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("proof", Text, nullable=False),
)
