"""Roles of a ledger in PostgreSQL: who may read, who may append, who may take away.

`PREFIX_reader` selects. `PREFIX_writer` also inserts, and can change or delete nothing: it is what a service
runs as. `PREFIX_keeper` may besides do what erasing and pruning need, on just those columns, and the triggers
still refuse everything else to it and to the owner. None of them can log in: grant them to users who can.
"""

from __future__ import annotations

import re

from sqlalchemy import text

from clearmark.audits.ledger._postgres import PostgresStore
from clearmark.audits.ledger._schema import METADATA
from clearmark.core.errors import UsageError

__all__ = ["ROLES", "grant_roles", "role_statements"]

ROLES = ("reader", "writer", "keeper")
_PREFIX = re.compile(r"[a-z_][a-z0-9_]{0,40}")


def role_statements(prefix: str, schema: str) -> list[str]:
    """Return the statements that make the roles and set their rights; they can be run again.

    Raises:
        UsageError: when `prefix` cannot begin the name of a role.
    """
    if not _PREFIX.fullmatch(prefix):
        raise UsageError(
            f"{prefix!r} cannot begin the name of a role", hint="use small letters, digits and underscores"
        )
    reader, writer, keeper = (f"{prefix}_{role}" for role in ROLES)
    quoted = '"' + schema.replace('"', '""') + '"'
    tables = ", ".join(f"{quoted}.{table.name}" for table in METADATA.sorted_tables)
    everyone = f"{reader}, {writer}, {keeper}"
    made = [
        f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        for role in (reader, writer, keeper)
    ]
    return [
        *made,
        f"REVOKE ALL ON {tables} FROM PUBLIC, {everyone}",
        f"GRANT USAGE ON SCHEMA {quoted} TO {everyone}",
        f"GRANT SELECT ON {tables} TO {everyone}",
        f"GRANT INSERT ON {tables} TO {writer}, {keeper}",
        f"GRANT UPDATE (envelope, pruned) ON {quoted}.event TO {keeper}",
        f"GRANT UPDATE (key_id, sealed, erasure) ON {quoted}.personal TO {keeper}",
        f"GRANT DELETE ON {quoted}.subject_key TO {keeper}",
    ]


def grant_roles(store: PostgresStore, prefix: str) -> list[str]:
    """Make the roles in the database of `store`, as the owner of its tables; return their names.

    Raises:
        LedgerError: when there is no ledger, or the user has no right to do that.
    """
    with store.writing() as conn:
        store.check_format(conn)
        schema = conn.execute(text("SELECT current_schema()")).scalar_one()
        for statement in role_statements(prefix, schema):
            conn.exec_driver_sql(statement)
    return [f"{prefix}_{role}" for role in ROLES]
