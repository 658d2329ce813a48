"""Format 2: the index of pruned events holds those only, so that it costs nothing to record an event."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Make the index anew."""
    pruned = sa.text("pruned IS NOT NULL")
    op.drop_index("ix_event_pruned", table_name="event")
    op.create_index("ix_event_pruned", "event", ["pruned"], sqlite_where=pruned, postgresql_where=pruned)
