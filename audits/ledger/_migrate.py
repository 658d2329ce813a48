"""Bringing the tables of a ledger to the present format: Alembic revisions, all in one transaction.

Events, hashes and signatures are never touched: a migration changes how they are kept, not what they say.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from clearmark.audits.ledger._schema import FORMAT
from clearmark.audits.ledger._store import Store
from clearmark.core.errors import LedgerError

__all__ = ["upgrade_store"]


def upgrade_store(store: Store) -> tuple[str, str]:
    """Run the revisions that a ledger lacks; return the formats before and after.

    Raises:
        LedgerError: when there is no ledger, or one that a newer version made.
    """
    with store.writing() as conn:
        found = store.format(conn)
        if not found:
            raise LedgerError(f"there is no ledger in {store.name}", hint="check the path or the URL")
        steps = _steps(found, store.name)
        for step in steps:
            _run(conn, step)
        if steps:
            store.mark(conn)
    return found, FORMAT


def _steps(found: str, name: str) -> list[Any]:
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.script.revision import RevisionError
    from alembic.util import CommandError

    here = str(Path(__file__).with_name("migrations"))
    config = Config()
    config.set_main_option("script_location", here.replace("%", "%%"))
    config.set_main_option("version_locations", here.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    try:
        return list(reversed(list(scripts.iterate_revisions(FORMAT, found))))
    except (CommandError, RevisionError) as exc:
        raise LedgerError(
            f"the ledger {name} has format {found}; this version knows up to {FORMAT}",
            hint="update clearmark",
        ) from exc


def _run(conn: Connection, step: Any) -> None:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    context = MigrationContext.configure(conn)
    with Operations.context(context):
        step.module.upgrade()
