"""Format 1: the tables as they were first made."""

revision = "1"
down_revision = None


def upgrade() -> None:
    """Do nothing: a ledger of format 1 has its tables."""
